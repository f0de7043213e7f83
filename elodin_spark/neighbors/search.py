"""Neighbors of cutouts, whatever the metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import CatalogError, InputError
from elodin_spark.neighbors.distance import exact_distances
from elodin_spark.neighbors.flat import L2Index
from elodin_spark.neighbors.ivf.index import ApproximateL2Index
from elodin_spark.neighbors.labels.flat import JaccardIndex
from elodin_spark.neighbors.labels.index import LabelIndex, LabelMetric
from elodin_spark.neighbors.lookup import checked_k, ids_array
from elodin_spark.neighbors.outside import Outside
from elodin_spark.neighbors.suppression import Windows, suppress_overlaps
from elodin_spark.schema import NEIGHBORS

#: Windows of cutouts, in the order of the IDs given (int64, shape (n,)).
WindowsOf = Callable[[NDArray[np.int64]], Windows]


class Index(Protocol):
    """What the search needs of an index.

    ``search_ids(ids, k)`` returns IDs (int64) and distances (float64), both of shape
    ``(q, min(k, len(self)))``, best first in a total order, so that the answer for a smaller
    `k` begins the answer for a larger one. A query finds itself. An ID that is not
    indexed raises :class:`~elodin_spark.errors.UnknownCutoutError`.
    """

    def __len__(self) -> int: ...

    def search_ids(self, ids: ArrayLike, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Nearest `k` of each query, shape (q,)."""
        ...


@dataclass(frozen=True, eq=False)
class TieBroken:
    """Neighbors by labels, ordered by (their distance, Euclidean distance, ID): an :class:`Index`.

    Parameters
    ----------
    index : JaccardIndex or LabelIndex
    by : L2Index or ApproximateL2Index
        Holds at least the cutouts of `index`.
    metric : {'jaccard', 'label_scores'}, optional
        The second only of a LabelIndex; see :meth:`LabelIndex.search_ids`.
    allowed : ndarray of int64, shape (m,), optional
        Only these, all of them indexed; only of a LabelIndex.
    """

    index: JaccardIndex | LabelIndex
    by: L2Index | ApproximateL2Index
    metric: LabelMetric = "jaccard"
    allowed: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.index) if self.allowed is None else int(self.allowed.size)

    def search_ids(self, ids: ArrayLike, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Nearest cutouts of cutouts, as :class:`Index` says."""
        queries = ids_array(ids)

        def second(row: int, others: NDArray[np.int64]) -> NDArray[np.float64]:
            return self.by.distances(int(queries[row]), others)

        if isinstance(self.index, JaccardIndex):
            return self.index.search_ids(queries, k, second)
        return self.index.search_ids(queries, k, second, metric=self.metric, allowed=self.allowed)

    def search_outside(self, queries: Outside, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Nearest cutouts of queries that are none, see :class:`~elodin_spark.neighbors.outside.Outside`.

        Raises
        ------
        InputError
            Their label sets are not known, or their scores, which the label distance compares, are not.
        """
        return self.search_among(self.index, queries, k)

    def search_among(
        self, among: JaccardIndex | LabelIndex, queries: Outside, k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The same, of the cutouts in `among`."""
        if self.metric == "label_scores":
            raise InputError("the label distance compares cutouts of a catalog: ask with one, or by jaccard")
        if queries.sets is None:
            raise InputError("a vector alone has no labels to compare: ask by l2 or cosine, or with an image")

        def distances(row: int, others: NDArray[np.int64]) -> NDArray[np.float64]:
            return exact_distances(queries.vectors[row], self.by.vectors_of(others), np.arange(len(others)))

        if isinstance(among, JaccardIndex):
            return among.search(queries.sets, k, distances)
        return among.search(queries.sets, k, distances, allowed=self.allowed)


def neighbors_of(
    cutout_ids: ArrayLike,
    k: int,
    index: Index,
    *,
    windows_of: WindowsOf | None = None,
    allow_overlap: bool = False,
) -> pa.Table:
    """Find the `k` nearest neighbors of each of several cutouts, never the cutout itself.

    Unless `allow_overlap`, a neighbor whose window shares pixels with the query's or with a
    better neighbor's is left out and the next best takes its place.

    Parameters
    ----------
    cutout_ids : array_like of int64, shape (q,)
    k : int
        Neighbors wanted for each. Fewer come back only where the index holds no more.
    index : Index
        An :class:`~elodin_spark.neighbors.flat.L2Index`,
        :class:`~elodin_spark.neighbors.ivf.index.ApproximateL2Index`,
        :class:`~elodin_spark.neighbors.labels.flat.JaccardIndex` or :class:`TieBroken`.
    windows_of : callable, optional
        Needed unless `allow_overlap`. Called once a round with ascending, distinct IDs.
    allow_overlap : bool, optional

    Returns
    -------
    pyarrow.Table
        Of :data:`~elodin_spark.schema.NEIGHBORS`: queries in the order given, ranks from 1.

    Raises
    ------
    InputError
        `k` is below 1, or `windows_of` is missing.
    UnknownCutoutError
        A cutout is not indexed.
    """
    k = checked_k(k)
    queries = ids_array(cutout_ids)
    if windows_of is None and not allow_overlap:
        raise InputError("windows_of is needed to leave out overlapping windows; or set allow_overlap=True")
    found: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = [_NOTHING] * len(queries)
    pending = np.arange(len(queries))
    # One more for the query itself; windows in steps of half their size overlap several others.
    fetch = k + 1 if allow_overlap else 4 * (k + 1)
    while pending.size:
        fetch = min(fetch, len(index))
        ids, distances = index.search_ids(queries[pending], fetch)
        windows = None if allow_overlap or windows_of is None else _Windows(ids, queries[pending], windows_of)
        unfinished = []
        for row, query in enumerate(pending):
            others = np.flatnonzero(ids[row] != queries[query])
            if windows is not None:
                kept = suppress_overlaps(
                    windows.of(queries[query : query + 1]), windows.of(ids[row][others]), k
                )
                others = others[kept]
            others = others[:k]
            if others.size < k and fetch < len(index):
                unfinished.append(query)
            else:
                found[query] = (ids[row][others], distances[row][others])
        pending = np.array(unfinished, dtype=np.int64)
        fetch *= 2
    return _table(queries, found)


_NOTHING = (np.empty(0, np.int64), np.empty(0, np.float64))


class _Windows:
    """The windows of one round, asked for once."""

    def __init__(self, ids: NDArray[np.int64], queries: NDArray[np.int64], windows_of: WindowsOf) -> None:
        self._ids = np.unique(np.concatenate([ids.ravel(), queries]))
        self._windows = windows_of(self._ids)
        if len(self._windows) != self._ids.size:
            raise CatalogError(
                f"{len(self._windows)} windows came back for {self._ids.size} cutouts: "
                "the cutouts and the index do not belong together; rebuild the index"
            )

    def of(self, ids: NDArray[np.int64]) -> Windows:
        return self._windows.take(np.searchsorted(self._ids, ids))


def _table(
    queries: NDArray[np.int64], found: list[tuple[NDArray[np.int64], NDArray[np.float64]]]
) -> pa.Table:
    counts = [ids.size for ids, _ in found]
    columns = {
        "query_id": np.repeat(queries, counts),
        "rank": np.concatenate(
            [np.arange(1, n + 1, dtype=np.int32) for n in counts] or [np.empty(0, np.int32)]
        ),
        "neighbor_id": np.concatenate([ids for ids, _ in found] or [_NOTHING[0]]),
        "distance": np.concatenate([distances for _, distances in found] or [_NOTHING[1]]),
    }
    return pa.table(columns, schema=NEIGHBORS)
