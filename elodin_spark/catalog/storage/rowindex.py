"""Where the rows of cutouts lie in the files of a table, so that a few are read without a scan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from elodin_spark.catalog.storage.pages import PlainChunk
from elodin_spark.errors import UnknownCutoutError
from elodin_spark.neighbors.base import ids_array, some_ids


class RowIndex:
    """From the IDs of cutouts to their rows in Parquet files; 16 bytes for each, and a footer for each file.

    Parameters
    ----------
    files : sequence of Path
        Of one table, with a column ``cutout_id``; rows are counted through all of them, in order.
    source : str
        What holds them, for messages.

    Raises
    ------
    OSError, pyarrow.ArrowInvalid
        A file is missing, or is none.
    """

    def __init__(self, files: Sequence[Path], source: str) -> None:
        self._source = source
        self._footers: list[tuple[Path, pq.FileMetaData]] = []
        self._groups: list[tuple[int, int]] = []  # file, and row group within it
        starts, ids = [0], [np.empty(0, np.int64)]
        for number, file in enumerate(files):
            with pq.ParquetFile(file) as opened:
                footer = opened.metadata
                self._footers.append((file, footer))
                column = opened.read(columns=["cutout_id"]).column("cutout_id")
            ids.append(column.to_numpy())
            for group in range(footer.num_row_groups):
                self._groups.append((number, group))
                starts.append(starts[-1] + footer.row_group(group).num_rows)
        self._chunks: dict[tuple[int, str], PlainChunk | None] = {}
        whole = np.concatenate(ids)
        self._starts = np.array(starts, np.int64)
        self._rows = np.argsort(whole, kind="stable")
        self._ids: NDArray[np.int64] = whole[self._rows]

    def __len__(self) -> int:
        return int(self._ids.size)

    @property
    def files(self) -> list[Path]:
        """The files, in order."""
        return [file for file, _ in self._footers]

    def empty_columns(self) -> set[str]:
        """Paths of columns that hold nothing but nulls, such as ``source.mag``, by statistics of files."""
        found: set[str] | None = None
        for number, group in self._groups:
            about = self._footers[number][1].row_group(group)
            if not about.num_rows:
                continue
            empty = set()
            for each in range(about.num_columns):
                column = about.column(each)
                known = column.statistics
                if known is not None and known.has_null_count and known.null_count == about.num_rows:
                    empty.add(column.path_in_schema)
            found = empty if found is None else found & empty
        return found or set()

    def rows_of(self, cutout_ids: ArrayLike) -> NDArray[np.int64]:
        """Rows of cutouts, counted through all files, int64, shape (n,); -1 of those that have none."""
        wanted = ids_array(cutout_ids)
        if not self._ids.size:
            return np.full(wanted.size, -1, np.int64)
        at = np.minimum(np.searchsorted(self._ids, wanted), self._ids.size - 1)
        return np.where(self._ids[at] == wanted, self._rows[at], -1)

    def read(self, cutout_ids: ArrayLike, columns: Sequence[str]) -> pa.Table:
        """Columns of cutouts, in the order of their IDs; of the files only the row groups that hold them.

        Parameters
        ----------
        cutout_ids : array_like of int64, shape (n,)
        columns : sequence of str

        Raises
        ------
        UnknownCutoutError
            One has no row.
        """
        wanted = ids_array(cutout_ids)
        return self.take(self._known_rows(wanted), columns)

    def read_bytes(self, cutout_ids: ArrayLike, column: str) -> list[bytes | None]:
        """Values of a column of bytes, in the order of the IDs: of the files only the pages that hold them.

        Parameters
        ----------
        cutout_ids : array_like of int64, shape (n,)
        column : str

        Raises
        ------
        UnknownCutoutError
            One has no row.
        ValueError
            A file is damaged.
        """
        wanted = ids_array(cutout_ids)
        rows = self._known_rows(wanted)
        found: list[bytes | None] = [None] * len(rows)
        for group, places in self._by_group(rows):
            number, within = self._groups[group]
            path, footer = self._footers[number]
            local = rows[places] - self._starts[group]
            with path.open("rb") as file:
                if (group, column) not in self._chunks:
                    self._chunks[group, column] = PlainChunk.of(file, footer, within, column)
                chunk = self._chunks[group, column]
                values: list[Any]
                if chunk is None:
                    values = self._group(group, [column]).column(column).take(pa.array(local)).to_pylist()
                else:
                    values = chunk.read(file, local.tolist())
            for place, value in zip(places.tolist(), values, strict=True):
                found[place] = value
        return found

    def take(self, rows: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Columns of rows, in their order."""
        if not len(rows):
            return self._nothing(columns)
        parts, order = [], []
        for group, places in self._by_group(rows):
            local = pa.array(rows[places] - self._starts[group])
            parts.append(self._group(group, columns).take(local))
            order.append(places)
        back = np.empty(len(rows), np.int64)
        back[np.concatenate(order)] = np.arange(len(rows))
        return pa.concat_tables(parts).select(list(columns)).take(pa.array(back))

    def _known_rows(self, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        rows = self.rows_of(wanted)
        if (rows < 0).any():
            raise UnknownCutoutError(f"{self._source} holds no cutout {some_ids(wanted[rows < 0])}")
        return rows

    def _by_group(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Row groups, and the places of those of `rows` that lie in each."""
        if not len(rows):
            return
        # An empty row group begins where the next one does; the last of these holds the row.
        group_of = np.searchsorted(self._starts, rows, side="right") - 1
        order = np.argsort(group_of, kind="stable")
        groups, firsts = np.unique(group_of[order], return_index=True)
        ends = [*firsts.tolist()[1:], len(order)]
        for group, first, end in zip(groups.tolist(), firsts.tolist(), ends, strict=True):
            yield group, order[first:end]

    def _group(self, group: int, columns: Sequence[str]) -> pa.Table:
        number, within = self._groups[group]
        file, footer = self._footers[number]
        with pq.ParquetFile(file, metadata=footer) as opened:
            return opened.read_row_group(within, columns=list(columns), use_threads=False)

    def _nothing(self, columns: Sequence[str]) -> pa.Table:
        """No rows, of the types that the files have."""
        known = self._footers[0][1].schema.to_arrow_schema() if self._footers else pa.schema([])
        kinds = {name: known.field(name).type if name in known.names else pa.null() for name in columns}
        return pa.table({name: pa.array([], kind) for name, kind in kinds.items()})
