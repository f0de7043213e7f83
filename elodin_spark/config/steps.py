"""Settings of the processing steps of images and cutouts."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from elodin_spark.config.base import Model, near_miss
from elodin_spark.config.mistakes import explain


class GrayScale(Model):
    """RGB to one channel, 0.299 R + 0.587 G + 0.114 B.

    Examples
    --------
    >>> import numpy as np
    >>> from elodin_spark import Step
    >>> from elodin_spark.cutouts.steps import apply_steps
    >>> apply_steps(np.zeros((4, 6, 3), np.uint8), [Step(type="GrayScale")])[0].shape
    (4, 6)
    """


class GrayToRGB(Model):
    """One channel to three equal ones; color is left as it is.

    Examples
    --------
    >>> import numpy as np
    >>> from elodin_spark import Step
    >>> from elodin_spark.cutouts.steps import apply_steps
    >>> apply_steps(np.zeros((4, 6), np.uint8), [Step(type="GrayToRGB")])[0].shape
    (4, 6, 3)
    """


class Resize(Model):
    """To `output_size` x `output_size` px, whatever the shape before.

    Examples
    --------
    >>> import numpy as np
    >>> from elodin_spark import Step
    >>> from elodin_spark.cutouts.steps import apply_steps
    >>> half = Step(type="Resize", parameters={"output_size": 2})
    >>> apply_steps(np.arange(16, dtype=np.float32).reshape(4, 4), [half])[0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    """

    output_size: int = Field(224, ge=1, le=16384, description="side of the square, px")


class Crop(Model):
    """Keep rows r0 to r1 and columns c0 to c1; negatives count from the far edge.

    Examples
    --------
    >>> import numpy as np
    >>> from elodin_spark import Step
    >>> from elodin_spark.cutouts.steps import apply_steps
    >>> border = Step(type="Crop", parameters={"output_range": (1, -1, 1, -1)})
    >>> apply_steps(np.arange(16).reshape(4, 4), [border])[0]
    array([[ 5,  6],
           [ 9, 10]])
    """

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
    """Turn counter-clockwise (x to the right, y up) by `angle` degrees, same shape.

    Examples
    --------
    >>> import numpy as np
    >>> from elodin_spark import Step
    >>> from elodin_spark.cutouts.steps import apply_steps
    >>> quarter = Step(type="Rotate", parameters={"angle": 90})
    >>> apply_steps(np.array([[1.0, 2.0], [3.0, 4.0]]), [quarter])[0]
    array([[3., 1.],
           [4., 2.]])
    """

    angle: float = Field(0.0, description="counter-clockwise, deg")


class FlipLR(Model):
    """Mirror left and right.

    Examples
    --------
    >>> import numpy as np
    >>> from elodin_spark import Step
    >>> from elodin_spark.cutouts.steps import apply_steps
    >>> apply_steps(np.array([[1, 2], [3, 4]]), [Step(type="FlipLR")])[0]
    array([[2, 1],
           [4, 3]])
    """


class FlipUD(Model):
    """Mirror up and down.

    Examples
    --------
    >>> import numpy as np
    >>> from elodin_spark import Step
    >>> from elodin_spark.cutouts.steps import apply_steps
    >>> apply_steps(np.array([[1, 2], [3, 4]]), [Step(type="FlipUD")])[0]
    array([[3, 4],
           [1, 2]])
    """


class RescaleIntensity(Model):
    """Stretch linearly between two percentiles of the pixel values.

    Examples
    --------
    >>> import numpy as np
    >>> from elodin_spark import Step
    >>> from elodin_spark.cutouts.steps import apply_steps
    >>> whole = Step(type="RescaleIntensity", parameters={"in_range": (0, 100)})
    >>> apply_steps(np.array([[0.0, 5.0], [10.0, 20.0]]), [whole])[0]
    array([[0.  , 0.25],
           [0.5 , 1.  ]], dtype=float32)
    """

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
    """Spread the pixel values so that each is equally frequent.

    Examples
    --------
    >>> import numpy as np
    >>> from elodin_spark import Step
    >>> from elodin_spark.cutouts.steps import apply_steps
    >>> steep = np.geomspace(1, 1000, 100).reshape(10, 10)
    >>> flat, _ = apply_steps(steep, [Step(type="HistogramEqualization")])
    >>> bool(abs(np.median(flat) - 0.5) < 0.05)
    True
    """


class AdaptiveHistogramEqualization(Model):
    """Contrast-limited histogram equalization (CLAHE).

    Examples
    --------
    >>> import numpy as np
    >>> from elodin_spark import Step
    >>> from elodin_spark.cutouts.steps import apply_steps
    >>> gentle = Step(type="AdaptiveHistogramEqualization", parameters={"clip_limit": 0.01})
    >>> apply_steps(np.eye(32), [gentle])[0].dtype
    dtype('float32')
    """

    clip_limit: float = Field(
        0.03, gt=0, le=1, description="of the contrast; larger shows more, of the noise too"
    )


class AsinhStretch(Model):
    """asinh stretch of sky-subtracted values, for images in physical units.

    The sky is the median and the noise the scaled median absolute deviation of the image;
    values are mapped by asinh((v - black) / softening) from black = sky - `black_sigma` x noise
    to white = the `white_percentile`, softening = `softening_sigma` x noise.

    Examples
    --------
    >>> import numpy as np
    >>> from elodin_spark import Step
    >>> from elodin_spark.cutouts.steps import apply_steps
    >>> sky = np.random.default_rng(0).normal(100, 3, (64, 64))
    >>> stretched = apply_steps(sky, [Step(type="AsinhStretch")])[0]
    >>> stretched.dtype, float(stretched.min()), float(stretched.max())
    (dtype('float32'), 0.0, 1.0)
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
    """One processing step as it is saved: ``{type, parameters}``.

    Examples
    --------
    >>> from elodin_spark import Step
    >>> Step(type="Resize", parameters={"output_size": 128}).model()
    Resize(output_size=128)
    """

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
        """The step with its parameters checked and defaults filled in.

        Returns
        -------
        Model
            Of the class that `type` names.

        Examples
        --------
        >>> from elodin_spark import Step
        >>> Step(type="Rotate").model()
        Rotate(angle=0.0)
        """
        return STEPS[self.type](**self.parameters)
