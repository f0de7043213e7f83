"""The batches of a run: which images are cut and committed together.

Where each image stands for itself a batch is a list of files, and describing them is the first
stage of its one pass. Where planes of several files make one image, or a catalog says
where to cut, the headers are read first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from elodin_spark import schema
from elodin_spark.config.settings import ColorSettings, Positions, Settings
from elodin_spark.images.bands import BandGroup, group_bands
from elodin_spark.images.listing import ImageFile
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.spark.runner import SLICES_PER_CORE, files_frame, run_stage
from elodin_spark.spark.skyjoin import attach_targets, match_positions, positions_frame
from elodin_spark.spark.tables import spark_schema


class InputBatch(NamedTuple):
    """What one pass of a run works on.

    Attributes
    ----------
    paths : tuple of str
        The files, by their path below the archive root.
    rows : pyspark.sql.DataFrame
        Of :data:`elodin_spark.schema.FILES`, or, if `described`, of
        :data:`~elodin_spark.schema.IMAGES` or :data:`~elodin_spark.schema.TARGETED`.
    described : bool
    """

    paths: tuple[str, ...]
    rows: DataFrame
    described: bool


def input_batches(
    spark: SparkSession, files: Sequence[ImageFile], settings: Settings
) -> Iterator[InputBatch]:
    """Cut the files of a run into batches.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
    files : sequence of ImageFile
    settings : Settings
        Of at most ``run.batch_images`` files a batch; the planes of one color image stay together.

    Yields
    ------
    InputBatch
        Every file is in one batch; with color, the headers of all files are held on the
        driver, about 6 kB each.
    """
    images, generator = settings.images, settings.cutouts.generator
    size = settings.run.batch_images
    if images.color is not None:
        described = run_stage(files_frame(spark, files), DescribeSpec.from_settings(images))
        rows = [row.asDict(recursive=True) for row in described.collect()]
        batches = _color_batches(spark, rows, images.color, size)
    else:
        batches = (_file_batch(spark, files[start : start + size]) for start in range(0, len(files), size))
    if not isinstance(generator, Positions):
        yield from batches
        return
    positions, _ = positions_frame(spark, generator)
    positions = positions.cache()
    for paths, rows_in, is_described in batches:
        found = rows_in if is_described else run_stage(rows_in, DescribeSpec.from_settings(images))
        found = found.cache()  # read twice: once for the join, once for what it finds
        usable = found.where(F.col("status") == "ok")
        yield InputBatch(paths, attach_targets(found, match_positions(usable, positions)), True)
        found.unpersist()
    positions.unpersist()


def _file_batch(spark: SparkSession, files: Sequence[ImageFile]) -> InputBatch:
    return InputBatch(tuple(file.path for file in files), files_frame(spark, files), False)


def _color_batches(
    spark: SparkSession, rows: list[dict[str, Any]], color: ColorSettings, size: int
) -> Iterator[InputBatch]:
    batch: list[BandGroup] = []
    for group in group_bands(rows, color.grouping, color.bands):
        if batch and sum(len(other.members) for other in [*batch, group]) > size:
            yield _group_batch(spark, batch, color)
            batch = []
        batch.append(group)
    if batch:
        yield _group_batch(spark, batch, color)


def _group_batch(spark: SparkSession, groups: Sequence[BandGroup], color: ColorSettings) -> InputBatch:
    wanted = spark_schema(schema.IMAGES)
    rows = []
    for group in groups:
        row = group.row(color.reference_band if color.reference_band in group.planes else None)
        row["planes"] = [
            {"band": band, "uri": plane.uri, "hdu": plane.hdu, "wcs": plane.image["wcs"]}
            for band, plane in group.planes.items()
        ]
        rows.append(tuple(row[name] for name in wanted.names))
    slices = min(len(rows), SLICES_PER_CORE * spark.sparkContext.defaultParallelism)
    paths = tuple(dict.fromkeys(member["path"] for group in groups for member in group.members))
    spread = spark.sparkContext.parallelize(rows, max(slices, 1))
    return InputBatch(paths, spark.createDataFrame(spread, wanted, verifySchema=False), True)
