"""Cutout IDs to rows of an index."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import CatalogError, InputError, UnknownCutoutError

_NAMED = 5  # IDs spelt out in a message


class HasCutouts(Protocol):
    """An index."""

    def contains(self, ids: ArrayLike) -> NDArray[np.bool_]:
        """Whether each of `ids`, shape (m,), is indexed; bool, shape (m,)."""


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


def held(index: HasCutouts, ids: ArrayLike) -> NDArray[np.int64]:
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
