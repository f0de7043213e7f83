"""Shapes that have no closed form, drawn on a grid of the sky: arms, tails, knots, arcs.

All of them are surface brightness in arbitrary units on a square :class:`Grid`, before
the PSF. x is west (right), y is north (up), both in arcsec from the object's center.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Square grid about the origin.

    Parameters
    ----------
    half_arcsec : float
        Half of the side, arcsec.
    step_arcsec : float
        Between samples, arcsec.
    """

    half_arcsec: float
    step_arcsec: float = 0.15

    @cached_property
    def x(self) -> Plane:
        """Offsets to the west, shape (n, n), arcsec."""
        return self._mesh[1]

    @cached_property
    def y(self) -> Plane:
        """Offsets to the north, shape (n, n), arcsec."""
        return self._mesh[0]

    @cached_property
    def _mesh(self) -> tuple[Plane, Plane]:
        n = round(self.half_arcsec / self.step_arcsec)
        axis = np.arange(-n, n + 1) * self.step_arcsec
        y, x = np.meshgrid(axis, axis, indexing="ij")
        return y, x

    def blobs(self, x: Plane, y: Plane, sigma: Plane | float, flux: Plane | float) -> Plane:
        """Sum of round Gaussians; a dense row of them is a smooth path.

        Parameters
        ----------
        x, y : ndarray, shape (k,)
            Centers, arcsec.
        sigma, flux : ndarray, shape (k,), or float
            Width in arcsec, and weight, of each.

        Returns
        -------
        ndarray, shape (n, n), float64
        """
        sigma = np.broadcast_to(sigma, x.shape)
        flux = np.broadcast_to(flux, x.shape)
        # A round Gaussian is the product of two of one dimension.
        gx = np.exp(-0.5 * ((self.x[0][None, :] - x[:, None]) / sigma[:, None]) ** 2)
        gy = np.exp(-0.5 * ((self.y[:, 0][None, :] - y[:, None]) / sigma[:, None]) ** 2)
        return np.einsum("k,ki,kj->ij", flux / (2 * np.pi * sigma**2), gy, gx, optimize=True)

    def inclined(self, q: float, angle: float) -> tuple[Plane, Plane]:
        """Coordinates in the plane of a thin disk seen at an angle.

        Parameters
        ----------
        q : float
            Axis ratio of the projected disk.
        angle : float
            Of the major axis from x towards y, rad.
        """
        along = self.x * np.cos(angle) + self.y * np.sin(angle)
        across = -self.x * np.sin(angle) + self.y * np.cos(angle)
        return along, across / q


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
    winding = hand * np.log(np.maximum(r, 0.05 * scale) / scale) / np.tan(pitch)
    ridge = np.exp(2.6 * (np.cos(arms * (theta - winding) - start) - 1))
    # Arms grow out of the inner disk and end before the grid does.
    ramp = _smooth_step((r / scale - 0.5) / 0.7)
    edge = 1 - _smooth_step((r / scale - 3.6) / 0.9)
    disk = np.exp(-r / scale) * 0.30 + ramp * ridge * 0.95 * np.exp(-r / (1.35 * scale))
    knots = int(rng.integers(12, 22))
    radius = scale * rng.uniform(1.1, 3.4, knots)
    arm = rng.integers(0, arms, knots)
    phase = (start + 2 * np.pi * arm) / arms + hand * np.log(radius / scale) / np.tan(pitch)
    phase = phase + rng.normal(0, 0.08, knots)
    ku, kv = radius * np.cos(phase), q * radius * np.sin(phase)
    x = ku * np.cos(angle) - kv * np.sin(angle)
    y = ku * np.sin(angle) + kv * np.cos(angle)
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
    direction = heading + turn * t
    step = length / t.size
    path_x = x + np.cumsum(np.cos(direction)) * step
    path_y = y + np.cumsum(np.sin(direction)) * step
    weight = (1 - 0.75 * t) / np.sum(1 - 0.75 * t)
    return grid.blobs(path_x, path_y, width * (1 + 0.7 * t), weight)


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
