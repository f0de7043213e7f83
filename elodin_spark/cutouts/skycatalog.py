"""Catalogs of sky positions: CSV, IPAC, Parquet, VOTable and FITS tables to ICRS degrees."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elodin_spark.cutouts.tablefiles import Column, read_tables
from elodin_spark.errors import InputError

log = logging.getLogger(__name__)

Unit = Literal["deg", "hourangle", "rad", "arcmin", "arcsec"]

#: Columns of positions, by common names in the order they are preferred; case does not matter.
POSITION_COLUMNS = (
    ("ra", "dec"),
    ("_raj2000", "_dej2000"),
    ("raj2000", "dej2000"),
    ("raj2000", "decj2000"),
    ("ra_icrs", "de_icrs"),
    ("ra_icrs", "dec_icrs"),
    ("_ra", "_de"),
    ("_ra.icrs", "_de.icrs"),
    ("ra_deg", "dec_deg"),
    ("radeg", "decdeg"),
    ("radeg", "dedeg"),
    ("ra_j2000", "dec_j2000"),
    ("alpha_j2000", "delta_j2000"),
    ("alphawin_j2000", "deltawin_j2000"),
    ("alphapeak_j2000", "deltapeak_j2000"),
    ("right_ascension", "declination"),
    ("rightascension", "declination"),
    ("coord_ra", "coord_dec"),
    ("ramean", "decmean"),
    ("rastack", "decstack"),
    ("ra_d", "dec_d"),
    ("s_ra", "s_dec"),
    ("plug_ra", "plug_dec"),
    ("target_ra", "target_dec"),
    ("objra", "objdec"),
    ("meanra", "meandec"),
    ("ra_rad", "dec_rad"),
    ("rarad", "decrad"),
    ("ra_radians", "dec_radians"),
)

#: Of these, the pairs that are radians where the file gives no unit and no value is too large for them:
#: ``coord_ra`` and ``coord_dec`` are Rubin's, of which some products are in degrees.
RADIAN_COLUMNS = (
    ("coord_ra", "coord_dec"),
    ("ra_rad", "dec_rad"),
    ("rarad", "decrad"),
    ("ra_radians", "dec_radians"),
)

#: Columns of names, likewise; one is taken only if no two rows share a value and none lacks it.
ID_COLUMNS = (
    "position_id",
    "id",
    "source_id",
    "sourceid",
    "object_id",
    "objectid",
    "objid",
    "obj_id",
    "targetid",
    "target_id",
    "designation",
    "name",
    "recno",
)

_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)"
_SEXAGESIMAL = (
    r"^\s*([-+\u2212]?)\s*(\d+)\s*([hd\u00b0:\s])\s*(\d+)\s*[m'\u2032:\s]\s*"
    rf"({_NUMBER})\s*(?:s|\"|\u2033|'')?\s*$"
)
_DEGREES_PER: dict[str, float] = {
    "deg": 1.0,
    "hourangle": 15.0,
    "rad": 180.0 / np.pi,
    "arcmin": 1.0 / 60.0,
    "arcsec": 1.0 / 3600.0,
}


class SkyCatalog(NamedTuple):
    """Positions of a catalog, and its rows that hold none.

    Attributes
    ----------
    positions : pyarrow.Table
        ``position_id`` (int64 or string, unique), ``ra``, ``dec`` (float64, ICRS, deg,
        ``0 <= ra < 360``), in the order of the file.
    refused : pyarrow.Table
        ``row`` (int64, from 0, without the header), ``position_id`` and ``reason`` (string).
    """

    positions: pa.Table
    refused: pa.Table


def read_positions(
    path: str,
    ra_column: str | None = None,
    dec_column: str | None = None,
    id_column: str | None = None,
    *,
    ra_unit: Unit | None = None,
    dec_unit: Unit | None = None,
    storage_options: dict[str, Any] | None = None,
) -> SkyCatalog:
    """Read the sky positions of a catalog.

    The kind of file is told by its content, see
    :func:`elodin_spark.cutouts.tablefiles.read_tables`; of several tables the first that has the
    columns is read. Coordinates are numbers in the unit that the file gives, degrees where it
    gives none (but see :data:`RADIAN_COLUMNS`), or sexagesimal text: hours for ``12:34:56.7`` and
    ``12h34m56.7s`` in right ascension, degrees for ``12d34m56.7s`` and in declination.

    Parameters
    ----------
    path : str
        Local path or any URL that fsspec opens.
    ra_column, dec_column : str, optional
        By default those of a SkyCoord of astropy (``coord.ra``, ``coord.dec``), then those of
        :data:`POSITION_COLUMNS`; in VOTables first those with the UCDs ``pos.eq.ra;meta.main`` and
        ``pos.eq.dec;meta.main``.
    id_column : str, optional
        By default one of :data:`ID_COLUMNS`; where there is none, the number of the row.
    ra_unit, dec_unit : {"deg", "hourangle", "rad", "arcmin", "arcsec"}, optional
        Instead of the unit in the file.
    storage_options : dict, optional
        Passed to fsspec.

    Returns
    -------
    SkyCatalog

    Raises
    ------
    InputError
        The file cannot be read; a column is missing (the message names those there are); a
        unit is not one of an angle; values of the ID column are repeated or missing.
    """
    tables = read_tables(path, storage_options)
    table, ra_name, dec_name = _choose(tables, path, ra_column, dec_column)
    if ra_unit is None and dec_unit is None and _in_radians(table, ra_name, dec_name):
        log.warning(
            "columns %s and %s of %s give no unit and are read as radians, by their names and values; "
            "call them ra and dec if they are degrees", ra_name, dec_name, path,
        )  # fmt: skip
        ra_unit = dec_unit = "rad"
    ra = _degrees(table[ra_name], ra_unit, path, ra_name, hours=True)
    dec = _degrees(table[dec_name], dec_unit, path, dec_name, hours=False)
    identities = _identities(table, path, id_column)
    reasons = _reasons(ra, dec)
    good = np.array([reason is None for reason in reasons], bool)
    longitude = np.mod(ra[good], 360.0)
    longitude[longitude == 360.0] = 0.0  # mod rounds a tiny negative angle up to the full circle
    positions = pa.table(
        {
            "position_id": identities.filter(pa.array(good)),
            "ra": pa.array(longitude),
            "dec": pa.array(dec[good]),
        }
    )
    rows = np.flatnonzero(~good)
    refused = pa.table(
        {
            "row": pa.array(rows, pa.int64()),
            "position_id": identities.take(pa.array(rows, pa.int64())).cast(pa.string()),
            "reason": pa.array([reasons[row] for row in rows], pa.string()),
        }
    )
    return SkyCatalog(positions, refused)


def _choose(
    tables: Sequence[dict[str, Column]], path: str, ra_column: str | None, dec_column: str | None
) -> tuple[dict[str, Column], str, str]:
    if not tables:
        raise InputError(f"the catalog {path} holds no table")
    for table in tables:
        by_name = {name.lower(): name for name in reversed(list(table))}
        pairs: tuple[tuple[str, str], ...] = (
            ("pos.eq.ra;meta.main", "pos.eq.dec;meta.main"),
            *_skycoords(table),
            *POSITION_COLUMNS,
        )
        if ra_column is not None or dec_column is not None:
            pairs = tuple((ra_column or ra, dec_column or dec) for ra, dec in pairs)
        for ra, dec in pairs:
            ra_name, dec_name = (n if n in table else by_name.get(n.lower()) for n in (ra, dec))
            if ra_name is not None and dec_name is not None:
                return table, ra_name, dec_name
    wanted = ", ".join(name for name in (ra_column, dec_column) if name) or "right ascension and declination"
    there = ", ".join(name for name in tables[0] if not name.startswith("pos.eq."))
    raise InputError(
        f"the catalog {path} has no columns of {wanted}; name them with ra_column and dec_column, of: {there}"
    )


def _skycoords(table: dict[str, Column]) -> Iterator[tuple[str, str]]:
    """Pairs of columns such as ``coord.ra`` and ``coord.dec``, in the order of the file."""
    for name in table:
        stem, dot, part = name.rpartition(".")
        if dot and part.lower() == "ra" and f"{stem}.{'DEC' if part.isupper() else 'dec'}" in table:
            yield name, f"{stem}.{'DEC' if part.isupper() else 'dec'}"


def _in_radians(table: dict[str, Column], ra: str, dec: str) -> bool:
    """Whether two columns without a unit are radians, see :data:`RADIAN_COLUMNS`."""
    import pyarrow.compute as pc

    if (ra.lower(), dec.lower()) not in RADIAN_COLUMNS:
        return False
    for name, largest in ((ra, 2 * np.pi), (dec, np.pi / 2)):
        values, unit = table[name]
        if (unit or "").strip() or not pa.types.is_floating(values.type):
            return False
        numbers = np.abs(pc.drop_null(values).to_numpy(zero_copy_only=False))
        numbers = numbers[np.isfinite(numbers)]
        if not numbers.size or numbers.max() > largest * (1 + 1e-6):
            return False
    return True


def _degrees(column: Column, unit: Unit | None, path: str, name: str, hours: bool) -> NDArray[np.float64]:
    """Values in deg; NaN where there is none."""
    values = column.values
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        given = (column.unit or "").strip("'\" ").lower()
        return _from_strings(values, unit or ("deg" if given.startswith("d") else None), hours)
    kinds = (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal, pa.types.is_null)
    if not any(kind(values.type) for kind in kinds):
        raise InputError(f"column {name} of {path} holds {values.type}, not numbers or text")
    numbers = values.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False)
    factor = _DEGREES_PER[unit] if unit else _degrees_per(column.unit, path, name)
    return np.asarray(numbers, np.float64) * factor


def _degrees_per(unit: str | None, path: str, name: str) -> float:
    """Degrees in the unit that a file gives; 1 where it gives none."""
    from astropy import units

    if unit is None or not unit.strip():
        return 1.0
    text = unit.strip().strip("'\"")
    if text.lower() in ("h", "hr", "hour", "hours"):  # of right ascension, not of time
        return 15.0
    if text.lower() in ("degrees", "degree", "degs"):
        return 1.0
    try:
        return float(units.Unit(text).to(units.deg))
    except (ValueError, TypeError, units.UnitConversionError):
        raise InputError(
            f"column {name} of {path} is in {unit!r}, which is no unit of an angle; "
            "say with ra_unit and dec_unit what it is, or name another column"
        ) from None


def _from_strings(values: pa.Array, unit: Unit | None, hours: bool) -> NDArray[np.float64]:
    import pandas as pd

    text = values.to_pandas().astype("object")
    # Plain numbers are degrees; astropy's Angle reads the rest too, but takes 46 us for each.
    degrees = pd.to_numeric(text, errors="coerce").to_numpy(np.float64).copy()
    degrees *= _DEGREES_PER[unit or "deg"]
    rest = np.isnan(degrees)
    if rest.any():
        parts = text[rest].fillna("").astype(str).str.extract(re.compile(_SEXAGESIMAL))
        whole, minutes, seconds = (pd.to_numeric(parts[i]).to_numpy(np.float64) for i in (1, 3, 4))
        mark = parts[2].to_numpy(object)
        in_hours = (mark == "h") | (hours & (mark != "d") & (mark != "\u00b0") & (unit != "deg"))
        sign = np.where(parts[0].isin(["-", "\u2212"]), -1.0, 1.0)  # of the whole, so that -00:30 is south
        with np.errstate(invalid="ignore"):
            angle = sign * (whole + minutes / 60.0 + seconds / 3600.0) * np.where(in_hours, 15.0, 1.0)
            angle[~((minutes < 60) & (seconds < 60))] = np.nan
        degrees[rest] = angle
    return degrees


def _identities(table: dict[str, Column], path: str, id_column: str | None) -> pa.Array:
    by_name = {name.lower(): name for name in reversed(list(table))}
    if id_column is not None:
        name = id_column if id_column in table else by_name.get(id_column.lower())
        if name is None:
            there = ", ".join(n for n in table if not n.startswith("pos.eq."))
            raise InputError(f"the catalog {path} has no column {id_column}; name one of: {there}")
        found = _as_identity(table[name].values)
        if found is None:
            raise InputError(
                f"column {name} of {path} cannot tell positions apart: its values repeat, are missing, or "
                "are neither text nor whole numbers; name another id_column, or none to number the rows"
            )
        return found
    for candidate in ID_COLUMNS:
        if candidate in by_name:
            found = _as_identity(table[by_name[candidate]].values)
            if found is not None:
                return found
    length = len(next(iter(table.values())).values)
    return pa.array(np.arange(length), pa.int64())


def _as_identity(values: pa.Array) -> pa.Array | None:
    """The values as int64 or string; None where they repeat, are missing or are of another kind."""
    import pyarrow.compute as pc

    if pa.types.is_integer(values.type):
        try:
            values = values.cast(pa.int64())
        except pa.ArrowInvalid:  # beyond int64
            values = values.cast(pa.string())
    elif pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = pc.utf8_trim_whitespace(values).cast(pa.string())
    else:
        return None
    unique = values.null_count == 0 and len(pc.unique(values)) == len(values)
    return values if unique else None


def _reasons(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> list[str | None]:
    """Why a row holds no position."""
    with np.errstate(invalid="ignore"):
        bad_ra, bad_dec = ~np.isfinite(ra), ~np.isfinite(dec)
        off_ra, off_dec = np.abs(ra) > 360.0, np.abs(dec) > 90.0
    reasons: list[str | None] = [None] * len(ra)
    for row in np.flatnonzero(bad_ra | bad_dec | off_ra | off_dec):
        if bad_ra[row] or bad_dec[row]:
            which = "right ascension" if bad_ra[row] else "declination"
            reasons[row] = f"{which} is missing or is no angle"
        elif off_dec[row]:
            reasons[row] = f"declination {dec[row]:g} deg is beyond a pole"
        else:
            reasons[row] = f"right ascension {ra[row]:g} deg is beyond a full circle"
    return reasons
