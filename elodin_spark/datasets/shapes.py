"""Light of galaxies, arms, tails, knots and arcs on a square grid, before the PSF.

What the survey (:mod:`~elodin_spark.datasets.sources`) and the stamps (:mod:`~elodin_spark.datasets.stamps`)
are drawn with: surface brightness in arbitrary units. Lengths are in the unit of the :class:`Grid`, x is to
the right (west), y up (north), and angles run from x towards y, rad.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Grid:
    """Square grid of ``(i + first) * step + shift``, made by :meth:`sky` or :meth:`cutout`.

    Parameters
    ----------
    px : int
        Side.
    first, step, shift : float
    precision : type
        Of coordinates and light: float64 or float32.
    blob_area : float
        What the flux of a blob is divided by, over sigma**2.
    blob_sigma : float
        Least sigma of a blob.
    """

    px: int
    first: float
    step: float
    shift: float = 0.0
    precision: type[np.floating[Any]] = np.float64
    blob_area: float = 2 * np.pi
    blob_sigma: float = 0.0

    @classmethod
    def sky(cls, half_arcsec: float, step_arcsec: float = 0.15) -> Grid:
        """Grid about the origin, arcsec, in float64."""
        n = round(half_arcsec / step_arcsec)
        return cls(2 * n + 1, -n, step_arcsec)

    @classmethod
    def cutout(cls, px: int) -> Grid:
        """Pixels of a cutout, its middle at 0 and its edges at -1 and 1, in float32."""
        return cls(px, 0.5, 2 / px, -1, np.float32, 1.0, 0.6 * 2 / px)

    def axis(self, precision: type[np.floating[Any]] = np.float64) -> Plane:
        """Coordinates along either side, shape (px,)."""
        return (np.arange(self.px, dtype=precision) + self.first) * self.step + self.shift

    def at(self, x: float = 0.0, y: float = 0.0) -> tuple[Plane, Plane]:
        """Offsets from a point to the right and up, each shape (px, px)."""
        axis = self.axis(self.precision)
        right, up = np.meshgrid(axis - self.precision(x), axis - self.precision(y))
        return right, up

    def inclined(self, q: float, angle: float, x: float = 0.0, y: float = 0.0) -> tuple[Plane, Plane]:
        """Offsets from (x, y) along and across a major axis at `angle`, those across divided by `q`."""
        right, up = self.at(x, y)
        c, s = self.precision(np.cos(angle)), self.precision(np.sin(angle))
        return right * c + up * s, np.divide(up * c - right * s, self.precision(q))

    def blobs(self, x: Plane, y: Plane, sigma: Plane | float, flux: Plane) -> Plane:
        """Sum of round Gaussians, each of the flux given; a dense row of them is a smooth path.

        Parameters
        ----------
        x, y, flux : ndarray, shape (k,)
        sigma : ndarray, shape (k,), or float

        Returns
        -------
        ndarray, shape (px, px)
        """
        width = np.maximum(np.broadcast_to(sigma, x.shape), self.blob_sigma)
        # A round Gaussian is the product of two of one dimension.
        along = np.exp(-0.5 * ((self.axis() - x[:, None]) / width[:, None]) ** 2)
        up = np.exp(-0.5 * ((self.axis() - y[:, None]) / width[:, None]) ** 2)
        peak = flux / (self.blob_area * width**2)
        return ((up * peak[:, None]).T @ along).astype(self.precision)


def unit(plane: Plane) -> Plane:
    """The same light with the sum 1."""
    return plane / max(float(plane.sum()), 1e-12)


def walk(heading: Plane) -> tuple[Plane, Plane]:
    """Places along x and y after each step of length 1 into the directions `heading`."""
    return np.cumsum(np.cos(heading)), np.cumsum(np.sin(heading))


def turned(u: Plane, v: Plane, angle: float) -> tuple[Plane, Plane]:
    """Places given along and across a direction, along x and y."""
    return u * np.cos(angle) - v * np.sin(angle), u * np.sin(angle) + v * np.cos(angle)


def cloud(rng: np.random.Generator, count: int, reach: float, q: float, angle: float) -> tuple[Plane, Plane]:
    """Places evenly over an ellipse, so that no clump strays far from the body."""
    r, theta = reach * np.sqrt(rng.random(count)), rng.uniform(0, 2 * np.pi, count)
    return turned(r * np.cos(theta), q * r * np.sin(theta), angle)


def winding(radius: Plane, pitch: float, hand: int) -> Plane:
    """Angle of a logarithmic spiral, ``radius = exp(angle tan(pitch))``, wound in the sense `hand`."""
    return np.asarray(hand * np.log(radius) / np.tan(pitch))


def sersic(grid: Grid, x: float, y: float, n: float, radius: float, q: float, angle: float) -> Plane:
    """Sersic profile whose half-light radius along the major axis is `radius`, shape (px, px)."""
    u, v = grid.inclined(q, angle, x, y)
    # The middle of a pixel stands for the pixel: half a pixel keeps its peak finite.
    r = np.sqrt(u * u + v * v + np.float32(0.5 / grid.px) ** 2) / np.float32(radius)
    b = 2 * n - 1 / 3 + 0.009876 / n  # Prugniel and Simien 1997
    return np.exp(-np.float32(b) * r ** np.float32(1 / n))


def bands(g_r: float, r_i: float) -> Plane:
    """Flux in g, r and i where that in r is 1, shape (3, 1, 1)."""
    return np.array([10 ** (-0.4 * g_r), 1.0, 10 ** (0.4 * r_i)], np.float32)[:, None, None]


def spiral_disk(
    grid: Grid,
    rng: np.random.Generator,
    *,
    scale: float,
    arms: int,
    pitch: float,
    hand: int,
    q: float,
    angle: float,
) -> Plane:
    """Exponential disk whose light is gathered in logarithmic spiral arms with knots.

    Parameters
    ----------
    grid : Grid
    rng : numpy.random.Generator
        Draws the knots.
    scale : float
        Scale length of the disk, arcsec.
    arms : int
        Number of arms.
    pitch : float
        Pitch angle, rad: an arm is ``r = r0 exp(theta tan(pitch))``.
    hand : int
        +1 or -1, the sense in which the arms wind.
    q, angle : float
        Axis ratio and direction (rad) of the major axis of the projected disk.

    Returns
    -------
    ndarray, shape (n, n), float64
    """
    u, v = grid.inclined(q, angle)
    r, theta = np.hypot(u, v), np.arctan2(v, u)
    start = rng.uniform(0, 2 * np.pi)
    wound = winding(np.maximum(r, 0.05 * scale) / scale, pitch, hand)
    ridge = np.exp(2.6 * (np.cos(arms * (theta - wound) - start) - 1))
    # Arms grow out of the inner disk and end before the grid does.
    ramp = _smooth_step((r / scale - 0.5) / 0.7)
    edge = 1 - _smooth_step((r / scale - 3.6) / 0.9)
    disk = np.exp(-r / scale) * 0.30 + ramp * ridge * 0.95 * np.exp(-r / (1.35 * scale))
    knots = int(rng.integers(12, 22))
    radius = scale * rng.uniform(1.1, 3.4, knots)
    arm = rng.integers(0, arms, knots)
    phase = (start + 2 * np.pi * arm) / arms + winding(radius / scale, pitch, hand)
    phase = phase + rng.normal(0, 0.08, knots)
    x, y = turned(radius * np.cos(phase), q * radius * np.sin(phase), angle)
    weight = rng.lognormal(0.0, 0.4, knots) * np.exp(-radius / (1.6 * scale))
    return disk * edge + grid.blobs(x, y, 0.18, 0.16 * weight)


def tidal_tail(
    grid: Grid, x: float, y: float, *, heading: float, turn: float, length: float, width: float
) -> Plane:
    """Curved tail that leaves a point, widens and fades; sums to about one.

    Parameters
    ----------
    grid : Grid
    x, y : float
        Where it starts, arcsec.
    heading : float
        Direction in which it leaves, from x towards y, rad.
    turn : float
        Angle it has turned through at its end, rad, positive from x towards y.
    length, width : float
        Along the path, and Gaussian sigma at the start, arcsec.
    """
    t = np.linspace(0, 1, 80)
    dx, dy = walk(heading + turn * t)
    step = length / t.size
    weight = (1 - 0.75 * t) / np.sum(1 - 0.75 * t)
    return grid.blobs(x + dx * step, y + dy * step, width * (1 + 0.7 * t), weight)


def lensed_source(
    grid: Grid,
    *,
    einstein_radius: float,
    q: float,
    angle: float,
    source_x: float,
    source_y: float,
    source_sigma: float,
) -> Plane:
    """Image of a round Gaussian source behind a singular isothermal ellipsoid.

    The grid is traced back through the deflection of Kormann, Schneider and Bartelmann
    (1994); surface brightness is conserved.

    Parameters
    ----------
    grid : Grid
    einstein_radius : float
        Arcsec.
    q, angle : float
        Axis ratio (0 < q < 1) and direction (rad) of the major axis of the mass.
    source_x, source_y, source_sigma : float
        Place behind the lens, along and across its major axis, and width, arcsec.
    """
    along, across = grid.inclined(1.0, angle)
    psi = np.sqrt((q * along) ** 2 + across**2) + 1e-9
    f = np.sqrt(1 - q**2)
    strength = einstein_radius * np.sqrt(q) / f
    beta_along = along - strength * np.arctan(f * along / psi)
    beta_across = across - strength * np.arctanh(np.clip(f * across / psi, -0.999999, 0.999999))
    distance2 = (beta_along - source_x) ** 2 + (beta_across - source_y) ** 2
    return np.exp(-0.5 * distance2 / source_sigma**2)


def _smooth_step(t: Plane) -> Plane:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)
