"""Settings of a run: one frozen model per stage, validated before anything starts.

:mod:`elodin_spark.config.load` reads them from YAML.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from elodin_spark.config.backbones import get_backbone
from elodin_spark.config.base import Length, Model, length_px
from elodin_spark.config.color import ColorSettings
from elodin_spark.config.generators import (
    Blobs,
    FullImage,
    Generator,
    Positions,
    SlidingWindow,
    Sources,
)
from elodin_spark.config.precision import Int8Settings, Precision, PrecisionChoice
from elodin_spark.config.quality import QualitySettings
from elodin_spark.config.shipped import default_networks, own_network
from elodin_spark.config.steps import (
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
from elodin_spark.config.transform import APART, TransformSettings
from elodin_spark.errors import ConfigError

__all__ = [
    "CELL_PX",
    "STEPS",
    "AdaptiveHistogramEqualization",
    "AsinhStretch",
    "Blobs",
    "ColorSettings",
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

    paths: tuple[str, ...] = Field(
        min_length=1,
        description="a folder (searched recursively), a glob (`**` crosses folders), a file, or "
        "`@list.txt` with one of these a line; or a list of them",
    )
    root: str | None = Field(
        None,
        description="archive root: IDs depend on the path below it; empty: the common folder of "
        "`images.paths`",
    )
    hdu: int | str | None = Field(
        None,
        description="number, name, or name and version (`SCI,2`) of the FITS HDU to read, or `all` for "
        "every 2-D image; empty: the first one that holds an image",
    )
    bands: str | None = Field(None, description="only planes whose band matches this pattern, e.g. `r*`")
    mjd: tuple[float, float] | None = Field(
        None, description="only planes observed from the first to the second, MJD in d, e.g. `[59000, 59100]`"
    )
    color: ColorSettings | None = Field(
        None, description="planes of several bands to one color image; empty: each plane is an image"
    )
    storage: dict[str, Any] = Field(
        default_factory=dict, description="options of a remote store, e.g. `{anon: true}`"
    )
    steps: Literal["auto"] | tuple[Step, ...] = Field(
        "auto",
        description="steps applied to a whole image before it is cut; `auto`: `AsinhStretch`, or nothing "
        "where the file holds 8-bit pixels",
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

    generator: Generator = Field(SlidingWindow(), description="how windows are laid")
    steps: tuple[Step, ...] = Field((), description="steps applied to each window")
    quality: QualitySettings = Field(
        QualitySettings(), description="quality columns of each cutout, and rules on them"
    )
    texture: tuple[Literal["haralick", "zernike"], ...] = Field(
        (),
        description="`haralick` (13 numbers) and `zernike` (25) of each cutout, as columns of `cutouts`; "
        "needs the extra `texture`",
    )
    thumbnail_px: int = Field(
        96,
        ge=0,
        le=512,
        description="side of the JPEG of each window that figures show, 16 to 512 px; 0: none, which cuts "
        "faster, and figures of neighbors then say that no picture was kept",
    )
    keep_pixels: bool = Field(False, description="write the windows' pixels beside the tables; large")

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


class NetworkSettings(Model):
    """One more network, whose vectors are joined to those of the first."""

    weights: str = Field(description="as `fingerprints.weights`")
    #: A string whatever was given: see _own_network.
    backbone: str = Field(None, description="as `fingerprints.backbone`")  # type: ignore[assignment]
    weights_sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="as `fingerprints.weights_sha256`"
    )
    factor: float = Field(
        1.0,
        ge=0.01,
        le=100,
        description="how far apart its vectors are, of the first network's: both are scaled to count alike, "
        "and these then multiplied by it. Part of the recipe",
    )
    #: A number whatever was given: see _own_network.
    input_px: int = Field(None, ge=32, le=1024, description="as `fingerprints.input_px`")  # type: ignore[assignment]
    layer: str | None = Field(None, description="as `fingerprints.layer`")
    augmentations: Literal[1, 4, 8] = Field(
        None,  # type: ignore[arg-type]
        description="as `fingerprints.augmentations`",
    )
    int8_model: str | None = Field(None, description="as `fingerprints.int8_model`")

    @field_validator("backbone")
    @classmethod
    def _of_the_table(cls, value: str) -> str:
        return _known_backbone(value)

    @model_validator(mode="before")
    @classmethod
    def _own_network(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("weights") is None:
            return {name: value for name, value in values.items() if name != "weights"}  # which are missing
        return _with_own_network(values)

    @model_validator(mode="after")
    def _large_enough(self) -> NetworkSettings:
        _require_large(self.backbone, self.input_px)
        return self


def _known_backbone(name: str) -> str:
    try:
        return get_backbone(name).name
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _with_own_network(values: Any) -> Any:
    """Settings of a network with what its weights want for what they leave out."""
    if not isinstance(values, dict) or not isinstance(values.get("weights"), str | None):
        return values  # which says what is wrong
    backbone = values.get("backbone")
    try:
        own = own_network(
            values.get("weights"),
            None if backbone is None else str(backbone),
            str(values.get("mode", "window")),
        )
    except ConfigError:
        own = {
            "weights": "imagenet",
            "input_px": 224,
            "augmentations": 1,
        }  # the name of the network is the error to report
    return _filled(values, own)


def _with_default_networks(values: Any) -> Any:
    """Settings that name no network, with the default ones, where what they say lets them be joined."""
    if not isinstance(values, dict):
        return values  # which says what is wrong
    named = any(
        values.get(name) is not None for name in ("weights", "backbone", "weights_sha256", "networks")
    )
    apart = values.get("mode") == "dense" or values.get("transform") in APART
    return values if named or apart else _filled(values, default_networks())


def _filled(values: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    return {**values, **{name: own[name] for name in own if values.get(name) is None}}


def _look_of(network: FingerprintsSettings | NetworkSettings) -> tuple[object, ...]:
    """What tells two networks of a recipe apart."""
    return network.weights, network.backbone, network.input_px, network.layer, network.augmentations


def _require_large(backbone: str, input_px: int) -> None:
    entry = get_backbone(backbone)
    if input_px < entry.min_px:
        raise ValueError(
            f"input_px is {input_px}, and {entry.title} takes {entry.min_px} px or more: leave it "
            f"out for the {entry.input_px} px the network was made for"
        )


class FingerprintsSettings(TransformSettings):
    """The network that turns a window into a vector and a set of labels."""

    #: A string whatever was given: see _own_network.
    backbone: str = Field(  # type: ignore[assignment]
        None,
        description="the network, one of `keras.applications` or `efficientnetlite0`, by its name; empty: "
        "that of the weights `survey` or `imagenet-lite`, for other weights `resnet50`",
    )
    #: A string whatever was given: see _own_network.
    weights: str = Field(  # type: ignore[assignment]
        None,
        description="`survey` (a ResNet50 trained on survey images) or `imagenet-lite` (an "
        "EfficientNet-Lite0 trained on ImageNet), which come with the package; `imagenet` "
        "(downloaded once), `random:SEED` (not trained), or a file: `.keras`, `.h5`, "
        "`.weights.h5` or a packed `.safetensors`, by its path or by a URI such as `s3://` or "
        "`https://`. A remote file is fetched by the driver, once for each version of it. "
        "Empty: those of the package that are of the backbone, else `imagenet`",
    )
    weights_sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the weights file; a file of other content is refused, and one that was "
        "fetched before is not asked for again",
    )
    weights_storage: dict[str, Any] = Field(
        default_factory=dict, description="options of the remote store of the weights, e.g. `{anon: true}`"
    )
    #: An int whatever was given: see _own_network.
    input_px: int = Field(  # type: ignore[assignment]
        None,
        ge=32,
        le=1024,
        description="windows are resized to this side for the network, px; empty: 64 for the weights "
        "`survey`, 128 for `imagenet-lite`, for other weights the size the network was made for, 224 for "
        "resnet50",
    )
    layer: str | None = Field(
        None,
        description="the layer whose output is the vector, averaged over the image, or several joined by "
        "`+`; empty: as weights of the package want it, else the last features. Part of the "
        "recipe",
    )
    #: A number whatever was given: see _own_network.
    augmentations: Literal[1, 4, 8] = Field(
        None,  # type: ignore[arg-type]
        description="ways of looking at each window whose answers are averaged: as it is, in four quarter "
        "turns, or these and their mirror images; empty: as weights of the package want it, 4 where two "
        "networks are joined by default, else 1. Part of the recipe",
    )
    #: A tuple whatever was given: see _own_network.
    networks: tuple[NetworkSettings, ...] = Field(
        None,  # type: ignore[arg-type]
        max_length=4,
        description="further networks that look at the same windows; their vectors are joined to those of "
        "the first; `[]`: none; empty: none where `weights`, `weights_sha256` or `backbone` is named, "
        "`transform` is `none` or `whiten`, or `mode` is `dense`, else `imagenet-lite` with factor 0.6, and "
        "`augmentations` of `survey` is then 4. Part of the recipe",
    )
    top_labels: int = Field(30, ge=1, le=1000, description="labels of the label set that Jaccard compares")
    batch_size: int = Field(
        32, ge=1, le=1024, description="windows the network sees at once; memory grows with it"
    )
    threads: int = Field(1, ge=1, description="of the network, in each Python worker")
    prefetch: int = Field(
        2, ge=0, le=64, description="batches cut by a thread of their own while the network works; 0: in turn"
    )
    runtime: RuntimeChoice = Field("auto", description="what runs the network; `auto` takes the fastest here")
    precision: PrecisionChoice = Field(
        "f32",
        description="of the network's arithmetic; `auto`: the fastest that the gate lets pass. Part of "
        "the recipe",
    )
    precision_floor: float = Field(
        0.9,
        ge=0,
        description="least share of the 10 nearest neighbors in common with `f32`; above 1, `auto` is `f32`",
    )
    gate_sample: int = Field(
        512,
        ge=0,
        le=4096,
        description="windows of the archive that a precision is measured on when a catalog is begun; 0: "
        "not at all",
    )
    int8: Int8Settings = Field(Int8Settings(), description="how a run quantizes its network")
    int8_model: str | None = Field(
        None,
        description="for `int8` and `auto`: the `.xml` of a network that was quantized before, with its "
        "`.bin` beside it; empty: a run quantizes it",
    )
    mode: Literal["window", "dense"] = Field(
        "window",
        description="`dense`: the network runs once over the image and sliding windows are pooled from "
        "its features. Part of the recipe",
    )
    block_px: int = Field(
        1536,
        ge=128,
        le=8192,
        description="of `dense`: side of what the network sees at once, halo included, px, a multiple of "
        "32; memory grows with its square",
    )
    halo_px: int = Field(
        128,
        ge=0,
        le=256,
        description="of `dense`: what the network sees around the features that are kept of a block, px, "
        "a multiple of 32",
    )

    @field_validator("backbone")
    @classmethod
    def _of_the_table(cls, value: str) -> str:
        return _known_backbone(value)

    @field_validator("networks", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        listed = isinstance(value, list | tuple)
        if not listed or any(not isinstance(each, dict | NetworkSettings) for each in value):
            raise ValueError(
                "Input should be a list of networks, each a section, such as "
                "[{weights: imagenet-lite, factor: 0.6}]"
            )
        return value

    @model_validator(mode="before")
    @classmethod
    def _own_network(cls, values: Any) -> Any:
        known = _with_own_network(_with_default_networks(values))
        return _filled(known, {"networks": ()}) if isinstance(known, dict) else known

    @model_validator(mode="after")
    def _large_enough(self) -> FingerprintsSettings:
        _require_large(self.backbone, self.input_px)
        return self

    @model_validator(mode="after")
    def _joined(self) -> FingerprintsSettings:
        if not self.networks:
            return self
        if self.mode == "dense":
            raise ValueError(
                "mode dense runs one network over the image: leave networks out, or set mode=window"
            )
        if self.transform in APART:
            raise ValueError(
                f"networks are joined by standardizing their vectors, and transform is {self.transform}: "
                "leave it out, or set transform=standardize"
            )
        looks = [_look_of(self), *map(_look_of, self.networks)]
        if len(set(looks)) < len(looks):
            raise ValueError("a network is named twice among networks and the first: leave one out")
        if self.precision not in ("int8", "auto") and any(each.int8_model for each in self.networks):
            raise ValueError(
                f"int8_model of a network is for precision int8 or auto, not {self.precision}: leave it out"
            )
        return self

    @property
    def joined_by_default(self) -> bool:
        """Whether its networks are those that are joined where none is named."""
        default = FingerprintsSettings()
        return bool(self.networks) and self.networks == default.networks and self.weights == default.weights

    def alone(self) -> FingerprintsSettings:
        """The first network, with what its weights want where the default networks want other than that."""
        default, values = FingerprintsSettings(), self.model_dump()
        for name in ("layer", "augmentations"):
            if values[name] == getattr(default, name):
                values[name] = None
        return FingerprintsSettings.model_validate({**values, "networks": []})

    @property
    def parts(self) -> tuple[FingerprintsSettings, ...]:
        """Settings of each network alone, the first's first."""
        fields = ("weights", "backbone", "weights_sha256", "input_px", "layer", "augmentations", "int8_model")
        return (
            self.model_copy(update={"networks": ()}),
            *(
                self.model_copy(update={"networks": ()} | {name: getattr(network, name) for name in fields})
                for network in self.networks
            ),
        )

    @property
    def factors(self) -> tuple[float, ...]:
        """What the vectors of each network are multiplied with, once they count alike; the first's first."""
        return (1.0, *(network.factor for network in self.networks))

    def with_int8_models(self, paths: Sequence[str | None]) -> FingerprintsSettings:
        """These settings with the quantized network of each network, the first's first."""
        networks = [
            each.model_copy(update={"int8_model": path})
            for each, path in zip(self.networks, paths[1:], strict=True)
        ]
        return self.model_copy(update={"int8_model": paths[0], "networks": tuple(networks)})

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
        if self.mode == "dense" and self.copies:
            raise ValueError("mode dense sees no windows that could be copied: leave copies out")
        if self.mode == "dense" and self.precision == "int8":
            raise ValueError("mode dense runs in precision f32 or bf16, not int8")
        whole = self.layer is None and self.augmentations == 1
        if self.mode == "dense" and (self.backbone not in DENSE_BACKBONES or not whole):
            raise ValueError(
                f"mode dense takes the last features of {', '.join(DENSE_BACKBONES)}, whose cells lie on "
                f"multiples of {CELL_PX} px, of the image as it is: choose one of these, no layer and 1 turn"
            )
        return self


Metric = Literal["l2", "jaccard", "cosine", "label_scores", "rank_fusion"]


class NeighborsSettings(Model):
    """Which indices are built, and how; see docs/neighbors.md."""

    metrics: tuple[Metric, ...] = Field(
        ("l2", "jaccard"),
        min_length=1,
        description="which neighbors can be asked for; `l2` and `cosine` always can",
    )
    labels: int | None = Field(
        None,
        ge=1,
        description="labels that form the set of a cutout: the best so many of `fingerprints.top_labels`; "
        "empty: all. The indices of labels are built again when it changes",
    )
    index_config: str = Field(
        "auto",
        min_length=1,
        description="of the L2 index: `auto` is exact while it fits in `memory_gb` and coded beyond; "
        "`exact`; or a FAISS factory string with inverted lists, such as "
        "`PCAR256,IVF4096,RaBitQ`",
    )
    store: Literal["f32", "f16", "sq8"] | None = Field(
        None, description="vectors by which candidates are ranked; empty: by the recall"
    )
    memory_gb: float = Field(8.0, gt=0, description="memory for the index in a process that searches, GB")
    recall: float = Field(
        0.95,
        gt=0,
        le=1,
        description="share of the true ten nearest to be found; sets how many lists are scanned",
    )
    shard_rows: int = Field(2_000_000, ge=1, description="vectors that one task puts into a shard, at most")
    k: int = Field(9, ge=1, description="neighbors given when no number is asked for")


Method = Literal["tsne", "umap", "pca"]


class ProjectionSettings(Model):
    """The maps of the archive."""

    methods: tuple[Method, ...] = Field(
        ("tsne", "umap"), description="the maps; `[]` for none. `pca`: the first two principal components"
    )
    sample: int = Field(
        5000,
        ge=10,
        le=200_000,
        description="cutouts that are laid out: a stable sample of the catalog. The others are placed among "
        "them",
    )
    pca: int = Field(
        50, ge=2, description="principal components that t-SNE, UMAP and the placing of the others see"
    )
    perplexity: float = Field(30.0, gt=1, description="of t-SNE: about how many neighbors of a cutout count")
    n_neighbors: int = Field(15, ge=2, description="of UMAP: neighbors of a cutout that count")
    min_dist: float = Field(
        0.1, ge=0, le=1, description="of UMAP: least distance of dots, in units of the map"
    )


class RunSettings(Model):
    """How a run is cut into batches and when it gives up."""

    batch_images: int = Field(64, ge=1, description="files committed together: what a killed run does again")
    max_failures: int = Field(100, ge=0, description="images refused before the run fails")
    figures: bool = Field(True, description="draw the maps and the sky")
    repeats_arcsec: float | None = Field(
        None,
        gt=0,
        description="find cutouts of one place in different images, this near, arcsec, and the noise "
        "floor; empty: do not",
    )


class SparkSettings(Model):
    """The Spark session; under spark-submit its own settings win."""

    master: str | None = Field(
        None, description="URL of the cluster, or `local[N]`; empty: what spark-submit gave, else `local[*]`"
    )
    app_name: str = Field("elodin_spark", description="shown in Spark's web pages")
    driver_memory: str = Field(
        "2g",
        description="heap of the driver, bytes with a suffix such as `2g`; in local mode of everything "
        "but the networks",
    )
    gpus: int = Field(
        0,
        ge=0,
        le=64,
        description="GPUs of each executor, in local mode of this machine, for the stages that hold a "
        "network; 0: Spark does not assign any",
    )
    tasks_per_gpu: int = Field(
        1, ge=1, le=64, description="tasks that share a GPU at the same time, each with its own network"
    )
    conf: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="any other Spark property"
    )


class Settings(Model):
    """Everything a run depends on."""

    catalog: str | None = Field(
        None, description="folder of the catalog, on a file system that driver and executors share"
    )
    seed: int = Field(
        0, ge=0, lt=2**31, description="of everything random: the sample that is laid out, the maps"
    )
    images: ImagesSettings = Field(
        description="which files, which HDU, and what is done to an image before it is cut"
    )
    cutouts: CutoutsSettings = Field(
        CutoutsSettings(),
        description="how windows are laid, what is done to each, and what is kept of its pixels",
    )
    fingerprints: FingerprintsSettings = Field(
        FingerprintsSettings(),
        description="the network that turns a window into a vector and a set of labels",
    )
    neighbors: NeighborsSettings = Field(NeighborsSettings(), description="which indices are built, and how")
    projection: ProjectionSettings = Field(ProjectionSettings(), description="the maps of the catalog")
    run: RunSettings = Field(RunSettings(), description="how a run is cut into batches and when it gives up")
    spark: SparkSettings = Field(SparkSettings(), description="the Spark session")

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
