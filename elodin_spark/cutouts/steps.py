"""Processing steps of images and cutouts, and what they do to positions.

Steps that move pixels also give the affine map from the processed image back to the
original, so that sky positions stay right. Positions are ``(x, y)``, column and row in px from
0, integers being the centers of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.settings import (
    AdaptiveHistogramEqualization,
    AsinhStretch,
    Crop,
    FlipLR,
    FlipUD,
    GrayScale,
    GrayToRGB,
    HistogramEqualization,
    RescaleIntensity,
    Resize,
    Rotate,
    Step,
)
from elodin_spark.cutouts import stretch
from elodin_spark.cutouts.pixels import channel_of, gray, like, rgb
from elodin_spark.errors import ImageError

#: Steps that map pixel values to [0, 1].
INTENSITY_STEPS = frozenset(
    model.__name__
    for model in (AsinhStretch, RescaleIntensity, HistogramEqualization, AdaptiveHistogramEqualization)
)

Affine = NDArray[np.float64]


def apply_steps(pixels: np.ndarray, steps: Sequence[Step]) -> tuple[np.ndarray, Affine]:
    """Process an image.

    Parameters
    ----------
    pixels : ndarray, shape (ny, nx) or (ny, nx, 3)
        Not modified.
    steps : sequence of Step
        Done in this order. Steps that change intensity give float32 in [0, 1]; the others keep
        the dtype.

    Returns
    -------
    pixels : ndarray, shape (my, mx) or (my, mx, 3)
        Row order as before: y is the row. `pixels` itself where there are no steps.
    affine : ndarray, shape (3, 3), float64
        Maps ``(x, y, 1)`` of the processed image to that of the original.

    Raises
    ------
    ImageError
        Kind ``bad_crop``: a Crop leaves nothing or lies outside the image.

    Examples
    --------
    >>> crop = Step(type="Crop", parameters={"output_range": (1, 3, 2, 4)})
    >>> pixels, affine = apply_steps(np.zeros((4, 4)), [crop])
    >>> pixels.shape, (affine @ [0, 0, 1]).tolist()
    ((2, 2), [2.0, 1.0, 1.0])
    """
    affine = np.eye(3)
    for step in steps:
        pixels, back = _apply(pixels, step)
        affine = affine @ back
    return pixels, affine


def trace_steps(shape: tuple[int, ...], steps: Sequence[Step]) -> tuple[tuple[int, ...], Affine]:
    """Where :func:`apply_steps` would lead, without pixels.

    Parameters
    ----------
    shape : tuple of int
        (ny, nx) or (ny, nx, 3).
    steps : sequence of Step

    Returns
    -------
    shape : tuple of int
    affine : ndarray, shape (3, 3), float64
        As of :func:`apply_steps`.

    Raises
    ------
    ImageError
        Kind ``bad_crop``.

    Examples
    --------
    >>> shape, affine = trace_steps((400, 600), [Step(type="Resize", parameters={"output_size": 200})])
    >>> shape, affine[0, 0].item(), affine[1, 1].item()
    ((200, 200), 3.0, 2.0)
    """
    affine = np.eye(3)
    for step in steps:
        height, width = shape[:2]
        back = np.eye(3)
        match step.model():
            case GrayScale():
                shape = (height, width)
            case Resize(output_size=size):
                back = _resize_affine(shape, size)
                shape = (size, size, *shape[2:])
            case Crop(output_range=bounds):
                r0, r1, c0, c1 = _crop_box(height, width, bounds)
                back = _crop_affine(r0, c0)
                shape = (r1 - r0, c1 - c0, *shape[2:])
            case Rotate(angle=angle):
                back = _rotate_affine(height, width, angle)
            case FlipLR():
                back = _flip_affine(width, axis=0)
            case FlipUD():
                back = _flip_affine(height, axis=1)
        affine = affine @ back
    return shape, affine


def default_steps(pixels: np.ndarray, steps: Literal["auto"] | Sequence[Step]) -> tuple[Step, ...]:
    """The steps themselves, or for "auto" an AsinhStretch unless `pixels` are 8-bit.

    Parameters
    ----------
    pixels : ndarray
        Of the image; only their dtype counts.
    steps : "auto" or sequence of Step

    Returns
    -------
    tuple of Step

    Examples
    --------
    >>> [step.type for step in default_steps(np.zeros((8, 8), np.float32), "auto")]
    ['AsinhStretch']
    >>> default_steps(np.zeros((8, 8), np.uint8), "auto")
    ()
    """
    if steps == "auto":
        return () if pixels.dtype == np.uint8 else (Step(type="AsinhStretch"),)
    return tuple(steps)


def _apply(pixels: np.ndarray, step: Step) -> tuple[np.ndarray, Affine]:
    match step.model():
        case GrayScale():
            return gray(pixels), np.eye(3)
        case GrayToRGB():
            return rgb(pixels), np.eye(3)
        case Resize(output_size=size):
            return resize(pixels, size), _resize_affine(pixels.shape, size)
        case Crop(output_range=bounds):
            return _crop(pixels, bounds)
        case Rotate(angle=angle):
            return _rotate(pixels, angle)
        case FlipLR():
            return np.ascontiguousarray(pixels[:, ::-1]), _flip_affine(pixels.shape[1], axis=0)
        case FlipUD():
            return np.ascontiguousarray(pixels[::-1]), _flip_affine(pixels.shape[0], axis=1)
        case RescaleIntensity(in_range=(low, high)):
            return stretch.rescale_intensity(pixels, low, high), np.eye(3)
        case HistogramEqualization():
            return stretch.equalize(pixels), np.eye(3)
        case AdaptiveHistogramEqualization(clip_limit=limit):
            return stretch.equalize_adaptive(pixels, limit), np.eye(3)
        case AsinhStretch(black_sigma=black, softening_sigma=softening, white_percentile=white):
            return stretch.asinh_stretch(pixels, black, softening, white), np.eye(3)
    raise TypeError(f"no processing for step {step.type!r}")


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize to `size` x `size` px: mean over areas where an axis shrinks, bilinear where it grows.

    Parameters
    ----------
    pixels : ndarray, shape (ny, nx) or (ny, nx, 3)
    size : int
        Side of the result, px.

    Returns
    -------
    ndarray, shape (size, size) or (size, size, 3)
        Of the same dtype and value range.

    Examples
    --------
    >>> resize(np.full((50, 80, 3), 7, np.uint8), 32).shape
    (32, 32, 3)
    """
    import cv2

    channel = channel_of(pixels)
    if channel is not None and channel.dtype == np.uint8:  # of floats OpenCV's sums differ in the last bit
        return rgb(resize(channel, size))
    height, width = pixels.shape[:2]
    dtype = pixels.dtype
    source = np.ascontiguousarray(pixels)
    if dtype not in (np.uint8, np.uint16, np.int16, np.float32, np.float64):  # what OpenCV resizes
        source = source.astype(np.float64)
    if (height < size) == (width < size):
        method = cv2.INTER_LINEAR if height < size else cv2.INTER_AREA
        resized = cv2.resize(source, (size, size), interpolation=method)
    else:  # OpenCV takes one method for both axes
        first, second = ((size, height), (size, size)) if width > size else ((width, size), (size, size))
        resized = cv2.resize(source, first, interpolation=cv2.INTER_AREA)
        resized = cv2.resize(resized, second, interpolation=cv2.INTER_LINEAR)
    return like(resized, dtype)


def _resize_affine(shape: tuple[int, ...], size: int) -> Affine:
    scale_y, scale_x = shape[0] / size, shape[1] / size
    return np.array(
        [[scale_x, 0, (scale_x - 1) / 2], [0, scale_y, (scale_y - 1) / 2], [0, 0, 1]], dtype=np.float64
    )


def _crop(pixels: np.ndarray, bounds: tuple[int, int, int, int]) -> tuple[np.ndarray, Affine]:
    r0, r1, c0, c1 = _crop_box(pixels.shape[0], pixels.shape[1], bounds)
    return np.ascontiguousarray(pixels[r0:r1, c0:c1]), _crop_affine(r0, c0)


def _crop_box(height: int, width: int, bounds: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    r0, r1 = (value + height if value < 0 else value for value in bounds[:2])
    c0, c1 = (value + width if value < 0 else value for value in bounds[2:])
    if not (0 <= r0 < r1 <= height and 0 <= c0 < c1 <= width):
        raise ImageError(
            f"Crop {list(bounds)} leaves nothing of, or reaches outside, an image of {width} x {height} px; "
            "correct its output_range or leave the image out",
            kind="bad_crop",
        )
    return r0, r1, c0, c1


def _crop_affine(r0: int, c0: int) -> Affine:
    return np.array([[1, 0, c0], [0, 1, r0], [0, 0, 1]], dtype=np.float64)


def _rotate_affine(height: int, width: int, angle: float) -> Affine:
    """About the center of the array, counter-clockwise where y, the row, points up."""
    quarters, rest = divmod(angle, 90.0)
    if rest == 0:  # cos(90 deg) is not 0 in floating point, and would blank the border
        cos, sin = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(quarters) % 4]
    else:
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    center_x, center_y = (width - 1) / 2, (height - 1) / 2
    # Where a pixel of the result came from: turned back by the angle.
    return np.array(
        [
            [cos, sin, center_x - cos * center_x - sin * center_y],
            [-sin, cos, center_y + sin * center_x - cos * center_y],
            [0, 0, 1],
        ],
        dtype=np.float64,
    )


def _rotate(pixels: np.ndarray, angle: float) -> tuple[np.ndarray, Affine]:
    from scipy.ndimage import affine_transform

    affine = _rotate_affine(pixels.shape[0], pixels.shape[1], angle)
    matrix, offset = affine[1::-1, 1::-1], affine[1::-1, 2]  # scipy counts (row, column)
    channels = pixels[..., None] if pixels.ndim == 2 else pixels
    turned = np.empty_like(channels)
    for channel in range(channels.shape[2]):
        plane = channels[..., channel].astype(np.float64)
        finite = plane[np.isfinite(plane)]
        outside = float(np.median(finite)) if finite.size else math.nan
        moved = affine_transform(plane, matrix, offset, order=1, mode="constant", cval=outside)
        turned[..., channel] = like(moved, pixels.dtype)
    return turned.reshape(pixels.shape), affine


def _flip_affine(length: int, axis: int) -> Affine:
    affine = np.eye(3)
    affine[axis, axis], affine[axis, 2] = -1, length - 1
    return affine
