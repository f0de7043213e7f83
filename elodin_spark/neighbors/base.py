"""What every index answers, and with what it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import CatalogError, InputError, UnknownCutoutError

_NAMED = 5  # IDs spelt out in a message

#: IDs, int64, and distances, float64, both of shape (q, k) or, of one query, (k,).
Found: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class ExternalQueries:
    """Queries that are no cutouts of an index; the first has the ID -1, the next -2, and so on.

    Attributes
    ----------
    vectors : ndarray of float32, shape (q, d)
    sets : list of q ndarrays of int32, or None
        Their labels, where they are known.
    """

    vectors: NDArray[np.float32]
    sets: Sequence[NDArray[np.int32]] | None = None

    @property
    def ids(self) -> NDArray[np.int64]:
        """Their IDs, int64, shape (q,); no cutout has a negative one."""
        return -1 - np.arange(len(self.vectors), dtype=np.int64)

    def take(self, rows: NDArray[np.int64]) -> ExternalQueries:
        """Those at some rows, shape (m,)."""
        return ExternalQueries(
            self.vectors[rows], None if self.sets is None else [self.sets[row] for row in rows]
        )


#: IDs of cutouts that are indexed, int64, shape (q,), or what is from outside.
Queries: TypeAlias = ArrayLike | ExternalQueries


class Index(Protocol):
    """Cutouts that can be asked for the nearest of them, whatever the metric."""

    def __len__(self) -> int: ...

    def contains(self, ids: ArrayLike) -> NDArray[np.bool_]:
        """Whether each of `ids`, shape (m,), is indexed; bool, shape (m,)."""
        ...

    def search(self, queries: Queries, k: int, *, allowed: ArrayLike | None = None) -> Found:
        """Nearest cutouts of queries, best first in a total order.

        The answer for a smaller `k` begins the answer for a larger one. A cutout finds itself, where it is
        allowed.

        Parameters
        ----------
        queries : array_like of int64, shape (q,), or ExternalQueries
        k : int
            Neighbors wanted; all ``n`` come back where `k` is larger.
        allowed : array_like of int64, shape (m,), optional
            IDs to answer with; those not indexed are ignored.

        Returns
        -------
        ids : ndarray of int64, shape (q, min(k, n))
            ``n`` counts the allowed ones where some are given.
        distances : ndarray of float64, shape (q, min(k, n))

        Raises
        ------
        UnknownCutoutError
            A query is not indexed.
        CatalogError
            An external query is of another dimension, not finite, or has labels that there are not.
        InputError
            `k` is below 1, or the metric cannot be asked with external queries.
        """
        ...


class IdLookup:
    """Finds the row of each ID by binary search; 16 bytes an ID, no Python objects.

    Parameters
    ----------
    ids : array_like of int64, shape (n,)
        The ID of each row, in row order.
    source : str
        What holds the rows, for messages: a path, or "the L2 index".

    Raises
    ------
    CatalogError
        An ID occurs twice: two windows collided, or one was added twice.
    """

    def __init__(self, ids: ArrayLike, source: str) -> None:
        self._order = np.argsort(ids, kind="stable").astype(np.int64, copy=False)
        self._sorted = np.asarray(ids, dtype=np.int64)[self._order]
        self._source = source
        twice = np.unique(self._sorted[1:][self._sorted[1:] == self._sorted[:-1]])
        if twice.size:
            raise CatalogError(
                f"collision in {source}: {twice.size} cutout ID(s) occur more than once ({some_ids(twice)}); "
                "the same image was added twice, or two windows hash to one ID: rebuild without the repeat"
            )

    def __len__(self) -> int:
        return int(self._sorted.size)

    @property
    def ids(self) -> NDArray[np.int64]:
        """All IDs in ascending order, int64, shape (n,), read-only."""
        view = self._sorted.view()
        view.flags.writeable = False
        return view

    def contains(self, ids: ArrayLike) -> NDArray[np.bool_]:
        """Whether each of `ids`, shape (m,), has a row; bool, shape (m,)."""
        return self._find(ids_array(ids))[1]

    def positions(self, ids: ArrayLike) -> NDArray[np.int64]:
        """Row of each ID.

        Parameters
        ----------
        ids : array_like of int64, shape (m,)

        Returns
        -------
        ndarray of int64, shape (m,)

        Raises
        ------
        UnknownCutoutError
            Naming some of the IDs that have no row.
        """
        wanted = ids_array(ids)
        at, known = self._find(wanted)
        if not known.all():
            raise unknown_cutouts(self._source, wanted[~known])
        return self._order[at]

    def _find(self, wanted: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        at = np.searchsorted(self._sorted, wanted).astype(np.int64, copy=False)
        known = at < self._sorted.size
        known[known] = self._sorted[at[known]] == wanted[known]
        return at, known


def held(index: Index, ids: ArrayLike) -> NDArray[np.int64]:
    """Those of `ids` that an index holds, ascending, each once; int64, shape (m,)."""
    distinct = np.unique(ids_array(ids))
    return distinct[index.contains(distinct)]


def ids_array(ids: ArrayLike) -> NDArray[np.int64]:
    """Check that `ids` is a 1-D array of integers and return it as int64.

    Raises
    ------
    CatalogError
        Another shape, or values that are not integers that fit int64.
    """
    array = np.asarray(ids)
    if array.size == 0 and array.ndim == 1:
        return np.empty(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu" or (array.dtype == np.uint64 and (array >> 63).any()):
        raise CatalogError(
            f"cutout IDs must be a 1-D array of int64, got {array.dtype} of shape {array.shape}"
        )
    return array.astype(np.int64, copy=False)


def checked_k(k: int) -> int:
    """Return `k` if it is a number of neighbors one can ask for.

    Raises
    ------
    InputError
        `k` is below 1.
    """
    if k < 1:
        raise InputError(f"k must be at least 1 neighbor, got {k}")
    return int(k)


def unknown_cutouts(source: str, ids: NDArray[np.int64]) -> UnknownCutoutError:
    """The error of asking `source` for cutouts it does not hold; IDs of shape (m,), repeats allowed."""
    return UnknownCutoutError(
        f"{source} holds no fingerprint of cutout {some_ids(np.unique(ids))}; "
        "take IDs from this catalog's cutouts table (cutouts that failed have no fingerprint)"
    )


def some_ids(ids: NDArray[np.int64]) -> str:
    """The first few IDs, and how many more there are, for a message."""
    named = ", ".join(str(i) for i in ids[:_NAMED])
    return named if ids.size <= _NAMED else f"{named} and {ids.size - _NAMED} more"
