"""Positions of a catalog on the images they lie on: a join by cells of the sky, then an exact test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, LongType, StringType, StructField, StructType

from elodin_spark import schema
from elodin_spark.config.settings import Positions
from elodin_spark.cutouts.cells import key_order
from elodin_spark.cutouts.positions import image_keys, position_keys, sky_to_pixel
from elodin_spark.cutouts.skycatalog import read_positions
from elodin_spark.spark.tables import spark_schema

_POSITIONS = StructType(
    [
        StructField("position_id", StringType()),
        StructField("ra", DoubleType()),
        StructField("dec", DoubleType()),
    ]
)
_KEYED = StructType([*_POSITIONS.fields, StructField("key", LongType())])
_REFUSED = StructType(
    [
        StructField("row", LongType()),
        StructField("position_id", StringType()),
        StructField("reason", StringType()),
    ]
)


def positions_frame(spark: SparkSession, generator: Positions) -> tuple[DataFrame, DataFrame]:
    """Read a catalog of positions.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
    generator : Positions

    Returns
    -------
    positions : pyspark.sql.DataFrame
        `position_id` (string), `ra`, `dec` (ICRS, deg).
    refused : pyspark.sql.DataFrame
        `row`, `position_id`, `reason`: rows that hold no position.

    Raises
    ------
    InputError
        The file or a column is missing.
    """
    found = read_positions(generator.catalog, generator.ra_column, generator.dec_column, generator.id_column)
    return _frame(spark, found.positions, _POSITIONS), _frame(spark, found.refused, _REFUSED)


def match_positions(images: DataFrame, positions: DataFrame) -> DataFrame:
    """Find the positions that lie on each image.

    Parameters
    ----------
    images : pyspark.sql.DataFrame
        Of :data:`elodin_spark.schema.IMAGES`; those without a WCS match nothing.
    positions : pyspark.sql.DataFrame
        `position_id`, `ra`, `dec`.

    Returns
    -------
    pyspark.sql.DataFrame
        `image_id`, `targets` (array of :data:`elodin_spark.schema.TARGET`, by `position_id`): the
        positions whose pixel lies on the image by its full WCS. One Spark job, whose
        shuffle is by cells of a size that suits each image.
    """
    described = images.where("status = 'ok' AND wcs IS NOT NULL").select("image_id", "wcs", "width", "height")
    keys = described.mapInArrow(_image_keys, "image_id long, key long")
    keys = keys.cache()
    distinct = [row["key"] for row in keys.select("key").distinct().collect()]
    orders = tuple(sorted({int(order) for order in key_order(distinct)}))

    def keyed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            ra, dec = (batch.column(name).to_numpy(zero_copy_only=False) for name in ("ra", "dec"))
            index, key = position_keys(ra, dec, orders)
            yield pa.RecordBatch.from_arrays(
                [*(batch.column(name).take(pa.array(index)) for name in _POSITIONS.names), pa.array(key)],
                names=_KEYED.names,
            )

    candidates = (
        positions.select(*_POSITIONS.names)
        .mapInArrow(keyed, _KEYED)
        .join(keys, "key")
        .select("image_id", F.struct("position_id", "ra", "dec").alias("target"))
        .distinct()
        .groupBy("image_id")
        .agg(F.array_sort(F.collect_list("target")).alias("targets"))
        .join(described, "image_id")
    )
    return candidates.mapInArrow(
        _exact, StructType([StructField("image_id", LongType()), spark_schema(schema.TARGETED)["targets"]])
    )


def attach_targets(images: DataFrame, matches: DataFrame) -> DataFrame:
    """Images with the positions to cut: rows of :data:`elodin_spark.schema.TARGETED`."""
    return images.join(matches, "image_id", "left").select(*schema.TARGETED.names)


def unmatched(positions: DataFrame, cut: DataFrame) -> DataFrame:
    """Positions of which `cut` has no row with their `position_id`."""
    return positions.join(cut.select("position_id").distinct(), "position_id", "left_anti")


def _image_keys(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for row in batch.to_pylist():
            keys = image_keys(row["wcs"], row["width"], row["height"])
            ids = np.full(len(keys), row["image_id"], np.int64)
            yield pa.RecordBatch.from_arrays([pa.array(ids), pa.array(keys)], names=["image_id", "key"])


def _exact(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    kind = schema.TARGETED.field("targets").type
    for batch in batches:
        rows: list[dict[str, Any]] = batch.to_pylist()
        kept = []
        for row in rows:
            targets = row["targets"]
            ra, dec = (np.array([target[name] for target in targets]) for name in ("ra", "dec"))
            x, _ = sky_to_pixel(row["wcs"], row["width"], row["height"], ra, dec)
            kept.append([target for target, inside in zip(targets, np.isfinite(x), strict=True) if inside])
        yield pa.RecordBatch.from_arrays(
            [batch.column("image_id"), pa.array(kept, kind)], names=["image_id", "targets"]
        )


def _frame(spark: SparkSession, table: pa.Table, wanted: StructType) -> DataFrame:
    frame: pd.DataFrame = table.select(wanted.names).to_pandas()
    frame["position_id"] = frame["position_id"].astype(str)
    return spark.createDataFrame(frame, wanted)
