"""Neighbors of many cutouts, or of all, by executors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from elodin_spark.catalog.asking import Question
from elodin_spark.catalog.catalog import Catalog
from elodin_spark.catalog.removed import read_removed, removed_file
from elodin_spark.errors import InputError, UnknownCutoutError
from elodin_spark.schema import NEIGHBORS
from elodin_spark.stage import Locate, Stage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_AT_ONCE = 256  # queries
_NAMED = 5  # unknown IDs, in a message
_ROWS_PER_TASK = 10_000


@dataclass(frozen=True)
class NeighborsSpec:
    """From `cutout_id` to :data:`elodin_spark.schema.NEIGHBORS`.

    Each worker opens the index: its codes where it is in shards, all vectors where it is exact.

    Parameters
    ----------
    catalog : str
        On a file system that driver and executors share.
    question : Question
    """

    catalog: str
    question: Question
    files: tuple[str, ...] = ()
    output_schema: pa.Schema = NEIGHBORS

    def build(self, locate: Locate) -> Stage:
        """Build the stage."""
        return _Neighbors(self)


class _Neighbors:
    output_schema = NEIGHBORS

    def __init__(self, spec: NeighborsSpec) -> None:
        self._spec = spec

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        answer = Catalog.open(self._spec.catalog).answerer(self._spec.question)
        for batch in batches:
            ids = np.asarray(batch.column("cutout_id"), dtype=np.int64)
            for start in range(0, len(ids), _AT_ONCE):
                yield from answer(ids[start : start + _AT_ONCE]).combine_chunks().to_batches()


def write_neighbors(
    spark: SparkSession,
    catalog: Catalog,
    out: str | Path,
    question: Question,
    ids: DataFrame | None = None,
) -> int:
    """Write the neighbors of cutouts as a Parquet table of :data:`elodin_spark.schema.NEIGHBORS`.

    The answers are those of :meth:`Catalog.neighbors`.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
    catalog : Catalog
    out : str or Path
        The folder to write; it must not exist.
    question : Question
    ids : pyspark.sql.DataFrame, optional
        With a column `cutout_id`; one that is there twice is answered twice. By default every cutout
        that has a fingerprint: the k-nearest-neighbor graph of the catalog.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    InputError
        `out` exists, the MOC cannot be read, or `ids` have no column `cutout_id`.
    UnknownCutoutError
        The catalog has no fingerprint of some of them.
    CatalogError
        The index has not been built, or not for that metric.
    """
    from elodin_spark.spark.batches import folder_uri, read_parts
    from elodin_spark.spark.runner import SLICES_PER_CORE, run_stage

    out = Path(out)
    if out.exists():
        raise InputError(f"{out} exists: choose another folder for the neighbors, or delete it")
    catalog.answerer(question)  # whatever is wrong is better said here than by a worker
    fingerprints = read_parts(spark, catalog.parts("fingerprints"), removed_file(catalog.path))
    known = fingerprints.select("cutout_id")
    if ids is None:
        queries = known
    else:
        queries = _checked(ids).persist()
        unknown = [
            row["cutout_id"]
            for row in queries.join(known, "cutout_id", "left_anti").orderBy("cutout_id").take(_NAMED)
        ]
        read_removed(catalog.path).refuse(unknown, str(catalog.path))
        if unknown:
            raise UnknownCutoutError(
                f"{catalog.path} has no fingerprint of cutout {', '.join(map(str, unknown))} among the IDs "
                "given; take IDs from its cutouts table"
            )
    # Few tasks a core: each worker opens the index once, and reads the windows.
    tasks = SLICES_PER_CORE * spark.sparkContext.defaultParallelism
    tasks = max(1, min(tasks, -(-queries.count() // _ROWS_PER_TASK) * SLICES_PER_CORE))
    rows = run_stage(
        queries.repartition(tasks, "cutout_id").sortWithinPartitions("cutout_id"),
        NeighborsSpec(str(catalog.path.absolute()), question),
    )
    rows.write.parquet(folder_uri(out))
    return int(read_parts(spark, [out]).count())


def _checked(ids: DataFrame) -> DataFrame:
    from pyspark.sql import functions as F

    if "cutout_id" not in ids.columns:
        raise InputError(f"the table of IDs has no column cutout_id; it has {', '.join(ids.columns)}")
    exact = F.col("cutout_id").try_cast("bigint")
    bad = ids.where(exact.isNull()).select(F.col("cutout_id").cast("string")).take(1)
    if bad:
        raise InputError(f"cutout_id {bad[0]['cutout_id']!r} is not a whole number of 64 bits")
    return ids.select(exact.alias("cutout_id"))
