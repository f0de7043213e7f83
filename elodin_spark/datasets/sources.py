"""Galaxies and stars as GalSim profiles, before the PSF.

Each type has one function that draws an object's parameters from its own random stream,
so the same object looks the same in each tile that shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import galsim
import numpy as np

from elodin_spark.datasets.shapes import Grid, Plane, cloud, lensed_source, spiral_disk, tidal_tail, unit
from elodin_spark.datasets.sky import flux_njy


@dataclass(frozen=True)
class Source:
    """One object of the sky.

    Attributes
    ----------
    profile : galsim.GSObject
        Surface brightness in nJy per square arcsec, x to the west, y to the north.
    mag : float
        Total AB magnitude.
    stamp_px : int
        Half of the side of the stamp that holds what is visible of it, px.
    ellipticity : float or None
        1 - b/a.
    position_angle_deg : float or None
        Of the major axis, from north through east, in [0, 180).
    sersic_n : float or None
        Sersic index of the main component.
    half_light_radius_arcsec : float or None
        Along the major axis, of the main component.
    """

    profile: galsim.GSObject
    mag: float
    stamp_px: int
    ellipticity: float | None = None
    position_angle_deg: float | None = None
    sersic_n: float | None = None
    half_light_radius_arcsec: float | None = None


def draw_source(kind: str, rng: np.random.Generator) -> Source:
    """Draw an object of one type.

    Parameters
    ----------
    kind : str
        One of ``SKY_TYPES``, ``FAINT_TYPES`` or ``saturated_star``.
    rng : numpy.random.Generator
        The object's own stream.

    Returns
    -------
    Source
    """
    return _SOURCES[kind](rng)


def _elliptical(rng: np.random.Generator) -> Source:
    radius, q, pa = rng.uniform(1.0, 1.7), rng.uniform(0.6, 0.95), rng.uniform(0, 180)
    mag = rng.uniform(17.3, 18.2)
    profile = _sersic(4.0, radius, q, pa).withFlux(flux_njy(mag))
    return Source(profile, mag, 70, 1 - q, pa, 4.0, radius)


def _spiral(rng: np.random.Generator) -> Source:
    scale, q, pa = rng.uniform(1.45, 1.85), rng.uniform(0.62, 1.0), rng.uniform(0, 180)
    mag, bulge = rng.uniform(17.0, 17.8), rng.uniform(0.08, 0.2)
    grid = Grid.sky(4.8 * scale)
    disk = spiral_disk(
        grid,
        rng,
        scale=scale,
        arms=int(rng.choice([2, 2, 2, 3])),
        pitch=np.radians(rng.uniform(16, 24)),
        hand=int(rng.choice([-1, 1])),
        q=q,
        angle=_angle(pa),
    )
    center = _sersic(2.0, 0.28 * scale, 0.5 + 0.5 * q, pa)
    profile = (center * bulge + _from_grid(disk, grid) * (1 - bulge)) * flux_njy(mag)
    return Source(profile, mag, 64, 1 - q, pa, 1.0, 1.678 * scale)


def _edge_on(rng: np.random.Generator) -> Source:
    scale, pa = rng.uniform(1.15, 1.5), rng.uniform(0, 180)
    mag, bulge = rng.uniform(17.7, 18.5), rng.uniform(0.08, 0.18)
    thickness = rng.uniform(0.07, 0.11)
    disk = galsim.InclinedExponential(
        inclination=rng.uniform(86, 90) * galsim.degrees, scale_radius=scale, scale_h_over_r=thickness
    ).rotate(_angle(pa) * galsim.radians)
    center = _sersic(2.0, 0.3 * scale, 0.75, pa)
    profile = (center * bulge + disk * (1 - bulge)) * flux_njy(mag)
    return Source(profile, mag, 64, 1 - thickness, pa, 1.0, 1.678 * scale)


def _irregular(rng: np.random.Generator) -> Source:
    mag, size, q = rng.uniform(17.6, 18.4), rng.uniform(2.0, 2.6), rng.uniform(0.5, 0.85)
    angle = rng.uniform(0, np.pi)
    grid = Grid.sky(9.0)

    reach = 1.5 * size
    body = grid.blobs(
        *cloud(rng, 9, reach, q, angle), rng.uniform(0.25, 0.55, 9) * size, rng.uniform(0.3, 1.0, 9)
    )
    count = int(rng.integers(9, 15))
    knots = grid.blobs(
        *cloud(rng, count, reach, q, angle), rng.uniform(0.18, 0.35, count), rng.lognormal(0, 0.7, count)
    )
    share = rng.uniform(0.25, 0.4)
    light = unit(body) * (1 - share) + unit(knots) * share
    # The center of an object without one is that of its light.
    x, y = grid.at()
    centered = _from_grid(light, grid).shift(-float((light * x).sum()), -float((light * y).sum()))
    return Source(centered * flux_njy(mag), mag, 64)


def _merger(rng: np.random.Generator) -> Source:
    mag, pa = rng.uniform(17.0, 17.7), rng.uniform(0, 180)
    angle, hand = _angle(pa), int(rng.choice([-1, 1]))
    # Most pairs turn alike and make an S; the others spread antennae.
    hands = (hand, hand if rng.random() < 0.65 else -hand)
    distance, ratio = rng.uniform(3.0, 4.2), rng.uniform(0.5, 0.95)
    dx, dy = distance / 2 * np.cos(angle), distance / 2 * np.sin(angle)
    grid = Grid.sky(10.0)
    tails = np.zeros((grid.px, grid.px))
    for sign, weight, turns in ((1, 1.0, hands[0]), (-1, ratio, hands[1])):
        back = 0.0 if sign == 1 else np.pi
        tails += weight * tidal_tail(
            grid,
            sign * dx,
            sign * dy,
            heading=angle + back + turns * np.radians(rng.uniform(70, 100)),
            turn=-turns * np.radians(rng.uniform(90, 170)),
            length=rng.uniform(5.0, 7.5),
            width=rng.uniform(0.28, 0.38),
        )
    bridge = tidal_tail(
        grid, dx, dy, heading=angle + np.pi + 0.4 * hand, turn=-0.8 * hand, length=distance, width=0.3
    )
    faint = unit(tails) * 0.34 + unit(bridge) * 0.1
    profile = _from_grid(faint, grid) * 0.44
    for sign, weight in ((1, 1.0), (-1, ratio)):
        galaxy = _sersic(
            float(rng.choice([1.0, 2.0])), rng.uniform(0.5, 0.8), rng.uniform(0.5, 0.85), rng.uniform(0, 180)
        )
        profile += galaxy.shift(sign * dx, sign * dy) * (0.56 * weight / (1 + ratio))
    return Source(profile * flux_njy(mag), mag, 64, position_angle_deg=pa)


def _lens(rng: np.random.Generator) -> Source:
    mag, arcs = rng.uniform(17.6, 18.3), rng.uniform(0.4, 0.5)
    radius, q, pa = rng.uniform(0.6, 0.85), rng.uniform(0.72, 0.92), rng.uniform(0, 180)
    einstein = rng.uniform(2.3, 3.0)
    grid = Grid.sky(7.0, 0.1)
    offset, direction = einstein * rng.uniform(0.04, 0.26), rng.uniform(0, 2 * np.pi)
    light = lensed_source(
        grid,
        einstein_radius=einstein,
        q=q,
        angle=_angle(pa),
        source_x=offset * np.cos(direction),
        source_y=offset * np.sin(direction),
        source_sigma=rng.uniform(0.13, 0.22),
    )
    galaxy = _sersic(4.0, radius, q, pa)
    profile = (galaxy * (1 - arcs) + _from_grid(light, grid) * arcs) * flux_njy(mag)
    return Source(profile, mag, 50, 1 - q, pa, 4.0, radius)


def _star(rng: np.random.Generator) -> Source:
    return _point(rng.uniform(16.8, 18.6), 64)


def _saturated_star(rng: np.random.Generator) -> Source:
    return _point(rng.uniform(13.2, 14.0), 128)


def _faint_star(rng: np.random.Generator) -> Source:
    return _point(rng.uniform(21.5, 23.5), 16)


def _faint_galaxy(rng: np.random.Generator) -> Source:
    radius, q, pa = rng.uniform(0.3, 0.6), rng.uniform(0.4, 1.0), rng.uniform(0, 180)
    mag, n = rng.uniform(21.3, 23.3), 1.0
    return Source(_sersic(n, radius, q, pa) * flux_njy(mag), mag, 24, 1 - q, pa, n, radius)


def _point(mag: float, stamp_px: int) -> Source:
    return Source(galsim.DeltaFunction(flux=flux_njy(mag)), mag, stamp_px)


def _sersic(n: float, radius: float, q: float, pa: float) -> galsim.GSObject:
    # `radius` is along the major axis; cut where the light has sunk far below the noise.
    # GalSim keeps its tables by index and cut in half-light radii, so both come from few values.
    round_radius = radius * np.sqrt(q)
    profile = galsim.Sersic(n=n, half_light_radius=round_radius, trunc=7 * round_radius)
    return profile.shear(q=q, beta=_angle(pa) * galsim.radians)


def _from_grid(light: Plane, grid: Grid) -> galsim.GSObject:
    image = galsim.Image(unit(light), scale=grid.step)
    return galsim.InterpolatedImage(image, flux=1.0, normalization="flux", pad_factor=2.0)


def _angle(position_angle_deg: float) -> float:
    # From the x axis (west) towards y (north), rad; position angles start at north.
    return np.radians(position_angle_deg + 90.0)


_SOURCES: dict[str, Callable[[np.random.Generator], Source]] = {
    "elliptical": _elliptical,
    "spiral": _spiral,
    "edge_on": _edge_on,
    "irregular": _irregular,
    "merger": _merger,
    "lens": _lens,
    "star": _star,
    "saturated_star": _saturated_star,
    "faint_galaxy": _faint_galaxy,
    "faint_star": _faint_star,
}
