"""How good lists of label sets are: measured against comparing all, and set to the recall asked for.

Sets tie so often that IDs say little: a neighbor counts as found if it is no farther than the true one
of the last rank.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.neighbors.ivf.tuning import without
from elodin_spark.neighbors.labels.index import LabelIndex, LabelMetric

_RANKS = (1, 10, 100)
_JUDGED = 10  # neighbors of which the recall is asked for


def calibrate_lists(
    index: LabelIndex, own: NDArray[np.int64], exact: NDArray[np.float64], recall: float
) -> int:
    """Find how few of the nearest lists, in doubling steps, reach a recall of the ten nearest.

    Parameters
    ----------
    index : LabelIndex
    own : ndarray of int64, shape (q,)
        IDs of the queries, which are not counted among their own neighbors.
    exact : ndarray of float64, shape (q, 10 or more)
        Jaccard distances of their true nearest.
    recall : float
        In (0, 1].

    Returns
    -------
    int
        All lists where no fewer do.
    """
    nprobe = 1
    while nprobe < len(index.centers):
        tried = LabelIndex(index.centers, index.shards, nprobe)
        if _recall(_distances(tried, own, _JUDGED, "jaccard"), exact, _JUDGED) >= recall:
            return nprobe
        nprobe *= 2
    return len(index.centers)


def measure_lists(
    index: LabelIndex, own: NDArray[np.int64], exact: NDArray[np.float64], metric: LabelMetric
) -> dict[str, Any]:
    """Accuracy and speed.

    Parameters
    ----------
    index : LabelIndex
    own : ndarray of int64, shape (q,)
        IDs of the queries.
    exact : ndarray of float64, shape (q, up to 100)
        Distances of their true nearest.
    metric : {'jaccard', 'label_scores'}

    Returns
    -------
    dict
        ``recall@1``, ``@10`` and ``@100`` as far as `exact` goes, ``queries``, ``nprobe``, ``lists``,
        ``per_second`` and ``bytes_per_set``.
    """
    started = time.perf_counter()
    found = _distances(index, own, exact.shape[1], metric)
    seconds = time.perf_counter() - started
    size = sum(shard.record["bytes"] for shard in index.shards)
    return {
        **{f"recall@{rank}": _recall(found, exact, rank) for rank in _RANKS if rank <= exact.shape[1]},
        "queries": len(own),
        "nprobe": index.nprobe,
        "lists": len(index.centers),
        "per_second": len(own) / seconds,
        "bytes_per_set": size / max(1, len(index)),
    }


def others_of(
    ids: NDArray[np.int64], distances: NDArray[np.float64], own: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Distances of neighbors, shape (q, k), without those of the queries to themselves: (q, k - 1)."""
    return distances[without(ids, own)].reshape(len(ids), -1)


def _distances(index: LabelIndex, own: NDArray[np.int64], k: int, metric: LabelMetric) -> NDArray[np.float64]:
    return others_of(*index.search(own, k + 1, metric=metric), own)


def _recall(found: NDArray[np.float64], exact: NDArray[np.float64], rank: int) -> float:
    return float((found[:, :rank] <= exact[:, rank - 1 : rank]).mean())
