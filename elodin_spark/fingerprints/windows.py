"""Windows on their way to the network: checked, and of one size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.errors import ImageError


def resize_window(pixels: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Resize one window to a square, whatever its aspect ratio.

    Axes that shrink are averaged over areas, axes that grow are interpolated linearly.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width) or (height, width, 3)
    size_px : int
        Side of the result, px.

    Returns
    -------
    ndarray of uint8, shape (size_px, size_px) or (size_px, size_px, 3)
        `pixels` itself where it has that size already.
    """
    import cv2

    height, width = pixels.shape[:2]
    small = (min(height, size_px), min(width, size_px))
    resized: Any = pixels
    if small != (height, width):
        resized = cv2.resize(resized, small[::-1], interpolation=cv2.INTER_AREA)
    if small != (size_px, size_px):
        resized = cv2.resize(resized, (size_px, size_px), interpolation=cv2.INTER_LINEAR)
    return resized


def check_window(window: NDArray[np.uint8]) -> None:
    """Refuse what is not a window of 8-bit pixels.

    Raises
    ------
    ImageError
        Of kind ``bad_pixels``: not uint8, empty, or neither (h, w) nor (h, w, 3).
    """
    shape = window.shape
    if (
        window.dtype != np.uint8
        or len(shape) not in (2, 3)
        or 0 in shape
        or (len(shape) == 3 and shape[2] != 3)
    ):
        raise ImageError(
            f"a window must be uint8 of shape (h, w) or (h, w, 3), got {window.dtype} {shape}", "bad_pixels"
        )
