"""Positions on the sky to windows of images: the two halves of a spatial join.

The coarse half gives images and positions keys of HEALPix cells to be joined on; an image
touches no cell it has no key of, so the join misses nothing. The exact half tests the
candidates of one image with its full WCS and lays a window around each that lies on it.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.cutouts.cells import (
    MAX_ORDER,
    cell_key,
    largest_radius_rad,
    neighbors,
    position_cells,
    side_rad,
    smallest_width_rad,
    unit_vectors,
)
from elodin_spark.errors import ImageError
from elodin_spark.images import sky

#: Cells along the side of a square image, at least: more waste fewer candidates, but are more rows to join.
CELLS_PER_SIDE = 5
#: Most sky positions that are worked out to find the cells of an image.
MAX_SAMPLES = 2**20

#: A pixel position is believed where it leads back to its sky position within this, px.
ROUND_TRIP_PX = 0.05


class Matches(NamedTuple):
    """Positions that lie on an image, in the order they were given.

    Attributes
    ----------
    position : ndarray, shape (n,), int64
        Its index among those given.
    windows : ndarray, shape (n, 4), int32
        ``x0, y0, x1, y1``, px, half-open, inside the image.
    x, y : ndarray, shape (n,), float64
        Column and row of the position, px, from 0; integers are the centers of pixels.
    shifted : ndarray, shape (n,), bool
        The window was moved inside, so that the position is not in its middle.
    """

    position: NDArray[np.int64]
    windows: NDArray[np.int32]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    shifted: NDArray[np.bool_]


def positions_in_image(
    wcs_text: str,
    width: int,
    height: int,
    ra: ArrayLike,
    dec: ArrayLike,
    size_px: int,
    edge: Literal["shift", "drop"] = "shift",
) -> Matches:
    """Find the positions that lie on an image and lay a window around each.

    Parameters
    ----------
    wcs_text : str
        Header cards, see :func:`elodin_spark.images.sky.header_text`.
    width, height : int
        Columns and rows of the image, px.
    ra, dec : array_like, shape (n,)
        ICRS, deg. NaN lies on no image.
    size_px : int
        Side of the windows, px.
    edge : {"shift", "drop"}
        Move windows that leave the image inside, or leave them out.

    Returns
    -------
    Matches

    Raises
    ------
    ImageError
        Kind ``smaller_than_window``: the image has room for no window of this size.
    """
    require_room(width, height, size_px)
    x, y = sky_to_pixel(wcs_text, width, height, ra, dec)
    index = np.flatnonzero(np.isfinite(x))
    x, y = x[index], y[index]
    windows, shifted = centered_windows(x, y, size_px, width, height)
    if edge == "drop":
        inside = ~shifted
        index, windows, x, y, shifted = index[inside], windows[inside], x[inside], y[inside], shifted[inside]
    return Matches(index.astype(np.int64), windows, x, y, shifted)


def centered_windows(
    x: ArrayLike, y: ArrayLike, size_px: int, width: int, height: int
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Square windows around pixel positions, moved inside the image where they leave it.

    The first pixel is ``ceil(x - size / 2)``, as in astropy's ``Cutout2D``: the middle of the
    window is within half a pixel of the position.

    Parameters
    ----------
    x, y : array_like, shape (n,)
        Column and row, px, from 0; integers are the centers of pixels.
    size_px : int
        Side of the windows, px; at most the short side of the image.
    width, height : int
        Columns and rows of the image, px.

    Returns
    -------
    windows : ndarray, shape (n, 4), int32
        ``x0, y0, x1, y1``, half-open.
    shifted : ndarray, shape (n,), bool
        Which were moved.
    """
    wanted = np.ceil(np.stack([np.asarray(x, np.float64), np.asarray(y, np.float64)], axis=1) - size_px / 2)
    corner = np.clip(wanted, 0, [width - size_px, height - size_px])
    shifted = (corner != wanted).any(axis=1)
    return np.concatenate([corner, corner + size_px], axis=1).astype(np.int32), shifted


def require_room(width: int, height: int, size_px: int) -> None:
    """Raise where an image of `width` x `height` px does not hold one window of `size_px`."""
    if min(width, height) < size_px:
        raise ImageError(
            f"the image has {width} x {height} px and does not hold one window of {size_px} px; "
            "set a smaller size in cutouts.generator, or leave the image out",
            kind="smaller_than_window",
        )


def sky_to_pixel(
    wcs_text: str, width: int, height: int, ra: ArrayLike, dec: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where sky positions lie on an image, all distortions applied.

    Each answer is checked by going back to the sky: far from an image a plane projection or the
    polynomials of a distortion can lead positions back onto it that are not there. Pixels to which
    :func:`elodin_spark.images.sky.pixel_to_sky` gives no position hold none here either; in
    wcslib those of a cylindrical map more than 180 deg from its reference point are among them.

    Parameters
    ----------
    wcs_text : str
        Header cards, see :func:`elodin_spark.images.sky.header_text`.
    width, height : int
        Columns and rows of the image, px.
    ra, dec : array_like, shape (n,)
        ICRS, deg.

    Returns
    -------
    x, y : ndarray, shape (n,), float64
        Column and row, px, from 0, within ``-0.5 <= x < width - 0.5``; NaN off the image.
    """
    wcs = sky.wcs_of(wcs_text)
    ra, dec = np.atleast_1d(np.asarray(ra, np.float64)), np.atleast_1d(np.asarray(dec, np.float64))
    x, y = np.full(ra.shape, np.nan), np.full(ra.shape, np.nan)
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90))
    world = _native_world(wcs, ra[known], dec[known])
    flat = _world_to_flat(wcs, world)
    moved_low, moved_high = _distortion_px(wcs, width, height)
    tolerance_rad = math.radians(ROUND_TRIP_PX * (sky.pixel_scale_arcsec(wcs) or 1.0) / 3600.0)
    with np.errstate(invalid="ignore"):
        near = ((flat >= moved_low - 0.5) & (flat < np.array([width - 0.5, height - 0.5]) + moved_high)).all(
            axis=1
        )
    found = _undistorted(wcs, world[near], flat[near])
    # Upper edges belong to no pixel, so that images side by side share no position.
    with np.errstate(invalid="ignore"):
        on = ((found >= -0.5) & (found < [width - 0.5, height - 0.5])).all(axis=1)
    here, found = known[near][on], found[on]
    if len(here):
        back = unit_vectors(*sky.pixel_to_sky(wcs, found[:, 0], found[:, 1]))
        miss = np.linalg.norm(back - unit_vectors(ra[here], dec[here]), axis=1)
        good = miss <= tolerance_rad  # NaN, where the pixel is on no sky, compares false
        x[here[good]], y[here[good]] = found[good, 0], found[good, 1]
    return x, y


def image_order(wcs_text: str, width: int, height: int) -> int:
    """HEALPix order whose cells are at most a fifth as wide as the image (geometric mean side)."""
    scale = sky.pixel_scale_arcsec(sky.wcs_of(wcs_text))
    if scale is None:
        return 0
    side = math.radians(math.sqrt(width * height) * scale / 3600.0)
    order = math.ceil(math.log2(CELLS_PER_SIDE * side_rad(0) / side))
    return min(max(order, 0), MAX_ORDER)


def image_keys(wcs_text: str, width: int, height: int) -> NDArray[np.int64]:
    """Join keys of an image: its cells at an order that suits its size.

    Parameters
    ----------
    wcs_text : str
        Header cards, see :func:`elodin_spark.images.sky.header_text`.
    width, height : int
        Columns and rows of the image, px.

    Returns
    -------
    ndarray, int64, sorted
        ``4 * 4**order + cell``, the UNIQ of the IVOA's MOC 2.0, so that images of any size
        share one join with :func:`position_keys` of the orders that occur. Twelve keys, the
        whole sky, where the edge of the projection crosses the image (maps of the whole sky).
    """
    order = image_order(wcs_text, width, height)
    cells = image_cells(wcs_text, width, height, order)
    return cell_key(np.arange(12), 0) if cells is None else cell_key(cells, order)


def position_keys(
    ra: ArrayLike, dec: ArrayLike, orders: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Join keys of positions, one per position and order.

    Parameters
    ----------
    ra, dec : array_like, shape (n,)
        ICRS, deg; a position with NaN has no keys.
    orders : tuple of int
        Those that occur among the images' keys (:func:`elodin_spark.cutouts.cells.key_order`).

    Returns
    -------
    index, keys : ndarray, shape (m,), int64
        Of the position, and as of :func:`image_keys`.
    """
    index, keys = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for order in orders:
        cells = position_cells(ra, dec, order)
        known = np.flatnonzero(cells >= 0)
        index.append(known)
        keys.append(cell_key(cells[known], order))
    return np.concatenate(index), np.concatenate(keys)


def image_cells(wcs_text: str, width: int, height: int, order: int) -> NDArray[np.int64] | None:
    """HEALPix cells that an image touches, and possibly a few that it misses narrowly.

    Samples lie on a grid, at most `reach` from any point of the image. The cell of a point is that of a
    sample or, `reach` being less than the width of a cell, next to one; and its center is
    no further from the sample than `reach` and the radius of a cell.

    Parameters
    ----------
    wcs_text : str
        Header cards, see :func:`elodin_spark.images.sky.header_text`.
    width, height : int
        Columns and rows of the image, px.
    order : int

    Returns
    -------
    ndarray, int64, sorted, or None
        Nested. None where samples cannot tell: off the sky here and there, or more than
        :data:`MAX_SAMPLES`.
    """
    from scipy.spatial import cKDTree

    wcs = sky.wcs_of(wcs_text)
    scale = sky.pixel_scale_arcsec(wcs)
    if scale is None:
        return None
    spacing_px = 0.5 * smallest_width_rad(order) / math.radians(scale / 3600.0)
    columns, rows = (max(math.ceil(side / spacing_px) + 1, 4) for side in (width, height))
    while columns * rows <= MAX_SAMPLES:
        grid_x, grid_y = np.meshgrid(
            np.linspace(-0.5, width - 0.5, columns), np.linspace(-0.5, height - 0.5, rows)
        )
        ra, dec = sky.pixel_to_sky(wcs, grid_x.ravel(), grid_y.ravel())
        if not np.isfinite(dec).all():
            return None
        vectors = unit_vectors(ra, dec)
        grid = vectors.reshape(rows, columns, 3)
        steps = [float(np.linalg.norm(np.diff(grid, axis=axis), axis=2).max()) for axis in (0, 1)]
        reach = 1.2 * 0.5 * math.hypot(*steps)  # half a diagonal, and a little for curvature
        if reach < 0.75 * smallest_width_rad(order):
            inner = np.unique(position_cells(ra, dec, order))
            around = np.setdiff1d(neighbors(inner, order), inner)
            distance, _ = cKDTree(vectors).query(_centers(around, order))
            return np.union1d(inner, around[distance <= largest_radius_rad(order) + reach])
        columns, rows = 2 * columns, 2 * rows
    return None


def _centers(cells: NDArray[np.int64], order: int) -> NDArray[np.float64]:
    import astropy_healpix

    lon, lat = astropy_healpix.healpix_to_lonlat(cells, 2**order, order="nested")
    return unit_vectors(lon.deg, lat.deg)


def _native_world(wcs: Any, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """ICRS to the frame of the WCS, shape (n, 2), deg, in the order of its axes."""
    from astropy import units
    from astropy.coordinates import ICRS, UnitSphericalRepresentation
    from astropy.wcs.utils import wcs_to_celestial_frame

    with sky.quiet():
        frame = wcs_to_celestial_frame(wcs)
        if not isinstance(frame, ICRS) and ra.size:
            points = ICRS(UnitSphericalRepresentation(ra * units.deg, dec * units.deg))
            there = points.transform_to(frame).spherical
            ra, dec = there.lon.deg, there.lat.deg
    world = np.empty((len(ra), 2))
    world[:, wcs.wcs.lng], world[:, wcs.wcs.lat] = ra, dec
    return world


def _world_to_flat(wcs: Any, world: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixel positions before the distortions that astropy keeps apart; NaN off the projection."""
    if not len(world):
        return np.empty((0, 2))
    with sky.quiet():
        return np.asarray(wcs.wcs_world2pix(world, 0), np.float64)


def _has_distortion(wcs: Any) -> bool:
    parts = (wcs.sip, wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2)
    return any(part is not None for part in parts)


def _distortion_px(wcs: Any, width: int, height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bounds of how far distortion moves the pixels of the image, (x, y) down and up, px."""
    if not _has_distortion(wcs):
        return np.zeros(2), np.zeros(2)
    grid_x, grid_y = np.meshgrid(np.linspace(-0.5, width - 0.5, 33), np.linspace(-0.5, height - 0.5, 33))
    pixels = np.stack([grid_x.ravel(), grid_y.ravel()], axis=1)
    with sky.quiet():
        moved = np.asarray(wcs.pix2foc(pixels, 0)) - pixels
    slack = 1.0 + 0.5 * np.ptp(moved, axis=0)
    return moved.min(axis=0) - slack, moved.max(axis=0) + slack


def _undistorted(wcs: Any, world: NDArray[np.float64], flat: NDArray[np.float64]) -> NDArray[np.float64]:
    if not _has_distortion(wcs) or not len(flat):
        return flat
    with sky.quiet(), np.errstate(all="ignore"):
        # Points that do not converge come back as they are and fail the check on the sky.
        return np.asarray(wcs.all_world2pix(world, 0, tolerance=1e-6, maxiter=50, quiet=True), np.float64)
