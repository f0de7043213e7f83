"""Cutouts that are the same picture: folded into the nearest of them in an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.neighbors.flat import L2Index
from elodin_spark.neighbors.ivf.index import ApproximateL2Index
from elodin_spark.neighbors.suppression import Windows

#: Vectors nearer to each other than this part of their length are those of one picture: the same pixels
#: give the same vector but for the rounding of the runtime and of half precision.
SAME = 0.005

_FIRST, _MOST = 32, 4096  # neighbors of a neighbor that are looked through for duplicates


def are_same(one: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether a vector, shape (d,), is the same as each of others, shape (n, d), but for rounding.

    A vector that is NaN is the same as none.
    """
    first, rest = one.astype(np.float64), others.astype(np.float64)
    apart = np.linalg.norm(rest - first, axis=1)
    return apart <= SAME * np.minimum(np.linalg.norm(first), np.linalg.norm(rest, axis=1))


@dataclass(frozen=True, eq=False)
class DuplicateWindows:
    """Windows that stand in each other's way where their vectors are the same, beside what else does.

    As a :class:`~elodin_spark.neighbors.suppression.WindowTable` for
    :func:`~elodin_spark.neighbors.suppression.suppress_overlaps`. The query stands in nobody's way: the
    nearest of its duplicates is a neighbor.

    Parameters
    ----------
    ids : ndarray of int64, shape (n,)
    vectors : ndarray of float32, shape (n, d)
        NaN where there is none.
    windows : Windows or None, length n
        What else stands in the way; None for nothing.
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    windows: Windows | None

    @classmethod
    def of(
        cls,
        ids: NDArray[np.int64],
        vectors_of: Callable[[ArrayLike], NDArray[np.float32]],
        windows: Windows | None,
    ) -> DuplicateWindows:
        """Of cutouts, and of queries from outside, which have negative IDs; ascending."""
        outside = int(np.searchsorted(ids, 0))
        vectors = vectors_of(ids[outside:])
        nowhere = np.full((outside, vectors.shape[1]), np.nan, np.float32)
        return cls(ids, np.concatenate([nowhere, vectors]), windows)

    def __len__(self) -> int:
        return int(self.ids.size)

    def take(self, rows: ArrayLike) -> DuplicateWindows:
        """Select the windows at `rows`."""
        at = np.asarray(rows)
        windows = None if self.windows is None else self.windows.take(at)
        return DuplicateWindows(self.ids[at], self.vectors[at], windows)

    def overlaps(self, row: int, others: DuplicateWindows) -> NDArray[np.bool_]:
        """Whether window `row` stands in the way of each of `others`, shape (m,)."""
        found = np.zeros(len(others), bool)
        if (others.ids == self.ids[row]).any():  # a query is never among its candidates
            found |= are_same(self.vectors[row], others.vectors)
        if self.windows is not None and others.windows is not None:
            found |= self.windows.overlaps(row, others.windows)
        return found


def folded_duplicates(
    query: int | None, listed: Sequence[int], index: L2Index | ApproximateL2Index
) -> list[NDArray[np.int64]]:
    """The duplicates of listed neighbors, each with the first in the list whose vector it has.

    Parameters
    ----------
    query : int or None
        Never among them.
    listed : sequence of int
        Neighbors, nearest first.
    index : L2Index or ApproximateL2Index

    Returns
    -------
    list of ndarray of int64, shape (m,)
        Ascending; of each neighbor up to 4,095.
    """
    taken = np.array([*([] if query is None else [query]), *listed], np.int64)
    groups = []
    for cutout in listed:
        found = np.setdiff1d(_duplicates(cutout, index), taken)
        taken = np.union1d(taken, found)
        groups.append(found)
    return groups


def _duplicates(cutout: int, index: L2Index | ApproximateL2Index) -> NDArray[np.int64]:
    (own,) = index.vectors_of([cutout])
    fetch = min(_FIRST, len(index))
    while True:
        (ids,), _ = index.search([cutout], fetch)
        same = are_same(own, index.vectors_of(ids))
        if not same[-1] or fetch == min(_MOST, len(index)):
            return ids[same & (ids != cutout)]
        fetch = min(fetch * 4, _MOST, len(index))
