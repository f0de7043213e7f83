"""Settings of the quality of cutouts: what is measured, and which windows are filled or refused."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from elodin_spark.settings.base import Model


class FractionRule(Model):
    """What is done with a window by the fraction of its pixels that are affected.

    Above `reject_above` it is rejected; above `fill_above` the affected pixels are filled with the
    local median; else it is kept as it is. Empty: never.
    """

    fill_above: float | None = Field(None, ge=0, le=1)
    reject_above: float | None = Field(None, ge=0, le=1)

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
        "auto", description="pixels of exactly this value hold no data; auto: padding is told; empty: none"
    )
    saturation_level: float | None = Field(
        None, description="pixels at or above this are saturated; empty: the SATURATE card of the header"
    )
    bad_bits: tuple[str, ...] | None = Field(
        None, description="bits of the mask that spoil a pixel; empty: those known to, by archive"
    )
    nodata: FractionRule = FractionRule()
    masked: FractionRule = Field(FractionRule(), description="pixels with any of bad_bits")
    saturated: FractionRule = FractionRule()
    bits: dict[str, FractionRule] = Field(default_factory=dict, description="rules by name of a mask bit")
    min_edge_px: int = Field(0, ge=0, description="windows nearer to the edge of the image are rejected")
    sample_px: int = Field(512, ge=64, le=2**20, description="pixels of a window that sky and noise use")

    @property
    def blank_value(self) -> float | None:
        """The value that holds no data, where one is given."""
        return None if self.blank == "auto" else self.blank
