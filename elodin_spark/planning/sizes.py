"""Bytes of a table on disk, from a few of its rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

#: Bytes of a file that Hadoop covers with one checksum of four bytes, in a ``.crc`` file beside it.
_CHECKED_BYTES = 512
_CHECKSUM_BYTES = 4
#: What Spark's writer says of a column in the footer beyond what Arrow's does, by comparison.
_FOOTER_BYTES = 40
#: Of the least and greatest value of a column together, beyond which neither is kept.
_LIMIT_BYTES = 4096
#: Of these two, kept in the page index.
_INDEXED_BYTES = 128
_SCHEMA_KEY = "org.apache.spark.sql.parquet.row.metadata"


@dataclass(frozen=True)
class TableSize:
    """What the rows and the files of a table cost.

    Attributes
    ----------
    per_row, per_file : float
        Bytes of a row, and of a file beside its rows.
    """

    per_row: float
    per_file: float

    def bytes(self, rows: float, files: int) -> int:
        """Of so many rows in so many files, with their checksums."""
        return _checked(self.per_row * rows + self.per_file * files)


def file_bytes(rows: pa.Table) -> int:
    """Of one file with just these rows, with its checksums."""
    return _checked(_written(rows))


def _checked(size: float) -> int:
    return math.ceil(size * (1 + _CHECKSUM_BYTES / _CHECKED_BYTES))


def measure_table(rows: pa.Table) -> TableSize:
    """Measure a table as Spark writes it: Parquet, Snappy, dictionaries where they pay.

    Parameters
    ----------
    rows : pyarrow.Table
        Some of it; none at all measures the file alone.

    Returns
    -------
    TableSize
    """
    whole, half = _written(rows), rows.num_rows // 2
    if not half:
        empty = _written(rows.slice(0, 0))
        return TableSize(whole - empty if rows.num_rows else 0.0, empty)
    # What the same rows cost more in two files: footer, page headers, dictionaries. Not of pictures,
    # whose bytes compress a little better or worse by chance.
    lean = pa.table(
        [
            pa.nulls(len(rows), field.type) if pa.types.is_binary(field.type) else rows.column(field.name)
            for field in rows.schema
        ],
        schema=rows.schema,
    )
    per_file = _written(lean.slice(0, half)) + _written(lean.slice(half)) - _written(lean)
    return TableSize((whole - per_file) / rows.num_rows, per_file)


def _written(rows: pa.Table) -> int:
    """Bytes of one file."""
    from elodin_spark.spark.tables import spark_schema

    # Spark keeps its own schema in the footer.
    texts = [field.name for field in rows.schema if _is_text(field.type)]
    limits = sum(_limits_bytes(rows.column(name)) for name in texts)
    bare = pa.schema([field.remove_metadata() for field in rows.schema])
    bare = bare.with_metadata({_SCHEMA_KEY: spark_schema(bare).json()})
    best: list[int] = []
    rest = 0
    for dictionary in (True, False):
        sink = pa.BufferOutputStream()
        pq.write_table(
            rows.cast(bare),
            sink,
            compression="snappy",
            use_dictionary=dictionary,
            write_statistics=[name for name in rows.column_names if name not in texts],
            store_schema=False,
            write_page_index=True,
        )
        written = sink.getvalue()
        meta = pq.read_metadata(pa.BufferReader(written))
        sizes = [0] * meta.num_columns
        for group in range(meta.num_row_groups):
            for i in range(meta.num_columns):
                sizes[i] += meta.row_group(group).column(i).total_compressed_size
        rest = len(written) - sum(sizes) + _FOOTER_BYTES * meta.num_columns
        best = [min(pair) for pair in zip(best or sizes, sizes, strict=True)]
    return sum(best) + rest + limits


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_string(kind)


def _limits_bytes(column: pa.ChunkedArray) -> int:
    """Of the least and greatest text: in the footer, unless they are long, and cut in the page index."""
    values = column.cast(pa.binary()).drop_null()
    if not len(values):
        return 0
    size = sum(len(end.as_py()) for end in pc.min_max(values).values())
    return _FOOTER_BYTES + min(size, _INDEXED_BYTES) + (size if size <= _LIMIT_BYTES else 0)
