"""Label sets on executors: a shard made from tables, and a shard compared with queries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from elodin_spark.neighbors.ivf.stages import SCANNED, SHARDS_MADE, scanned
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
        return _MakeShards(self)


class _MakeShards:
    output_schema = SHARDS_MADE

    def __init__(self, spec: LabelShardSpec) -> None:
        self._spec = spec

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        centers = LabelCenters.load(self._spec.centers)
        for batch in batches:
            for job in batch.to_pylist():
                shard = Path(job["shard"])
                if (shard / "shard.json").exists():
                    made = LabelShard(shard, centers).record
                else:
                    sets = stream_label_sets(
                        ds.dataset(_files(job["parts"]), format="parquet"), self._spec.labels
                    )
                    made = add_label_shard(shard, centers, sets, shares=self._spec.shares)
                yield pa.RecordBatch.from_pydict(
                    {"shard": [job["shard"]], "count": [made["count"]]}, schema=SHARDS_MADE
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
        return _Scan(self)


class _Scan:
    output_schema = SCANNED

    def __init__(self, spec: LabelScanSpec) -> None:
        self._spec = spec

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        centers = LabelCenters.load(self._spec.centers)
        for batch in batches:
            for folder in batch.column("shard").to_pylist():
                index = LabelIndex(centers, [LabelShard(folder, centers, self._spec.without)])
                ids, distances = index.compare(self._spec.queries, self._spec.k)
                yield scanned(ids, distances)


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


def _files(parts: list[str]) -> list[str]:
    return [str(file) for part in parts for file in sorted(Path(part).glob("*.parquet"))]
