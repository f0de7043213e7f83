"""HEALPix cells (Gorski et al. 2005, ApJ 622, 759), nested: numbers, keys, sizes and margins.

Cells of order o divide the sphere into 12 x 4**o parts of equal area.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: The finest order whose cells have int64 numbers: 0.4 milliarcsec.
MAX_ORDER = 29

#: Narrowest a cell is anywhere, times the square root of its area. Across the sphere the
#: gradient of the coordinates within a cell reaches 1.484 per side; this leaves a margin.
_NARROWEST = 1 / 1.6


def position_cells(ra: ArrayLike, dec: ArrayLike, order: int) -> NDArray[np.int64]:
    """Cells that hold positions.

    Parameters
    ----------
    ra, dec : array_like, shape (n,)
        deg; any multiple of 360 may be added to `ra`.
    order : int
        In 0 to 29.

    Returns
    -------
    ndarray, shape (n,), int64
        Nested; -1, which is no cell, where a coordinate is NaN or infinite or ``|dec| > 90``.
    """
    return cells_and_offsets(ra, dec, order)[0]


def cells_and_offsets(
    ra: ArrayLike, dec: ArrayLike, order: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Cells that hold positions, and where within them: two coordinates in [0, 1], NaN where no cell is."""
    import astropy_healpix
    from astropy import units

    lon, lat = (np.atleast_1d(np.asarray(values, np.float64)) for values in (ra, dec))
    lon, lat = np.broadcast_arrays(lon, lat)
    cells = np.full(lon.shape, -1, np.int64)
    across, along = np.full(lon.shape, np.nan), np.full(lon.shape, np.nan)
    known = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90)
    if known.any():
        cells[known], across[known], along[known] = astropy_healpix.lonlat_to_healpix(
            np.mod(lon[known], 360.0) * units.deg,
            lat[known] * units.deg,
            2**order,
            return_offsets=True,
            order="nested",
        )
    return cells, across, along


def neighbors(cells: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    """The cells that touch any of `cells`, by an edge or a corner, sorted; `cells` themselves among them."""
    if not len(cells):
        return np.empty(0, np.int64)
    around = neighbors_of_each(cells, order)
    return np.union1d(around[around >= 0], cells).astype(np.int64)


def neighbors_of_each(cells: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    """The eight cells around each, shape (n, 8), int64; -1 where only seven touch it."""
    import astropy_healpix

    with np.errstate(invalid="ignore"):  # the corners that lack a neighbor
        return np.asarray(astropy_healpix.neighbours(cells, 2**order, order="nested"), np.int64).T


def cell_key(cells: ArrayLike, order: int) -> NDArray[np.int64]:
    """One number for cell and order, ``4 * 4**order + cell`` (UNIQ of the IVOA's MOC 2.0)."""
    return np.asarray(cells, np.int64) + np.int64(4 * 4**order)


def key_order(keys: ArrayLike) -> NDArray[np.int64]:
    """Order of each key, as in ``orders = set(key_order(keys))``."""
    leading = np.asarray(keys, np.int64) >> 2
    # Without a pair of adjacent ones no float64 rounds up to the next power of two.
    _, exponent = np.frexp(leading & ~(leading >> 1))
    return ((exponent.astype(np.int64) - 1) // 2).astype(np.int64)


def side_rad(order: int) -> float:
    """Square root of the area of a cell, rad."""
    return math.sqrt(4 * math.pi / (12 * 4**order))


def smallest_width_rad(order: int) -> float:
    """No cell of this order is narrower than this between opposite edges, rad."""
    return _NARROWEST * side_rad(order)


def largest_radius_rad(order: int) -> float:
    """No corner is further from the center of its cell than this, rad.

    The cells that meet the parallel of ``sin(dec) = 2/3`` are the longest, as in healpy's
    ``max_pixrad``.
    """
    nside = 2**order
    half_turn = math.pi / (4 * nside)
    height = 1 - (1 - 1 / nside) ** 2 / 3
    on_parallel = (math.sqrt(5) / 3 * math.cos(half_turn), math.sqrt(5) / 3 * math.sin(half_turn), 2 / 3)
    # By the chord, since at high orders the angle's cosine has no digits left.
    chord = math.dist(on_parallel, (math.sqrt(1 - height**2), 0.0, height))
    return 2 * math.asin(chord / 2)


def unit_vectors(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
    """Directions as points of the unit sphere, shape (n, 3), from deg."""
    lon, lat = np.radians(np.asarray(ra, np.float64)), np.radians(np.asarray(dec, np.float64))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
