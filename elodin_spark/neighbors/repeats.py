"""Cutouts known to show one source: left out of answers, or listed with the nearest of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.neighbors.base import Index, ids_array
from elodin_spark.neighbors.suppression import Windows


class Repeats:
    """Pairs of cutouts of one source, found by either; 32 bytes a pair.

    Parameters
    ----------
    id_a, id_b : array_like of int64, shape (n,)
        Cutouts of a pair, in any order.
    """

    def __init__(self, id_a: ArrayLike, id_b: ArrayLike) -> None:
        first, second = ids_array(id_a), ids_array(id_b)
        one, other = np.concatenate([first, second]), np.concatenate([second, first])
        order = np.lexsort((other, one))
        self._one, self._other = one[order], other[order]

    def of(self, cutout_id: int) -> NDArray[np.int64]:
        """Known repeats of a cutout, ascending, int64, shape (m,)."""
        start, end = np.searchsorted(self._one, [cutout_id, cutout_id + 1])
        return np.unique(self._other[start:end])

    def grouped(self, query: int | None, listed: Sequence[int], index: Index) -> list[NDArray[np.int64]]:
        """Repeats of listed neighbors: each with the first in the list that it is paired with.

        Parameters
        ----------
        query : int or None
            Never among them.
        listed : sequence of int
            Neighbors, nearest first, no two of them paired.
        index : L2Index or the like
            Only cutouts it holds.

        Returns
        -------
        list of ndarray of int64, shape (m,)
            Ascending.
        """
        taken = np.array([] if query is None else [query], np.int64)
        groups = []
        for cutout in listed:
            found = np.setdiff1d(self.of(cutout), taken)
            taken = np.union1d(taken, found)
            groups.append(found[index.contains(found)])
        return groups


@dataclass(frozen=True, eq=False)
class RepeatWindows:
    """Windows that stand in each other's way where they are repeats, beside what else does.

    As a :class:`~elodin_spark.neighbors.suppression.WindowTable` for
    :func:`~elodin_spark.neighbors.suppression.suppress_overlaps`.

    Parameters
    ----------
    ids : ndarray of int64, shape (n,)
    repeats : Repeats
    of_query : bool
        Whether repeats of the query are left out as well.
    windows : Windows or None, length n
        What else stands in the way; None for nothing.
    """

    ids: NDArray[np.int64]
    repeats: Repeats
    of_query: bool
    windows: Windows | None

    def __len__(self) -> int:
        return int(self.ids.size)

    def take(self, rows: ArrayLike) -> RepeatWindows:
        """Select the windows at `rows`."""
        windows = None if self.windows is None else self.windows.take(rows)
        return RepeatWindows(self.ids[np.asarray(rows)], self.repeats, self.of_query, windows)

    def overlaps(self, row: int, others: RepeatWindows) -> NDArray[np.bool_]:
        """Whether window `row` stands in the way of each of `others`, shape (m,)."""
        found = np.zeros(len(others), bool)
        # A query is never among the candidates that it is compared with.
        if self.of_query or (others.ids == self.ids[row]).any():
            found |= np.isin(others.ids, self.repeats.of(int(self.ids[row])))
        if self.windows is not None and others.windows is not None:
            found |= self.windows.overlaps(row, others.windows)
        return found
