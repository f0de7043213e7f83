"""Neighbors of cutouts, whatever the metric."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import CatalogError, InputError
from elodin_spark.neighbors.base import ExternalQueries, Found, Index, Queries, checked_k, ids_array
from elodin_spark.neighbors.suppression import Windows, suppress_overlaps
from elodin_spark.schema import NEIGHBORS

#: Windows of cutouts, in the order of the IDs given (int64, shape (n,)).
WindowsOf = Callable[[NDArray[np.int64]], Windows]


def neighbors_of(
    queries: Queries,
    k: int,
    index: Index,
    *,
    allowed: ArrayLike | None = None,
    windows_of: WindowsOf | None = None,
    allow_overlap: bool = False,
) -> pa.Table:
    """Find the `k` nearest neighbors of each of several queries, never the cutout itself.

    Unless `allow_overlap`, a neighbor whose window shares pixels with the query's or with a
    better neighbor's is left out and the next best takes its place.

    Parameters
    ----------
    queries : array_like of int64, shape (q,), or ExternalQueries
    k : int
        Neighbors wanted for each. Fewer come back only where the index holds no more.
    index : Index
    allowed : array_like of int64, shape (m,), optional
        IDs that may be neighbors.
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
    asked = queries.ids if isinstance(queries, ExternalQueries) else ids_array(queries)
    if windows_of is None and not allow_overlap:
        raise InputError("windows_of is needed to leave out overlapping windows; or set allow_overlap=True")
    found: list[Found] = [_NOTHING] * len(asked)
    pending = np.arange(len(asked))
    # One more for the query itself; windows in steps of half their size overlap several others.
    fetch = k + 1 if allow_overlap else 4 * (k + 1)
    while pending.size:
        fetch = min(fetch, len(index))
        some = queries.take(pending) if isinstance(queries, ExternalQueries) else asked[pending]
        ids, distances = index.search(some, max(fetch, 1), allowed=allowed)
        windows = None if allow_overlap or windows_of is None else _Windows(ids, asked[pending], windows_of)
        unanswered = []
        for row, query in enumerate(pending):
            others = np.flatnonzero(ids[row] != asked[query])
            if windows is not None:
                kept = suppress_overlaps(
                    windows.of(asked[query : query + 1]), windows.of(ids[row][others]), k
                )
                others = others[kept]
            others = others[:k]
            if others.size < k and ids.shape[1] == fetch < len(index):
                unanswered.append(query)
            else:
                found[query] = (ids[row][others], distances[row][others])
        pending = np.array(unanswered, dtype=np.int64)
        fetch *= 2
    return _table(asked, found)


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


def _table(queries: NDArray[np.int64], found: list[Found]) -> pa.Table:
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
