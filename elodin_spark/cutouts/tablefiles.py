"""Tables in the files that archives give them in: text, IPAC, Parquet, VOTable and FITS."""

from __future__ import annotations

import csv
import gzip
import io
import re
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from elodin_spark.errors import InputError
from elodin_spark.redaction import remember_secrets

#: Delimiters of text tables, the likeliest first.
_DELIMITERS = ",;\t|"


#: Most bytes of a table, unpacked, that is read at once.
MAX_TABLE_BYTES = 2**31

#: Of a text file, bytes, in which the names of an IPAC table stand.
_IPAC_HEAD = 2**18


class Column(NamedTuple):
    """One column of a table.

    Attributes
    ----------
    values : pyarrow.Array
    unit : str or None
        As the file spells it.
    """

    values: pa.Array
    unit: str | None


def read_tables(path: str, storage_options: dict[str, Any] | None = None) -> list[dict[str, Column]]:
    """Read every table of a file.

    The kind of file is told by its content, gzip included: Parquet, VOTable, FITS, ECSV, IPAC, else
    text with commas, semicolons, tabs, bars or spaces, ``#`` lines being remarks.

    Parameters
    ----------
    path : str
        Local path or any URL that fsspec opens.
    storage_options : dict, optional
        Passed to fsspec.

    Returns
    -------
    list of dict of str to Column
        Columns by name, those of numbers and text with one value a row. A column whose UCD is
        ``pos.eq.ra;meta.main`` or ``pos.eq.dec;meta.main`` is there by that name as well. Of a column
        of astropy's SkyCoord, in whatever frame, there are ``<name>.ra`` and ``<name>.dec``, ICRS, deg.

    Raises
    ------
    InputError
        The file cannot be opened, or is no table of these kinds.
    """
    content = _content(path, storage_options)
    try:
        return _tables(content, path)
    except InputError:
        raise
    except Exception as error:  # the readers of four formats raise nearly anything
        raise InputError(f"the catalog {path} cannot be read as a table: {error}") from None


def _content(path: str, storage_options: dict[str, Any] | None) -> bytes:
    import fsspec

    remember_secrets(storage_options or {})
    try:
        with fsspec.open(path, "rb", **(storage_options or {})) as stream:
            content = _bounded(stream, path)
        if content[:2] != b"\x1f\x8b":
            return content
        with gzip.open(io.BytesIO(content)) as packed:
            return _bounded(packed, path)
    except (OSError, EOFError, ValueError, ImportError) as error:
        raise InputError(f"the catalog {path} cannot be opened, check its path: {error}") from None


def _bounded(stream: Any, path: str) -> bytes:
    content: bytes = stream.read(MAX_TABLE_BYTES + 1)
    if len(content) > MAX_TABLE_BYTES:
        raise InputError(
            f"the catalog {path} has more than {MAX_TABLE_BYTES} bytes, unpacked; give it as Parquet files"
        )
    return content


def _tables(content: bytes, path: str) -> list[dict[str, Column]]:
    """Every table of a file, as columns by name."""
    start = content[:512].lstrip()
    if content[:4] == b"PAR1":
        return [_from_parquet(content)]
    if content[:9] == b"SIMPLE  =":
        return _from_fits(content)
    if start[:5].lower() == b"<?xml" or start[:8].upper() == b"<VOTABLE":
        return _from_votable(content)
    if not start:
        raise InputError(f"the catalog {path} is empty")
    if start[:6] == b"# %ECS":
        from astropy.table import Table

        return [_from_astropy(Table.read(io.BytesIO(content), format="ascii.ecsv"))]
    if _is_ipac(content):
        from astropy.table import Table

        return [_from_astropy(Table.read(content.decode("utf-8", "replace"), format="ascii.ipac"))]
    return [_from_text(content)]


def _is_ipac(content: bytes) -> bool:
    """Whether text begins as an IPAC table: remarks after a backslash, then names between bars, then none."""
    lines = [line.rstrip() for line in content[:_IPAC_HEAD].splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(b"\\")]
    head = [line.startswith(b"|") and line.endswith(b"|") for line in lines]
    bars = next((i for i, is_head in enumerate(head) if not is_head), len(head))
    # Between bars stand the names, their types, units and nulls: 1 to 4 lines.
    return 1 <= bars <= 4


def _from_parquet(content: bytes) -> dict[str, Column]:
    from pyarrow import parquet

    table = parquet.read_table(io.BytesIO(content))
    if b"table_meta_yaml" in (table.schema.metadata or {}):  # written by astropy, which knows what it meant
        from astropy.table import Table

        return _from_astropy(Table.read(io.BytesIO(content), format="parquet"))
    columns = {}
    for field in table.schema:
        unit = (field.metadata or {}).get(b"unit")
        columns[field.name] = Column(_flat(table.column(field.name)), unit.decode() if unit else None)
    return columns


def _from_fits(content: bytes) -> list[dict[str, Column]]:
    from astropy.io import fits
    from astropy.table import Table

    from elodin_spark.images.sky import quiet

    with quiet(), fits.open(io.BytesIO(content)) as hdus:
        numbers = [i for i, hdu in enumerate(hdus) if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
        numbers = [i for i in numbers if not isinstance(hdus[i], fits.CompImageHDU)]
        return [_from_astropy(Table.read(hdus, hdu=i)) for i in numbers]


def _refuse_references(content: bytes) -> None:
    """Refuse a VOTable that names other files, or entities: astropy would fetch, read or unfold them."""
    from xml.parsers import expat

    def declared(*_: Any) -> None:
        raise InputError("the VOTable declares a document type or entities; save it again without them")

    def started(name: str, attributes: dict[str, str]) -> None:
        if name.rpartition(":")[2].upper() == "STREAM" and any(
            key.rpartition(":")[2].lower() == "href" for key in attributes
        ):
            raise InputError("the VOTable has its rows in another file (STREAM href); save it as one file")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = declared
    parser.EntityDeclHandler = declared
    parser.StartElementHandler = started
    parser.Parse(content, True)


def _from_votable(content: bytes) -> list[dict[str, Column]]:
    from astropy.io import votable

    from elodin_spark.images.sky import quiet

    _refuse_references(content)
    with quiet():
        parsed = votable.parse(io.BytesIO(content), verify="ignore")
        tables = [table.to_table(use_names_over_ids=True) for table in parsed.iter_tables()]
    return [_from_astropy(table) for table in tables]


def _from_astropy(table: Any) -> dict[str, Column]:
    from astropy.coordinates import SkyCoord

    columns: dict[str, Column] = {}
    for name in table.colnames:
        column = table[name]
        if getattr(column, "ndim", 1) != 1:
            continue
        if isinstance(column, SkyCoord):
            columns |= _from_skycoord(name, column)
            continue
        values = np.ma.getdata(np.ma.asarray(column)) if hasattr(column, "mask") else np.asarray(column)
        if values.dtype.kind not in "biufSUO":
            continue
        if values.dtype.kind in "SO":
            values = np.array(
                [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values], object
            )
        elif values.dtype.kind == "U":
            values = values.astype(object)
        else:
            values = values.astype(values.dtype.newbyteorder("="))
        mask = np.broadcast_to(np.ma.getmaskarray(column), values.shape) if hasattr(column, "mask") else None
        unit = None if getattr(column, "unit", None) is None else str(column.unit)
        ucd = str(getattr(column, "meta", {}).get("ucd", "")).lower()
        if ucd in ("pos.eq.ra;meta.main", "pos.eq.dec;meta.main"):
            columns.setdefault(ucd, Column(pa.array(values, mask=mask), unit))
        columns[name] = Column(pa.array(values, mask=mask), unit)
    return columns


def _from_skycoord(name: str, column: Any) -> dict[str, Column]:
    """Right ascension and declination, ICRS; NaN where a position is masked."""
    icrs = column.icrs
    found = {}
    for part in ("ra", "dec"):
        degrees = getattr(icrs, part).deg
        values = np.array(degrees.filled(np.nan) if hasattr(degrees, "filled") else degrees, np.float64)
        found[f"{name}.{part}"] = Column(pa.array(values), "deg")
    return found


def _from_text(content: bytes) -> dict[str, Column]:
    from pyarrow import csv as arrow_csv

    lines = [line for line in re.split(r"\r\n|\r|\n", content.decode("utf-8-sig", "replace")) if line.strip()]
    remarks = [line for line in lines if line.startswith("#")]
    lines = [line for line in lines if not line.startswith("#")]
    if remarks and not (lines and re.search("[A-DF-Za-df-z]", lines[0])):  # no letter but an exponent's
        lines.insert(0, remarks[-1].lstrip("# "))
    if not lines:
        return {}
    if not any(mark in lines[0] for mark in _DELIMITERS):
        lines = [",".join(line.split()) for line in lines]
    delimiter = max(_DELIMITERS, key=lambda mark: (lines[0].count(mark), -_DELIMITERS.index(mark)))
    header = [name.strip() for name in next(csv.reader([lines[0]], delimiter=delimiter))]
    if len(set(header)) < len(header):
        repeated = sorted({name for name in header if header.count(name) > 1})
        raise ValueError(f"columns {repeated} occur more than once")
    body = "\n".join(lines[1:]).encode()
    if not body:
        return {name: Column(pa.array([], pa.string()), None) for name in header}
    table = arrow_csv.read_csv(
        io.BytesIO(body),
        read_options=arrow_csv.ReadOptions(column_names=header),
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter),
        # Dates and such have no use here; as text they keep what they were.
        convert_options=arrow_csv.ConvertOptions(timestamp_parsers=["%Y"], strings_can_be_null=True),
    )
    return {name: Column(_flat(table.column(name)), None) for name in header}


def _flat(column: pa.ChunkedArray) -> pa.Array:
    flat = column.combine_chunks()
    return flat.dictionary_decode() if pa.types.is_dictionary(flat.type) else flat
