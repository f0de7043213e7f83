"""Bytes of a table on disk, from a few of its rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyarrow as pa

from elodin_spark.spark.tablefiles import table_writer


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
        """Of so many rows in so many files."""
        return math.ceil(self.per_row * rows + self.per_file * files)


def file_bytes(rows: pa.Table) -> int:
    """Of one file with just these rows."""
    return _written(rows)


def measure_table(rows: pa.Table) -> TableSize:
    """Measure a table as a run writes it.

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
    sink = pa.BufferOutputStream()
    with table_writer(sink, rows.schema) as writer:
        writer.write_table(rows)
    return sink.getvalue().size
