"""Conversions of pixel arrays, (ny, nx) or (ny, nx, 3): to one channel, to float, to 8 bits."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from elodin_spark.errors import ImageError

#: Weights of R, G and B in gray (ITU-R BT.601).
GRAY_WEIGHTS = (0.299, 0.587, 0.114)

#: Images are worked on in strips of rows of about so many values, which stay in the cache.
STRIP_PIXELS = 2**16

_TOLERANCE = 1e-6


def gray(pixels: np.ndarray) -> np.ndarray:
    """One channel, 0.299 R + 0.587 G + 0.114 B.

    Parameters
    ----------
    pixels : ndarray, shape (ny, nx) or (ny, nx, 3)

    Returns
    -------
    ndarray, shape (ny, nx)
        Of the same dtype, integers rounded; `pixels` itself where it has one channel.
    """
    if pixels.ndim == 2:
        return pixels
    red, green, blue = GRAY_WEIGHTS
    kind = np.float64 if pixels.dtype.itemsize > 4 else np.float32
    mixed = pixels[..., 0] * kind(red) + pixels[..., 1] * kind(green) + pixels[..., 2] * kind(blue)
    return like(mixed, pixels.dtype)


def rgb(pixels: np.ndarray) -> np.ndarray:
    """Three equal channels, shape (ny, nx, 3), of the same dtype; `pixels` itself where it has three."""
    if pixels.ndim == 3:
        return pixels
    if pixels.dtype == np.uint8:
        import cv2

        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)  # several times faster than np.repeat
    return np.repeat(pixels[..., None], 3, axis=2)


def seen_as_rgb(pixels: np.ndarray) -> np.ndarray:
    """One channel seen as three, shape (ny, nx, 3): a view that takes no memory and cannot be written to."""
    return np.broadcast_to(pixels[..., None], (*pixels.shape, 3))


def channel_of(pixels: np.ndarray) -> np.ndarray | None:
    """The channel behind :func:`seen_as_rgb`, or a part of it; None of any other array."""
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 3 and not pixels.strides[2] else None


def as_float(pixels: np.ndarray) -> NDArray[np.float32]:
    """Pixels as float32: integers divided by the largest value of their dtype."""
    if pixels.dtype.kind in "ui":
        return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    return pixels.astype(np.float32, copy=False)


def like(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values as `dtype`, rounded and clipped to its range where it holds integers."""
    if dtype.kind in "ui" and values.dtype != dtype:
        limits = np.iinfo(dtype)
        return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
    return values.astype(dtype, copy=False)


def to_uint8(pixels: np.ndarray) -> NDArray[np.uint8]:
    """Pixels as 8 bits, black 0 and white 255.

    Parameters
    ----------
    pixels : ndarray
        uint8 (returned as it is), uint16 (65535 is white), bool, or float in [0, 1]
        within 1e-6, NaN becoming black.

    Returns
    -------
    ndarray, uint8, of the same shape

    Raises
    ------
    ImageError
        Kind ``needs_stretch``: the values are physical ones, without a black and a white.
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind != "f":
        raise ImageError(
            f"pixels of type {pixels.dtype} have no black and white; {_REMEDY}", kind="needs_stretch"
        )
    out = np.empty(pixels.shape, np.uint8)
    step = max(1, STRIP_PIXELS // max(1, pixels[:1].size))
    for start in range(0, len(pixels), step):
        strip = pixels[start : start + step]
        if not strip.size:
            continue
        low, high = strip.min(), strip.max()
        if math.isnan(low):
            strip = np.nan_to_num(strip, nan=0.0, posinf=np.inf, neginf=-np.inf)
            low, high = strip.min(), strip.max()
        if low < -_TOLERANCE or high > 1 + _TOLERANCE:
            low, high = float(np.nanmin(pixels)), float(np.nanmax(pixels))
            raise ImageError(
                f"pixel values from {low:.6g} to {high:.6g} lie outside [0, 1]: "
                f"no 8 bits hold them; {_REMEDY}",
                kind="needs_stretch",
            )
        if low < 0 or high > 1:
            strip = np.clip(strip, 0, 1)
        unit_to_uint8(strip, out[start : start + step])
    return out


def unit_to_uint8(pixels: np.ndarray, out: NDArray[np.uint8]) -> None:
    """Write floats that are known to lie in [0, 1] to `out`, C-contiguous, as the nearest of 256 levels.

    Of two that are as near, the even one; computed in float32.
    """
    import cv2

    assert out.flags.c_contiguous  # what OpenCV cannot write to it replaces in silence
    values = np.ascontiguousarray(pixels, np.float32)
    # One pass, where NumPy takes a multiplication, np.rint and a conversion.
    cv2.convertScaleAbs(values.reshape(len(values), -1), out.reshape(len(out), -1), 255.0)


_REMEDY = "add a stretch such as AsinhStretch or RescaleIntensity to images.steps"
