"""Neighbors by the angle between vectors: 1 - cosine, which their lengths do not change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.neighbors.base import ExternalQueries, Found, Queries, checked_k, held, ids_array
from elodin_spark.neighbors.distance import gamma, underflow
from elodin_spark.neighbors.flat import L2Index, VectorIndex, nearest_of_parts, query_vectors

_ROWS_AT_ONCE_BYTES = 4 << 20  # of float64
_SCANNED_BYTES = 64 << 20  # of float32: one number for each vector and query
#: Lengths, in units of the query's, at which the nearest in Euclidean distance are looked up: whoever
#: points the same way but is longer or shorter is nearest to a query of its length.
_LENGTHS = (0.64, 0.8, 1.0, 1.25, 1.56)
_CANDIDATES = 100  # from each of them
_FOR_EACH_NEIGHBOR = 4  # candidates at least


def cosine_distances(
    query: NDArray[np.float32], vectors: NDArray[np.float32], positions: NDArray[np.int64]
) -> NDArray[np.float64]:
    """1 - cosine of the angle between a query and the vectors at `positions`, in float64.

    Half the squared distance of unit vectors, which is exact for near ones and 0 for equal ones;
    vectors that only differ in length may be some 1e-16 apart by rounding. A vector of zeros has no angle:
    it is 0 from others of its kind and 1 from all else.

    Parameters
    ----------
    query : ndarray of float32, shape (d,)
    vectors : ndarray of float32, shape (n, d)
    positions : ndarray of int64, shape (m,)

    Returns
    -------
    ndarray of float64, shape (m,)
    """
    unit, length = _units(query[np.newaxis])
    out = np.empty(len(positions), np.float64)
    step = max(1, _ROWS_AT_ONCE_BYTES // (8 * query.size))
    for start in range(0, len(positions), step):
        units, lengths = _units(vectors[positions[start : start + step]])
        units -= unit
        np.square(units, out=units)
        apart = units.sum(axis=1) / 2
        apart[(lengths == 0) | (length == 0)] = 1
        apart[(lengths == 0) & (length == 0)] = 0
        out[start : start + step] = apart
    return out


def _units(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Vectors of length 1, or 0, and how long they were."""
    wide = vectors.astype(np.float64)
    lengths = np.sqrt(np.square(wide).sum(axis=1))
    wide /= np.where(lengths > 0, lengths, 1)[:, np.newaxis]
    return wide, lengths


@dataclass(frozen=True, eq=False)
class CosineIndex:
    """Neighbors by cosine over an index of vectors: an :class:`~elodin_spark.neighbors.base.Index`.

    Distances are half the squared Euclidean distances of unit vectors, in float64. Where the index
    compares all, so is this exact: a float32 product bounds each cosine, and whatever can be among the
    nearest is then compared. Elsewhere the nearest to the query, and to the query made shorter and longer
    in four steps of a quarter, are compared; what points the same way but is more than twice as long or
    half as long may not be found.

    Parameters
    ----------
    index : L2Index or ApproximateL2Index
        Its vectors are used where they are, with 8 bytes for the length of each in memory.
    """

    index: VectorIndex

    def __len__(self) -> int:
        return len(self.index)

    def contains(self, ids: ArrayLike) -> NDArray[np.bool_]:
        """Whether each of `ids`, shape (m,), is indexed; bool, shape (m,)."""
        return self.index.contains(ids)

    def search(self, queries: Queries, k: int, *, allowed: ArrayLike | None = None) -> Found:
        """Nearest cutouts, ordered by (1 - cosine, in [0, 2], ID), as Index says."""
        vectors = query_vectors(self.index, queries, "the cosine index")
        only = None if allowed is None else held(self.index, allowed)
        count = len(self) if only is None else only.size
        k = min(checked_k(k), count)
        if not k or self.index.compares_all(count):
            parts = (_nearest_of(block, vectors, min(k, len(block))) for block in self.index.blocks(only))
            return nearest_of_parts(parts, len(vectors), k)
        own = None if isinstance(queries, ExternalQueries) else ids_array(queries)
        ids, distances = np.empty((len(vectors), k), np.int64), np.empty((len(vectors), k))
        for row, near in enumerate(self._candidates(vectors, own, k, only)):
            apart = cosine_distances(vectors[row], self.index.vectors_of(near), np.arange(near.size))
            best = np.lexsort((near, apart))[:k]
            ids[row], distances[row] = near[best], apart[best]
        return ids, distances

    def _candidates(
        self,
        vectors: NDArray[np.float32],
        own: NDArray[np.int64] | None,
        k: int,
        only: NDArray[np.int64] | None,
    ) -> Iterator[NDArray[np.int64]]:
        """IDs of what may be nearest to each query, itself among them."""
        wanted = max(_CANDIDATES, _FOR_EACH_NEIGHBOR * k)
        scaled = (ExternalQueries(length * vectors) for length in _LENGTHS)
        found = np.hstack([self.index.search(some, wanted, allowed=only)[0] for some in scaled])
        if own is not None:
            itself = own if only is None else np.where(np.isin(own, only), own, found[:, 0])
            found = np.column_stack([found, itself])
        return map(np.unique, found)


def _nearest_of(index: L2Index, queries: NDArray[np.float32], k: int) -> Found:
    """The nearest `k` of vectors, shape (q, d), among all of an exact index."""
    known, vectors = index.rows
    ids, distances = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
    step = max(1, _SCANNED_BYTES // (4 * max(1, len(index))))
    for start in range(0, len(queries) if k else 0, step):
        units, lengths = _units(queries[start : start + step])
        products = vectors @ units.astype(np.float32).T
        for at, length in enumerate(lengths):
            row = start + at
            near = _possible(index, products[:, at], float(length), k)
            exact = cosine_distances(queries[row], vectors, near)
            best = np.lexsort((known[near], exact))[:k]
            ids[row], distances[row] = known[near][best], exact[best]
    return ids, distances


def _possible(index: L2Index, products: NDArray[np.float32], length: float, k: int) -> NDArray[np.int64]:
    """Positions of all that can be among the k nearest."""
    zero = index.lengths == 0
    if length == 0:
        apart, error = np.where(zero, 0.0, 1.0), np.zeros(zero.size)
    else:
        # Products of float32 err by gamma times the lengths, and the query's rounding by less.
        safe = np.where(zero, 1, index.lengths)
        apart = np.where(zero, 1, 1 - products / safe)
        dimension = index.dimension
        error = np.where(zero, 0, 2 * gamma(dimension) + 2 * underflow(dimension) / safe)
    farthest = np.partition(apart + error, k - 1)[k - 1]
    return np.flatnonzero(apart - error <= farthest)
