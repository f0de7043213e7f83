"""Windows that show the same pixels are not neighbors worth showing twice."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol, Self, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import CatalogError


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
