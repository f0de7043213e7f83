"""Single values of a Parquet column of bytes, by reading the pages that hold them.

Arrow reads a whole column chunk for one value: of thumbnails some ten megabytes. A chunk is a row of pages,
each with a header that says how long it is and how many values it holds; of one that was written plainly
the page of a value is read alone. Whatever was written otherwise is left to Arrow.

The headers are of Thrift's compact protocol, see https://github.com/apache/parquet-format.
"""

from __future__ import annotations

import bisect
import struct
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

_HEADER_BYTES = 1 << 14  # more than a header has; smallest and largest values are in it
_DATA_PAGE, _DICTIONARY_PAGE, _PLAIN, _RLE = 0, 2, 0, 3
_CODECS = {"UNCOMPRESSED": None, "SNAPPY": "snappy", "ZSTD": "zstd", "GZIP": "gzip"}


class Page(NamedTuple):
    """Where a page is.

    Attributes
    ----------
    first : int
        Of its values, counted in the column chunk.
    start : int
        Of its content in the file.
    packed, bytes : int
        Of its content, before and after it is unpacked.
    """

    first: int
    start: int
    packed: int
    bytes: int


class PlainChunk:
    """A column chunk of bytes without nulls, of plain pages.

    Parameters
    ----------
    pages : list of Page
    codec : str or None
        That Arrow knows.
    leveled : bool
        Whether values may be null by the schema, so that pages begin with levels.
    """

    def __init__(self, pages: list[Page], codec: str | None, leveled: bool) -> None:
        self._pages, self._codec, self._leveled = pages, codec, leveled
        self._firsts = [page.first for page in pages]

    @classmethod
    def of(cls, file: BinaryIO, footer: pq.FileMetaData, group: int, column: str) -> PlainChunk | None:
        """The pages of a column in a row group; None where they are not plain.

        Parameters
        ----------
        file : file
            Open for reading.
        footer : pyarrow.parquet.FileMetaData
        group : int
        column : str
            Its path in the schema.
        """
        about = footer.row_group(group)
        number = next((i for i in range(about.num_columns) if about.column(i).path_in_schema == column), None)
        if number is None:
            return None
        chunk, kind = about.column(number), footer.schema.column(number)
        plain = (
            chunk.physical_type == "BYTE_ARRAY"
            and not chunk.has_dictionary_page
            and chunk.compression in _CODECS
            and chunk.statistics is not None
            and chunk.statistics.has_null_count
            and chunk.statistics.null_count == 0
            and kind.max_repetition_level == 0
            and kind.max_definition_level <= 1
        )
        if not plain:
            return None
        pages, at, first = [], chunk.data_page_offset, 0
        end = at + chunk.total_compressed_size
        try:
            while at < end and first < about.num_rows:
                file.seek(at)
                header, length = _read_struct(file.read(_HEADER_BYTES), 0)
                data = header[5]
                if header[1] != _DATA_PAGE or data[2] != _PLAIN or data[3] != _RLE:
                    return None
                pages.append(Page(first, at + length, header[3], header[2]))
                first += data[1]
                at += length + header[3]
        except (KeyError, IndexError, TypeError, struct.error):  # a header of another kind, or a damaged one
            return None
        if first != about.num_rows:
            return None
        return cls(pages, _CODECS[chunk.compression], kind.max_definition_level == 1)

    def read(self, file: BinaryIO, rows: list[int]) -> list[bytes]:
        """Values of some rows, in their order; each page is read once.

        Raises
        ------
        ValueError
            A page is not what its header says.
        """
        wanted: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            wanted.setdefault(bisect.bisect_right(self._firsts, row) - 1, []).append(place)
        found = [b""] * len(rows)
        for number, places in wanted.items():
            page = self._pages[number]
            file.seek(page.start)
            content: Any = file.read(page.packed)
            try:
                if self._codec is not None:
                    content = pa.decompress(content, page.bytes, codec=self._codec, asbytes=True)
                within = {rows[place] - page.first for place in places}
                values = self._values(content, within)
            except (struct.error, IndexError, OSError, pa.ArrowInvalid) as error:
                raise ValueError(f"a page is damaged: {error}") from None
            for place in places:
                found[place] = values[rows[place] - page.first]
        return found

    def _values(self, content: bytes, wanted: set[int]) -> dict[int, bytes]:
        at = 4 + int.from_bytes(content[:4], "little") if self._leveled else 0
        found, last = {}, max(wanted)
        for number in range(last + 1):
            (length,) = struct.unpack_from("<I", content, at)
            at += 4
            if number in wanted:
                if at + length > len(content):
                    raise IndexError("a value ends beyond it")
                found[number] = content[at : at + length]
            at += length
        return found


def _read_struct(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    """Fields of a struct by their numbers, and where it ends."""
    found: dict[int, Any] = {}
    number = 0
    while kind := data[at]:
        at += 1
        step, kind = kind >> 4, kind & 15
        if step:
            number += step
        else:
            number, at = _zigzag(data, at)
        found[number], at = _read_value(data, at, kind)
    return found, at + 1


def _read_value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (1, 2):  # true and false
        return kind == 1, at
    if kind == 3:
        return data[at], at + 1
    if kind in (4, 5, 6):
        return _zigzag(data, at)
    if kind == 7:
        return struct.unpack_from("<d", data, at)[0], at + 8
    if kind == 8:
        length, at = _varint(data, at)
        if at + length > len(data):
            raise IndexError("the header is longer than is read")
        return data[at : at + length], at + length
    if kind == 12:
        return _read_struct(data, at)
    raise KeyError(kind)  # lists and maps, which no page has


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at
