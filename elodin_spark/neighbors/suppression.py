"""What is left out of an answer: windows that share pixels, pictures that are the same, known repeats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol, Self, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import CatalogError
from elodin_spark.neighbors.base import Index, ids_array
from elodin_spark.neighbors.flat import VectorIndex

#: Vectors nearer to each other than this part of their length are those of one picture: the same pixels
#: give the same vector but for the rounding of the runtime and of half precision.
SAME = 0.005

_FIRST, _MOST = 32, 4096  # neighbors of a neighbor that are looked through for duplicates


@dataclass(frozen=True, eq=False)
class WindowTable:
    """Where cutouts lie: half-open boxes, ``x0 <= x < x1`` and ``y0 <= y < y1``, in px.

    Attributes
    ----------
    image_id : ndarray of int64, shape (n,)
    x0, y0, x1, y1 : ndarray of int64, shape (n,)
        First column, first row, one past the last column, one past the last row.

    Raises
    ------
    CatalogError
        The columns are not 1-D integers of one length.
    """

    image_id: NDArray[np.int64]
    x0: NDArray[np.int64]
    y0: NDArray[np.int64]
    x1: NDArray[np.int64]
    y1: NDArray[np.int64]

    def __post_init__(self) -> None:
        for field in fields(self):
            column = np.asarray(getattr(self, field.name))
            if column.ndim != 1 or (column.size and column.dtype.kind not in "iu"):
                raise CatalogError(
                    f"window column {field.name} must be 1-D integers, "
                    f"got {column.dtype} of shape {column.shape}"
                )
            object.__setattr__(self, field.name, column.astype(np.int64))
        if len({getattr(self, field.name).size for field in fields(self)}) != 1:
            raise CatalogError("window columns have different lengths")

    def __len__(self) -> int:
        return int(self.image_id.size)

    @classmethod
    def from_arrow(cls, table: pa.Table | pa.RecordBatch) -> WindowTable:
        """From the columns of those names in a cutouts table.

        Raises
        ------
        CatalogError
            A column is missing or holds nulls.
        """
        columns = {}
        for field in fields(cls):
            if field.name not in table.schema.names:
                raise CatalogError(
                    f"windows need a column {field.name!r}; this table has {table.schema.names}"
                )
            column = table.column(field.name)
            if column.null_count:
                raise CatalogError(
                    f"{column.null_count} windows have no {field.name}: the cutouts table is damaged"
                )
            columns[field.name] = column.to_numpy()
        return cls(**columns)

    def take(self, rows: ArrayLike) -> WindowTable:
        """Select the windows at `rows`: indices or a mask, as NumPy takes them."""
        at = np.asarray(rows)
        return WindowTable(*(getattr(self, field.name)[at] for field in fields(self)))

    def overlaps(self, row: int, others: WindowTable) -> NDArray[np.bool_]:
        """Whether window `row` shares pixels of the same image with each of `others`, shape (m,)."""
        return (
            (others.image_id == self.image_id[row])
            & (np.minimum(others.x1, self.x1[row]) > np.maximum(others.x0, self.x0[row]))
            & (np.minimum(others.y1, self.y1[row]) > np.maximum(others.y0, self.y0[row]))
        )


class Windows(Protocol):
    """Cutouts that may stand in each other's way, as :class:`WindowTable` does."""

    def __len__(self) -> int: ...

    def take(self, rows: ArrayLike) -> Self:
        """Select some."""
        ...

    def overlaps(self, row: int, others: Self) -> NDArray[np.bool_]:
        """Whether cutout `row` stands in the way of each of `others`."""
        ...


_W = TypeVar("_W", bound=Windows)


def suppress_overlaps(query: _W, candidates: _W, limit: int | None = None) -> NDArray[np.int64]:
    """Greedily keep candidates that overlap neither the query nor one kept before.

    Windows overlap where they share at least one pixel of the same image; windows of
    different images never do, and windows that only touch do not.

    Parameters
    ----------
    query : WindowTable, length 1
    candidates : WindowTable, length n
        Best first.
    limit : int, optional
        Stop when so many are kept.

    Returns
    -------
    ndarray of int64, shape (m,)
        Rows of the kept candidates, ascending: still best first.

    Raises
    ------
    CatalogError
        `query` is not one window.
    """
    if len(query) != 1:
        raise CatalogError(f"overlaps are suppressed for one query window at a time, got {len(query)}")
    free = ~query.overlaps(0, candidates)
    limit = len(candidates) if limit is None else limit
    kept: list[int] = []
    row = 0
    while len(kept) < limit and free[row:].any():
        row += int(np.argmax(free[row:]))
        kept.append(row)
        free &= ~candidates.overlaps(row, candidates)
        row += 1
    return np.array(kept, dtype=np.int64)


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

    As a :class:`WindowTable` for
    :func:`suppress_overlaps`. The query stands in nobody's way: the
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
    query: int | None, listed: Sequence[int], index: VectorIndex
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


def _duplicates(cutout: int, index: VectorIndex) -> NDArray[np.int64]:
    (own,) = index.vectors_of([cutout])
    fetch = min(_FIRST, len(index))
    while True:
        (ids,), _ = index.search([cutout], fetch)
        same = are_same(own, index.vectors_of(ids))
        if not same[-1] or fetch == min(_MOST, len(index)):
            return ids[same & (ids != cutout)]
        fetch = min(fetch * 4, _MOST, len(index))


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

    As a :class:`WindowTable` for
    :func:`suppress_overlaps`.

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
