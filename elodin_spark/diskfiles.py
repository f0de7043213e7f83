"""Files of our own on disk: made under names that nobody can plant, and known again by their checksums.

A Parquet file is known by its size, its number of rows, and CRC-32 checksums: of all of it, of its footer,
and of each column over all row groups. A reader of some columns checks only those and the footer.
"""

from __future__ import annotations

import json
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow.parquet as pq

_CHUNK = 1 << 20
_TAIL = 8  # length of the footer and "PAR1"
_CHECK = "crc32"  # in JSON files


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give an empty new file beside `path`; put it onto the disk and in the place of `path` in the end.

    Its name cannot be guessed, so no link is followed that somebody put there. It is removed where the block
    raises.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o666))
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with its checksum, whole or not at all, and onto the disk."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({**value, _CHECK: _json_crc(value)}, indent=1), encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read what :func:`write_json` wrote; one without a checksum is taken as it is.

    Raises
    ------
    OSError
        It cannot be read.
    ValueError
        It is no JSON object, or another one than was written.
    """
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    known = value.pop(_CHECK, None)
    if known is not None and known != _json_crc(value):
        raise ValueError("it was changed since it was written")
    return value


def _json_crc(value: Mapping[str, Any]) -> int:
    plain = {name: each for name, each in value.items() if name != _CHECK}
    return zlib.crc32(json.dumps(plain, sort_keys=True).encode())


def describe_file(path: Path) -> dict[str, Any]:
    """What is known of a finished Parquet file.

    Returns
    -------
    dict
        `bytes`, `rows`, `crc32`, `footer` (CRC-32) and `columns` (name to CRC-32), which JSON can hold.
    """
    metadata = pq.read_metadata(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        columns = {name: _crc(file, spans) for name, spans in _spans(metadata).items()}
        footer = _footer(file, size)
        whole = _crc(file, [(0, size)])
    counts = {"bytes": size, "rows": metadata.num_rows}
    return {**counts, "crc32": whole, "footer": footer, "columns": columns}


def damage_of(path: Path, known: Mapping[str, Any], columns: Iterable[str] | None = ()) -> str:
    """What is wrong with a file, in words; empty where nothing is.

    Parameters
    ----------
    path : Path
    known : mapping
        From :func:`describe_file`.
    columns : iterable of str or None, optional
        Of which all bytes are read and compared; None: all bytes of the file. Size and footer always are.
    """
    try:
        size = path.stat().st_size
        if size != known["bytes"]:
            return f"it has {size:,} bytes instead of {known['bytes']:,}"
        with path.open("rb") as file:
            if _footer(file, size) != known["footer"]:
                return "its footer is another one than was written"
            if columns is None:
                whole = _crc(file, [(0, size)]) == known["crc32"]
                return "" if whole else "its bytes are others than were written"
            names = list(columns)
            spans = _spans(pq.read_metadata(path)) if names else {}
            for name in names:
                if name in spans and _crc(file, spans[name]) != known["columns"].get(name):
                    return f"the bytes of its column {name} are others than were written"
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"
    return ""


def file_crc(path: Path) -> int:
    """CRC-32 of a whole file."""
    with path.open("rb") as file:
        return _crc(file, [(0, path.stat().st_size)])


def _footer(file: BinaryIO, size: int) -> int:
    file.seek(max(0, size - _TAIL))
    tail = file.read(_TAIL)
    length = min(size, int.from_bytes(tail[:4], "little") + _TAIL)
    return _crc(file, [(size - length, length)])


def _spans(metadata: pq.FileMetaData) -> dict[str, list[tuple[int, int]]]:
    """Where the bytes of each column are: (offset, length) in each row group."""
    found: dict[str, list[tuple[int, int]]] = {}
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(number)
            start = chunk.data_page_offset
            if chunk.has_dictionary_page:
                start = min(start, chunk.dictionary_page_offset)
            found.setdefault(chunk.path_in_schema.split(".")[0], []).append(
                (start, chunk.total_compressed_size)
            )
    return found


def _crc(file: BinaryIO, spans: Iterable[tuple[int, int]]) -> int:
    value = 0
    for start, length in spans:
        file.seek(start)
        while length > 0 and (content := file.read(min(_CHUNK, length))):
            value, length = zlib.crc32(content, value), length - len(content)
    return value
