"""Label sets in one list, for tests that have no folder at hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from elodin_spark.neighbors.labels.clustering import train_centers
from elodin_spark.neighbors.labels.index import LabelIndex
from elodin_spark.neighbors.labels.shard import LabelBatch, LabelShard, add_label_shard


def label_index(batches: Iterable[LabelBatch], n_labels: int, *, shares: bool = False) -> LabelIndex:
    """An index of label sets, all of which are compared."""
    centers = train_centers([], 1, n_labels)
    with TemporaryDirectory() as folder:  # its files stay mapped
        add_label_shard(Path(folder) / "shard", centers, batches, shares=shares)
        return LabelIndex(centers, [LabelShard(Path(folder) / "shard", centers)])
