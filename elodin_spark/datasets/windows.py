"""Windows of the tiles of :mod:`~elodin_spark.datasets.survey` with the type of what they hold.

A backbone learns from these what it is to meet anywhere in a window, of one band: objects off the
middle, trails, hot columns, cosmic rays and plain sky. Needs GalSim.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from elodin_spark.datasets.layout import Layout, stream
from elodin_spark.datasets.sky import Conditions, Pixels
from elodin_spark.datasets.tile import draw_tile
from elodin_spark.datasets.truth import Truth

#: Of a tile, px.
TILE_PX = 512
#: Windows of a tile.
TILE_WINDOWS = 56

_STREAM_WINDOWS = 5
_SIDES_PX = (76.0, 124.0)
#: The farthest an object is from the middle of its window, of the side.
_OFF_SIDE = 0.3
_AT_RANDOM = 12


def draw_windows(number: int, px: int, seed: int) -> tuple[NDArray[np.uint8], list[str]]:
    """Draw a tile and windows of it, most of them about its notable objects.

    Parameters
    ----------
    number : int
        Of the tile: each is a survey of its own.
    px : int
        Side of the windows, to which parts of 76 to 124 px of the tile are brought.
    seed : int

    Returns
    -------
    windows : ndarray of uint8, shape (TILE_WINDOWS, px, px, 3)
        Gray, each of a stretch of its own.
    types : list of str
        Of what is most visible in each, see :meth:`~elodin_spark.datasets.truth.Truth.type_in`.
    """
    rng = stream(seed, _STREAM_WINDOWS, number)
    own = int(rng.integers(2**31))
    layout = Layout(1, TILE_PX)
    conditions = Conditions.draw(rng)
    tile = draw_tile(TILE_PX, layout.tile_wcs(0), conditions, layout.place(own), seed=own, noise=rng)
    truth = Truth.of(layout.name(0), tile.truth)
    notable = [i for i in range(len(truth.kind)) if truth.is_notable(i)]
    windows = np.empty((TILE_WINDOWS, px, px, 3), np.uint8)
    types = []
    for count in range(TILE_WINDOWS):
        side = rng.uniform(*_SIDES_PX)
        if count < _AT_RANDOM or not notable:
            x, y = rng.uniform(0, TILE_PX, 2)
        else:
            x, y = truth.draw_place(notable[count % len(notable)], rng)
            x, y = np.array([x, y]) + side * rng.uniform(-_OFF_SIDE, _OFF_SIDE, 2)
        x, y = np.clip([x, y], side / 2 - 0.5, TILE_PX - side / 2 - 0.5)
        x0, y0 = round(x - side / 2 + 0.5), round(y - side / 2 + 0.5)
        x1, y1 = min(x0 + round(side), TILE_PX), min(y0 + round(side), TILE_PX)
        gray = _stretched(tile.pixels, (slice(y0, y1), slice(x0, x1)), conditions.noise_njy, rng)
        way = cv2.INTER_AREA if side > px else cv2.INTER_LINEAR
        windows[count] = np.asarray(cv2.resize(gray, (px, px), interpolation=way))[..., None]
        types.append(truth.type_in({"image": layout.name(0), "x0": x0, "y0": y0, "x1": x1, "y1": y1}))
    return windows, types


def _stretched(
    pixels: Pixels, part: tuple[slice, slice], sigma: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Gray levels of a part of a tile by an asinh, as weak to as strong as people take it."""
    black = sigma * rng.uniform(-1, 2)
    softening = sigma * 10 ** rng.uniform(0.5, 1.7)
    white = float(np.quantile(pixels, rng.uniform(0.994, 0.9995)))
    levels = np.arcsinh((pixels[part] - black) / softening) / np.arcsinh(
        max(white - black, sigma) / softening
    )
    return np.clip(np.rint(levels * 255), 0, 255).astype(np.uint8)
