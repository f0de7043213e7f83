"""Shards of label sets, made and compared by executors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from elodin_spark.neighbors.labels.index import LabelQueries
from elodin_spark.neighbors.labels.stages import LabelScanSpec, LabelShardSpec
from elodin_spark.sampling.stage import SampleKeySpec
from elodin_spark.spark.batches import read_parts
from elodin_spark.spark.runner import run_stage
from elodin_spark.spark.shards import nearest_found, shard_jobs


def sample_label_sets(spark: SparkSession, fingerprints: Sequence[Path], n: int, seed: int) -> pa.Table:
    """Label sets of a stable sample of the archive: `cutout_id` and `labels`, in an order of its own.

    As :func:`elodin_spark.spark.batches.sample_vectors`, of labels.
    """
    rows = read_parts(spark, fingerprints).select("cutout_id", "labels")
    keyed = run_stage(rows, SampleKeySpec(seed, "labels"))
    return keyed.orderBy("sample_key", "cutout_id").limit(n).select("cutout_id", "labels").toArrow()


def build_label_shards(
    spark: SparkSession,
    centers: Path,
    jobs: Mapping[Path, Sequence[Path]],
    labels: int | None,
    *,
    shares: bool,
) -> int:
    """Make shards, each by one task; those that are there stay.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
    centers : Path
        File of the centers, on a shared file system.
    jobs : mapping of Path to sequence of Path
        Folder of the shard to folders of the fingerprints table.
    labels, shares
        See :class:`elodin_spark.neighbors.labels.stages.LabelShardSpec`.

    Returns
    -------
    int
        Sets in these shards.
    """
    made = run_stage(shard_jobs(spark, jobs), LabelShardSpec(str(centers), labels, shares)).toArrow()
    return int(sum(made.column("count").to_pylist()))


def scan_label_shards(
    spark: SparkSession,
    centers: Path,
    shards: Sequence[Path],
    queries: LabelQueries,
    k: int,
    without: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Exact neighbors among all sets of shards, each read by one task.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
    centers : Path
    shards : sequence of Path
        Holding at least `k` sets together.
    queries : LabelQueries
        Few: they go to every task.
    k : int
    without : ndarray of int64, shape (m,)
        IDs to leave out.

    Returns
    -------
    ids, distances : ndarray of int64 and float64, shape (q, k)
        By (distance, ID).
    """
    spec = LabelScanSpec(str(centers), queries, k, without)
    found = run_stage(shard_jobs(spark, {shard: [] for shard in shards}), spec).toArrow()
    return nearest_found(found, len(queries.codes), k)
