"""Shards of the index, made and searched by executors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from elodin_spark.neighbors.ivf.stages import SHARD_JOBS, ScanSpec, ShardSpec
from elodin_spark.sampling.stage import SampleKeySpec
from elodin_spark.spark.batches import folder_uri, read_parts
from elodin_spark.spark.runner import run_stage
from elodin_spark.spark.tables import spark_schema

_SAMPLE_ROWS_PER_FILE = 20_000


def write_sample(
    spark: SparkSession,
    fingerprints: Sequence[Path],
    share: float,
    rows: int,
    seed: int,
    folder: Path,
    without: Path | None = None,
) -> list[Path]:
    """Write a stable sample of the vectors, in an order of its own.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
    fingerprints : sequence of Path
        Folders of the fingerprints table.
    share : float
        Of the archive, in (0, 1].
    rows : int
        About how many that is.
    seed : int
    folder : Path
        Where `cutout_id` and `vector` go, as Parquet.
    without : Path, optional
        As for :func:`elodin_spark.spark.batches.read_parts`.

    Returns
    -------
    list of Path
        The files in their order: by :func:`elodin_spark.sampling.sample.sample_keys`, the same
        rows in the same order whatever the partitioning.
    """
    table = read_parts(spark, fingerprints, without).select("cutout_id", "vector")
    keyed = run_stage(table, SampleKeySpec(seed))
    if share < 1:
        keyed = keyed.where(F.col("sample_key") < int(share * 2**63))
    pieces = max(1, round(rows / _SAMPLE_ROWS_PER_FILE))
    keyed = keyed.repartitionByRange(pieces, "sample_key").sortWithinPartitions("sample_key", "cutout_id")
    keyed.select("cutout_id", "vector").write.mode("overwrite").parquet(folder_uri(folder))
    return sorted(folder.glob("*.parquet"))


def build_shards(
    spark: SparkSession, trained: Path, jobs: Mapping[Path, Sequence[Path]], memory_bytes: int
) -> int:
    """Make shards, each by one task; those that are there stay.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
    trained : Path
        The trained index, on a shared file system.
    jobs : mapping of Path to sequence of Path
        Folder of the shard to folders of the fingerprints table.
    memory_bytes : int
        Of a task, for codes.

    Returns
    -------
    int
        Vectors in these shards.
    """
    spec = ShardSpec(str(trained), memory_bytes)
    made = run_stage(shard_jobs(spark, jobs), spec).toArrow()
    return int(sum(made.column("count").to_pylist()))


def scan_shards(
    spark: SparkSession, trained: Path, shards: Sequence[Path], queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Exact neighbors among all vectors of shards, each read by one task.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
    trained : Path
    shards : sequence of Path
        Holding at least `k` vectors together.
    queries : ndarray of float32, shape (q, d)
        Few: they go to every task.
    k : int

    Returns
    -------
    ids, distances : ndarray of int64 and float64, shape (q, k)
        By (distance, ID).
    """
    spec = ScanSpec(str(trained), np.ascontiguousarray(queries, np.float32).tobytes(), k)
    found = run_stage(shard_jobs(spark, {shard: [] for shard in shards}), spec).toArrow()
    return nearest_found(found, len(queries), k)


def nearest_found(found: pa.Table, queries: int, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The nearest of what was found in several shards.

    Parameters
    ----------
    found : pyarrow.Table
        Of :data:`elodin_spark.neighbors.ivf.stages.SCANNED`, at least `k` rows of each query.
    queries : int
    k : int

    Returns
    -------
    ids, distances : ndarray of int64 and float64, shape (queries, k)
        By (distance, ID).
    """
    query, ids, distances = (found.column(name).to_numpy() for name in ("query", "neighbor_id", "distance"))
    order = np.lexsort((ids, distances, query))
    starts = np.searchsorted(query[order], np.arange(queries))
    best = order[starts[:, np.newaxis] + np.arange(k)]
    return ids[best], distances[best]


def shard_jobs(spark: SparkSession, jobs: Mapping[Path, Sequence[Path]]) -> DataFrame:
    """One row, and one task, per shard."""
    rows = [
        (str(shard.absolute()), [str(part.absolute()) for part in parts]) for shard, parts in jobs.items()
    ]
    return spark.createDataFrame(
        spark.sparkContext.parallelize(rows, max(1, len(rows))), spark_schema(SHARD_JOBS), verifySchema=False
    )
