"""Lists of cutouts and answers as files to download."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elodin_spark.catalog.search.neighbors import Neighbors
from elodin_spark.errors import InputError
from elodin_spark.schema import CUTOUTS

#: Format to extension and media type.
FORMATS = {
    "csv": (".csv", "text/csv; charset=utf-8"),
    "ecsv": (".ecsv", "text/plain; charset=utf-8"),
    "votable": (".vot", "application/x-votable+xml"),
    "fits": (".fits", "application/fits"),
    "parquet": (".parquet", "application/vnd.apache.parquet"),
}


def checked_format(name: str | None) -> str:
    """The format that was asked for; InputError where it is none."""
    if name not in FORMATS:
        raise InputError(f"format is one of {', '.join(FORMATS)}; got {str(name)[:50]!r}")
    return name


def answer_file(found: Neighbors, name: str) -> bytes:
    """An answer as a file of one of :data:`FORMATS`."""
    with TemporaryDirectory(prefix="elodin-explore-") as folder:
        return found.write(Path(folder) / f"neighbors{FORMATS[name][0]}").read_bytes()


def cutouts_file(rows: pa.Table, name: str) -> bytes:
    """Rows of the table of cutouts as a file; structs are columns of their own, maps and lists are texts.

    Parameters
    ----------
    rows : pyarrow.Table
        Columns of :data:`elodin_spark.schema.CUTOUTS` and `image`.
    name : str
        One of :data:`FORMATS`.
    """
    import pyarrow.parquet as pq

    with TemporaryDirectory(prefix="elodin-explore-") as folder:
        file = Path(folder) / f"cutouts{FORMATS[name][0]}"
        if name == "parquet":
            pq.write_table(rows, file)
        elif name == "csv":
            import pyarrow.csv

            pyarrow.csv.write_csv(_flat(rows), file)
        else:
            table = _astropy(_flat(rows), as_bytes=name == "fits")
            kinds = {"ecsv": "ascii.ecsv", "votable": "votable", "fits": "fits"}
            table.write(file, format=kinds[name], overwrite=True)
        return file.read_bytes()


def _flat(rows: pa.Table) -> pa.Table:
    arrays: dict[str, Any] = {}
    for field in rows.schema:
        column = rows.column(field.name)
        if pa.types.is_struct(field.type):
            for inner in field.type:
                arrays[f"{field.name}_{inner.name}"] = pc.struct_field(column, inner.name)
        elif pa.types.is_map(field.type) or pa.types.is_list(field.type):
            arrays[field.name] = pa.array([_text(value) for value in column.to_pylist()], pa.string())
        else:
            arrays[field.name] = column
    return pa.table(arrays)


def _text(value: Any) -> str | None:
    """Entries of a map as ``name:value``, separated by semicolons, as lists are."""
    if value is None:
        return None
    return ";".join(":".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in value)


def _astropy(rows: pa.Table, as_bytes: bool) -> Any:
    from astropy.table import MaskedColumn, Table

    found = Table()
    for field in rows.schema:
        column = rows.column(field.name)
        values: Any
        if pa.types.is_floating(field.type):
            values = column.cast(pa.float64()).to_numpy()
        elif pa.types.is_integer(field.type):
            # As they are: floats would not hold a HEALPix pixel.
            values = column.fill_null(0).to_numpy()
            if column.null_count:
                values = MaskedColumn(values, mask=column.is_null().to_numpy())
        elif pa.types.is_boolean(field.type) and not column.null_count:
            values = column.to_numpy(zero_copy_only=False).astype(bool)
        else:
            texts = ["" if value is None else str(value) for value in column.to_pylist()]
            values = np.array(texts, dtype=str)
            if as_bytes:  # texts of FITS are ASCII
                values = np.char.encode(values, "utf-8")
        found[field.name] = values
        about = (CUTOUTS.field(field.name).metadata or {}) if field.name in CUTOUTS.names else {}
        unit = about.get(b"unit", b"").decode()
        found[field.name].unit = {"px": "pix", "that of the image": None}.get(unit, unit) or None
        found[field.name].description = about.get(b"meaning", b"").decode() or None
    return found
