"""Neighbors by their labels among shards of label sets.

The distance of sets A and B is 1 - |A n B| / |A u B|. With sizes a and b and H labels in one set only (the
Hamming distance of their bit codes) it is 2H / (a + b + H). Numerators and denominators are small integers,
so that equal fractions are equal float64 and comparing distances is exact.

What is in the lists nearest to a query is compared exactly, whatever the sizes of the sets; which lists
these are follows from the centers alone. So answers do not depend on how sets are dealt to shards, and
with all lists, of which few sets need but one, they are exact.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

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
from elodin_spark.neighbors.distance import exact_distances
from elodin_spark.neighbors.files import load_faiss
from elodin_spark.neighbors.flat import VectorIndex, query_vectors
from elodin_spark.neighbors.labels.bitcodes import encode, set_sizes
from elodin_spark.neighbors.labels.clustering import LabelCenters, hamming
from elodin_spark.neighbors.labels.shard import LabelShard, Piece, rows_at, take

_EXACT_BELOW = 20_000  # allowed cutouts, which are all compared
_CHECKED_ON_OPENING = 4 << 20  # IDs
_QUERIES_AT_ONCE = 32
_TO_BEGIN = 4096  # sets of a piece, whose k-th nearest bounds that of all
_MOST_WIDENING = 64  # of the lists, for a filter

#: (query row, int64 IDs of shape (m,)) to distances of shape (m,), the smaller the better.
TieBreak: TypeAlias = Callable[[int, NDArray[np.int64]], NDArray[np.float64]]
#: Of a piece of a shard and (k, distance): which are among the k nearest in it and at most so far, and
#: perhaps a few more, and how far these are; float64, shape (m,).
_Compare: TypeAlias = Callable[[LabelShard, Piece, int, float], tuple[NDArray[np.int64], NDArray[np.float64]]]
#: Which distance: of the sets, or of the shares of their scores.
LabelMetric = Literal["jaccard", "label_scores"]


@dataclass(frozen=True, eq=False)
class LabelQueries:
    """What is compared with the sets of an index; see :meth:`LabelIndex.queries_of`.

    Attributes
    ----------
    codes : ndarray of uint8, shape (q, bytes)
        Bit codes of the sets.
    shares : tuple of ndarray, or None
        Labels, int64, and their shares of the scores, float64, both of shape (q, w): for the label distance.
    """

    codes: NDArray[np.uint8]
    shares: tuple[NDArray[np.int64], NDArray[np.float64]] | None = None

    def compare(self, n_labels: int) -> list[_Compare]:
        """How far the sets of a shard are from each query."""
        if self.shares is None:
            return [_Jaccard(code) for code in self.codes]
        return [_by_shares(*row, n_labels) for row in zip(*self.shares, strict=True)]


class LabelIndex:
    """Shards of label sets searched as one: an :class:`~elodin_spark.neighbors.base.Index`.

    Identical sets, empty ones included, have distance 0; an empty and a non-empty set 1.

    Parameters
    ----------
    centers : LabelCenters
    shards : iterable of LabelShard
    nprobe : int, optional
        Lists that a query is compared with; all by default, which is exact.

    Raises
    ------
    CatalogError
        An ID is in two shards (looked for up to 4 million sets).
    """

    def __init__(
        self, centers: LabelCenters, shards: Iterable[LabelShard], nprobe: int | None = None
    ) -> None:
        self.centers = centers
        self.shards = list(shards)
        self.nprobe = len(centers) if nprobe is None else min(max(1, nprobe), len(centers))
        ids = self.ids if len(self.shards) > 1 and len(self) <= _CHECKED_ON_OPENING else np.empty(0, np.int64)
        twice = np.unique(ids[1:][ids[1:] == ids[:-1]])
        if twice.size:
            raise CatalogError(
                f"collision: {twice.size} cutout ID(s) are in more than one shard of label sets "
                f"({some_ids(twice)}); the same cutouts were added twice: remove one of the shards"
            )

    @classmethod
    def open(
        cls,
        centers: str | Path,
        shards: Sequence[str | Path],
        *,
        nprobe: int | None = None,
        without: ArrayLike = (),
    ) -> LabelIndex:
        """Open centers and shards.

        Parameters
        ----------
        centers : str or Path
        shards : sequence of str or Path
        nprobe : int, optional
        without : array_like of int64, shape (m,), optional
            IDs to leave out.

        Raises
        ------
        CatalogError
            A file is missing or damaged, or a shard is of other centers.
        """
        known = LabelCenters.load(centers)
        return cls(known, [LabelShard(shard, known, without) for shard in shards], nprobe)

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)

    @property
    def n_labels(self) -> int:
        """Size of the universe."""
        return self.centers.n_labels

    @property
    def ids(self) -> NDArray[np.int64]:
        """All cutout IDs in ascending order, int64, shape (n,)."""
        return np.sort(np.concatenate([np.empty(0, np.int64), *(shard.ids for shard in self.shards)]))

    def contains(self, ids: ArrayLike) -> NDArray[np.bool_]:
        """Whether each of `ids`, shape (m,), is indexed; bool, shape (m,)."""
        return self._locate(ids_array(ids))[0] >= 0

    def label_counts(self) -> NDArray[np.int64]:
        """How many sets hold each label, int64, shape (n_labels,)."""
        return np.sum([np.zeros(self.n_labels, np.int64), *(s.counts for s in self.shards)], axis=0)

    def search(
        self,
        queries: Queries,
        k: int,
        *,
        allowed: ArrayLike | None = None,
        metric: LabelMetric = "jaccard",
        tie_break: TieBreak | None = None,
    ) -> Found:
        """Nearest cutouts, ordered by (distance, tie break, ID), as Index says.

        Parameters
        ----------
        queries, k, allowed
            See :class:`~elodin_spark.neighbors.base.Index`.
        metric : {'jaccard', 'label_scores'}, optional
            1 - Jaccard index of the sets; or the Euclidean distance of the scores of their labels,
            each divided by their sum, which is 0 for labels that a set does not hold.
        tie_break : callable, optional
            Second distance, asked once a query for the IDs whose distance is shared, including all that
            tie with the k-th. Without it, ties go by ID.

        Raises
        ------
        CatalogError
            The label distance is asked for, and scores were not kept; or as Index says.
        InputError
            Of external queries the label sets are not known, or the label distance is asked for.
        """
        return self.compare(self.queries_of(queries, metric), k, tie_break, allowed=allowed)

    def queries_of(self, queries: Queries, metric: LabelMetric = "jaccard") -> LabelQueries:
        """What a metric compares of queries; raises as :meth:`search`."""
        if isinstance(queries, ExternalQueries):
            if metric == "label_scores":
                raise InputError(
                    "the label distance compares cutouts of a catalog: ask with one, or by jaccard"
                )
            if queries.sets is None:
                raise InputError(
                    "a vector alone has no labels to compare: ask by l2 or cosine, or with an image"
                )
            return LabelQueries(encode(queries.sets, self.n_labels, "the query"))
        shard, row = self._locate(ids_array(queries))
        codes = self._codes_of(ids_array(queries))
        if metric == "jaccard" or not row.size:
            return LabelQueries(codes)
        found = [self.shards[s].shares([np.array([r])]) for s, r in zip(shard, row, strict=True)]
        width = max(labels.shape[1] for labels, _ in found)
        labels, shares = np.full((row.size, width), self.n_labels), np.zeros((row.size, width))
        for at, (some, parts) in enumerate(found):
            labels[at, : some.shape[1]], shares[at, : some.shape[1]] = some[0], parts[0]
        return LabelQueries(codes, (labels, shares))

    def compare(
        self,
        queries: LabelQueries,
        k: int,
        tie_break: TieBreak | None = None,
        *,
        allowed: ArrayLike | None = None,
    ) -> Found:
        """Nearest cutouts of queries; see :meth:`search`."""
        codes = queries.codes
        only = None if allowed is None else held(self, allowed)
        count = len(self) if only is None else only.size
        k = min(checked_k(k), count)
        ids = np.empty((len(codes), k), np.int64)
        distances = np.empty((len(codes), k), np.float64)
        if k == 0 or not len(codes):
            return ids, distances
        nprobe = self.nprobe
        if only is not None:
            nprobe = min(len(self.centers), math.ceil(nprobe * min(_MOST_WIDENING, len(self) / count)))
        every = nprobe >= len(self.centers) or (only is not None and only.size <= _EXACT_BELOW)
        if every and queries.shares is None and len(codes) > 1:
            answers = self._nearest_of_all(codes, k, only)
        else:
            near = None if every else self.centers.nearest(codes, nprobe)
            answers = self._nearest_of_each(queries, k, near, only)
        for row, found in enumerate(answers):
            best = ranked(row, *found, tie_break)[:k]
            ids[row], distances[row] = found[0][best], found[1][best]
        return ids, distances

    def _nearest_of_each(
        self,
        queries: LabelQueries,
        k: int,
        near: NDArray[np.int64] | None,
        only: NDArray[np.int64] | None,
    ) -> Iterator[Found]:
        for row, distance_to in enumerate(queries.compare(self.n_labels)):
            found = self._nearest(distance_to, k, None if near is None else near[row], only)
            if found[0].size < k:  # the lists nearest to this one hold fewer
                found = self._nearest(distance_to, k, None, only)
            yield found

    def _nearest_of_all(
        self, codes: NDArray[np.uint8], k: int, only: NDArray[np.int64] | None
    ) -> Iterator[Found]:
        """What :meth:`_nearest` finds of each set by Jaccard among all; many at once are compared faster."""
        pieces = [(shard, piece) for shard in self.shards for piece in shard.pieces(None, only)]
        blocks = [codes[first : first + _QUERIES_AT_ONCE] for first in range(0, len(codes), _QUERIES_AT_ONCE)]
        apart = _counted_ahead((block, *each) for block in blocks for each in pieces)
        for block in blocks:
            queries = [(_Jaccard(code), _Nearest(k)) for code in block]
            for (shard, piece), rows in zip(pieces, apart, strict=False):
                for (distance_to, nearest), row in zip(queries, rows, strict=True):
                    nearest.add(shard, piece, *distance_to.among(row, shard, piece, k, nearest.kth))
            yield from (nearest.found() for _, nearest in queries)

    def _nearest(
        self,
        distance_to: _Compare,
        k: int,
        lists: NDArray[np.int64] | None,
        only: NDArray[np.int64] | None,
    ) -> Found:
        """(IDs, distances) of all at most as far as the k-th nearest of some lists, or of all."""
        nearest = _Nearest(k)
        for shard in self.shards:
            for piece in shard.pieces(lists, only):
                nearest.add(shard, piece, *distance_to(shard, piece, k, nearest.kth))
        return nearest.found()

    def _locate(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Shard and row of each ID, shape (m,); -1 where it is in none."""
        shard, row = np.full((2, ids.size), -1, np.int64)
        for number, each in enumerate(self.shards):
            at = each.find(ids)
            shard[at >= 0], row[at >= 0] = number, at[at >= 0]
        return shard, row

    def _codes_of(self, ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        shard, row = self._locate(ids)
        if (shard < 0).any():
            raise unknown_cutouts("the index of label sets", ids[shard < 0])
        codes = np.empty((ids.size, self.centers.codes.shape[1]), np.uint8)
        for number in np.unique(shard):
            here = shard == number
            codes[here] = self.shards[number].codes[row[here]]
        return codes


@dataclass(frozen=True, eq=False)
class TieBroken:
    """Neighbors by labels, ordered by (their distance, Euclidean distance, ID): an Index.

    Parameters
    ----------
    index : LabelIndex
    by : L2Index or ApproximateL2Index
        Holds at least the cutouts of `index`.
    metric : {'jaccard', 'label_scores'}, optional
        See :meth:`LabelIndex.search`.
    """

    index: LabelIndex
    by: VectorIndex
    metric: LabelMetric = "jaccard"

    def __len__(self) -> int:
        return len(self.index)

    def contains(self, ids: ArrayLike) -> NDArray[np.bool_]:
        """Whether each of `ids`, shape (m,), is indexed; bool, shape (m,)."""
        return self.index.contains(ids)

    def search(self, queries: Queries, k: int, *, allowed: ArrayLike | None = None) -> Found:
        """Nearest cutouts, as :class:`~elodin_spark.neighbors.base.Index` says."""
        vectors = query_vectors(self.by, queries, "the index")

        def second(row: int, others: NDArray[np.int64]) -> NDArray[np.float64]:
            return exact_distances(vectors[row], self.by.vectors_of(others), np.arange(len(others)))

        return self.index.search(queries, k, allowed=allowed, metric=self.metric, tie_break=second)


def ranked(
    row: int, ids: NDArray[np.int64], distances: NDArray[np.float64], tie_break: TieBreak | None
) -> NDArray[np.int64]:
    """Order of some cutouts by (distance, tie break, ID).

    Parameters
    ----------
    row : int
        Of the query.
    ids : ndarray of int64, shape (m,)
    distances : ndarray of float64, shape (m,)
    tie_break : callable or None
        See :data:`TieBreak`; asked for those whose distance is shared.

    Returns
    -------
    ndarray of int64, shape (m,)
    """
    second = np.zeros(ids.size)
    if tie_break is not None:
        _, value, count = np.unique(distances, return_inverse=True, return_counts=True)
        tied = count[value] > 1
        if tied.any():
            second[tied] = tie_break(row, ids[tied])
    return np.lexsort((ids, second, distances))


def jaccard_distance(a: int, b: int | NDArray[Any], hamming: NDArray[Any]) -> NDArray[np.float64]:
    """Jaccard distances of a set of size `a` and sets of size `b` from their Hamming distances.

    Parameters
    ----------
    a : int
    b : int, or ndarray of integers, shape (m,)
    hamming : ndarray of integers, shape (m,), or any where `b` is one size

    Returns
    -------
    ndarray of float64, shape of `hamming`
        2H / (a + b + H); 0 between empty sets.
    """
    wide = hamming.astype(np.float64)
    return np.asarray(2 * wide / np.maximum(a + b + wide, 1))


class _Nearest:
    """What is at most as far from a query as the k-th nearest so far."""

    def __init__(self, k: int) -> None:
        self.kth = np.inf
        self._k = k
        self._ids: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        self._distances: list[NDArray[np.float64]] = [np.empty(0)]

    def add(self, shard: LabelShard, piece: Piece, near: NDArray[np.int64], far: NDArray[np.float64]) -> None:
        """Add the sets at some places of a piece of a shard, and how far they are."""
        if not near.size:
            return
        ids, distances = self._ids, self._distances
        ids.append(shard.row_ids[rows_at(piece, near)])
        distances.append(far)
        every, all_far = np.concatenate(ids), np.concatenate(distances)
        if all_far.size >= self._k:
            self.kth = float(np.partition(all_far, self._k - 1)[self._k - 1])
            near = np.flatnonzero(all_far <= self.kth)
            every, all_far = every[near], all_far[near]
        self._ids, self._distances = [every], [all_far]

    def found(self) -> Found:
        """IDs and distances."""
        return np.concatenate(self._ids), np.concatenate(self._distances)


def _counted_ahead(
    work: Iterable[tuple[NDArray[np.uint8], LabelShard, Piece]],
) -> Iterator[NDArray[np.int32]]:
    """Hamming distances of some codes and the sets of a piece; the next ones meanwhile, by a thread."""

    def count(codes: NDArray[np.uint8], shard: LabelShard, piece: Piece) -> NDArray[np.int32]:
        return hamming(codes, take(shard.codes, piece))

    if load_faiss().omp_get_max_threads() == 1:
        yield from (count(*each) for each in work)
        return
    with ThreadPoolExecutor(1, "elodin-labels") as thread:
        waiting: deque[Future[NDArray[np.int32]]] = deque()
        for each in work:
            waiting.append(thread.submit(count, *each))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class _Jaccard:
    """How far the sets of a shard are from one set: a :data:`_Compare`."""

    def __init__(self, code: NDArray[np.uint8]) -> None:
        self._code = code[np.newaxis]
        self._size = int(set_sizes(self._code)[0])

    def __call__(
        self, shard: LabelShard, piece: Piece, k: int, limit: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        return self.among(hamming(self._code, take(shard.codes, piece))[0], shard, piece, k, limit)

    def among(
        self, apart: NDArray[np.int32], shard: LabelShard, piece: Piece, k: int, limit: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Where the Hamming distances to the sets of the piece are known."""
        size = self._size
        if shard.size is None:
            far = jaccard_distance(size, take(shard.sizes, piece).astype(np.int64), apart)
            near = np.flatnonzero(far <= limit)
            return near, far[near]
        steps = jaccard_distance(size, shard.size, np.arange(size + shard.size + 1))
        farthest = int(np.searchsorted(steps, limit, side="right")) - 1
        some = apart[:_TO_BEGIN]
        if some.size > k:  # the k-th nearest of all are no farther than those of some
            farthest = min(farthest, int(np.partition(some, k - 1)[k - 1]))
        near = np.flatnonzero(apart <= farthest)
        return near, steps[apart[near]]


def _by_shares(labels: NDArray[np.int64], shares: NDArray[np.float64], n_labels: int) -> _Compare:
    """Sums squares of the labels of a row, and of those labels of the query that it lacks.

    Nothing is subtracted from sums, so equal rows are 0 apart.
    """
    whole = np.zeros(n_labels + 1)
    whole[labels] = shares
    whole[n_labels] = 0
    own = np.flatnonzero(whole)
    byte, bit = own // 8, (own % 8).astype(np.uint8)

    def distances(
        shard: LabelShard, piece: Piece, k: int, limit: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        theirs, parts = shard.shares(piece)
        lacking = ((take(shard.codes, piece)[:, byte] >> bit) & 1) == 0
        common = np.square(parts - whole[theirs]).sum(axis=1)
        far = np.sqrt(common + np.where(lacking, np.square(whole[own]), 0).sum(axis=1))
        near = np.flatnonzero(far <= limit)
        return near, far[near]

    return distances
