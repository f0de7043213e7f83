"""Index files appear whole or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elodin_spark.diskfiles import replacing
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
