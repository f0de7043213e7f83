"""Plain arrays on disk, written row by row and read memory-mapped.

A file is a header of 4,096 bytes, one line of JSON padded with spaces, and then the rows in C
order, little-endian. The header says whose they are: the digest of the trained index.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import DTypeLike, NDArray

from elodin_spark.errors import CatalogError
from elodin_spark.neighbors.files import existing

_FORMAT = "elodin_spark array 1"
_HEADER = 4096  # a page, so that rows of a power of two do not straddle pages


class ArrayWriter:
    """Appends rows to a new file; the header is written when the block succeeds.

    Parameters
    ----------
    path : Path
        Must not exist yet.
    width : int
        Elements of a row.
    dtype : numpy dtype
    owner : str
        Digest of the trained index.
    """

    def __init__(self, path: Path, width: int, dtype: DTypeLike, owner: str) -> None:
        self._file = path.open("xb")
        self._file.write(b" " * _HEADER)
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._width = width
        self._owner = owner
        self.rows = 0

    def append(self, rows: NDArray) -> None:
        """Write rows, shape (n, width)."""
        if rows.ndim != 2 or rows.shape[1] != self._width:
            raise ValueError(f"rows of {self._width} elements expected, got shape {rows.shape}")
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)
        self.rows += len(rows)

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if kind is None:
                header = {"format": _FORMAT, "dtype": self._dtype.str, "shape": [self.rows, self._width]}
                self._file.seek(0)
                self._file.write(json.dumps({**header, "owner": self._owner}).encode())
                self._file.flush()
                os.fsync(self._file.fileno())


def open_array(path: Path, what: str, width: int, dtype: DTypeLike, owner: str) -> NDArray:
    """Memory-map what an :class:`ArrayWriter` wrote, read-only.

    Parameters
    ----------
    path : Path
    what : str
        For messages.
    width, dtype, owner
        As they must have been written.

    Returns
    -------
    ndarray, shape (n, width)

    Raises
    ------
    CatalogError
        The file is missing, truncated, of another kind or of another trained index.
    """
    path = existing(path, what)
    with path.open("rb") as file:
        head = file.read(_HEADER)
    try:
        header = json.loads(head)
        rows, columns = (int(size) for size in header["shape"])
        found = (header["format"], header["dtype"], columns)
    except (ValueError, KeyError, TypeError):
        raise CatalogError(f"{path} is not {what} of ours, or is damaged: build this shard again") from None
    wanted = np.dtype(dtype).newbyteorder("<")
    if header.get("owner") != owner:
        raise CatalogError(f"{path} belongs to another trained index or recipe: build this shard again")
    if found != (_FORMAT, wanted.str, width):
        raise CatalogError(
            f"{path} holds {found}, not {(_FORMAT, wanted.str, width)}: build this shard again"
        )
    size = _HEADER + rows * width * wanted.itemsize
    if path.stat().st_size != size:
        raise CatalogError(
            f"{path} is truncated or damaged: {path.stat().st_size:,} bytes instead of {size:,}; "
            "build this shard again"
        )
    if rows == 0:
        return np.empty((0, width), wanted)
    # A plain array over the mapping: slices of np.memmap cost microseconds each.
    mapped = np.memmap(path, wanted, "r", offset=_HEADER, shape=(rows, width))
    return mapped.view(np.ndarray)
