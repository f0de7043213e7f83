"""Index files appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elodin_spark.errors import CatalogError


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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
