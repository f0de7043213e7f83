"""Label sets on executors: a shard made from tables, and a shard compared with queries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from elodin_spark.neighbors.ivf.stages import SCANNED, SHARDS_MADE, MakeShards, ScanShards
from elodin_spark.neighbors.labels.bitcodes import first_labels
from elodin_spark.neighbors.labels.clustering import LabelCenters
from elodin_spark.neighbors.labels.index import LabelIndex, LabelQueries
from elodin_spark.neighbors.labels.shard import LabelBatch, LabelShard, add_label_shard
from elodin_spark.stage import Locate, Stage

_BATCH_ROWS = 4096


@dataclass(frozen=True)
class LabelShardSpec:
    """Makes the shards of :data:`elodin_spark.neighbors.ivf.stages.SHARD_JOBS` from the fingerprints table.

    A shard that is there is left as it is.

    Parameters
    ----------
    centers : str
        File of the centers, on a file system that driver and executors share.
    labels : int or None
        How many of the labels form the set: the best; None: all.
    shares : bool
        Keep the shares of the labels, for the label distance.
    """

    centers: str
    labels: int | None
    shares: bool
    files: tuple[str, ...] = ()
    output_schema: pa.Schema = SHARDS_MADE

    def build(self, locate: Locate) -> Stage:
        """Build the stage."""

        def make(shard: Path, centers: LabelCenters, parts: list[Path]) -> dict[str, Any]:
            files = [str(file) for part in parts for file in sorted(part.glob("*.parquet"))]
            sets = stream_label_sets(ds.dataset(files, format="parquet"), self.labels)
            return add_label_shard(shard, centers, sets, shares=self.shares)

        return MakeShards(
            lambda: LabelCenters.load(self.centers),
            lambda shard, centers: LabelShard(shard, centers).record,
            make,
        )


@dataclass(frozen=True, eq=False)
class LabelScanSpec:
    """Compares queries with every set of the shards of :data:`elodin_spark.neighbors.ivf.stages.SHARD_JOBS`.

    Parameters
    ----------
    centers : str
        File of the centers.
    queries : LabelQueries
    k : int
        Neighbors wanted of each query in each shard.
    without : ndarray of int64, shape (m,)
        IDs to leave out.
    """

    centers: str
    queries: LabelQueries
    k: int
    without: NDArray[np.int64]
    files: tuple[str, ...] = ()
    output_schema: pa.Schema = SCANNED

    def build(self, locate: Locate) -> Stage:
        """Build the stage."""

        def scan(shard: str, centers: LabelCenters) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
            index = LabelIndex(centers, [LabelShard(shard, centers, self.without)])
            return index.compare(self.queries, self.k)

        return ScanShards(lambda: LabelCenters.load(self.centers), scan)


def stream_label_sets(table: ds.Dataset, labels: int | None) -> Iterator[LabelBatch]:
    """IDs, label sets and scores of a fingerprints table.

    Parameters
    ----------
    table : pyarrow.dataset.Dataset
    labels : int or None
        How many of the labels form the set: the best; None: all.
    """
    for batch in table.to_batches(columns=["cutout_id", "labels", "label_scores"], batch_size=_BATCH_ROWS):
        if batch.num_rows:
            sets, scores = (first_labels(batch.column(name), labels) for name in ("labels", "label_scores"))
            yield batch.column("cutout_id").to_numpy(), sets, scores
