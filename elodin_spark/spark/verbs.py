"""The DataFrame verbs: images, cutouts and fingerprints as ``DataFrame -> DataFrame``.

images = read_images(spark, "archive/*.fits")
cutouts = images.transform(tile(SlidingWindow(size=224, step=112)))
fingerprints = cutouts.transform(fingerprint("resnet50", weights="random:0"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from elodin_spark import schema
from elodin_spark.config.load import parse_settings
from elodin_spark.config.settings import FingerprintsSettings, Generator, Precision, RuntimeChoice, Step
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.errors import ConfigError, ImageError
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.stage import FingerprintSpec
from elodin_spark.images.listing import list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.spark.runner import files_frame, run_stage
from elodin_spark.stage import Locate, Stage, StageSpec, fuse

Transform = Callable[[DataFrame], DataFrame]


def read_images(
    spark: SparkSession,
    paths: str | Sequence[str],
    *,
    root: str | None = None,
    hdu: int | str | None = None,
    bands: str | None = None,
    mjd: tuple[float, float] | None = None,
    storage: Mapping[str, Any] | None = None,
) -> DataFrame:
    """Describe images; only headers are read.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
        Its executors read the headers.
    paths : str or sequence of str
        Folders, globs or files.
    root : str, optional
        Archive root; IDs depend on the path below it.
    hdu : int or str, optional
        Number or name, or ``all`` for every 2-D image; the first HDU that holds one otherwise.
    bands : str, optional
        Only planes whose band matches this pattern.
    mjd : tuple of float, optional
        Only planes observed from the first to the second, d.
    storage : mapping, optional
        Options of a remote store, such as ``{"anon": True}``.

    Returns
    -------
    pyspark.sql.DataFrame
        Of :data:`elodin_spark.schema.IMAGES`, one row per image plane; a file that cannot
        be read has ``status = 'failed'`` and says why in ``error``.

    Raises
    ------
    ConfigError
        An argument is of the wrong kind.
    InputError
        A path is missing, or there is no image in it.

    Examples
    --------
    >>> from elodin_spark import read_images, session
    >>> with session() as spark:
    ...     read_images(spark, "survey/tiles", hdu="IMAGE").count()
    4
    """
    options = {"root": root, "hdu": hdu, "bands": bands, "mjd": mjd, "storage": dict(storage or {})}
    images = parse_settings({"images": {"paths": paths, **options}}, source="read_images").images
    files = list_files(images.paths, images.root, images.storage)
    return run_stage(files_frame(spark, files), DescribeSpec.from_settings(images))


def tile(
    generator: Generator,
    *,
    image_steps: Literal["auto"] | Sequence[Step] = "auto",
    cutout_steps: Sequence[Step] = (),
    thumbnail_px: int = 96,
    pixels: bool = True,
    on_error: Literal["raise", "skip"] = "raise",
    storage: Mapping[str, Any] | None = None,
) -> Transform:
    """Cut images into windows.

    Parameters
    ----------
    generator : FullImage, SlidingWindow, Blobs or Sources
        Where windows are laid.
    image_steps : "auto" or sequence of Step
        Processing of each image before it is cut; ``auto``: ``AsinhStretch``, or nothing where the file
        holds 8-bit pixels.
    cutout_steps : sequence of Step
        Processing of each cutout.
    thumbnail_px : int
        Side of the thumbnails, px; 0 for none.
    pixels : bool
        Keep the pixels, which :func:`fingerprint` needs.
    on_error : {"raise", "skip"}
        What a bad image does: fail the job, or be left out.
    storage : mapping, optional
        Options of a remote store, as for :func:`read_images`.

    Returns
    -------
    callable
        From a DataFrame of images to one of :data:`elodin_spark.schema.CUTOUTS`, with
        `pixels` and `pixel_shape` beside where they are kept.

    Raises
    ------
    ConfigError
        `on_error` is neither.
    ImageError
        When the DataFrame is computed, with `on_error` "raise": an image cannot be read or cut.

    Examples
    --------
    >>> from elodin_spark import SlidingWindow, read_images, session, tile
    >>> with session() as spark:
    ...     images = read_images(spark, "survey/tiles", hdu="IMAGE")
    ...     images.transform(tile(SlidingWindow(size=64, step=64), pixels=False)).count()
    36
    """
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"on_error is 'raise' or 'skip', got {on_error!r}")
    steps = image_steps if image_steps == "auto" else tuple(image_steps)
    spec: StageSpec = TileSpec(
        generator, steps, tuple(cutout_steps), thumbnail_px, storage=tuple((storage or {}).items())
    )
    if on_error == "raise":
        spec = fuse(spec, RaiseOnFailureSpec(schema.TILED))
    columns = [*schema.CUTOUTS.names, *(schema.PIXELS.names if pixels else ())]

    def transform(images: DataFrame) -> DataFrame:
        return run_stage(images, spec).where(F.col("cutout_id").isNotNull()).select(*columns)

    return transform


def fingerprint(
    backbone: str = "resnet50",
    *,
    weights: str | None = None,
    weights_sha256: str | None = None,
    weights_storage: Mapping[str, Any] | None = None,
    input_px: int | None = None,
    layer: str | None = None,
    augmentations: Literal[1, 4, 8] | None = None,
    top_labels: int = 30,
    batch_size: int = 32,
    threads: int = 1,
    runtime: RuntimeChoice = "auto",
    precision: Precision = "f32",
    int8_model: str | None = None,
) -> Transform:
    """Give each cutout a fingerprint.

    Parameters
    ----------
    backbone : str
        The network, one of ``keras.applications``, by its name.
    weights : str, optional
        ``survey``, ``imagenet``, ``random:SEED``, or a file by its path or URI; by default ``survey`` where
        the package has it for the backbone, else ``imagenet``.
    weights_sha256 : str, optional
        SHA-256 of the weights file, 64 hexadecimal digits; a file of other content is refused.
    weights_storage : mapping, optional
        Options of the remote store of the weights, such as ``{"anon": True}``.
    input_px : int, optional
        Windows are resized to this side for the network, px; by default that of the weights.
    layer : str, optional
        The layer whose output is the vector, averaged over the image, or several joined by ``+``; by
        default as the weights want it.
    augmentations : {1, 4, 8}, optional
        Ways of looking at each window whose answers are averaged; by default as the weights want it.
    top_labels : int
        Labels of the label set of each cutout.
    batch_size : int
        Windows that the network sees at once; memory grows with it.
    threads : int
        Of the network, in each Python worker.
    runtime : {"auto", "tensorflow", "openvino", "keras"}
        What runs the network; ``auto`` takes the fastest here.
    precision : {"f32", "bf16", "int8"}
        Of the network's arithmetic.
    int8_model : str, optional
        For ``int8``: the ``.xml`` of a network that was quantized before.

    Returns
    -------
    callable
        From a DataFrame with `cutout_id`, `pixels` and `pixel_shape` to one of
        :data:`elodin_spark.schema.FINGERPRINTS`. A cutout without pixels is left out; one
        whose pixels do not fit their shape fails the job.

    Raises
    ------
    pydantic.ValidationError
        A value is out of range.
    WeightsError
        The weights cannot be had.
    ConfigError
        When it is given a DataFrame: that lacks a column.

    Examples
    --------
    >>> from elodin_spark import FullImage, fingerprint, read_images, session, tile
    >>> with session() as spark:
    ...     images = read_images(spark, "survey/tiles", hdu="IMAGE")
    ...     cutouts = images.transform(tile(FullImage()))
    ...     found = cutouts.transform(fingerprint("resnet50", weights="random:0", input_px=32))
    ...     len(found.first()["vector"])
    2048
    """
    settings = FingerprintsSettings(
        backbone=backbone,
        weights=weights,  # type: ignore[arg-type]  # None: those of the settings
        weights_sha256=weights_sha256,
        weights_storage=dict(weights_storage or {}),
        input_px=input_px,  # type: ignore[arg-type]  # None: the network's own
        layer=layer,
        augmentations=augmentations,  # type: ignore[arg-type]  # None: likewise
        top_labels=top_labels,
        batch_size=batch_size,
        threads=threads,
        runtime=runtime,
        precision=precision,
        int8_model=int8_model,
    )
    network = FingerprintSpec.from_network(resolve_network(settings))
    spec = fuse(network, RaiseOnFailureSpec(schema.FINGERPRINTED))

    def transform(cutouts: DataFrame) -> DataFrame:
        return (
            run_stage(as_tiled(cutouts), spec)
            .where(F.col("vector").isNotNull())
            .select(*schema.FINGERPRINTS.names)
        )

    return transform


def as_tiled(cutouts: DataFrame) -> DataFrame:
    """Cutouts with pixels as the rows the fingerprint stage reads."""
    missing = [name for name in ("cutout_id", "pixels", "pixel_shape") if name not in cutouts.columns]
    if missing:
        raise ConfigError(
            f"the cutouts have no column {', '.join(missing)}; keep pixels with tile(..., pixels=True) "
            "or cutouts.keep_pixels=true"
        )
    from elodin_spark.spark.tables import spark_schema

    wanted = spark_schema(schema.TILED)
    present = set(cutouts.columns)
    return cutouts.select(
        *(
            F.col(field.name) if field.name in present else F.lit(None).cast(field.dataType).alias(field.name)
            for field in wanted
        )
    )


@dataclass(frozen=True)
class RaiseOnFailureSpec:
    """A stage that passes rows on and raises at the first failure among them."""

    output_schema: pa.Schema
    files: tuple[str, ...] = ()

    def build(self, locate: Locate) -> Stage:
        """Build the stage."""
        return _RaiseOnFailure(self.output_schema)


class _RaiseOnFailure:
    def __init__(self, output_schema: pa.Schema) -> None:
        self.output_schema = output_schema

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for failure in batch.column("failure"):
                if failure.is_valid:
                    row = failure.as_py()
                    raise ImageError(f"{row['uri'] or row['cutout_id']}: {row['message']}", row["kind"])
            yield batch
