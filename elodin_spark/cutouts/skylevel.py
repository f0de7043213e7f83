"""Sky level and noise of many windows at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Pixels further than this many sigma from the median are left out, again and again.
CLIP_SIGMA = 3.0
CLIP_ROUNDS = 5
#: Fewer known pixels than this give no sky and no noise.
MIN_SKY_PX = 16

_MAD_TO_SIGMA = 1.4826022185056018
#: Floats held at one time.
_CHUNK_VALUES = 2**21
#: The two irrational steps of the R2 sequence: points that cover a square evenly and follow no grid.
_R2_STEPS = (0.7548776662466927, 0.5698402909980532)

#: Flags of the part of an image that an index takes: two slices, or arrays of rows and columns.
Layer = Callable[[tuple[Any, Any]], NDArray[np.bool_]]


def sky_and_sigma(
    pixels: np.ndarray,
    masked: Layer | None,
    blank: float | None,
    boxes: NDArray[np.int64],
    sample_px: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sky and noise of many windows of an image, from a sample of each.

    Parameters
    ----------
    pixels : ndarray, shape (ny, nx) or (ny, nx, 3)
        Of colors the mean of the channels counts.
    masked : callable or None
        ``masked((rows, columns))`` tells which of these pixels are left out.
    blank : float or None
        Pixels of exactly this value are left out, as those that are not finite.
    boxes : ndarray, shape (n, 4), int64
        ``x0, y0, x1, y1``, px, half-open.
    sample_px : int
        Pixels of each window that are looked at; all where it has no more than twice as many.

    Returns
    -------
    sky, sky_sigma : ndarray, shape (n,), float32
        See :func:`clipped_median_and_sigma`.
    """
    sky, sky_sigma = np.full(len(boxes), np.nan, np.float32), np.full(len(boxes), np.nan, np.float32)
    sizes = boxes[:, 2:] - boxes[:, :2]
    for width, height in sorted(set(map(tuple, sizes.tolist()))):
        members = np.flatnonzero((sizes == [width, height]).all(axis=1))
        columns, rows = _sample(width, height, sample_px)
        step = max(_CHUNK_VALUES // len(columns), 1)
        for start in range(0, len(members), step):
            chunk = members[start : start + step]
            x, y = boxes[chunk, 0, None] + columns, boxes[chunk, 1, None] + rows
            sample = pixels[y, x]
            unknown = ~np.isfinite(sample) if blank is None else ~np.isfinite(sample) | (sample == blank)
            with np.errstate(over="ignore"):
                values = sample.astype(np.float32, copy=False)
            if values.ndim == 3:
                values, unknown = values.mean(axis=2), unknown.any(axis=2)
            values[unknown] = np.nan
            if masked is not None:
                values[masked((y, x))] = np.nan
            sky[chunk], sky_sigma[chunk] = clipped_median_and_sigma(values)
    return sky, sky_sigma


@lru_cache(maxsize=64)
def _sample(width: int, height: int, sample_px: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns and rows of the sampled pixels of a window, row by row."""
    if width * height <= 2 * sample_px:
        rows, columns = np.divmod(np.arange(width * height), width)
        return columns, rows
    steps = np.arange(1, sample_px + 1)[:, None] * np.array(_R2_STEPS)
    places = np.floor((steps % 1.0) * [width, height]).astype(np.int64)
    ordered = places[np.lexsort((places[:, 0], places[:, 1]))]
    return ordered[:, 0], ordered[:, 1]


def clipped_median_and_sigma(values: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sigma-clipped median of each row, and sigma as 1.4826 times the median absolute deviation.

    What astropy's ``sigma_clip(sigma=3, maxiters=5, stdfunc="mad_std")`` keeps, then ``mad_std``.

    Parameters
    ----------
    values : ndarray, shape (n, m), float
        NaN is left out.

    Returns
    -------
    median, sigma : ndarray, shape (n,), of the same dtype
        NaN with fewer than :data:`MIN_SKY_PX` values.
    """
    ordered = np.sort(values, axis=1)  # NaN last
    low = np.zeros(len(ordered), np.int64)
    high = np.count_nonzero(~np.isnan(ordered), axis=1)
    enough = high >= MIN_SKY_PX
    median, sigma = np.full(len(ordered), np.nan, values.dtype), np.full(len(ordered), np.nan, values.dtype)
    place = np.arange(ordered.shape[1])
    active = np.flatnonzero(enough)
    for clips in range(CLIP_ROUNDS + 1):
        if not len(active):
            break
        rows = ordered[active]
        middle = middle_of(rows, low[active], high[active])
        inside = (place >= low[active, None]) & (place < high[active, None])
        deviations = np.where(inside, np.abs(rows - middle[:, None]), np.nan).astype(values.dtype)
        deviations.sort(axis=1)
        spread = _MAD_TO_SIGMA * middle_of(deviations, np.zeros_like(active), (high - low)[active])
        median[active], sigma[active] = middle, spread
        if clips == CLIP_ROUNDS:
            break
        reach = CLIP_SIGMA * spread
        kept = inside & (rows >= (middle - reach)[:, None]) & (rows <= (middle + reach)[:, None])
        count = np.count_nonzero(kept, axis=1)
        changed = count < (high - low)[active]
        first = np.argmax(kept, axis=1)
        active = active[changed]
        low[active] = first[changed]
        high[active] = (first + count)[changed]
    return median, sigma


def middle_of(ordered: NDArray[Any], low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[Any]:
    """Medians of ``row[low:high]`` of sorted rows."""
    rows = np.arange(len(ordered))
    below, above = (low + high - 1) // 2, (low + high) // 2
    # Halved first, as the sum of two large float32 may be infinite.
    return ordered[rows, below] * 0.5 + ordered[rows, above] * 0.5
