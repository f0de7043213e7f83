"""The part of the sky a figure shows, and where a position falls on it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_WIDEST_DEG = 25.0  # radius; positions spread wider are shown one region at a time
_SMALLEST_DEG = 0.005  # half side of the view of a single position
_LEAST_COSINE_RATIO = 0.75  # of the poleward edge to the center: below it, offsets
_REGION = 0.2  # side of the boxes that find the fullest region, of the unit sphere


@dataclass(frozen=True)
class View:
    """The close view: a square on the sky.

    Attributes
    ----------
    ra, dec : float
        Its center, deg.
    half : float
        Half its side, deg on the sky.
    offsets : bool
        Whether it shows offsets from the center instead of right ascension and declination.
    inside : ndarray of int
        Rows of the positions it shows, ascending.
    """

    ra: float
    dec: float
    half: float
    offsets: bool
    inside: npt.NDArray[np.intp]


def around(ra: npt.ArrayLike, center: float) -> Floats:
    """Right ascension minus `center`, in [-180, 180) deg."""
    return (np.asarray(ra, dtype=np.float64) - center + 180.0) % 360.0 - 180.0


def _vectors(ra: Floats, dec: Floats) -> Floats:
    """Turn positions to unit vectors, shape (n, 3)."""
    longitude, latitude = np.radians(ra), np.radians(dec)
    return np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], axis=1
    )


def _distances(ra: Floats, dec: Floats, ra0: float, dec0: float) -> Floats:
    """Angle from one position, deg, exact at any size (haversine)."""
    latitude, latitude0 = np.radians(dec), np.radians(dec0)
    across = np.sin(np.radians(ra - ra0) / 2) ** 2 * np.cos(latitude) * np.cos(latitude0)
    return np.degrees(2 * np.arcsin(np.sqrt(np.clip(np.sin((latitude - latitude0) / 2) ** 2 + across, 0, 1))))


def _center(ra: Floats, dec: Floats) -> tuple[float, float]:
    """Direction of the middle of the box round the unit vectors, so that crowds do not pull it."""
    vectors = _vectors(ra, dec)
    x, y, z = (vectors.min(axis=0) + vectors.max(axis=0)) / 2
    return float(np.degrees(np.arctan2(y, x))) % 360.0, float(np.degrees(np.arctan2(z, np.hypot(x, y))))


def choose_view(ra: Floats, dec: Floats, rows: npt.NDArray[np.intp], marked: npt.NDArray[np.intp]) -> View:
    """Choose a square that shows the positions well.

    All of them where they lie within 25 deg of their center, else the surroundings of the
    highlighted ones, else the region that holds the most.

    Parameters
    ----------
    ra, dec : ndarray of float, shape (n,)
        Deg; NaN where there is none.
    rows : ndarray of int
        Rows that have a position; at least one.
    marked : ndarray of int
        Highlighted rows among them.

    Returns
    -------
    View
    """
    inside = rows
    ra0, dec0 = _center(ra[rows], dec[rows])
    if _distances(ra[rows], dec[rows], ra0, dec0).max() > _WIDEST_DEG:
        seeds = marked if len(marked) else _fullest(ra, dec, rows)
        ra0, dec0 = _center(ra[seeds], dec[seeds])
        if _distances(ra[seeds], dec[seeds], ra0, dec0).max() > _WIDEST_DEG:
            # The highlighted ones are themselves all over the sky: stay with the first.
            ra0, dec0 = float(ra[seeds[0]]), float(dec[seeds[0]])
            seeds = seeds[_distances(ra[seeds], dec[seeds], ra0, dec0) <= _WIDEST_DEG]
            ra0, dec0 = _center(ra[seeds], dec[seeds])
        reach = max(1.5 * float(_distances(ra[seeds], dec[seeds], ra0, dec0).max()), 1.0)
        inside = rows[_distances(ra[rows], dec[rows], ra0, dec0) <= reach]
        ra0, dec0 = _center(ra[inside], dec[inside])
    across = np.abs(around(ra[inside], ra0)).max() * np.cos(np.radians(dec0))
    half = max(float(np.abs(dec[inside] - dec0).max()), float(across), _SMALLEST_DEG) * 1.08
    edge = abs(dec0) + half
    ratio = np.cos(np.radians(edge)) / np.cos(np.radians(dec0)) if edge < 90.0 else 0.0
    offsets = bool(ratio < _LEAST_COSINE_RATIO)
    if offsets:
        reached = np.abs(project(View(ra0, dec0, half, True, inside), ra[inside], dec[inside]))
        half = max(float(reached.max()), _SMALLEST_DEG) * 1.08
    view = View(ra0, dec0, half, offsets, rows)
    # All that the square shows, also what lies beyond the region that set its size.
    x, y = project(view, ra[rows], dec[rows])
    x0, y0, half_x = (0.0, 0.0, half) if offsets else (ra0, dec0, half / np.cos(np.radians(dec0)))
    return replace(view, inside=rows[(np.abs(x - x0) <= half_x) & (np.abs(y - y0) <= half)])


def _fullest(ra: Floats, dec: Floats, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Rows of the region that holds the most; of equals, the one met first."""
    across = int(np.ceil(1 / _REGION))
    boxes = np.floor(_vectors(ra[rows], dec[rows]) / _REGION).astype(np.int64) + across
    box = boxes @ np.array([1, 2 * across + 1, (2 * across + 1) ** 2])
    full = np.flatnonzero(np.bincount(box)[box] == np.bincount(box).max())
    return rows[box == box[full[0]]]


def project(view: View, ra: Floats, dec: Floats) -> tuple[Floats, Floats]:
    """Place positions in a view.

    Parameters
    ----------
    view : View
    ra, dec : ndarray of float, shape (n,)
        Deg; NaN stays NaN.

    Returns
    -------
    x, y : ndarray of float, shape (n,)
        Deg: right ascension, within 180 deg of the center's (so it may leave 0 to 360), and
        declination; or offsets to the east and north, in the zenithal equidistant projection.
    """
    if not view.offsets:
        return view.ra + around(ra, view.ra), dec
    turn, latitude, latitude0 = np.radians(around(ra, view.ra)), np.radians(dec), np.radians(view.dec)
    east = np.cos(latitude) * np.sin(turn)
    north = np.sin(latitude) * np.cos(latitude0) - np.cos(latitude) * np.sin(latitude0) * np.cos(turn)
    length = np.hypot(east, north)
    scale = np.divide(
        _distances(ra, dec, view.ra, view.dec), length, out=np.zeros_like(length), where=length > 0
    )
    return east * scale, north * scale
