"""Settings of the quality of cutouts: what is measured, and which windows are filled or refused."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from elodin_spark.config.base import Model


class FractionRule(Model):
    """What is done with a window by the fraction of its pixels that are affected.

    Above `reject_above` it is rejected; above `fill_above` the affected pixels are filled with the
    local median; else it is kept as it is. Empty: never.
    """

    fill_above: float | None = Field(
        None,
        ge=0,
        le=1,
        description="windows with a larger fraction of such pixels have them filled with the local "
        "median; empty: none",
    )
    reject_above: float | None = Field(
        None,
        ge=0,
        le=1,
        description="windows with a larger fraction of such pixels get no fingerprint; empty: none",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        fill, reject = self.fill_above, self.reject_above
        if fill is not None and reject is not None and fill >= reject:
            raise ValueError(
                f"fill_above {fill:g} must be below reject_above {reject:g}, or it never applies"
            )
        return self


class QualitySettings(Model):
    """Quality columns of each cutout, and rules on them; by default every window that has data is kept."""

    measure: bool = Field(True, description="compute the quality columns")
    blank: Literal["auto"] | float | None = Field(
        "auto",
        description="pixels of exactly this value, in units of the image, hold no data; `auto`: padding "
        "is told; empty: none",
    )
    saturation_level: float | None = Field(
        None,
        description="pixels at or above this, in units of the image, are saturated; empty: the SATURATE "
        "card of the header",
    )
    bad_bits: tuple[str, ...] | None = Field(
        None, description="names of bits of the mask that spoil a pixel; empty: those known to, by archive"
    )
    nodata: FractionRule = Field(FractionRule(), description="rule on pixels without data")
    masked: FractionRule = Field(FractionRule(), description="rule on pixels with any of `bad_bits`")
    saturated: FractionRule = Field(FractionRule(), description="rule on saturated pixels")
    bits: dict[str, FractionRule] = Field(
        default_factory=dict,
        description="such rules by the name of a mask bit, e.g. `{TRAIL: {reject_above: 0.1}}`",
    )
    min_edge_px: int = Field(
        0, ge=0, description="windows nearer to the edge of the image, px, get no fingerprint"
    )
    sample_px: int = Field(
        512, ge=64, le=2**20, description="pixels of a window that its sky and noise are taken from"
    )

    @property
    def blank_value(self) -> float | None:
        """The value that holds no data, where one is given."""
        return None if self.blank == "auto" else self.blank
