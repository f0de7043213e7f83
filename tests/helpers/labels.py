"""Label sets in one list, for tests that have no folder at hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.neighbors.base import ids_array
from elodin_spark.neighbors.labels.clustering import train_centers
from elodin_spark.neighbors.labels.index import LabelIndex
from elodin_spark.neighbors.labels.shard import LabelBatch, LabelShard, add_label_shard


def label_index(batches: Iterable[LabelBatch], n_labels: int, *, shares: bool = False) -> LabelIndex:
    """An index of label sets, all of which are compared."""
    centers = train_centers([], 1, n_labels)
    with TemporaryDirectory() as folder:  # its files stay mapped
        add_label_shard(Path(folder) / "shard", centers, batches, shares=shares)
        return LabelIndex(centers, [LabelShard(Path(folder) / "shard", centers)])


def sets_of(index: LabelIndex, ids: ArrayLike) -> list[NDArray[np.int32]]:
    """Stored label sets, each ascending."""
    return [
        np.flatnonzero(np.unpackbits(code, bitorder="little")).astype(np.int32)
        for code in index._codes_of(ids_array(ids))
    ]
