"""Settings of the arithmetic of the network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from elodin_spark.config.base import Model

Precision = Literal["f32", "bf16", "int8"]
#: What may be asked for: ``auto`` is settled when a catalog is begun.
PrecisionChoice = Literal["auto", "f32", "bf16", "int8"]


class Int8Settings(Model):
    """How a run quantizes its network, where precision is int8 or auto and no int8_model is named."""

    method: Literal["mixed", "plain"] = Field(
        "mixed",
        description="`mixed` does not quantize the layers that lose most, as many as the floor needs; "
        "`plain` quantizes all",
    )
    bias_correction: Literal["none", "fast", "accurate"] = Field(
        "accurate",
        description="of each layer for the mean error of quantizing: `accurate`, `fast` (much worse on "
        "small windows) or `none`",
    )
    calibration: int = Field(
        256,
        ge=16,
        le=4096,
        description="windows of the archive to quantize with; not those that are measured on",
    )
    most_kept: int = Field(12, ge=0, le=1000, description="layers that `mixed` may keep, at most")
