"""Cutouts by where they lie on the sky."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from elodin_spark.catalog.storage.store import Store
from elodin_spark.errors import InputError
from elodin_spark.neighbors.regions import directions

_SAME_PLACE = 1e-12  # of a separation, and in radians: far below a microarcsecond


class Nearest(NamedTuple):
    """The cutouts nearest to positions, in their order.

    Attributes
    ----------
    cutout_id : ndarray of int64, shape (n,)
    separation_arcsec : ndarray of float64, shape (n,)
        From the position to the center of the window.
    reach_arcsec : ndarray of float64, shape (n,)
        Half the longer side of the window; NaN where the scale of its image is not known.
    """

    cutout_id: NDArray[np.int64]
    separation_arcsec: NDArray[np.float64]
    reach_arcsec: NDArray[np.float64]


class Places:
    """Where the cutouts of a catalog lie; 60 bytes for each.

    Parameters
    ----------
    store : Store
    windows : pyarrow.Table
        Of :data:`elodin_spark.catalog.search.engine.WINDOW_COLUMNS`, by ascending ID.
    contains : callable
        Whether cutouts, by their IDs, have fingerprints; the others are not found.

    Raises
    ------
    InputError
        No cutout has a position.
    """

    def __init__(
        self, store: Store, windows: pa.Table, contains: Callable[[ArrayLike], NDArray[np.bool_]]
    ) -> None:
        from scipy.spatial import cKDTree

        ids = windows.column("cutout_id").to_numpy()
        ra, dec = (windows.column(name).to_numpy().astype(np.float64) for name in ("ra", "dec"))
        rows = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec) & contains(ids))
        if not rows.size:
            raise InputError(f"no cutout of {store.path} has a position: its images have no celestial WCS")
        self._store, self._rows, self._windows = store, rows, windows
        self._ids = ids[rows]
        self._tree = cKDTree(directions(ra[rows], dec[rows]))

    def nearest(self, ra: ArrayLike, dec: ArrayLike) -> Nearest:
        """Find the cutouts whose centers are nearest; of several at one place that of the smallest ID.

        Parameters
        ----------
        ra, dec : array_like, shape (n,)
            ICRS, deg.

        Raises
        ------
        InputError
            A position is out of range.
        """
        lon, lat = np.asarray(ra, np.float64), np.asarray(dec, np.float64)
        bad = np.flatnonzero(~(np.isfinite(lon) & (np.abs(lat) <= 90)))
        if bad.size:
            raise InputError(
                f"a position is RA and Dec in degrees, Dec in [-90, 90]; got {lon[bad[0]]:g}, {lat[bad[0]]:g}"
            )
        xyz = directions(lon, lat)
        chord, _ = self._tree.query(xyz)
        ties = self._tree.query_ball_point(xyz, chord * (1 + _SAME_PLACE) + _SAME_PLACE)
        at = np.array([min(rows, key=self._ids.__getitem__) for rows in ties], np.int64)
        separation = np.degrees(2 * np.arcsin(np.minimum(chord / 2, 1))) * 3600
        return Nearest(self._ids[at], separation, self._reach(self._rows[at]))

    def _reach(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        some = self._windows.take(rows)
        x0, y0, x1, y1, image = (
            some.column(name).to_numpy() for name in ("x0", "y0", "x1", "y1", "image_id")
        )
        scale = np.array([self._scales.get(i) for i in image.tolist()], np.float64)
        return np.maximum(x1 - x0, y1 - y0) / 2 * scale

    @property
    def _scales(self) -> dict[int, float | None]:
        """Pixel scale of each image, arcsec/px."""
        images = self._store.dataset("images", ["pixel_scale"]).to_table(columns=["image_id", "pixel_scale"])
        return dict(zip(*(column.to_pylist() for column in images.columns), strict=True))


def checked_radius(radius_arcsec: float | None) -> float | None:
    """A radius about a position, arcsec; InputError where it is out of range."""
    if radius_arcsec is not None and not 0 < radius_arcsec <= 648_000:
        raise InputError(f"a radius is above 0 and at most 648000 arcsec (180 deg), got {radius_arcsec:g}")
    return radius_arcsec


def within(found: Nearest, radius_arcsec: float | None) -> NDArray[np.bool_]:
    """Which of the positions have a cutout: within the radius, or by default within half a window."""
    radius = checked_radius(radius_arcsec)
    return found.separation_arcsec <= (found.reach_arcsec if radius is None else radius)
