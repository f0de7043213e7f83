"""Rows to the Parquet files of a catalog's tables, written by the worker that makes them.

Through Spark, each vector would be turned number by number to a row of the JVM, be kept on disk until
all tables are written, and be turned again: more work than cutting.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from elodin_spark import schema
from elodin_spark.arrow import with_storage
from elodin_spark.config.transform import Storage
from elodin_spark.diskfiles import describe_file
from elodin_spark.stage import Locate, Stage

#: What the writing stage says of each file; by what it is known, see
#: :func:`~elodin_spark.diskfiles.describe_file`, is JSON.
WRITTEN = pa.schema([("table", pa.string()), ("file", pa.string()), ("known", pa.string())])

#: Table name to names of files to what they are known by.
Known: TypeAlias = dict[str, dict[str, dict[str, Any]]]

#: A row group is written when it has so many bytes: what a worker holds of a table.
GROUP_BYTES = 16 * 2**20

#: Columns whose values hardly ever repeat: a dictionary of them would cost more than it saves.
_UNLIKE = {
    *("cutout_id", "healpix", "ra", "dec", "sky", "sky_sigma", "haralick", "zernike", "thumbnail", "pixels"),
    *("vector", "label_scores"),
}


@dataclass(frozen=True)
class WriteTablesSpec:
    """Rows of ``schema.TILED`` or ``schema.FINGERPRINTED`` to files; one row a file comes out.

    Parameters
    ----------
    folders : tuple of (str, str)
        Table name and the folder for its files, which exists; a table that is not named is not
        written. Names of files are new at each attempt: only those that come out count.
    keep_pixels : bool
        Write the pixels beside the cutouts.
    storage : {"float32", "float16"}
        Of the vectors.
    """

    folders: tuple[tuple[str, str], ...]
    keep_pixels: bool = False
    storage: Storage = "float32"
    files: tuple[str, ...] = ()

    @property
    def output_schema(self) -> pa.Schema:
        """:data:`WRITTEN`."""
        return WRITTEN

    def build(self, locate: Locate) -> Stage:
        """Build the stage."""
        return _WriteTables(self)

    def columns(self, table: str) -> pa.Schema:
        """Columns of a table as they are written."""
        if table == "cutouts" and self.keep_pixels:
            return pa.schema([*schema.CUTOUTS, *schema.PIXELS])
        if table == "fingerprints":
            return with_storage(schema.FINGERPRINTS, self.storage)
        return schema.TABLES[table]


class _WriteTables:
    output_schema = WRITTEN

    def __init__(self, spec: WriteTablesSpec) -> None:
        self._spec = spec

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        name = f"{secrets.token_hex(8)}.parquet"
        tables = {
            table: _TableFile(Path(folder) / name, self._spec.columns(table))
            for table, folder in self._spec.folders
        }
        for batch in batches:
            for table, file in tables.items():
                file.add(rows_of(batch, table, file.columns))
        written = [
            (table, str(file.path), json.dumps(describe_file(file.path)))
            for table, file in tables.items()
            if file.close()
        ]
        yield pa.RecordBatch.from_arrays(
            [pa.array(column, pa.string()) for column in zip(*written, strict=True)] or [[], [], []],
            schema=WRITTEN,
        )


class _TableFile:
    """One Parquet file, begun with its first row."""

    def __init__(self, path: Path, columns: pa.Schema) -> None:
        self.path, self.columns = path, columns
        self._waiting: list[pa.RecordBatch] = []
        self._bytes = 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, rows: pa.RecordBatch) -> None:
        if rows.num_rows:
            self._waiting.append(rows)
            self._bytes += rows.nbytes
            if self._bytes >= GROUP_BYTES:
                self._flush()

    def _flush(self) -> None:
        if self._writer is None:
            self._writer = table_writer(self.path, self.columns)
        group = pa.Table.from_batches(self._waiting, schema=self.columns)
        self._writer.write_table(group, row_group_size=max(1, group.num_rows))
        self._waiting, self._bytes = [], 0

    def close(self, empty: bool = False) -> bool:
        """Write the rest, or a file without rows where `empty`; whether there is a file."""
        if self._waiting or (empty and self._writer is None):
            self._flush()
        if self._writer is not None:
            self._writer.close()
        return self._writer is not None


def table_writer(where: Path | pa.NativeFile, columns: pa.Schema) -> pq.ParquetWriter:
    """Writer of a file of a table: Parquet, Snappy, dictionaries where they pay."""
    return pq.ParquetWriter(where, columns, compression="snappy", use_dictionary=_repeating(columns))


@cache
def _repeating(columns: pa.Schema) -> list[str]:
    """Paths in Parquet of the columns that have dictionaries."""
    sink = pa.BufferOutputStream()
    pq.write_table(columns.empty_table(), sink)
    found = pq.read_metadata(pa.BufferReader(sink.getvalue())).schema
    paths = [found.column(i).path for i in range(len(found))]
    return [path for path in paths if path.split(".")[0] not in _UNLIKE]


def rows_of(batch: pa.RecordBatch, table: str, columns: pa.Schema) -> pa.RecordBatch:
    """Rows of one table among those that a run's stages give."""
    if table in ("images", "failures"):
        found = batch.column(table.removesuffix("s")).drop_null()
        return pa.RecordBatch.from_arrays(found.flatten(), schema=columns)
    marked = batch.column("cutout_id" if table == "cutouts" else "vector").is_valid()
    chosen = pa.RecordBatch.from_arrays([batch.column(name) for name in columns.names], schema=columns)
    return chosen if pc.all(marked).as_py() else chosen.filter(marked)


def gather(
    written: Sequence[tuple[str, str, str]], targets: Mapping[str, Path], spec: WriteTablesSpec
) -> Known:
    """Put the files of a batch where they belong.

    Parameters
    ----------
    written : sequence of (str, str, str)
        Rows of :data:`WRITTEN`, in the order of their partitions.
    targets : mapping of str to Path
        Folder of each table, which is made. Images and failures, of which there are few rows, become
        one file; where a table has no rows, there is an empty one.
    spec : WriteTablesSpec
        By which they were written.

    Returns
    -------
    dict
        Table name to names of its files to what they are known by.
    """
    found: Known = {}
    for table, folder in targets.items():
        files = [(Path(file), json.loads(known)) for name, file, known in written if name == table]
        folder.mkdir(parents=True, exist_ok=True)
        found[table] = {}
        if files and table not in ("images", "failures"):
            for number, (file, known) in enumerate(files):
                name = f"part-{number:05d}.parquet"
                file.replace(folder / name)
                found[table][name] = known
            continue
        whole = _TableFile(folder / "part-00000.parquet", spec.columns(table))
        for file, _ in files:
            for batch in pq.ParquetFile(file).iter_batches():
                whole.add(batch)
        whole.close(empty=True)
        found[table][whole.path.name] = describe_file(whole.path)
    return found
