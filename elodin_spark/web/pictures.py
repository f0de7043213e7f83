"""Pictures made from the archive's own pixels: a cutout by a stretch, a whole image made small."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.catalog.cutout import Cutout, plane_of
from elodin_spark.cutouts.stretch import asinh_stretch, rescale_intensity
from elodin_spark.errors import ImageError, InputError
from elodin_spark.images.planes import open_plane
from elodin_spark.images.uris import is_fits

STRETCHES = ("asinh", "linear", "sqrt", "log", "square")
COLORMAPS = ("gray", "gray_r", "viridis", "magma", "inferno", "cividis", "hot")
#: Of a picture, px.
SMALLEST, LARGEST = 16, 2048
_MOST_PIXELS = 2**24  # of a cutout that is read
_STRIP_PIXELS = 2**22  # of an image that are held at once
_LARGEST_PICTURE = 2**27  # px of a JPEG, PNG or TIFF, which is decoded whole
_LOG_STEEPNESS = 1000.0
_QUALITY = 88  # of JPEG


def cutout_png(cutout: Cutout, stretch: str, cut: float, colormap: str, size: int) -> bytes:
    """A cutout, read again from the archive, as PNG; of FITS row 0 is at the bottom, as in thumbnails.

    Parameters
    ----------
    cutout : Cutout
    stretch : str
        One of :data:`STRETCHES`.
    cut : float
        The percentile of the pixels that is white, in [50, 100]; of a linear one as many below are black.
    colormap : str
        One of :data:`COLORMAPS`; of no use for pictures in color.
    size : int
        Longest side, px.

    Raises
    ------
    InputError
        An argument is none of these, or the image cannot be read.
    """
    _one_of("stretch", stretch, STRETCHES)
    _one_of("colormap", colormap, COLORMAPS)
    checked_size(size)
    if not 50 <= cut <= 100:
        raise InputError(f"cut is a percentile from 50 to 100, got {cut:g}")
    height, width = cutout.y1 - cutout.y0, cutout.x1 - cutout.x0
    if height * width > _MOST_PIXELS:
        raise InputError(f"the cutout has {width} x {height} px: at most {_MOST_PIXELS:,} px are drawn")
    pixels = stretched(cutout.array, stretch, cut)
    if is_fits(str(cutout.image["uri"])):
        pixels = pixels[::-1]
    return _encoded(_resized(colored(pixels, colormap), size), "PNG")


def stretched(pixels: np.ndarray, stretch: str, cut: float) -> NDArray[np.float32]:
    """Pixels from black, 0, to white, 1.

    Parameters
    ----------
    pixels : ndarray, shape (ny, nx) or (ny, nx, 3)
    stretch, cut
        As of :func:`cutout_png`.
    """
    if stretch == "asinh":
        return asinh_stretch(pixels, white_percentile=max(cut, 50.001))
    unit = rescale_intensity(pixels, 100 - cut, cut)
    if stretch == "sqrt":
        return np.sqrt(unit)
    if stretch == "square":
        return np.square(unit)
    if stretch == "log":
        return (np.log1p(_LOG_STEEPNESS * unit) / np.log1p(_LOG_STEEPNESS)).astype(np.float32)
    return unit


def colored(unit: NDArray[np.float32], colormap: str) -> NDArray[np.uint8]:
    """Values from 0 to 1 as gray or RGB of 8 bits; what has three channels stays in its colors."""
    levels = np.rint(unit * 255).astype(np.uint8)
    if unit.ndim == 3 or colormap == "gray":
        return levels
    from matplotlib import colormaps

    table = np.rint(np.asarray(colormaps[colormap](np.arange(256)))[:, :3] * 255).astype(np.uint8)
    return table[levels]


def preview_jpeg(image: Mapping[str, Any], storage: Mapping[str, Any], size: int) -> tuple[bytes, int, int]:
    """A whole image made small, row 0 of the file at the top; read in strips.

    Parameters
    ----------
    image : mapping
        A row of the images table.
    storage : mapping
        Options of a remote store.
    size : int
        Its longest side is at most as long, px.

    Returns
    -------
    jpeg : bytes
    width, height : int
        px.

    Raises
    ------
    InputError
        It cannot be read, or is too large to be decoded.
    """
    checked_size(size)
    uri, hdu = plane_of(image)
    width, height = image["width"], image["height"]
    if not is_fits(uri) and width is not None and width * height > _LARGEST_PICTURE:
        raise InputError(
            f"{image['path']} has {width} x {height} px and is decoded whole: at most {_LARGEST_PICTURE:,} "
            "px are drawn"
        )
    try:
        with open_plane(uri, hdu, storage) as plane:
            small = _reduced(plane, size)
    except (ImageError, ValueError) as error:
        raise InputError(f"{image['path']} cannot be read: {error}") from None
    levels = small if small.dtype == np.uint8 else colored(stretched(small, "asinh", 99.8), "gray")
    return _encoded(levels, "JPEG"), levels.shape[1], levels.shape[0]


def preview_size(width: int, height: int, size: int) -> tuple[int, int]:
    """Columns and rows of a preview, px."""
    factor = _factor(width, height, size)
    return -(-width // factor), -(-height // factor)


def checked_size(size: int) -> int:
    """The longest side of a picture; InputError where it is out of range."""
    if not SMALLEST <= size <= LARGEST:
        raise InputError(f"size is from {SMALLEST} to {LARGEST} px, got {size}")
    return size


def _factor(width: int, height: int, size: int) -> int:
    return max(1, -(-max(width, height) // size))


def _reduced(plane: Any, size: int) -> np.ndarray:
    """Means of squares of pixels, those that are not known left out; bytes stay bytes."""
    height, width = plane.shape[:2]
    factor = _factor(width, height, size)
    columns = -(-width // factor)
    rows_at_once = max(1, _STRIP_PIXELS // (width * factor)) * factor
    parts = []
    for y0 in range(0, height, rows_at_once):
        strip = plane.read(y0, min(y0 + rows_at_once, height))
        parts.append(_blocks(strip, factor, columns))
    small = np.concatenate(parts)
    if strip.dtype == np.uint8:
        return np.rint(small).astype(np.uint8)
    return small


def _blocks(strip: np.ndarray, factor: int, columns: int) -> NDArray[np.float32]:
    if factor == 1:
        return strip.astype(np.float32)
    rows = -(-strip.shape[0] // factor)
    known = np.isfinite(strip)
    values = np.where(known, strip, 0).astype(np.float32)
    at = [np.arange(0, strip.shape[0], factor), np.arange(0, strip.shape[1], factor)]
    total = np.add.reduceat(np.add.reduceat(values, at[0], axis=0), at[1], axis=1)
    count = np.add.reduceat(np.add.reduceat(known.astype(np.float32), at[0], axis=0), at[1], axis=1)
    assert total.shape[:2] == (rows, columns)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, total / count, np.nan).astype(np.float32)


def _resized(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    import cv2

    height, width = pixels.shape[:2]
    scale = size / max(height, width)
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    # Enlarged, pixels are to be seen as they are.
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(np.ascontiguousarray(pixels), target, interpolation=way))


def _encoded(pixels: NDArray[np.uint8], kind: str) -> bytes:
    from PIL import Image

    data = io.BytesIO()
    options: dict[str, Any] = {"quality": _QUALITY} if kind == "JPEG" else {"compress_level": 4}
    Image.fromarray(np.ascontiguousarray(pixels)).save(data, kind, **options)
    return data.getvalue()


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"{name} is one of {', '.join(known)}; got {value[:100]!r}")
