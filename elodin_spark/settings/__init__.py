"""Settings of a run: one frozen model per stage, validated before anything starts.

:mod:`elodin_spark.config` reads them from YAML.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from elodin_spark.settings.base import Length, Model, length_px
from elodin_spark.settings.colour import ColourSettings
from elodin_spark.settings.generators import (
    Blobs,
    FullImage,
    Generator,
    Positions,
    SlidingWindow,
    Sources,
)
from elodin_spark.settings.quality import QualitySettings
from elodin_spark.settings.steps import (
    STEPS,
    AdaptiveHistogramEqualization,
    AsinhStretch,
    Crop,
    FlipLR,
    FlipUD,
    GrayScale,
    HistogramEqualization,
    RescaleIntensity,
    Resize,
    Rotate,
    Step,
)

__all__ = [
    "STEPS",
    "AdaptiveHistogramEqualization",
    "AsinhStretch",
    "Blobs",
    "ColourSettings",
    "Crop",
    "CutoutsSettings",
    "FingerprintsSettings",
    "FlipLR",
    "FlipUD",
    "FullImage",
    "Generator",
    "GrayScale",
    "HistogramEqualization",
    "ImagesSettings",
    "Length",
    "Method",
    "Metric",
    "NeighborsSettings",
    "Positions",
    "ProjectionSettings",
    "QualitySettings",
    "RescaleIntensity",
    "Resize",
    "Rotate",
    "RunSettings",
    "Settings",
    "SlidingWindow",
    "Sources",
    "SparkSettings",
    "Step",
    "length_px",
]


class ImagesSettings(Model):
    """Which files, which HDU, and what is done to an image before it is cut."""

    paths: tuple[str, ...] = Field(min_length=1, description="folders, globs or files")
    root: str | None = Field(None, description="archive root; IDs depend on the path below it")
    hdu: int | str | None = Field(
        None, description="HDU number or name, or all for every 2-D image; empty for the first image"
    )
    bands: str | None = Field(None, description="only planes whose band matches, e.g. 'r*'")
    mjd: tuple[float, float] | None = Field(None, description="only planes observed in this range, d")
    colour: ColourSettings | None = Field(None, description="planes of several bands to one colour image")
    storage: dict[str, Any] = Field(default_factory=dict, description="of a remote store, e.g. {anon: true}")
    steps: Literal["auto"] | tuple[Step, ...] = Field(
        "auto", description="auto: asinh stretch unless the file holds 8-bit pixels"
    )

    @field_validator("paths", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class CutoutsSettings(Model):
    """How windows are laid, what is done to each, and what is kept of its pixels."""

    generator: Generator = SlidingWindow()
    steps: tuple[Step, ...] = ()
    quality: QualitySettings = QualitySettings()
    thumbnail_px: int = Field(96, ge=16, le=512)
    keep_pixels: bool = False


class FingerprintsSettings(Model):
    """The network that turns a window into a vector and a set of labels."""

    backbone: Literal["resnet50"] = "resnet50"
    weights: str = Field("imagenet", description="imagenet, random:SEED, or a weights file")
    input_px: int = Field(224, ge=32, le=1024, description="windows are resized to this side")
    top_labels: int = Field(30, ge=1, le=1000, description="labels of the Jaccard set")
    batch_size: int = Field(32, ge=1, le=1024)
    threads: int = Field(1, ge=1, description="of the network, in each worker")


Metric = Literal["l2", "jaccard"]


class NeighborsSettings(Model):
    """Which indices are built."""

    metrics: tuple[Metric, ...] = Field(("l2", "jaccard"), min_length=1)
    k: int = Field(9, ge=1, description="neighbors shown when none are asked for")


Method = Literal["tsne", "umap"]


class ProjectionSettings(Model):
    """The maps of a sample of the archive."""

    methods: tuple[Method, ...] = ("tsne", "umap")
    sample: int = Field(5000, ge=10, le=200_000)
    pca: int = Field(50, ge=2, description="components kept before t-SNE or UMAP")
    perplexity: float = Field(30.0, gt=1, description="of t-SNE")
    n_neighbors: int = Field(15, ge=2, description="of UMAP")
    min_dist: float = Field(0.1, ge=0, le=1, description="of UMAP")


class RunSettings(Model):
    """How a run is cut into batches and when it gives up."""

    batch_images: int = Field(64, ge=1, description="files committed together")
    max_failures: int = Field(100, ge=0, description="refused images before the run fails")
    figures: bool = True
    repeats_arcsec: float | None = Field(
        None, gt=0, description="find cutouts of one place in different images, this near; empty: do not"
    )


class SparkSettings(Model):
    """The Spark session; under spark-submit its own settings win."""

    master: str | None = Field(None, description="empty: what spark-submit gave, else local[*]")
    app_name: str = "elodin_spark"
    driver_memory: str = "2g"
    conf: dict[str, str | int | float | bool] = Field(default_factory=dict)


class Settings(Model):
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
