"""Defects of one exposure, drawn straight onto its pixels and its mask.

Each function changes `pixels` (float32, nJy) and `mask` (int16), both of shape (ny, nx),
and tells where the defect is seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elodin_spark.datasets.sky import SATURATION_NJY, Pixels, bit

Mask = NDArray[np.int16]


@dataclass(frozen=True)
class Seen:
    """Where a defect is visible.

    Attributes
    ----------
    x, y : float
        Center of what is visible, 0-based px, x = column.
    radius_px : float
        Half of its length.
    position_angle_deg : float or None
        From north (up) through east (left), in [0, 180).
    """

    x: float
    y: float
    radius_px: float
    position_angle_deg: float | None = None


def satellite_trail(
    pixels: Pixels, mask: Mask, x: float, y: float, noise: float, rng: np.random.Generator
) -> Seen:
    """Straight bright line across the tile through (x, y), before noise."""
    angle = rng.uniform(0, np.pi)
    width = rng.uniform(1.7, 2.4)
    peak = noise * rng.uniform(30, 80)
    ny, nx = pixels.shape
    rows, columns = np.mgrid[0:ny, 0:nx].astype(np.float32)
    across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
    light = peak * np.exp(-0.5 * (across / width) ** 2)
    pixels += light
    mask[light > noise] |= bit("TRAIL")
    first, last = _clipped(x, y, angle, nx, ny)
    middle = (first + last) / 2
    return Seen(
        x=x + middle * np.cos(angle),
        y=y + middle * np.sin(angle),
        radius_px=(last - first) / 2,
        position_angle_deg=float(np.degrees(angle) + 90) % 180,
    )


def bad_column(
    pixels: Pixels, mask: Mask, x: float, y: float, noise: float, rng: np.random.Generator
) -> Seen:
    """One to three hot columns near `x`, from an edge to beyond the middle, after noise."""
    ny, nx = pixels.shape
    width = int(rng.integers(1, 4))
    first = min(round(x), nx - width)
    length = round(ny * rng.uniform(0.55, 1.0))
    start = 0 if rng.random() < 0.5 else ny - length
    where = (slice(start, start + length), slice(first, first + width))
    level = noise * rng.uniform(25, 90, width)
    pixels[where] = level + noise * rng.normal(0, 2, (length, width))
    mask[where] |= bit("BAD")
    return Seen(first + (width - 1) / 2, start + (length - 1) / 2, length / 2, 0.0)


def cosmic_ray(
    pixels: Pixels, mask: Mask, x: float, y: float, noise: float, rng: np.random.Generator
) -> Seen:
    """Group of short sharp tracks about (x, y), after noise and not blurred by the PSF."""
    touched = np.zeros(pixels.shape, bool)
    for number in range(int(rng.integers(7, 13))):
        # A few long tracks among many short ones.
        length = rng.uniform(12, 30) if number < 3 else rng.uniform(1, 9)
        bend = rng.normal(0, 0.5) if rng.random() < 0.3 else 0.0
        t = np.arange(0, length, 0.25)
        direction = rng.uniform(0, 2 * np.pi) + bend * t / length
        cx, cy = rng.normal((x, y), 10.0)
        path_x, path_y = np.cumsum(np.cos(direction)) * 0.25, np.cumsum(np.sin(direction)) * 0.25
        columns = np.rint(cx + path_x - path_x.mean()).astype(int)
        rows = np.rint(cy + path_y - path_y.mean()).astype(int)
        inside = (columns >= 0) & (columns < pixels.shape[1]) & (rows >= 0) & (rows < pixels.shape[0])
        track = np.zeros(pixels.shape, bool)
        track[rows[inside], columns[inside]] = True
        charge = noise * rng.uniform(40, 300) * rng.uniform(0.6, 1.4, int(track.sum()))
        pixels[track] += charge
        touched |= track
    mask[touched] |= bit("CR")
    rows, columns = np.nonzero(touched)
    cx, cy = float(columns.mean()), float(rows.mean())
    return Seen(cx, cy, float(np.hypot(columns - cx, rows - cy).max()))


def spikes(pixels: Pixels, x: float, y: float, flux: float) -> None:
    """Diffraction spikes of a bright star, four along the diagonals, before noise.

    Parameters
    ----------
    pixels : ndarray, shape (ny, nx), float32
        Changed in place.
    x, y : float
        Center of the star, px.
    flux : float
        Of the star, nJy.
    """
    ny, nx = pixels.shape
    rows, columns = np.mgrid[0:ny, 0:nx].astype(np.float32)
    u, v = (columns - x + rows - y) / np.sqrt(2), (rows - y - columns + x) / np.sqrt(2)
    for along, across in ((u, v), (v, u)):
        fall = np.exp(-np.abs(along) / 11.0) / (1 + (along / 8.0) ** 2)
        pixels += 4e-4 * flux * fall * np.exp(-0.5 * (across / 1.1) ** 2)


def bleed(pixels: Pixels, mask: Mask, x: float, y: float, rng: np.random.Generator) -> float:
    """Charge of a saturated star that ran up and down its column, after noise.

    Returns
    -------
    float
        How far it ran, px.
    """
    ny, nx = pixels.shape
    column, farthest = round(x), 0.0
    for offset, reach in ((-1, 0.75), (0, 1.0), (1, 0.75)):
        if not 0 <= column + offset < nx:
            continue
        up, down = rng.uniform(24, 40, 2) * reach
        farthest = max(farthest, up, down)
        where = (slice(max(0, round(y - down)), min(ny, round(y + up) + 1)), column + offset)
        pixels[where] = SATURATION_NJY
        mask[where] |= bit("SAT")
    return farthest


def clip_saturated(pixels: Pixels, mask: Mask) -> None:
    """Cut pixels at ``SATURATION_NJY`` and mark them."""
    full = pixels >= SATURATION_NJY
    pixels[full] = SATURATION_NJY
    mask[full] |= bit("SAT")


def _clipped(x: float, y: float, angle: float, nx: int, ny: int) -> tuple[float, float]:
    """Where the line through (x, y), inside the tile, leaves it on either side."""
    first, last = -np.inf, np.inf
    for position, slope, size in ((x, np.cos(angle), nx), (y, np.sin(angle), ny)):
        if abs(slope) > 1e-12:
            ends = sorted(((-0.5 - position) / slope, (size - 0.5 - position) / slope))
            first, last = max(first, ends[0]), min(last, ends[1])
    return first, last
