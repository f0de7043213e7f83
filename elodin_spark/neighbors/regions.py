"""Neighbors by where they lie on the sky: in a cone, in a MOC, not too near each other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import InputError, import_extra
from elodin_spark.neighbors.suppression import WindowTable

#: Largest order of a MOC: its cells are counted in 64 bits. mocpy takes larger ones, and cells that
#: there are not, without a word, for others.
MAX_MOC_ORDER = 29


def within_cone(
    ra0: float, dec0: float, radius_arcsec: float, ra: NDArray[np.float64], dec: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether positions lie in a circle on the sky.

    Parameters
    ----------
    ra0, dec0 : float
        Its center, ICRS, deg.
    radius_arcsec : float
    ra, dec : ndarray of float64, shape (n,)
        ICRS, deg; those that are NaN are outside.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    from astropy.coordinates import angular_separation

    found = angular_separation(*np.radians([ra0, dec0]), np.radians(ra), np.radians(dec))
    return np.degrees(found) * 3600 <= radius_arcsec


def within_moc(moc: str | Path, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether positions lie in a multi-order coverage map (IVOA MOC 2.0).

    Parameters
    ----------
    moc : str or Path
        FITS, JSON, or text (``.txt``, ``.ascii``).
    ra, dec : ndarray of float64, shape (n,)
        ICRS, deg; those that are NaN are outside.

    Raises
    ------
    InputError
        There is no such file, it is no MOC, or it has cells of an order that MOCs have not.
    """
    import astropy.units as u

    MOC = import_extra("mocpy", "a coverage map").MOC
    path = Path(moc)
    if not path.is_file():
        raise InputError(f"no MOC at {path}")
    kind = {".json": "json", ".txt": "ascii", ".ascii": "ascii"}.get(path.suffix.lower(), "fits")
    try:
        for order, cells in _moc_orders(path, kind):
            if not 0 <= order <= MAX_MOC_ORDER:
                raise InputError(
                    f"{path} has cells of order {order}; a MOC has orders 0 to {MAX_MOC_ORDER}: make it anew"
                )
            if not 0 <= cells < 12 * 4**order:
                raise InputError(f"{path} has no cell {cells} at order {order}: make the MOC anew")
        cover = MOC.load(str(path), format=kind)
    except InputError:
        raise
    except Exception as error:  # of a Rust library: of no class of its own
        raise InputError(f"{path} is not a MOC in {kind.upper()} [{str(error)[:200]}]") from None
    inside = np.zeros(ra.size, bool)
    known = np.isfinite(ra) & np.isfinite(dec)
    if known.any():
        inside[known] = cover.contains_lonlat(ra[known] * u.deg, dec[known] * u.deg)
    return inside


def _moc_orders(path: Path, kind: str) -> Iterator[tuple[int, int]]:
    """Orders that a MOC names, each with the numbers of its cells; 0 where only the order is named."""
    if kind == "json":
        for order, cells in dict(json.loads(path.read_text("utf-8"))).items():
            yield int(order), 0
            yield from ((int(order), int(cell)) for cell in cells)
    elif kind == "ascii":
        parts = re.split(r"(\d+)\s*/", path.read_text("utf-8"))
        for order, cells in zip(parts[1::2], parts[2::2], strict=True):
            yield int(order), 0
            yield from ((int(order), int(cell)) for cell in re.findall(r"\d+", cells))
    else:
        yield from _moc_fits_orders(path)


def _moc_fits_orders(path: Path) -> Iterator[tuple[int, int]]:
    from astropy.io import fits

    with fits.open(path) as hdulist:
        for hdu in hdulist:
            for keyword in ("MOCORDER", "MOCORD_S"):
                if keyword in hdu.header:
                    yield int(hdu.header[keyword]), 0
            if isinstance(hdu, fits.BinTableHDU) and str(hdu.header.get("ORDERING", "")).upper() == "NUNIQ":
                uniq = np.asarray(hdu.data.field(0), np.int64).ravel()
                if uniq.size and uniq.min() < 4:
                    yield -1, 0
                elif uniq.size:  # the order is in the highest two bits
                    yield (int(uniq.max()).bit_length() - 1) // 2 - 1, 0
                return


@dataclass(frozen=True, eq=False)
class PlacedWindows:
    """Windows that stand in each other's way where they overlap, or lie too near on the sky.

    As a :class:`~elodin_spark.neighbors.suppression.WindowTable` for
    :func:`~elodin_spark.neighbors.suppression.suppress_overlaps`.

    Parameters
    ----------
    windows : WindowTable, length n
    xyz : ndarray of float64, shape (n, 3)
        Directions of their centers, NaN where they are not known: such are near nothing.
    separation : float
        Centers at most this far apart are too near, deg.
    overlap : bool
        Whether windows that overlap stand in each other's way.
    """

    windows: WindowTable
    xyz: NDArray[np.float64]
    separation: float
    overlap: bool

    def __len__(self) -> int:
        return len(self.windows)

    def take(self, rows: ArrayLike) -> PlacedWindows:
        """Select the windows at `rows`."""
        return PlacedWindows(
            self.windows.take(rows), self.xyz[np.asarray(rows)], self.separation, self.overlap
        )

    def overlaps(self, row: int, others: PlacedWindows) -> NDArray[np.bool_]:
        """Whether window `row` stands in the way of each of `others`, shape (m,)."""
        chord = np.sqrt(np.square(others.xyz - self.xyz[row]).sum(axis=1))
        # Well defined at any separation, as the arc cosine is not.
        with np.errstate(invalid="ignore"):
            near = np.degrees(2 * np.arcsin(np.minimum(chord / 2, 1))) <= self.separation
        return near | self.windows.overlaps(row, others.windows) if self.overlap else near


def directions(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors of positions in deg, shape (n, 3); NaN where they are."""
    lon, lat = np.radians(ra), np.radians(dec)
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
