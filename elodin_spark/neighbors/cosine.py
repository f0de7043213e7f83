"""Neighbors by the angle between vectors: 1 - cosine, which their lengths do not change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.neighbors.distance import gamma, underflow, vectors_array
from elodin_spark.neighbors.flat import L2Index
from elodin_spark.neighbors.ivf.index import ApproximateL2Index
from elodin_spark.neighbors.lookup import checked_k, held, ids_array

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


class CosineIndex:
    """All vectors of an exact index, compared by their angles; exact.

    A float32 product with all of them bounds each cosine; whatever can be among the nearest is then
    compared in float64.

    Parameters
    ----------
    index : L2Index
        Its vectors are used where they are, with 8 bytes for the length of each.
    """

    def __init__(self, index: L2Index) -> None:
        self.index = index
        self._ids, self._vectors = index.rows
        self._lengths = np.empty(len(self._ids))
        step = max(1, _ROWS_AT_ONCE_BYTES // (8 * index.dimension))
        for start in range(0, len(self._ids), step):
            self._lengths[start : start + step] = _units(self._vectors[start : start + step])[1]

    def __len__(self) -> int:
        return len(self.index)

    def search_ids(self, ids: ArrayLike, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Nearest cutouts of cutouts; each finds itself among its own.

        Parameters and results as for :meth:`search`, the queries given by ID, int64, shape (q,).

        Raises
        ------
        UnknownCutoutError
            An ID is not indexed.
        InputError
            `k` is below 1.
        """
        return self.search(self.index.vectors_of(ids), k)

    def search(self, vectors: ArrayLike, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Nearest cutouts of vectors, ordered by (1 - cosine, ID).

        Parameters
        ----------
        vectors : array_like of float32, shape (q, d)
        k : int
            Neighbors wanted; all ``n`` come back where `k` is larger.

        Returns
        -------
        ids : ndarray of int64, shape (q, min(k, n))
        distances : ndarray of float64, shape (q, min(k, n))
            1 - cosine, in [0, 2].

        Raises
        ------
        CatalogError
            Vectors of another dimension.
        InputError
            `k` is below 1.
        """
        k = min(checked_k(k), len(self))
        queries = vectors_array(vectors, self.index.dimension, "the cosine index")
        ids, distances = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
        step = max(1, _SCANNED_BYTES // (4 * max(1, len(self))))
        for start in range(0, len(queries) if k else 0, step):
            units, lengths = _units(queries[start : start + step])
            products = self._vectors @ units.astype(np.float32).T
            for at, length in enumerate(lengths):
                row = start + at
                near = self._possible(products[:, at], float(length), k)
                exact = cosine_distances(queries[row], self._vectors, near)
                best = np.lexsort((self._ids[near], exact))[:k]
                ids[row], distances[row] = self._ids[near][best], exact[best]
        return ids, distances

    def _possible(self, products: NDArray[np.float32], length: float, k: int) -> NDArray[np.int64]:
        """Positions of all that can be among the k nearest."""
        zero = self._lengths == 0
        if length == 0:
            apart, error = np.where(zero, 0.0, 1.0), np.zeros(zero.size)
        else:
            # Products of float32 err by gamma times the lengths, and the query's rounding by less.
            safe = np.where(zero, 1, self._lengths)
            apart = np.where(zero, 1, 1 - products / safe)
            dimension = self.index.dimension
            error = np.where(zero, 0, 2 * gamma(dimension) + 2 * underflow(dimension) / safe)
        farthest = np.partition(apart + error, k - 1)[k - 1]
        return np.flatnonzero(apart - error <= farthest)


@dataclass(frozen=True, eq=False)
class ApproximateCosine:
    """Cosine neighbors among the candidates of an approximate Euclidean index.

    The nearest to the query, and to the query made shorter and longer in four steps of a quarter, are
    compared by the angles of their stored vectors; what points the same way but is more than twice as long or
    half as long may not be found. Among no more than ``exact_below`` cutouts all are compared.

    Parameters
    ----------
    index : ApproximateL2Index
    allowed : ndarray of int64, shape (m,), optional
        Only these, all of them indexed.
    """

    index: ApproximateL2Index
    allowed: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.index) if self.allowed is None else int(self.allowed.size)

    def search_ids(self, ids: ArrayLike, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Nearest cutouts of cutouts; as :meth:`CosineIndex.search_ids`."""
        queries = ids_array(ids)
        own = queries if self.allowed is None else held(self.index, self.allowed)
        return self._search(self.index.vectors_of(queries), k, np.isin(queries, own), queries)

    def search(self, vectors: ArrayLike, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Nearest cutouts of vectors; as :meth:`CosineIndex.search`."""
        queries = vectors_array(vectors, self.index.dimension, "the cosine index")
        return self._search(queries, k, np.zeros(len(queries), bool), np.zeros(len(queries), np.int64))

    def _search(
        self,
        queries: NDArray[np.float32],
        k: int,
        finds_itself: NDArray[np.bool_],
        own: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        k = min(checked_k(k), len(self))
        ids, distances = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
        if not k:
            return ids, distances
        if len(self) <= self.index.settings.exact_below:
            return self._scan(queries, k)
        wanted = max(_CANDIDATES, _FOR_EACH_NEIGHBOR * k)
        found = np.hstack(
            [self.index.search(length * queries, wanted, allowed=self.allowed)[0] for length in _LENGTHS]
        )
        for row, query in enumerate(queries):
            near = np.unique(np.append(found[row], own[row]) if finds_itself[row] else found[row])
            apart = cosine_distances(query, self.index.vectors_of(near), np.arange(near.size))
            best = np.lexsort((near, apart))[:k]
            ids[row], distances[row] = near[best], apart[best]
        return ids, distances

    def _scan(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """All stored vectors, block by block."""
        best_ids, best = np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0))
        for shard in self.index.shards:
            for ids, stored in shard.blocks(self.allowed):
                if not ids.size:
                    continue
                block = L2Index.build([(ids, self.index.trained.decode(stored))], self.index.dimension)
                near, apart = CosineIndex(block).search(queries, k)
                best_ids, best = np.hstack([best_ids, near]), np.hstack([best, apart])
                order = np.lexsort((best_ids, best), axis=-1)[:, :k]
                best_ids = np.take_along_axis(best_ids, order, axis=1)
                best = np.take_along_axis(best, order, axis=1)
        return best_ids, best
