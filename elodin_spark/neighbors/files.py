"""Index files appear whole or not at all; plain arrays are written row by row and read memory-mapped.

A file of an array is a header of 4,096 bytes, one line of JSON padded with spaces, and then the rows in C
order, little-endian. The header says whose they are: the digest of the trained index.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from elodin_spark.diskfiles import replacing
from elodin_spark.errors import CatalogError

_FORMAT = "elodin_spark array 1"
_HEADER = 4096  # a page, so that rows of a power of two do not straddle pages


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it to `path` when the block succeeds.

    Parameters
    ----------
    path : str or Path
        The file to write. Its folder must exist.

    Yields
    ------
    Path
        Where to write. Removed if the block raises.

    Raises
    ------
    CatalogError
        The folder is missing.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise CatalogError(f"cannot write {path}: there is no folder {path.parent}")
    with replacing(path) as temporary:
        yield temporary


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder beside `folder`; rename it to `folder` when the block succeeds.

    Raises
    ------
    CatalogError
        `folder` exists, or the folder it is to lie in does not.
    """
    if not folder.parent.is_dir():
        raise CatalogError(f"cannot write {folder}: there is no folder {folder.parent}")
    if folder.exists():
        raise CatalogError(f"{folder} is there already: a shard is written once; remove it to build it again")
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        try:
            temporary.rename(folder)
        except OSError:
            raise CatalogError(
                f"{folder} was written by another process meanwhile; this copy is dropped"
            ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def existing(path: str | Path, what: str) -> Path:
    """Return `path` as a Path.

    Raises
    ------
    CatalogError
        There is no file at `path`.
    """
    path = Path(path)
    if not path.is_file():
        raise CatalogError(f"no {what} at {path}: the catalog has not built it yet, or the path is wrong")
    return path


def load_faiss() -> Any:
    """FAISS, imported when it is first needed, and without its incomplete types."""
    import faiss

    return faiss


def read_faiss(path: Path, what: str = "index", flags: int = 0) -> Any:
    """Read an index file.

    Raises
    ------
    CatalogError
        It is truncated or not FAISS's.
    """
    try:
        return load_faiss().read_index(str(path), flags)
    except (RuntimeError, MemoryError) as error:
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise unreadable(path, what, reason[0][-200:]) from None


def unreadable(path: Path, what: str, reason: object) -> CatalogError:
    """The error of an index file that is damaged."""
    return CatalogError(
        f"{path} is not a readable {what} (truncated, or not ours): delete it and build it again [{reason}]"
    )


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    CatalogError
        It is missing or damaged.
    """
    try:
        record = json.loads(existing(path, what).read_text(encoding="utf-8"))
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise CatalogError(f"{path} is damaged: it is not the JSON of a {what}; build it again")
    return record


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
        raise CatalogError(
            f"{path} belongs to another trained index or configuration: build this shard again"
        )
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
