"""Settings of the processing steps of images and cutouts."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from elodin_spark.settings.base import Model, near_miss
from elodin_spark.settings.mistakes import explain


class GrayScale(Model):
    """RGB to one channel, 0.299 R + 0.587 G + 0.114 B."""


class GrayToRGB(Model):
    """One channel to three equal ones; colour is left as it is."""


class Resize(Model):
    """To `output_size` x `output_size` px, whatever the shape before."""

    output_size: int = Field(224, ge=1, le=16384, description="side of the square, px")


class Crop(Model):
    """Keep rows r0 to r1 and columns c0 to c1; negatives count from the far edge."""

    output_range: tuple[int, int, int, int] = Field((15, -15, 15, -15), description="r0, r1, c0, c1, px")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        r0, r1, c0, c1 = self.output_range
        for first, last in ((r0, r1), (c0, c1)):
            if (first < 0) == (last < 0) and first >= last:
                raise ValueError(
                    f"output_range keeps nothing from {first} to {last}: name the smaller one first"
                )
        return self


class Rotate(Model):
    """Turn counter-clockwise (x to the right, y up) by `angle` degrees, same shape."""

    angle: float = Field(0.0, description="counter-clockwise, deg")


class FlipLR(Model):
    """Mirror left and right."""


class FlipUD(Model):
    """Mirror up and down."""


class RescaleIntensity(Model):
    """Stretch linearly between two percentiles of the pixel values."""

    in_range: tuple[float, float] = Field(
        (2.0, 98.0), description="percentiles that become black and white, %"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.in_range
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles must satisfy 0 <= low < high <= 100, got {low}, {high}")
        return self


class HistogramEqualization(Model):
    """Spread the pixel values so that each is equally frequent."""


class AdaptiveHistogramEqualization(Model):
    """Contrast-limited histogram equalization (CLAHE)."""

    clip_limit: float = Field(
        0.03, gt=0, le=1, description="of the contrast; larger shows more, of the noise too"
    )


class AsinhStretch(Model):
    """asinh stretch of sky-subtracted values, for images in physical units.

    The sky is the median and the noise the scaled median absolute deviation of the image;
    values are mapped by asinh((v - black) / softening) from black = sky - `black_sigma` x noise
    to white = the `white_percentile`, softening = `softening_sigma` x noise.
    """

    black_sigma: float = Field(
        1.5, ge=0, description="black is this far below the sky, in units of its noise"
    )
    softening_sigma: float = Field(
        4.0, gt=0, description="linear up to about this, in units of the noise of the sky"
    )
    white_percentile: float = Field(99.8, gt=50, le=100, description="white, percentile of the pixels, %")


STEPS: dict[str, type[Model]] = {
    step.__name__: step
    for step in (
        GrayScale,
        GrayToRGB,
        Resize,
        Crop,
        Rotate,
        FlipLR,
        FlipUD,
        RescaleIntensity,
        HistogramEqualization,
        AdaptiveHistogramEqualization,
        AsinhStretch,
    )
}


class Step(Model):
    """One processing step as it is saved: ``{type, parameters}``."""

    type: str = Field(description="name of the step")
    parameters: dict[str, Any] = Field(default_factory=dict, description="of the step, by name")

    @field_validator("type")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in STEPS:
            raise ValueError(f"unknown step {value!r}: {near_miss(value, STEPS)}")
        return value

    @model_validator(mode="after")
    def _valid(self) -> Self:
        try:
            self.model()
        except ValidationError as error:
            raise ValueError(f"of {self.type}: {explain(error, STEPS[self.type], 'parameters')}") from None
        return self

    def model(self) -> Model:
        """The step with its parameters checked and defaults filled in."""
        return STEPS[self.type](**self.parameters)
