"""Holes in images, filled from what is around them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from elodin_spark.cutouts.skylevel import middle_of
from elodin_spark.errors import ImageError

_FILL_PX = 7
_FILL_LEAST = 5
_FILL_BLOCK = 4
_FILL_CHUNK = 2**16


def fill_nodata(pixels: np.ndarray, bad: NDArray[np.bool_] | None = None) -> np.ndarray:
    """Replace unknown pixels by the median of the known ones around them.

    The median is of the square of 7 x 7 px; where fewer than five of them are known, of
    4 x 4 px blocks around, of blocks of blocks, and so on, interpolated between blocks. So
    holes of any size are filled in one pass, and nothing known is changed.

    Parameters
    ----------
    pixels : ndarray, shape (ny, nx) or (ny, nx, 3), float
        Channels are filled one by one.
    bad : ndarray, shape (ny, nx), bool, optional
        What is replaced besides NaN and infinite pixels.

    Returns
    -------
    ndarray, of the same shape and dtype
        `pixels` itself where nothing is to be filled.

    Raises
    ------
    ImageError
        Kind ``no_data``: no pixel is known.
    """
    if pixels.ndim == 3:
        planes = [fill_nodata(pixels[..., band], bad) for band in range(pixels.shape[2])]
        return np.stack(planes, axis=2)
    unknown = ~np.isfinite(pixels)
    if bad is not None:
        unknown |= bad
    if not unknown.any():
        return pixels
    if unknown.all():
        raise ImageError("no pixel of the window is known, so none can be filled; reject it", kind="no_data")
    filled = pixels.copy()
    filled[unknown] = np.nan
    return _fill(filled, unknown)


def _fill(filled: np.ndarray, unknown: NDArray[np.bool_]) -> np.ndarray:
    """Fill in place; unknown pixels are NaN."""
    half = _FILL_PX // 2
    padded = np.pad(filled, half, constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, (_FILL_PX, _FILL_PX))
    rows, columns = np.nonzero(unknown)
    for start in range(0, len(rows), _FILL_CHUNK):
        y, x = rows[start : start + _FILL_CHUNK], columns[start : start + _FILL_CHUNK]
        patches = np.sort(around[y, x].reshape(len(y), -1), axis=1)
        known = np.count_nonzero(~np.isnan(patches), axis=1)
        near = known >= _FILL_LEAST
        filled[y[near], x[near]] = middle_of(patches[near], np.zeros_like(known[near]), known[near])
    rows, columns = np.nonzero(np.isnan(filled))
    if len(rows):
        from scipy.ndimage import map_coordinates

        # From the pixels as they were: medians of medians drift.
        blocks = _block_medians(padded[half:-half, half:-half])
        coarse = _fill(blocks, np.isnan(blocks))
        center = (_FILL_BLOCK - 1) / 2
        where = (np.stack([rows, columns]) - center) / _FILL_BLOCK
        filled[rows, columns] = map_coordinates(coarse, where, order=1, mode="nearest")
    return filled


def _block_medians(pixels: np.ndarray) -> np.ndarray:
    height, width = (math.ceil(side / _FILL_BLOCK) for side in pixels.shape)
    side = _FILL_BLOCK
    padding = ((0, height * side - pixels.shape[0]), (0, width * side - pixels.shape[1]))
    whole = np.pad(pixels, padding, constant_values=np.nan)
    blocks = whole.reshape(height, side, width, side).swapaxes(1, 2).reshape(height * width, side * side)
    ordered = np.sort(blocks, axis=1)
    known = np.count_nonzero(~np.isnan(ordered), axis=1)
    medians = np.full(len(ordered), np.nan, pixels.dtype)
    some = known > 0
    medians[some] = middle_of(ordered[some], np.zeros_like(known[some]), known[some])
    return medians.reshape(height, width)
