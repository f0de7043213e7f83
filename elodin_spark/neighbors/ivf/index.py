"""Approximate Euclidean neighbors among more vectors than memory holds.

The codes of the lists nearest to a query give candidates; these are ranked by their stored
vectors in float64. Which lists are scanned, and a vector's code, follow from the trained index
alone, and candidates are cut by (approximate distance, ID) over all shards together, so answers
do not depend on how vectors are dealt to shards, on merges, or on mapping.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import CatalogError, InputError
from elodin_spark.neighbors.base import (
    ExternalQueries,
    Found,
    Queries,
    checked_k,
    held,
    ids_array,
    some_ids,
    unknown_cutouts,
)
from elodin_spark.neighbors.flat import L2Index, nearest_of_parts
from elodin_spark.neighbors.ivf.candidates import find_candidates, nearest_of
from elodin_spark.neighbors.ivf.shard import Shard
from elodin_spark.neighbors.ivf.training import Trained, omp_threads, training_record

_RANK_BYTES = 16 << 20  # of vectors decoded at once in a thread
_SCANNED_AT_ONCE = 256  # queries
_FOR_EACH_NEIGHBOR = 4  # candidates at least
_MOST_WIDENING = 64  # of the lists, for a filter
_IDS_AT_ONCE = 1 << 20
_CHECKED_ON_OPENING = 4 << 20  # IDs


@dataclass(frozen=True)
class Search:
    """How hard to search.

    Attributes
    ----------
    nprobe : int
        Inverted lists scanned for a query.
    candidates : int
        Vectors ranked exactly for a query; more where more neighbors are asked for.
    exact_below : int
        A filter that keeps at most so many cutouts is answered by comparing all of them.
    threads : int
    """

    nprobe: int
    candidates: int
    exact_below: int = 20_000
    threads: int = 1

    def __post_init__(self) -> None:
        if min(self.nprobe, self.candidates, self.threads) < 1 or self.exact_below < 0:
            raise InputError(f"nprobe, candidates and threads must be at least 1, got {self}")


class ApproximateL2Index:
    """Shards of one trained index, searched as one: an :class:`~elodin_spark.neighbors.base.Index`.

    Distances are those of the stored vectors (float16 or 8 bits, by configuration), in float64.

    Parameters
    ----------
    trained : Trained
    shards : iterable of Shard
    settings : Search

    Raises
    ------
    CatalogError
        An ID is in two shards (looked for on opening up to 4 million; :meth:`check` for more).
    """

    def __init__(self, trained: Trained, shards: Iterable[Shard], settings: Search) -> None:
        self.trained = trained
        self.shards = list(shards)
        self.settings = settings
        for shard in self.shards:
            if shard.trained.digest != trained.digest:
                raise CatalogError(
                    f"{shard.folder} belongs to another trained index or configuration: rebuild it"
                )
        if len(self) <= _CHECKED_ON_OPENING:
            self.check()

    @classmethod
    def open(
        cls,
        trained: str | Path,
        shards: Iterable[str | Path],
        *,
        nprobe: int | None = None,
        candidates: int | None = None,
        threads: int = 1,
        mapped: bool = False,
    ) -> ApproximateL2Index:
        """Open a trained index and its shards.

        Parameters
        ----------
        trained : str or Path
            The trained index.
        shards : iterable of str or Path
            Folders of shards.
        nprobe, candidates : int, optional
            See :class:`Search`; by default those of the configuration.
        threads : int, optional
        mapped : bool, optional
            Leave the codes on disk.

        Raises
        ------
        CatalogError
            A file is missing or damaged, a shard is of another trained index, or an ID occurs twice.
        """
        index = Trained.load(trained)
        record = training_record(trained)
        if record["digest"] != index.digest:
            raise CatalogError(f"{trained} and its training record do not belong together: train it again")
        settings = Search(
            nprobe=max(1, nprobe or record["nprobe"]),
            candidates=max(1, candidates or record["candidates"]),
            threads=threads,
        )
        return cls(index, [Shard(shard, index, mapped=mapped) for shard in shards], settings)

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)

    @property
    def dimension(self) -> int:
        """Components of a vector."""
        return self.trained.dimension

    @property
    def ids(self) -> NDArray[np.int64]:
        """All cutout IDs in ascending order, int64, shape (n,)."""
        return np.sort(np.concatenate([np.empty(0, np.int64), *(shard.ids for shard in self.shards)]))

    def check(self) -> None:
        """See that no ID is in two shards.

        Raises
        ------
        CatalogError
            Naming some that are.
        """
        if len(self.shards) < 2:
            return
        all_ids = [shard.ids for shard in self.shards]
        largest = max((int(ids[-1]) for ids in all_ids if ids.size), default=0)
        parts = math.ceil(sum(ids.size for ids in all_ids) / _IDS_AT_ONCE)
        for part in range(parts):
            some = np.sort(np.concatenate([_between(ids, part, parts, largest) for ids in all_ids]))
            twice = np.unique(some[1:][some[1:] == some[:-1]])
            if twice.size:
                raise CatalogError(
                    f"collision: {twice.size} cutout ID(s) are in more than one shard ({some_ids(twice)}); "
                    "the same vectors were added twice: remove one of the shards"
                )

    def contains(self, ids: ArrayLike) -> NDArray[np.bool_]:
        """Whether each of `ids`, shape (m,), is indexed; bool, shape (m,)."""
        return self._locate(ids_array(ids))[0] >= 0

    def vectors_of(self, ids: ArrayLike) -> NDArray[np.float32]:
        """Return stored vectors, as near to the given ones as the store keeps them.

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
        wanted = ids_array(ids)
        shard, row = self._locate(wanted)
        if (shard < 0).any():
            raise unknown_cutouts("the index", wanted[shard < 0])
        return self.trained.decode(self._stored(shard, row))

    def remove(self, ids: ArrayLike) -> int:
        """Mask cutouts at once, and for those who open the shards later; how many there were."""
        return sum(shard.remove(ids) for shard in self.shards)

    def compares_all(self, count: int) -> bool:
        """Whether a search compares all of so many cutouts that it may answer with."""
        return count <= self.settings.exact_below

    def blocks(self, allowed: ArrayLike | None = None) -> Iterator[L2Index]:
        """All stored vectors, or those of allowed cutouts, in exact indices one after the other."""
        only = None if allowed is None else held(self, allowed)
        for shard in self.shards:
            for some, stored in shard.blocks(only):
                if some.size:
                    yield L2Index.build([(some, self.trained.decode(stored))], self.dimension)

    def search(self, queries: Queries, k: int, *, allowed: ArrayLike | None = None) -> Found:
        """Nearest cutouts, ordered by (Euclidean distance, not squared, ID).

        As :class:`~elodin_spark.neighbors.base.Index` says.
        """
        if isinstance(queries, ExternalQueries):
            own, vectors = None, self.trained.checked(queries.vectors, "a query")
        else:
            own, vectors = ids_array(queries), self.vectors_of(queries)
        only = None if allowed is None else held(self, allowed)
        count = len(self) if only is None else only.size
        k = min(checked_k(k), count)
        wanted = max(self.settings.candidates, _FOR_EACH_NEIGHBOR * k)
        ids = np.empty((len(vectors), k), np.int64)
        distances = np.empty((len(vectors), k), np.float64)
        if k == 0 or not len(vectors):
            return ids, distances
        few = count <= wanted or (only is not None and self.compares_all(count))
        with omp_threads(self.settings.threads):
            if self.trained.exact or few:
                return self.scan(vectors, k, only)
            nprobe = min(self.trained.lists, self.settings.nprobe)
            if only is not None:
                widening = min(_MOST_WIDENING, len(self) / count)
                nprobe = min(self.trained.lists, math.ceil(nprobe * widening))
            short = []
            for start in range(0, len(vectors), _SCANNED_AT_ONCE):
                block = slice(start, start + _SCANNED_AT_ONCE)
                found = find_candidates(self.trained, self.shards, vectors[block], wanted, nprobe, only)
                if own is not None:
                    found = _with_own(found, own[block], only)
                ids[block], distances[block], enough = self._rank(vectors[block], found, k)
                short.append(start + np.flatnonzero(~enough))
            rows = np.concatenate(short)
            if rows.size:  # the lists nearest to these held fewer than k
                ids[rows], distances[rows] = self.scan(vectors[rows], k, only)
        return ids, distances

    def scan(self, queries: NDArray[np.float32], k: int, only: NDArray[np.int64] | None = None) -> Found:
        """Exact neighbors, by comparing all stored vectors, or those of some IDs, block by block.

        Parameters
        ----------
        queries : ndarray of float32, shape (q, d)
        k : int
            At most as many as there are.
        only : ndarray of int64, shape (m,), optional

        Returns
        -------
        ids, distances : ndarray of int64 and float64, shape (q, k)
        """
        parts = (block.nearest(queries, min(k, len(block))) for block in self.blocks(only))
        return nearest_of_parts(parts, len(queries), k)

    def _rank(
        self, queries: NDArray[np.float32], candidates: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
        """The nearest k candidates of each query by stored vectors, and whether there are so many."""
        ids = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k), np.float64)
        enough = (candidates >= 0).sum(axis=1) >= k
        step = max(1, _RANK_BYTES // (4 * self.dimension * candidates.shape[1]))

        def rank(start: int) -> None:
            rows = np.arange(start, min(start + step, len(queries)))
            rows = rows[enough[rows]]
            some = candidates[rows]
            shard, at = self._locate(some[some >= 0])
            if (shard < 0).any():
                raise CatalogError("codes and ID files of a shard do not belong together: build it again")
            with omp_threads(1):
                vectors = self.trained.decode(self._stored(shard, at))
            ends = np.cumsum((some >= 0).sum(axis=1))
            for row, end, keys in zip(rows, ends, some, strict=True):
                keys = keys[keys >= 0]
                near, exact = nearest_of(queries[row], keys, vectors[end - keys.size : end], k)
                ids[row], distances[row] = near, exact

        with ThreadPoolExecutor(self.settings.threads) as pool:
            list(pool.map(rank, range(0, len(queries), step)))
        return ids, distances, enough

    def _locate(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Shard and row of each ID, shape (m,); -1 where it is in none."""
        shard = np.full(ids.size, -1, np.int64)
        row = np.full(ids.size, -1, np.int64)
        for number, each in enumerate(self.shards):
            left = np.flatnonzero(shard < 0)
            at = each.find(ids[left])
            here = at >= 0
            shard[left[here]], row[left[here]] = number, at[here]
        return shard, row

    def _stored(self, shard: NDArray[np.int64], row: NDArray[np.int64]) -> NDArray[np.uint8]:
        out = np.empty((row.size, self.trained.row_bytes), np.uint8)
        for number in np.unique(shard):
            here = shard == number
            out[here] = self.shards[number].stored(row[here])
        return out


def _between(ids: NDArray[np.int64], part: int, parts: int, largest: int) -> NDArray[np.int64]:
    """The IDs, out of ascending ones, in one of equal parts of 0 .. largest."""
    low, high = (np.searchsorted(ids, largest * at // parts) for at in (part, part + 1))
    return ids[low:] if part + 1 == parts else ids[low:high]


def _with_own(
    candidates: NDArray[np.int64], own: NDArray[np.int64], only: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """Candidates with the query itself, which its code may have missed."""
    missed = ~(candidates == own[:, np.newaxis]).any(axis=1)
    if only is not None:
        missed &= np.isin(own, only)
    return np.column_stack([candidates, np.where(missed, own, -1)])
