"""Single objects in color with known shapes: what a backbone learns from beside real cutouts.

Unlike the survey of :mod:`elodin_spark.datasets.survey` these are drawn for variety: any size in
the cutout, any stretch, seeing and noise, in color or of one band, optical or radio. Lengths are in
half sides of the cutout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from elodin_spark.datasets.hubble import Galaxy, irregular
from elodin_spark.datasets.radio import radio_source, sidelobes
from elodin_spark.datasets.shapes import Grid, Plane, bands, sersic, walk

#: What a cutout shows in its middle.
STAMP_KINDS = (
    "elliptical",
    "dwarf_elliptical",
    "lenticular",
    "spiral",
    "irregular",
    "merger",
    "lens",
    "star",
    "star_field",
    "trail",
    "bright_star",
    "radio_edge_darkened",
    "radio_edge_brightened",
    "radio_compact",
)
_SHARES = np.array([2.2, 1.2, 2.6, 6.5, 1.8, 0.8, 0.6, 0.5, 0.6, 0.3, 0.3, 1.5, 1.5, 0.5])

#: Shape parameters, each of about unit spread; NaN where an object has none such.
SHAPES = (
    "stage",  # Hubble stage T / 5
    "bulge",  # share of the light
    "sersic_n",  # natural logarithm
    "arms",
    "pitch",  # degrees / 15
    "bar",
    "knots",
    "dust",
    "axis_ratio",
    "radius",  # log2 of half sides, + 2
    "g_r",  # as seen, of all of it, mag / 0.3
    "signal",  # log10 of the peak over the noise
    "extent",  # of a radio source, half sides
    "edge",  # of a radio source: distance of the brightest places / extent (Fanaroff and Riley 1974)
)


@dataclass(frozen=True)
class Stamps:
    """Cutouts and what is known of them.

    Attributes
    ----------
    windows : ndarray of uint8, shape (n, px, px, 3)
        R, G and B.
    kinds : ndarray of int64, shape (n,)
        Numbers in :data:`STAMP_KINDS`.
    shapes : ndarray of float32, shape (n, 14)
        In the order of :data:`SHAPES`.
    """

    windows: NDArray[np.uint8]
    kinds: NDArray[np.int64]
    shapes: NDArray[np.float32]


def draw_stamps(first: int, count: int, px: int, seed: int) -> Stamps:
    """Draw stamps number `first` and following of a seed; each is the same whatever is drawn beside it.

    Parameters
    ----------
    first, count : int
    px : int
        Side.
    seed : int

    Returns
    -------
    Stamps
    """
    windows = np.empty((count, px, px, 3), np.uint8)
    kinds = np.empty(count, np.int64)
    shapes = np.full((count, len(SHAPES)), np.nan, np.float32)
    for i in range(count):
        rng = np.random.default_rng([seed, first + i])
        kinds[i] = rng.choice(len(STAMP_KINDS), p=_SHARES / _SHARES.sum())
        windows[i], known = _draw(STAMP_KINDS[kinds[i]], px, rng)
        for name, value in known.items():
            shapes[i, SHAPES.index(name)] = value
    return Stamps(windows, kinds, shapes)


def _draw(kind: str, px: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], dict[str, float]]:
    grid = Grid.cutout(px)
    light, known = _KINDS[kind](grid, rng)
    if kind.startswith("radio"):
        return _radio_window(light, rng), known
    peak = float(np.quantile(light[1], 0.995))
    if rng.random() < 0.7:
        light = light + peak * _company(grid, rng)
    # A Moffat profile of beta 3.5 is nearly two Gaussians.
    fwhm = rng.uniform(1.0, 5.0) * px / 96
    light = 0.8 * _blur(light, fwhm / 2.6) + 0.2 * _blur(light, fwhm / 1.3)
    peak = float(np.quantile(light[1], 0.998))
    signal = 10 ** rng.uniform(*((0.7, 1.7) if kind == "dwarf_elliptical" else (0.9, 2.6)))
    sigma = peak / signal
    noise = (
        rng.standard_normal(light.shape, dtype=np.float32)
        * np.array([1.3, 1.0, 1.2], np.float32)[:, None, None]
    )
    if rng.random() < 0.7:  # resampled images have noise that is smooth
        width = rng.uniform(0.4, 1.2)
        noise = _blur(noise, width) * np.float32(1 + 2.2 * width)
    light = light + sigma * noise
    known["signal"] = np.log10(signal)
    return _color_window(light, peak, sigma, rng), known


def _color_window(light: Plane, peak: float, sigma: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    # Lupton et al. 2004 (PASP 116, 133): asinh of the mean, colors kept; blue to red as g, r, i.
    scaled = light[::-1] * np.array([1.0, 1.2, 1.75], np.float32)[:, None, None]
    scaled = scaled * np.exp(rng.normal(0, 0.06, 3)).astype(np.float32)[:, None, None]
    if rng.random() < 0.15:
        scaled = np.broadcast_to(scaled.mean(axis=0), scaled.shape)
    black = sigma * rng.uniform(-2.0, 1.5)
    mean = np.maximum(scaled.mean(axis=0) - black, 0)
    # Nobody stretches so far that the noise is all there is to see.
    softening = max(peak * 10 ** rng.uniform(-2.2, 0.0), sigma * rng.uniform(3, 15))
    top = np.float32(rng.uniform(0.35, 1.3) * np.arcsinh(peak / softening))
    levels = np.arcsinh(mean / softening) / top
    color = np.maximum(scaled - black, 0) * (levels / np.maximum(mean, 1e-12))
    highest = np.maximum(color.max(axis=0), 1)
    saturation = np.float32(rng.uniform(0.5, 1.2))
    color = color / highest
    gray = color.mean(axis=0)
    color = np.clip(gray + saturation * (color - gray), 0, 1) ** np.float32(rng.uniform(0.75, 1.2))
    lifted = color * 255 + rng.uniform(0, 18, (3, 1, 1)) * (rng.random() < 0.4)
    return np.ascontiguousarray(np.clip(np.rint(lifted), 0, 255).astype(np.uint8).transpose(1, 2, 0))


def _radio_window(light: Plane, rng: np.random.Generator) -> NDArray[np.uint8]:
    px = light.shape[-1]
    plane = _blur(light[1], rng.uniform(0.4, 1.8) * px / 96)
    plane = plane / plane.max()
    sigma = 10 ** rng.uniform(-3.0, -1.2)
    plane = plane + sigma * _blur(rng.standard_normal(plane.shape, dtype=np.float32), 1.0) * 3
    if rng.random() < 0.5:
        plane = plane + sigma * np.float32(rng.uniform(1, 9)) * sidelobes(Grid.cutout(px), rng)
    if rng.random() < 0.85:  # below three times the noise all is black, as such archives have it
        plane = np.where(plane > 3 * sigma, plane, 0)
    power = rng.uniform(0.4, 1.1)
    gray = np.rint(np.clip(plane, 0, 1) ** power * 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2)


def _galaxy(
    low: float, high: float, dwarf: bool = False
) -> Callable[[Grid, np.random.Generator], tuple[Plane, dict[str, float]]]:
    def draw(grid: Grid, rng: np.random.Generator) -> tuple[Plane, dict[str, float]]:
        radius = 2 ** rng.uniform(-3.2, -0.9)
        galaxy = Galaxy.draw(rng, rng.uniform(low, high), radius, dwarf)
        x, y = rng.normal(0, 0.03, 2)
        light = galaxy.light(grid, rng, x, y)
        known = {
            # The sequence has no place for dwarfs.
            "stage": np.nan if dwarf else galaxy.stage / 5,
            "bulge": galaxy.bulge,
            "sersic_n": float(np.log(galaxy.sersic_n)),
            "arms": galaxy.arms,
            "bar": galaxy.bar,
            "knots": galaxy.knots,
            "dust": galaxy.dust,
            "axis_ratio": galaxy.q,
            "radius": float(np.log2(radius)) + 2,
            "g_r": _g_r(light) / 0.3,
        }
        if galaxy.arms:
            known["pitch"] = float(np.degrees(galaxy.pitch)) / 15
        return light, known

    return draw


def _irregular(grid: Grid, rng: np.random.Generator) -> tuple[Plane, dict[str, float]]:
    radius = 2 ** rng.uniform(-2.6, -0.7)
    if rng.random() < 0.4:
        light, known = _galaxy(8.5, 10.5)(grid, rng)
        light = light / light.sum() + irregular(grid, rng, radius)
        return light, {"stage": known["stage"], "g_r": _g_r(light) / 0.3}
    light = irregular(grid, rng, radius)
    return light, {
        "stage": 2.0,
        "bulge": 0.0,
        "arms": 0.0,
        "radius": np.log2(radius) + 2,
        "g_r": _g_r(light) / 0.3,
    }


def _merger(grid: Grid, rng: np.random.Generator) -> tuple[Plane, dict[str, float]]:
    radius = 2 ** rng.uniform(-3.4, -2.0)
    angle, distance = rng.uniform(0, 2 * np.pi), radius * rng.uniform(1.2, 3.5)
    light = np.zeros((3, grid.px, grid.px), np.float32)
    for sign, weight in ((1, 1.0), (-1, rng.uniform(0.3, 1.0))):
        x, y = sign * distance / 2 * np.cos(angle), sign * distance / 2 * np.sin(angle)
        galaxy = Galaxy.draw(rng, rng.uniform(-5, 8), radius * rng.uniform(0.6, 1.2))
        light += weight * galaxy.light(grid, rng, x, y)
        # The tail: a path that turns, widens and fades.
        t = np.linspace(0, 1, 40)
        heading = angle + rng.uniform(0, 2 * np.pi) + rng.choice([-1, 1]) * rng.uniform(1, 3) * t
        length = radius * rng.uniform(2, 6)
        dx, dy = walk(heading)
        tail = grid.blobs(
            x + dx * length / 40, y + dy * length / 40, radius * (0.12 + 0.15 * t), (1 - 0.8 * t)
        )
        light += weight * rng.uniform(0.05, 0.3) * tail / tail.sum() * bands(0.45, 0.22)
    return light, {"g_r": _g_r(light) / 0.3}


def _lens(grid: Grid, rng: np.random.Generator) -> tuple[Plane, dict[str, float]]:
    radius = 2 ** rng.uniform(-3.6, -2.2)
    galaxy = Galaxy.draw(rng, rng.uniform(-6, -3.5), radius)
    light = galaxy.light(grid, rng)
    einstein = radius * rng.uniform(1.5, 3.0)
    # A singular isothermal sphere with shear (Meneghetti 2021, Introduction to Gravitational Lensing).
    u, v = grid.inclined(1.0, rng.uniform(0, np.pi))
    r = np.hypot(u, v) + np.float32(1e-4)
    shear = rng.uniform(0.0, 0.15)
    offset, direction = einstein * rng.uniform(0, 0.5), rng.uniform(0, 2 * np.pi)
    sx = u * (1 - einstein / r - shear) - offset * np.cos(direction)
    sy = v * (1 - einstein / r + shear) - offset * np.sin(direction)
    arcs = np.exp(-0.5 * (sx * sx + sy * sy) / (einstein * rng.uniform(0.08, 0.2)) ** 2)
    share = rng.uniform(0.15, 0.5)
    light = light * (1 - share) + share * arcs / max(float(arcs.sum()), 1e-6) * bands(
        rng.uniform(0, 0.4), 0.1
    )
    return light.astype(np.float32), {"stage": galaxy.stage / 5, "sersic_n": np.log(galaxy.sersic_n)}


def _star(grid: Grid, rng: np.random.Generator) -> tuple[Plane, dict[str, float]]:
    color = rng.uniform(0, 1.4)
    spot = np.zeros(1) + rng.normal(0, 0.03)
    light = grid.blobs(spot, spot, np.full(1, 0.01), np.ones(1))
    return light / light.sum() * bands(color, 0.4 * color), {"g_r": color / 0.3}


def _star_field(grid: Grid, rng: np.random.Generator) -> tuple[Plane, dict[str, float]]:
    light = np.zeros((3, grid.px, grid.px), np.float32)
    for _ in range(int(rng.integers(1, 5))):
        count = int(rng.integers(2, 30))
        color = rng.uniform(0.1, 1.4)
        x, y = rng.uniform(-1, 1, (2, count))
        spots = grid.blobs(x, y, np.full(count, 0.01), rng.lognormal(0, 1.2, count))
        light += spots * bands(color, 0.4 * color)
    return light / light.sum(), {}


def _trail(grid: Grid, rng: np.random.Generator) -> tuple[Plane, dict[str, float]]:
    light, _ = _star_field(grid, rng)
    x, y = rng.uniform(-0.5, 0.5, 2)
    _, across = grid.inclined(1.0, rng.uniform(0, np.pi), x, y)
    line = np.exp(-0.5 * (across / rng.uniform(0.015, 0.06)) ** 2)
    # Where the bands were exposed one after another, it crossed the sky in one of them.
    tints = np.array([[1, 1, 1], [3, 0.2, 0.2], [0.2, 3, 0.2], [0.2, 0.2, 3]])
    color = bands(0.5, 0.2) * rng.choice(tints)[:, None, None]
    return light + rng.uniform(0.5, 4) * line / line.sum() * color.astype(np.float32), {}


def _bright_star(grid: Grid, rng: np.random.Generator) -> tuple[Plane, dict[str, float]]:
    x, y = rng.uniform(-0.6, 0.6, 2)
    color = rng.uniform(0, 1.4)
    u, v = grid.inclined(1.0, rng.uniform(0, np.pi), x, y)
    core = 2 ** rng.uniform(-4, -1.5)
    r = np.hypot(u, v)
    halo = 1 / (1 + (r / core) ** 2) ** 1.8
    halo = np.minimum(halo, rng.uniform(0.3, 1.0))
    thin, reach = rng.uniform(0.01, 0.03), core * rng.uniform(2, 6)
    spikes = np.exp(-np.abs(u) / thin - np.abs(v) / reach) + np.exp(-np.abs(v) / thin - np.abs(u) / reach)
    light = halo + rng.uniform(0.05, 0.5) * spikes
    return light / light.sum() * bands(color, 0.4 * color), {}


def _radio(kind: str) -> Callable[[Grid, np.random.Generator], tuple[Plane, dict[str, float]]]:
    def draw(grid: Grid, rng: np.random.Generator) -> tuple[Plane, dict[str, float]]:
        source = radio_source(grid, rng, kind)
        light = np.repeat(source.light[None], 3, axis=0)
        return light, {"extent": source.extent, "edge": source.edge} if source.extent else {}

    return draw


def _company(grid: Grid, rng: np.random.Generator) -> Plane:
    # Others in the field, in units of the peak of the object in the middle.
    light = np.zeros((3, grid.px, grid.px), np.float32)
    for _ in range(int(rng.poisson(2.5))):
        x, y = rng.uniform(-1, 1, 2)
        color = rng.uniform(0.1, 1.2)
        bright = np.float32(10 ** rng.uniform(-1.5, 0.4))
        if rng.random() < 0.6:
            spot = grid.blobs(np.array([x]), np.array([y]), np.full(1, 0.012), np.ones(1))
        else:
            spot = sersic(
                grid,
                x,
                y,
                rng.uniform(0.8, 3),
                rng.uniform(0.02, 0.08),
                rng.uniform(0.3, 1),
                rng.uniform(0, np.pi),
            )
        light += bright * spot / spot.max() * bands(color, 0.4 * color)
    return light


def _blur(planes: Plane, sigma: float) -> Plane:
    moved = np.ascontiguousarray(planes.transpose(1, 2, 0)) if planes.ndim == 3 else planes
    width = max(float(sigma), 0.2)
    blurred = cv2.GaussianBlur(moved.astype(np.float32), (0, 0), width, borderType=cv2.BORDER_REFLECT)
    found = np.asarray(blurred, np.float32)
    return found.transpose(2, 0, 1) if planes.ndim == 3 else found


def _g_r(light: Plane) -> float:
    g, r, _ = light.sum(axis=(1, 2))
    return float(-2.5 * np.log10(max(g, 1e-12) / max(r, 1e-12)))


_KINDS: dict[str, Callable[[Grid, np.random.Generator], tuple[Plane, dict[str, float]]]] = {
    "elliptical": _galaxy(-6, -3.5),
    "dwarf_elliptical": _galaxy(-5, -4, dwarf=True),
    "lenticular": _galaxy(-3.5, -0.5),
    "spiral": _galaxy(-0.5, 8.5),
    "irregular": _irregular,
    "merger": _merger,
    "lens": _lens,
    "star": _star,
    "star_field": _star_field,
    "trail": _trail,
    "bright_star": _bright_star,
    "radio_edge_darkened": _radio("edge_darkened"),
    "radio_edge_brightened": _radio("edge_brightened"),
    "radio_compact": _radio("compact"),
}
