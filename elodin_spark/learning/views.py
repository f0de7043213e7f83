"""Views of one cutout that should have one fingerprint: turned, shifted, blurred, stretched.

What may differ between two images of one object in the sky differs here: orientation and parity,
place and scale in the cutout, seeing, noise, stretch, and a little of the color, which is a
property of the object and stays mostly as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from elodin_spark.errors import import_extra

Window = NDArray[np.uint8]

#: Of a cutout, windows about a source are at least so wide, px.
_LEAST_SIDE_PX = 28.0
#: The farthest that a view is shifted along each axis, of its side: in sliding windows, and about sources.
_FAR, _NEAR = 0.22, 0.06


@dataclass(frozen=True)
class Place:
    """A square of a cutout.

    Attributes
    ----------
    x, y : float
        Its middle, px, in a frame where the middle of the first pixel is at 0.
    side : float
        Px.
    """

    x: float
    y: float
    side: float


def whole(window: Window) -> Place:
    """All of a cutout."""
    side = window.shape[0]
    return Place((side - 1) / 2, (side - 1) / 2, float(side))


def choose_place(window: Window, rng: np.random.Generator) -> Place:
    """Choose what of a cutout to look at: a source within it, or a random part.

    Parameters
    ----------
    window : ndarray of uint8, shape (side, side, 3)
    rng : numpy.random.Generator
        Large sources are chosen more often, in proportion to their area.
    """
    side = window.shape[0]
    if rng.random() < 0.7:
        found = _sources(window)
        if len(found):
            x, y, pixels = found[rng.choice(len(found), p=found[:, 2] / found[:, 2].sum())]
            radius = np.sqrt(pixels / np.pi)
            across = np.clip(2 * radius * rng.uniform(1.3, 3.5), _LEAST_SIDE_PX, side)
            return Place(float(x), float(y), float(across))
    across = side * rng.uniform(0.4, 1.0)
    slack = (side - across) / 2
    x, y = (side - 1) / 2 + rng.uniform(-slack, slack, 2)
    return Place(float(x), float(y), float(across))


def view(window: Window, place: Place, px: int, rng: np.random.Generator) -> Window:
    """One view of a place.

    Parameters
    ----------
    window : ndarray of uint8, shape (side, side, 3)
    place : Place
    px : int
        Side of the view.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of uint8, shape (px, px, 3)
        Beyond the edges of the cutout it goes on as its mirror image.
    """
    side = place.side * np.exp(rng.uniform(-0.22, 0.22))
    most = _FAR if rng.random() < 0.5 else _NEAR
    x, y = np.array([place.x, place.y]) + rng.uniform(-most, most, 2) * side
    if rng.random() < 0.5:
        # As of a cutout that is turned after it was cut: its corners are mirrored, not of the sky.
        window, x, y = _cut_out(window, place, x, y)
    angle = rng.uniform(0, 2 * np.pi)
    scale = side / px
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    flip = 1.0 if rng.random() < 0.5 else -1.0
    middle = (px - 1) / 2
    matrix = np.array([[c * flip, -s, 0], [s * flip, c, 0]])
    matrix[:, 2] = np.array([x, y]) - matrix[:, :2] @ [middle, middle]
    values = sampled(window, matrix, scale, px).astype(np.float32)
    values *= np.float32(1 / 255)
    return _seen(values, rng)


def _cut_out(window: Window, place: Place, x: float, y: float) -> tuple[Window, float, float]:
    side = window.shape[0]
    x0, x1 = np.clip(np.rint([place.x - place.side / 2, place.x + place.side / 2]), 0, side).astype(int)
    y0, y1 = np.clip(np.rint([place.y - place.side / 2, place.y + place.side / 2]), 0, side).astype(int)
    return window[y0:y1, x0:x1], x - x0, y - y0


def sampled(window: Window, matrix: NDArray[np.float64], scale: float, px: int) -> Window:
    """Pixels of a cutout at the points of a grid.

    Parameters
    ----------
    window : ndarray of uint8, shape (height, width, 3)
    matrix : ndarray of float64, shape (2, 3)
        From x, y and 1 on the grid to x and y on the cutout, px.
    scale : float
        Px of the cutout from one point to the next; where there are more, those between count as well.
    px : int
        Side of the grid.

    Returns
    -------
    ndarray of uint8, shape (px, px, 3)
        Beyond the edges the cutout goes on as its mirror image.
    """
    if scale > 1.4:
        window = np.asarray(cv2.GaussianBlur(window, (0, 0), 0.4 * scale), np.uint8)
    found = cv2.warpAffine(
        window,
        matrix,
        (px, px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(found, np.uint8)


def _seen(values: NDArray[np.float32], rng: np.random.Generator) -> Window:
    """Blurred, stretched, colored and with noise."""
    px = values.shape[0]
    if rng.random() < 0.5:
        blurred = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.3, 0.025 * px))
        values = np.asarray(blurred, np.float32)
    black = rng.uniform(-0.03, 0.03)
    values = np.maximum(values - np.float32(black), 0)
    if rng.random() < 0.8:
        gray = values.mean(axis=2, keepdims=True)
        bright = np.maximum(gray, 1e-3)
        # As one stretches the mean and keeps the colors (Lupton et al. 2004).
        values = values * (bright ** np.float32(np.exp(rng.uniform(-0.2, 0.2))) / bright)
        values *= np.float32(np.exp(rng.normal(0, 0.12)))
    if rng.random() < 0.8:
        gray = values.mean(axis=2, keepdims=True)
        values = gray + np.float32(rng.uniform(0.8, 1.2)) * (values - gray)
        values = values * np.exp(rng.normal(0, 0.03, 3)).astype(np.float32)
    if rng.random() < 0.03:
        values = np.repeat(values.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.random() < 0.6:
        noise = rng.standard_normal(values.shape, dtype=np.float32)
        if rng.random() < 0.5:
            noise = cv2.GaussianBlur(noise, (0, 0), 0.7) * 2.3
        values = values + np.float32(rng.uniform(0.005, 0.06)) * noise
    return np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)


def _sources(window: Window) -> NDArray[np.float64]:
    """Sources of a cutout: x, y and pixels above the threshold of each, shape (n, 3)."""
    sep = import_extra("sep", "training a network")
    gray = cv2.cvtColor(window, cv2.COLOR_RGB2GRAY).astype(np.float32)
    some = gray[::3, ::3]
    level = float(np.median(some))
    spread = max(1.4826 * float(np.median(np.abs(some - level))), 1.0)
    try:
        found = sep.extract(gray - level, 4 * spread, minarea=12, deblend_cont=0.02)
    except Exception:  # of sep, where its buffers overflow on crowded fields
        return np.empty((0, 3))
    rows = np.stack([found["x"], found["y"], found["npix"].astype(float)], axis=1)
    # What fills the cutout is a background that rises.
    return rows[(rows[:, 2] < 0.5 * gray.size) & np.isfinite(rows).all(axis=1)]
