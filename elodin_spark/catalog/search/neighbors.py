"""An answer: neighbors as rows, as a table, as a file, as a picture in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pyarrow as pa

from elodin_spark.catalog.build.typical import Typical
from elodin_spark.catalog.search.html import html_table, inline_picture
from elodin_spark.catalog.search.options import SearchOptions
from elodin_spark.catalog.search.query import ResolvedQuery
from elodin_spark.catalog.search.text import flat, neighbors_csv, neighbors_table
from elodin_spark.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from astropy.table import Table

_SHOWN, _LABELS_SHOWN = 20, 3
_PICTURED = 5  # cutouts that are asked with
_FORMATS = {".vot": "votable", ".xml": "votable", ".fits": "fits", ".ecsv": "ascii.ecsv"}

Row = dict[str, Any]
#: JPEG of cutouts, in the order of their IDs; None where none was kept.
Thumbnails = Callable[[Sequence[int]], Sequence[bytes | None]]


class Neighbors(Sequence[Row]):
    """The neighbors that a catalog found, nearest first: a sequence of rows, each a dict.

    Parameters
    ----------
    table : pyarrow.Table
        Of :data:`elodin_spark.schema.ANSWERS` and, where they were asked for, the columns of
        :data:`elodin_spark.schema.MORE_ANSWERS`.
    query : ResolvedQuery
        What was asked.
    options : SearchOptions
        How, with `k`.
    described : str, optional
        The backbone, weights and recipe of the catalog, in one line.
    typical : Typical, optional
        What distances are usual.
    thumbnails : callable, optional
        From cutout IDs to JPEGs, for notebooks.

    Examples
    --------
    >>> from elodin_spark import Catalog
    >>> catalog = Catalog.open("runs/mine")
    >>> found = catalog.neighbors(catalog.cutout_ids()[0], k=3)
    >>> [row["rank"] for row in found], found.to_pandas().shape[0]
    ([1, 2, 3], 3)
    """

    def __init__(
        self,
        table: pa.Table,
        query: ResolvedQuery,
        options: SearchOptions,
        described: str = "",
        typical: Typical | None = None,
        thumbnails: Thumbnails | None = None,
    ) -> None:
        self._table, self._thumbnails, self._typical = table, thumbnails, typical
        self.query, self.options, self.described = query, options, described

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, at: int) -> Row: ...

    @overload
    def __getitem__(self, at: slice) -> list[Row]: ...

    def __getitem__(self, at: int | slice) -> Row | list[Row]:
        return self._rows[at]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Neighbors):
            return bool(self._table.equals(other._table))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def _rows(self) -> list[Row]:
        return [_without_nulls(row) for row in self._table.to_pylist()]

    def to_arrow(self) -> pa.Table:
        """The table itself; units and meanings are in the metadata of its fields."""
        return self._table

    def to_pandas(self) -> pd.DataFrame:
        """As a DataFrame."""
        return self._table.to_pandas()

    def to_astropy(self) -> Table:
        """As a table of Astropy, whose columns have units; values that are not known are NaN.

        Lists are texts, their values separated by semicolons.
        """
        from astropy.table import Table

        found = Table()
        for field in self._table.schema:
            found[field.name] = _column(self._table.column(field.name), field, self._rows)
            about = field.metadata or {}
            unit = about.get(b"unit", b"").decode()
            found[field.name].unit = "pix" if unit == "px" else unit or None  # as FITS and VOTable spell it
            found[field.name].description = about.get(b"meaning", b"").decode() or None
        return found

    def write(self, path: str | Path) -> Path:
        """Write a file, in place of one that is there: units go with the columns, but for CSV.

        Parameters
        ----------
        path : str or Path
            ``.csv``, ``.ecsv``, ``.fits``, ``.vot`` or ``.parquet``.

        Returns
        -------
        Path

        Raises
        ------
        InputError
            Its extension is another, or it cannot be written there.
        """
        path = Path(path)
        kind = path.suffix.lower()
        if kind not in (".csv", ".parquet", *_FORMATS):
            raise InputError(f"{path.name} does not end in .csv, .ecsv, .fits, .vot or .parquet")
        if not path.parent.is_dir():
            raise InputError(f"there is no folder {path.parent} to write {path.name} to")
        try:
            self._write(path, kind)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be written: {error}") from None
        return path

    def _write(self, path: Path, kind: str) -> None:
        if kind == ".csv":
            path.write_text(neighbors_csv(self), encoding="utf-8")
        elif kind == ".parquet":
            import pyarrow.parquet as pq

            pq.write_table(self._table, path)
        else:
            table = self.to_astropy()
            if kind == ".fits":  # whose texts are ASCII
                for name in table.colnames:
                    if table[name].dtype.kind == "U":
                        table.replace_column(name, np.char.encode(table[name], "utf-8"))
            table.write(path, format=_FORMATS[kind], overwrite=True)

    def text(self) -> str:
        """For a terminal: a table of each query, with what is to be said of it."""
        return neighbors_table(self, self.query, self.options.metric, self.described, self._typical)

    def __repr__(self) -> str:
        more = f"\n and {len(self) - _SHOWN:,} more" if len(self) > _SHOWN else ""
        rows = self._rows[:_SHOWN]
        asked = ResolvedQuery(
            self.query.name, tuple(i for i in self.query.cutout_ids if not more or i in _asked(rows))
        )
        return neighbors_table(rows, asked, self.options.metric, self.described, self._typical) + more

    def _repr_html_(self) -> str:
        from elodin_spark.display.neighbors import DISTANCE_NAMES

        rows = self._rows[:_SHOWN]
        pictures = self._pictures([row["neighbor_id"] for row in rows])
        window, center = "window [x, y] (px)", "RA, Dec (deg)"
        head = ["rank", "", "neighbor_id", "distance", "image", window, center, "labels"]
        cells = [
            [
                str(row["rank"]),
                inline_picture(picture),
                str(row["neighbor_id"]),
                f"{row['distance']:.4g}",
                escape(row["image"]),
                f"[{row['x0']}:{row['x1']}, {row['y0']}:{row['y1']}]",
                "" if row["ra"] is None else f"{row['ra']:.6f}, {row['dec']:.6f}",
                escape(", ".join(row["labels"][:_LABELS_SHOWN])),
            ]
            for row, picture in zip(rows, pictures, strict=True)
        ]
        if self.options.explain:
            head = [*head, "shares"]
            shares = [
                ", ".join(f"{each['label']} {each['weight']:.2f}" for each in r["explain"]) for r in rows
            ]
            cells = [[*line, escape(text)] for line, text in zip(cells, shares, strict=True)]
        if len(self.query.cutout_ids) > 1:
            head = ["query_id", *head]
            cells = [[str(row["query_id"]), *line] for row, line in zip(rows, cells, strict=True)]
        more = f"<p>and {len(self) - _SHOWN:,} more</p>" if len(self) > _SHOWN else ""
        asked = "".join(map(inline_picture, self._pictures(self.query.cutout_ids[:_PICTURED])))
        about = f"nearest neighbors of {self.query.name} ({DISTANCE_NAMES[self.options.metric]})"
        title = f"<p>{asked}<br/>{escape(about)}<br/><small>{escape(self.described)}</small></p>"
        return f"{title}{html_table(head, cells)}{more}"

    def _pictures(self, cutout_ids: Sequence[int]) -> Sequence[bytes | None]:
        return [None] * len(cutout_ids) if self._thumbnails is None else self._thumbnails(cutout_ids)


def _asked(rows: Sequence[Row]) -> set[int]:
    return {row["query_id"] for row in rows}


def _without_nulls(row: Row) -> Row:
    """Shared labels with a name have nothing that they are like."""
    if row.get("explain") is None:
        return row
    return {**row, "explain": [{k: v for k, v in each.items() if v is not None} for each in row["explain"]]}


def _column(column: pa.ChunkedArray, field: pa.Field, rows: Sequence[Row]) -> np.ndarray:
    if pa.types.is_integer(field.type):
        return column.to_numpy()
    if pa.types.is_floating(field.type):
        return column.cast(pa.float64()).to_numpy()  # null is NaN
    return np.array([flat(field.name, row[field.name]) for row in rows], dtype=str)
