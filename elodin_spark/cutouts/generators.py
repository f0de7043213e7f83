"""Where windows are laid on an image.

A window is a row ``x0, y0, x1, y1`` in px, half-open, x the column and y the row, both from
0, on the pixel grid of the array that is given.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elodin_spark.cutouts.pixels import gray
from elodin_spark.errors import ImageError


def full_image(height: int, width: int) -> NDArray[np.int32]:
    """One window over a whole image.

    Parameters
    ----------
    height, width : int
        Of the image, px.

    Returns
    -------
    ndarray, shape (1, 4), int32

    Examples
    --------
    >>> full_image(100, 200).tolist()
    [[0, 0, 200, 100]]
    """
    return np.array([[0, 0, width, height]], dtype=np.int32)


def sliding_windows(height: int, width: int, size: int, step: int, edge: str = "shift") -> NDArray[np.int32]:
    """Square windows every `step` px, row-major.

    Parameters
    ----------
    height, width : int
        Of the image, px.
    size : int
        Side of a window, px.
    step : int
        Between windows, px.
    edge : {"shift", "drop"}
        Whether a last window flush with the far edge covers what is left over there.

    Returns
    -------
    ndarray, shape (n, 4), int32

    Raises
    ------
    ImageError
        Kind ``smaller_than_window``: the image is smaller than one window.

    Examples
    --------
    >>> sliding_windows(64, 100, size=64, step=32).tolist()
    [[0, 0, 64, 64], [32, 0, 96, 64], [36, 0, 100, 64]]
    """
    if min(height, width) < size:
        raise ImageError(
            f"the image has {width} x {height} px and does not hold one window of {size} px; "
            "set a smaller cutouts.generator.size, add a Resize step, or leave the image out",
            kind="smaller_than_window",
        )
    x0, y0 = _starts(width, size, step, edge), _starts(height, size, step, edge)
    grid_y, grid_x = np.meshgrid(y0, x0, indexing="ij")
    corners = np.stack([grid_x.ravel(), grid_y.ravel()], axis=1)
    return np.concatenate([corners, corners + size], axis=1).astype(np.int32)


def blob_windows(
    pixels: np.ndarray, sigma: float, threshold: float, padding: int, min_size: int
) -> NDArray[np.int32]:
    """Square windows around the bright connected regions of an image.

    The definition is elodin-nn's: the gray image is smoothed with a Gaussian; regions are
    where it exceeds `threshold` x its mean (neighbors by edge or corner); each region's
    extent is padded and made square. Here the short side grows around the center, and a
    window that leaves the image is shifted inside, or shrunk to the short side of the image
    where it is larger than that.

    Parameters
    ----------
    pixels : ndarray, shape (ny, nx) or (ny, nx, 3)
        NaN pixels neither count in the mean nor spread.
    sigma : float
        Of the Gaussian, px.
    threshold : float
        Times the mean of the smoothed image.
    padding : int
        Added on each side of a region, px.
    min_size : int
        Smallest side of a window, px, where the image has room for it.

    Returns
    -------
    ndarray, shape (n, 4), int32
        Sorted by y0, then x0, then size.

    Examples
    --------
    >>> image = np.zeros((64, 64))
    >>> image[20:24, 40:44] = 1.0
    >>> blob_windows(image, sigma=1.0, threshold=20.0, padding=4, min_size=16).tolist()
    [[34, 14, 50, 30]]
    """
    from scipy import ndimage

    smoothed = _smooth(gray(pixels).astype(np.float32), sigma)
    known = np.isfinite(smoothed)
    if not known.any():
        return np.empty((0, 4), np.int32)
    mean = float(smoothed[known].mean(dtype=np.float64))
    bright = np.greater(smoothed, threshold * mean, where=known, out=np.zeros(known.shape, bool))
    labels, _ = ndimage.label(bright, structure=np.ones((3, 3), bool))
    height, width = bright.shape
    found = {
        _square(rows.start - padding, rows.stop + padding, columns.start - padding, columns.stop + padding,
                max(min_size, 1), height, width)
        for rows, columns in ndimage.find_objects(labels)
    }  # fmt: skip
    ordered = sorted(found, key=lambda w: (w[1], w[0], w[2]))
    return np.array(ordered, dtype=np.int32).reshape(-1, 4)


def _starts(length: int, size: int, step: int, edge: str) -> NDArray[np.int64]:
    starts = np.arange(0, length - size + 1, step, dtype=np.int64)
    if edge == "shift" and starts[-1] + size < length:
        starts = np.append(starts, length - size)
    return starts


def _square(
    y0: int, y1: int, x0: int, x1: int, min_size: int, height: int, width: int
) -> tuple[int, int, int, int]:
    side = min(max(y1 - y0, x1 - x0, min_size), height, width)
    left = min(max((x0 + x1 - side) // 2, 0), width - side)
    top = min(max((y0 + y1 - side) // 2, 0), height - side)
    return left, top, left + side, top + side


def _smooth(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian mean over the finite pixels; NaN at the others."""
    from scipy.ndimage import gaussian_filter

    finite = np.isfinite(image)
    if finite.all():
        return gaussian_filter(image, sigma, mode="nearest")
    total = gaussian_filter(np.where(finite, image, np.float32(0)), sigma, mode="nearest")
    weight = gaussian_filter(finite.astype(np.float32), sigma, mode="nearest")
    return np.divide(total, weight, where=finite, out=np.full(image.shape, np.nan, np.float32))
