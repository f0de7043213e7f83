"""Exact Euclidean neighbors of fingerprint vectors.

FAISS scans the vectors in float32 and selects candidates; the answer is computed from the
stored vectors in float64 and does not depend on FAISS's rounding, on how it breaks ties,
or on the order in which vectors were added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import CatalogError
from elodin_spark.neighbors.base import (
    ExternalQueries,
    Found,
    IdLookup,
    Index,
    Queries,
    checked_k,
    held,
    ids_array,
)
from elodin_spark.neighbors.distance import (
    LARGEST,
    checked_vectors,
    exact_distances,
    gamma,
    squared_float32,
    underflow,
    vectors_array,
    widened,
)
from elodin_spark.neighbors.files import existing, load_faiss, read_faiss, written_whole
from elodin_spark.neighbors.gpu import MOST_ON_GPU, on_gpus

_QUERIES_AT_ONCE = 1024
_ROWS_AT_ONCE_BYTES = 2 << 20  # of float32: they stay in the cache
_MARGIN = 16  # candidates beyond k in the first scan
_WIDER = 16  # times more in the second
_FEW = 2  # queries
_COPIED_AT_ONCE = 4096  # vectors


class L2Index:
    """All vectors of a catalog, searched exhaustively.

    Made by :meth:`build` or :meth:`load`, never changed afterwards. An
    :class:`~elodin_spark.neighbors.base.Index`.

    Parameters
    ----------
    index : faiss.IndexIDMap2
        Over a ``faiss.IndexFlatL2``.
    source : str, optional
        What to call it in messages.

    Raises
    ------
    CatalogError
        `index` is of another kind, or holds an ID twice.
    """

    def __init__(self, index: Any, source: str = "the L2 index") -> None:
        import faiss

        flat = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap2) else None
        if not isinstance(flat, faiss.IndexFlatL2):
            raise CatalogError(
                f"{source} is a FAISS {type(index).__name__}, not an exact L2 index: rebuild it"
            )
        ids = faiss.vector_to_array(index.id_map)
        if ids.size != flat.ntotal:
            raise CatalogError(f"{source} holds {flat.ntotal} vectors but {ids.size} IDs: rebuild it")
        self._index = index  # owns the memory that _vectors looks into
        self._flat = flat
        self._ids: NDArray[np.int64] = ids
        self._lookup = IdLookup(ids, source)
        self._source = source
        self._allowed: L2Index | None = None
        shape = (ids.size, flat.d)
        self._vectors: NDArray[np.float32] = (
            faiss.rev_swig_ptr(flat.get_xb(), ids.size * flat.d).reshape(shape)
            if ids.size
            else np.empty(shape, np.float32)
        )

    @classmethod
    def build(
        cls,
        batches: Iterable[tuple[ArrayLike, ArrayLike]],
        dimension: int,
        *,
        expected: int | None = None,
        source: str = "the L2 index",
    ) -> L2Index:
        """Build from a stream of batches.

        Parameters
        ----------
        batches : iterable of (ids, vectors)
            `ids` int64, shape (n,); `vectors` float32, shape (n, dimension).
        dimension : int
            Components of a vector.
        expected : int, optional
            Number of vectors to come. Memory for that many is taken at once; without it the
            storage grows by doubling and for a moment holds the vectors up to three times.
        source : str, optional
            What to call the index in messages.

        Raises
        ------
        CatalogError
            A vector of another dimension, NaN or infinite, or an ID that occurs twice.
        """
        import faiss

        if dimension < 1:
            raise CatalogError(f"{source}: vectors need at least 1 component, got dimension {dimension}")
        flat = faiss.IndexFlatL2(dimension)
        if expected:
            flat.codes.resize(expected * dimension * 4)
            flat.codes.clear()
        index = faiss.IndexIDMap2(flat)
        for ids, vectors in batches:
            keys = ids_array(ids)
            rows = checked_vectors(vectors, dimension, source, keys)
            if len(keys):
                index.add_with_ids(rows, keys)
        return cls(index, source)

    @classmethod
    def load(cls, path: str | Path, *, without: ArrayLike | None = None) -> L2Index:
        """Read what :meth:`save` wrote.

        Parameters
        ----------
        path : str or Path
        without : array_like of int64, shape (m,), optional
            IDs to leave out; the file keeps them.

        Raises
        ------
        CatalogError
            The file is missing, truncated, or not such an index.
        """
        path = existing(path, "L2 index")
        index = read_faiss(path, "L2 index")
        left_out = ids_array(() if without is None else without)
        if left_out.size and hasattr(index, "id_map"):
            index.remove_ids(load_faiss().IDSelectorBatch(left_out))
        return cls(index, str(path))

    def save(self, path: str | Path) -> None:
        """Write a FAISS index file; it appears at `path` whole or not at all."""
        import faiss

        with written_whole(path) as temporary:
            faiss.write_index(self._index, str(temporary))

    def __len__(self) -> int:
        return len(self._lookup)

    @property
    def dimension(self) -> int:
        """Components of a vector."""
        return int(self._flat.d)

    @property
    def ids(self) -> NDArray[np.int64]:
        """All cutout IDs in ascending order, int64, shape (n,)."""
        return self._lookup.ids

    @property
    def rows(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """IDs, shape (n,), and vectors, shape (n, d), in the order of the index; not to be written to."""
        return self._ids, self._vectors

    def contains(self, ids: ArrayLike) -> NDArray[np.bool_]:
        """Whether each of `ids`, shape (m,), is indexed; bool, shape (m,)."""
        return self._lookup.contains(ids)

    def vectors_of(self, ids: ArrayLike) -> NDArray[np.float32]:
        """Return stored vectors.

        Parameters
        ----------
        ids : array_like of int64, shape (m,)

        Returns
        -------
        ndarray of float32, shape (m, d)

        Raises
        ------
        UnknownCutoutError
            An ID is not indexed.
        """
        return self._vectors[self._lookup.positions(ids)]

    @cached_property
    def lengths(self) -> NDArray[np.float64]:
        """Euclidean lengths of the vectors, in the order of :attr:`rows`; shape (n,)."""
        out = np.empty(len(self))
        step = max(1, _ROWS_AT_ONCE_BYTES // (4 * self.dimension))
        for start in range(0, len(self), step):
            wide = self._vectors[start : start + step].astype(np.float64)
            out[start : start + step] = np.sqrt(np.square(wide, out=wide).sum(axis=1))
        return out

    def compares_all(self, count: int) -> bool:
        """Whether so many cutouts are all compared: yes."""
        return True

    def blocks(self, allowed: ArrayLike | None = None) -> Iterator[L2Index]:
        """The index itself, or one of the allowed cutouts, which is kept for the next who asks for them."""
        if allowed is None:
            yield self
            return
        ids, index = held(self, allowed), self._allowed
        if index is None or not np.array_equal(index.ids, ids):
            parts = (ids[at : at + _COPIED_AT_ONCE] for at in range(0, ids.size, _COPIED_AT_ONCE))
            copied = ((some, self.vectors_of(some)) for some in parts)
            index = L2Index.build(copied, self.dimension, expected=ids.size, source=self._source)
            self._allowed = index
        yield index

    def search(self, queries: Queries, k: int, *, allowed: ArrayLike | None = None) -> Found:
        """Nearest cutouts, ordered by (Euclidean distance, not squared, ID), as Index says; exact."""
        vectors = query_vectors(self, queries, self._source)
        if not (np.abs(vectors).max(initial=0) <= LARGEST):
            raise CatalogError(f"a query vector holds NaN, infinity or values beyond {LARGEST:g}")
        (index,) = self.blocks(allowed)
        return index.nearest(vectors, min(checked_k(k), len(index)))

    def nearest(self, queries: NDArray[np.float32], k: int) -> Found:
        """The same of vectors, shape (q, d), that have been checked, and at most as many as there are."""
        ids = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k), np.float64)
        if k == 0:
            return ids, distances
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            block = queries[start : start + _QUERIES_AT_ONCE]
            for row, (positions, exact) in enumerate(self._candidates(block, k), start):
                near = self._ids[positions]
                best = np.lexsort((near, exact))[:k]
                ids[row], distances[row] = near[best], exact[best]
        return ids, distances

    def _candidates(self, queries: NDArray[np.float32], k: int) -> list[Found]:
        """Every vector at most as far as the k-th nearest: (positions, distances) of each query."""
        found: list[Found] = [(np.empty(0, np.int64), np.empty(0))] * len(queries)
        kth = np.full(len(queries), np.inf)
        pending = np.arange(len(queries))
        for fetched in (k + max(_MARGIN, k // 2), _WIDER * (k + _MARGIN)):
            fetched = min(fetched, len(self))
            approximate, positions = self._scan(queries[pending], fetched)
            cut = []
            for at, row in enumerate(pending):
                # The k-th of any candidates bounds the true k-th distance from above. Whatever is
                # as near as that has an approximate squared distance within `reach`; FAISS left
                # out only what it believes farther than its last.
                reach = kth[row] ** 2 + _expansion_error(queries[row], kth[row])
                some = positions[at][approximate[at] <= reach]
                exact = exact_distances(queries[row], self._vectors, some)
                kth[row] = np.partition(exact, k - 1)[k - 1]
                reach = kth[row] ** 2 + _expansion_error(queries[row], kth[row])
                found[row] = (some, exact)
                if fetched < len(self) and approximate[at, -1] <= reach:
                    cut.append(row)
            pending = np.array(cut, dtype=np.int64)
            if pending.size <= _FEW:
                break  # for so few, the exact scan costs no more than a wider one
        for row, positions in zip(pending, self._within(queries[pending], kth[pending]), strict=True):
            found[row] = (positions, exact_distances(queries[row], self._vectors, positions))
        return found

    @cached_property
    def _on_gpus(self) -> Any:
        return on_gpus(self._flat)  # with the first search: whoever builds an index need not search it

    def _scan(
        self, queries: NDArray[np.float32], fetched: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Squared distances as FAISS gives them and positions, nearest first, shape (q, fetched)."""
        on_cpu = fetched > MOST_ON_GPU or self._on_gpus is None
        distances, positions = (self._flat if on_cpu else self._on_gpus).search(queries, fetched)
        return distances, positions

    def _within(
        self, queries: NDArray[np.float32], distances: NDArray[np.float64]
    ) -> list[NDArray[np.int64]]:
        """Positions of all vectors at most ``distances[i]`` from query i, and perhaps of a few more.

        Sums squared differences, whose rounding error is relative to the distance itself: for
        vectors much nearer to each other than to the origin, and for ties of any size.
        """
        limits = widened(distances**2, self.dimension)
        parts: list[list[NDArray[np.int64]]] = [[] for _ in queries]
        step = max(1, _ROWS_AT_ONCE_BYTES // (4 * self.dimension))
        squared = np.empty(step, np.float32)
        for start in range(0, len(self), step):
            rows = self._vectors[start : start + step]
            for query, limit, part in zip(queries, limits, parts, strict=True):
                part.append(np.flatnonzero(squared_float32(query, rows, squared) <= limit) + start)
        return [np.concatenate(part) for part in parts]


class VectorIndex(Index, Protocol):
    """What indices of vectors have in common, all of them in memory or not."""

    @property
    def dimension(self) -> int:
        """Components of a vector."""
        ...

    def vectors_of(self, ids: ArrayLike) -> NDArray[np.float32]:
        """Stored vectors of cutouts, shape (m, d); UnknownCutoutError where one is not indexed."""
        ...

    def compares_all(self, count: int) -> bool:
        """Whether a search compares all of so many cutouts that it may answer with."""
        ...

    def blocks(self, allowed: ArrayLike | None = None) -> Iterator[L2Index]:
        """All stored vectors, or those of allowed cutouts, in exact indices one after the other."""
        ...


def query_vectors(index: VectorIndex, queries: Queries, source: str) -> NDArray[np.float32]:
    """The vectors of queries, shape (q, d).

    Raises
    ------
    UnknownCutoutError
        One is not indexed.
    CatalogError
        Those from outside are of another dimension.
    """
    if isinstance(queries, ExternalQueries):
        return vectors_array(queries.vectors, index.dimension, source)
    return index.vectors_of(queries)


def nearest_of_parts(parts: Iterable[Found], queries: int, k: int) -> Found:
    """The `k` of least (distance, ID) for each query, of those found in several parts.

    Parameters
    ----------
    parts : iterable of (ids, distances), each of shape (q, up to k)
    queries : int
        q.
    k : int
    """
    ids, distances = np.empty((queries, 0), np.int64), np.empty((queries, 0), np.float64)
    for near, far in parts:
        ids, distances = np.hstack([ids, near]), np.hstack([distances, far])
        order = np.lexsort((ids, distances), axis=-1)[:, :k]
        ids = np.take_along_axis(ids, order, axis=1)
        distances = np.take_along_axis(distances, order, axis=1)
    return ids, distances


def _expansion_error(query: NDArray[np.float32], distance: float) -> float:
    """Largest error of FAISS's squared distance between `query` and a vector at most `distance` away.

    FAISS may expand ||x||^2 - 2xy + ||y||^2 in float32, or sum squared differences, which is
    no worse. In any order of summation each of the three terms is off by at most gamma_n times
    the sum of its absolute products, together by gamma_n (||x|| + ||y||)^2, and
    ||y|| <= ||x|| + distance.
    """
    norm = float(np.linalg.norm(query.astype(np.float64)))
    return gamma(query.size) * (2 * norm + distance) ** 2 + underflow(query.size)
