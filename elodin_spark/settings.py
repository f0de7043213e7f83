"""Settings of a run: one frozen model per stage, validated before anything starts.

:mod:`elodin_spark.config` reads them from YAML.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


# ---- processing steps ------------------------------------------------------------------


class GrayScale(_Model):
    """RGB to one channel, 0.299 R + 0.587 G + 0.114 B."""


class Resize(_Model):
    """To `output_size` x `output_size` px, whatever the shape before."""

    output_size: int = Field(224, ge=1, le=16384)


class Crop(_Model):
    """Keep rows r0 to r1 and columns c0 to c1; negatives count from the far edge."""

    output_range: tuple[int, int, int, int] = (15, -15, 15, -15)


class Rotate(_Model):
    """Turn counter-clockwise (x to the right, y up) by `angle` degrees, same shape."""

    angle: float = 0.0


class FlipLR(_Model):
    """Mirror left and right."""


class FlipUD(_Model):
    """Mirror up and down."""


class RescaleIntensity(_Model):
    """Stretch linearly between two percentiles of the pixel values."""

    in_range: tuple[float, float] = (2.0, 98.0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.in_range
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles must satisfy 0 <= low < high <= 100, got {low}, {high}")
        return self


class HistogramEqualization(_Model):
    """Spread the pixel values so that each is equally frequent."""


class AdaptiveHistogramEqualization(_Model):
    """Contrast-limited histogram equalization (CLAHE)."""

    clip_limit: float = Field(0.03, gt=0, le=1)


class AsinhStretch(_Model):
    """asinh stretch of sky-subtracted values, for images in physical units.

    The sky is the median and the noise the scaled median absolute deviation of the image;
    values are mapped by asinh((v - black) / softening) from black = sky - `black_sigma` x noise
    to white = the `white_percentile`, softening = `softening_sigma` x noise.
    """

    black_sigma: float = Field(1.5, ge=0)
    softening_sigma: float = Field(4.0, gt=0)
    white_percentile: float = Field(99.8, gt=50, le=100)


STEPS: dict[str, type[_Model]] = {
    step.__name__: step
    for step in (
        GrayScale,
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


class Step(_Model):
    """One processing step as it is saved: ``{type, parameters}``."""

    type: str
    parameters: dict[str, Any] = Field(default_factory=dict)

    @field_validator("type")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in STEPS:
            raise ValueError(f"unknown step {value!r}; one of {', '.join(STEPS)}")
        return value

    @model_validator(mode="after")
    def _valid(self) -> Self:
        self.model()
        return self

    def model(self) -> _Model:
        """The step with its parameters checked and defaults filled in."""
        return STEPS[self.type](**self.parameters)


# ---- generators --------------------------------------------------------------------------


class FullImage(_Model):
    """One window: the whole image."""

    kind: Literal["full_image"] = "full_image"


class SlidingWindow(_Model):
    """Square windows every `step` px, row by row, covering every pixel.

    ``edge="shift"`` moves the last window of a row or column back so that it lies flush with
    the far edge; ``edge="drop"`` leaves it out.
    """

    kind: Literal["sliding_window"] = "sliding_window"
    size: int = Field(224, ge=8, le=16384, description="side of a window, px")
    step: int = Field(112, ge=1, le=16384, description="between windows, px")
    edge: Literal["shift", "drop"] = "shift"

    @model_validator(mode="after")
    def _covering(self) -> Self:
        if self.step > self.size:
            raise ValueError(
                f"step {self.step} px is larger than size {self.size} px: pixels between windows are lost"
            )
        return self


class Blobs(_Model):
    """Square windows around the bright connected regions of the smoothed image."""

    kind: Literal["blobs"] = "blobs"
    sigma: float = Field(10.0, gt=0, description="Gaussian smoothing, px")
    threshold: float = Field(2.0, gt=0, description="times the mean of the smoothed image")
    padding: int = Field(80, ge=0, description="added on each side of a region, px")
    min_size: int = Field(16, ge=8, description="smaller windows are widened to this, px")


Generator = Annotated[FullImage | SlidingWindow | Blobs, Field(discriminator="kind")]


# ---- stages ------------------------------------------------------------------------------


class ImagesSettings(_Model):
    """Which files, which HDU, and what is done to an image before it is cut."""

    paths: tuple[str, ...] = Field(min_length=1, description="folders, globs or files")
    root: str | None = Field(None, description="archive root; IDs depend on the path below it")
    hdu: int | str | None = Field(None, description="HDU number or name; empty for the first image")
    steps: Literal["auto"] | tuple[Step, ...] = Field(
        "auto", description="auto: asinh stretch unless the file holds 8-bit pixels"
    )

    @field_validator("paths", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class CutoutsSettings(_Model):
    """How windows are laid, what is done to each, and what is kept of its pixels."""

    generator: Generator = SlidingWindow()
    steps: tuple[Step, ...] = ()
    thumbnail_px: int = Field(96, ge=16, le=512)
    keep_pixels: bool = False


class FingerprintsSettings(_Model):
    """The network that turns a window into a vector and a set of labels."""

    backbone: Literal["resnet50"] = "resnet50"
    weights: str = Field("imagenet", description="imagenet, random:SEED, or a weights file")
    input_px: int = Field(224, ge=32, le=1024, description="windows are resized to this side")
    top_labels: int = Field(30, ge=1, le=1000, description="labels of the Jaccard set")
    batch_size: int = Field(32, ge=1, le=1024)
    threads: int = Field(1, ge=1, description="of the network, in each worker")


Metric = Literal["l2", "jaccard"]


class NeighborsSettings(_Model):
    """Which indices are built."""

    metrics: tuple[Metric, ...] = Field(("l2", "jaccard"), min_length=1)
    k: int = Field(9, ge=1, description="neighbors shown when none are asked for")


Method = Literal["tsne", "umap"]


class ProjectionSettings(_Model):
    """The maps of a sample of the archive."""

    methods: tuple[Method, ...] = ("tsne", "umap")
    sample: int = Field(5000, ge=10, le=200_000)
    pca: int = Field(50, ge=2, description="components kept before t-SNE or UMAP")
    perplexity: float = Field(30.0, gt=1, description="of t-SNE")
    n_neighbors: int = Field(15, ge=2, description="of UMAP")
    min_dist: float = Field(0.1, ge=0, le=1, description="of UMAP")


class RunSettings(_Model):
    """How a run is cut into batches and when it gives up."""

    batch_images: int = Field(64, ge=1, description="files committed together")
    max_failures: int = Field(100, ge=0, description="refused images before the run fails")
    figures: bool = True


class SparkSettings(_Model):
    """The Spark session; under spark-submit its own settings win."""

    master: str | None = Field(None, description="empty: what spark-submit gave, else local[*]")
    app_name: str = "elodin_spark"
    driver_memory: str = "2g"
    conf: dict[str, str | int | float | bool] = Field(default_factory=dict)


class Settings(_Model):
    """Everything a run depends on."""

    catalog: str | None = Field(None, description="folder of the catalog")
    seed: int = Field(0, ge=0, lt=2**31)
    images: ImagesSettings
    cutouts: CutoutsSettings = CutoutsSettings()
    fingerprints: FingerprintsSettings = FingerprintsSettings()
    neighbors: NeighborsSettings = NeighborsSettings()
    projection: ProjectionSettings = ProjectionSettings()
    run: RunSettings = RunSettings()
    spark: SparkSettings = SparkSettings()
