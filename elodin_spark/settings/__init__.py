"""Settings of a run: one frozen model per stage, validated before anything starts.

:mod:`elodin_spark.config` reads them from YAML.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from elodin_spark.errors import ConfigError
from elodin_spark.settings.backbones import get_backbone
from elodin_spark.settings.base import Length, Model, length_px
from elodin_spark.settings.colour import ColourSettings
from elodin_spark.settings.finish import FinishSettings
from elodin_spark.settings.generators import (
    Blobs,
    FullImage,
    Generator,
    Positions,
    SlidingWindow,
    Sources,
)
from elodin_spark.settings.precision import Int8Settings, Precision, PrecisionChoice
from elodin_spark.settings.quality import QualitySettings
from elodin_spark.settings.shipped import own_network
from elodin_spark.settings.steps import (
    STEPS,
    AdaptiveHistogramEqualization,
    AsinhStretch,
    Crop,
    FlipLR,
    FlipUD,
    GrayScale,
    GrayToRGB,
    HistogramEqualization,
    RescaleIntensity,
    Resize,
    Rotate,
    Step,
)

__all__ = [
    "CELL_PX",
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
    "GrayToRGB",
    "HistogramEqualization",
    "ImagesSettings",
    "Int8Settings",
    "Length",
    "Method",
    "Metric",
    "NeighborsSettings",
    "Positions",
    "Precision",
    "PrecisionChoice",
    "ProjectionSettings",
    "QualitySettings",
    "RescaleIntensity",
    "Resize",
    "Rotate",
    "RunSettings",
    "RuntimeChoice",
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
        None, description="HDU number, name, or name,version; all: every 2-D image; empty: the first image"
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

    @field_validator("mjd")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] > value[1]:
            raise ValueError("the first is after the second: name the earlier one first")
        return value


class CutoutsSettings(Model):
    """How windows are laid, what is done to each, and what is kept of its pixels."""

    generator: Generator = SlidingWindow()
    steps: tuple[Step, ...] = ()
    quality: QualitySettings = QualitySettings()
    texture: tuple[Literal["haralick", "zernike"], ...] = Field((), description="columns beside the vector")
    thumbnail_px: int = Field(96, ge=0, le=512, description="0: no thumbnails")
    keep_pixels: bool = False

    @field_validator("thumbnail_px")
    @classmethod
    def _none_or_visible(cls, value: int) -> int:
        if 0 < value < 16:
            raise ValueError(f"must be 0 for no thumbnails, or 16 to 512 px, got {value}")
        return value


#: Stride of the networks' last features, px: the cells of dense mode.
CELL_PX = 32
#: Networks whose cells are known to lie on that grid.
DENSE_BACKBONES = ("resnet50", "resnet101", "resnet152")

RuntimeChoice = Literal["auto", "tensorflow", "openvino", "keras"]


class FingerprintsSettings(FinishSettings):
    """The network that turns a window into a vector and a set of labels."""

    backbone: str = Field("resnet50", description="the network: one of keras.applications, by name")
    #: A string whatever was given: see _own_weights_and_size.
    weights: str = Field(  # type: ignore[assignment]
        None, description="survey, imagenet, random:SEED, or path or URI of a weights file"
    )
    weights_sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="of the weights file; another is refused"
    )
    weights_storage: dict[str, Any] = Field(
        default_factory=dict, description="of the remote store of the weights, e.g. {anon: true}"
    )
    #: An int whatever was given: see _own_weights_and_size.
    input_px: int = Field(  # type: ignore[assignment]
        None, ge=32, le=1024, description="windows are resized to this side; empty: the network's own"
    )
    layer: str | None = Field(
        None, description="whose output is the vector, several joined by +; empty: as the weights want it"
    )
    #: A number whatever was given: see _own_weights_and_size.
    turns: Literal[1, 4, 8] = Field(
        None,  # type: ignore[arg-type]
        description="1, or the mean of 4 quarter turns, or of 8 with their mirrors; empty: as the weights",
    )
    top_labels: int = Field(30, ge=1, le=1000, description="labels of the Jaccard set")
    batch_size: int = Field(32, ge=1, le=1024)
    threads: int = Field(1, ge=1, description="of the network, in each worker")
    ahead: int = Field(2, ge=0, le=64, description="batches cut while the network works; 0: in turn")
    runtime: RuntimeChoice = Field("auto", description="the framework that runs the network")
    precision: PrecisionChoice = Field("f32", description="of the network's arithmetic; auto: by the gate")
    precision_floor: float = Field(0.9, ge=0, description="least overlap of neighbors with f32; above 1: f32")
    gate_sample: int = Field(512, ge=0, le=4096, description="windows a precision is measured on; 0: none")
    int8: Int8Settings = Int8Settings()
    int8_model: str | None = Field(None, description="the quantized network, an .xml with its .bin")
    mode: Literal["window", "dense"] = Field(
        "window", description="dense: once over the image, sliding windows pooled from its features"
    )
    block_px: int = Field(1536, ge=128, le=8192, description="of dense: seen at once, halo included")
    halo_px: int = Field(128, ge=0, le=256, description="of dense: seen around the features of a block")

    @field_validator("backbone")
    @classmethod
    def _of_the_table(cls, value: str) -> str:
        try:
            return get_backbone(value).name
        except ConfigError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="before")
    @classmethod
    def _own_weights_and_size(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        try:
            own = own_network(
                values.get("weights"),
                str(values.get("backbone", "resnet50")),
                str(values.get("mode", "window")),
            )
        except ConfigError:
            own = {
                "weights": "imagenet",
                "input_px": 224,
                "turns": 1,
            }  # the name of the network is the error to report
        return {**values, **{name: own[name] for name in own if values.get(name) is None}}

    @model_validator(mode="after")
    def _large_enough(self) -> FingerprintsSettings:
        entry = get_backbone(self.backbone)
        if self.input_px < entry.min_px:
            raise ValueError(
                f"input_px is {self.input_px}, and {entry.title} takes {entry.min_px} px or more: leave it "
                f"out for the {entry.input_px} px the network was made for"
            )
        return self

    @model_validator(mode="after")
    def _int8_is_openvino(self) -> FingerprintsSettings:
        if self.int8_model is not None and self.precision not in ("int8", "auto"):
            raise ValueError(
                f"int8_model is for precision int8 or auto, not {self.precision}: leave it out, or set "
                "precision=int8"
            )
        if self.precision == "int8" and self.runtime not in ("auto", "openvino"):
            raise ValueError(f"precision int8 needs runtime openvino, not {self.runtime}")
        if self.precision == "auto" and not self.gate_sample:
            raise ValueError("precision auto is measured on windows: set gate_sample to some hundred")
        return self

    @property
    def arithmetic(self) -> Precision:
        """The precision, where it is settled.

        Raises
        ------
        ConfigError
            It is ``auto``, which a run settles for its catalog.
        """
        if self.precision == "auto":
            raise ConfigError(
                "fingerprints.precision auto is settled by a run, on cutouts of its archive, and kept in the "
                "catalog: name f32, bf16 or int8 here"
            )
        return self.precision

    @model_validator(mode="after")
    def _whole_cells(self) -> FingerprintsSettings:
        for name in ("block_px", "halo_px"):
            if getattr(self, name) % CELL_PX:
                raise ValueError(f"{name} must be a multiple of {CELL_PX} px, got {getattr(self, name)}")
        if self.block_px <= 2 * self.halo_px:
            raise ValueError(
                f"block_px {self.block_px} leaves nothing between two halos of {self.halo_px} px: raise it"
            )
        if self.mode == "dense" and self.precision == "int8":
            raise ValueError("mode dense runs in precision f32 or bf16, not int8")
        whole = self.layer is None and self.turns == 1
        if self.mode == "dense" and (self.backbone not in DENSE_BACKBONES or not whole):
            raise ValueError(
                f"mode dense takes the last features of {', '.join(DENSE_BACKBONES)}, whose cells lie on "
                f"multiples of {CELL_PX} px, of the image as it is: choose one of these, no layer and 1 turn"
            )
        return self


Metric = Literal["l2", "jaccard", "cosine", "labels", "blend"]


class NeighborsSettings(Model):
    """Which indices are built, and how; see docs/neighbors.md."""

    metrics: tuple[Metric, ...] = Field(("l2", "jaccard"), min_length=1)
    labels: int | None = Field(
        None, ge=1, description="labels of a set, the best of fingerprints.top_labels; empty: all"
    )
    recipe: str = Field(
        "auto", min_length=1, description="auto, exact, or a FAISS factory string with inverted lists"
    )
    store: Literal["f32", "f16", "sq8"] | None = Field(
        None, description="vectors by which candidates are ranked; empty: by the recall asked for"
    )
    memory_gb: float = Field(8.0, gt=0, description="of the process that searches, for the index")
    recall: float = Field(0.95, gt=0, le=1, description="share of the true ten nearest to be found")
    shard_rows: int = Field(2_000_000, ge=1, description="most vectors that one task puts into a shard")
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
    gpus: int = Field(0, ge=0, le=64, description="of each executor; in local mode of this machine")
    tasks_per_gpu: int = Field(1, ge=1, le=64, description="tasks that share a GPU at the same time")
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

    @model_validator(mode="after")
    def _labels_kept(self) -> Settings:
        if self.neighbors.labels is not None and self.neighbors.labels > self.fingerprints.top_labels:
            raise ValueError(
                f"neighbors.labels {self.neighbors.labels} is more than the {self.fingerprints.top_labels} "
                "labels of a fingerprint: lower it, or raise fingerprints.top_labels"
            )
        return self

    @model_validator(mode="after")
    def _dense_windows(self) -> Settings:
        if self.fingerprints.mode != "dense":
            return self
        generator, why = self.cutouts.generator, "fingerprints.mode dense pools windows from the features of"
        if not isinstance(generator, SlidingWindow):
            raise ValueError(
                f"{why} the whole image: it needs cutouts.generator sliding_window, not {generator.kind}"
            )
        lengths = (*generator.size, generator.step if generator.step is not None else _half(generator))
        if wrong := [length for length in lengths if not isinstance(length, int) or length % CELL_PX]:
            raise ValueError(
                f"{why} cells of {CELL_PX} px: size and step of cutouts.generator must be multiples of "
                f"{CELL_PX} px, and {', '.join(map(str, wrong))} is not; such as size 224 and step 96"
            )
        if generator.edge != "drop":
            raise ValueError(
                f"{why} cells of {CELL_PX} px, on which windows shifted inside the image would not lie: "
                "set cutouts.generator.edge=drop"
            )
        if self.cutouts.steps:
            raise ValueError(
                f"{why} the whole image, before windows are cut: empty cutouts.steps, or use images.steps"
            )
        return self


def _half(generator: SlidingWindow) -> int | str:
    """The smallest step that half the size of a window gives; the others must be whole cells too."""
    halves = [size // 2 if isinstance(size, int) else size for size in generator.size]
    return next((half for half in halves if isinstance(half, str) or half % CELL_PX), halves[0])
