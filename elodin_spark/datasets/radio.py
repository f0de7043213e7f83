"""Radio galaxies: two jets that fade from the core, or two lobes that end in hot spots.

Fanaroff and Riley (1974, MNRAS 167, 31P) tell the classes by the distance of the brightest places
on either side of the core, over the extent of the source: below a half I, above it II.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elodin_spark.datasets.shapes import Grid, Plane, walk


@dataclass(frozen=True)
class RadioSource:
    """Light of a radio source.

    Attributes
    ----------
    light : ndarray of float32, shape (px, px)
    extent : float
        From end to end, in half sides of the cutout; 0 for compact sources.
    edge : float
        Distance of the brightest places over `extent`.
    """

    light: Plane
    extent: float
    edge: float


def sidelobes(grid: Grid, rng: np.random.Generator) -> Plane:
    """What is left of the beam of a short observation with three arms of antennas: six spokes, rings.

    Returns
    -------
    ndarray of float32, shape (px, px)
        About 1 where it is brightest.
    """
    right, up = grid.at()
    r = np.hypot(right, up)
    turned = np.arctan2(up, right) + np.float32(rng.uniform(0, np.pi))
    across = r * np.abs(np.sin(3 * turned)) / 3
    spokes = np.exp(-0.5 * (across / np.float32(rng.uniform(0.012, 0.04))) ** 2)
    waves = np.cos(r * np.float32(2 * np.pi / rng.uniform(0.06, 0.3)) + np.float32(rng.uniform(0, 2 * np.pi)))
    return np.asarray(spokes * waves * np.exp(-r / np.float32(rng.uniform(0.2, 1.0))), np.float32)


def radio_source(grid: Grid, rng: np.random.Generator, kind: str) -> RadioSource:
    """Draw a source, ``edge_darkened`` (FR I), ``edge_brightened`` (FR II) or ``compact``."""
    x, y = rng.normal(0, 0.05, 2)
    core = np.array([x]), np.array([y])
    beam = rng.uniform(0.012, 0.045)
    if kind == "compact":
        return RadioSource(grid.blobs(*core, np.full(1, beam), np.ones(1)), 0.0, 0.0)
    half = 2 ** rng.uniform(-4.8, -0.8)
    angle, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.25) * (2.2 if kind == "edge_darkened" else 0.6)
    light = np.zeros((grid.px, grid.px), np.float32)
    peaks = []
    for side in (1, -1):
        reach = half * rng.uniform(0.75, 1.1)
        strength = rng.uniform(0.35, 1.0)
        t = np.linspace(0.02, 1, 60)
        heading = angle + (0 if side == 1 else np.pi) + side * bend * t
        dx, dy = walk(heading)
        if kind == "edge_darkened":
            brightest = rng.uniform(0.05, 0.4)
            flux = np.exp(-0.5 * ((t - brightest) / 0.16) ** 2) + rng.uniform(0.1, 0.6) * np.exp(-1.5 * t)
            width = half * (0.03 + rng.uniform(0.1, 0.3) * t)
        else:
            brightest = rng.uniform(0.85, 1.0)
            flux = np.exp(-(1 - t) / rng.uniform(0.1, 0.35)) * rng.uniform(0.1, 0.5)
            flux[-4:] += rng.uniform(0.4, 1.2)
            width = half * rng.uniform(0.06, 0.16) * (1.4 - 0.8 * t)
        lobe = grid.blobs(x + dx * reach / 60, y + dy * reach / 60, np.hypot(width, 0.5 * beam), flux)
        light += np.float32(strength / lobe.max()) * lobe
        peaks.append(brightest * reach)
    share = rng.uniform(0, 1.3) if kind == "edge_darkened" else rng.uniform(0, 0.5) * (rng.random() < 0.6)
    spot = grid.blobs(*core, np.full(1, beam), np.ones(1))
    light += np.float32(share) * spot / spot.max()
    return RadioSource(light, 2 * half, sum(peaks) / (2 * half))
