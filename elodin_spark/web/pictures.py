"""Pictures made from the archive's own pixels: a cutout by a stretch, a whole image made small."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.catalog.cutout import Cutout
from elodin_spark.config.settings import Settings
from elodin_spark.cutouts.overview import overview
from elodin_spark.cutouts.steps import trace_steps
from elodin_spark.cutouts.stretch import asinh_stretch, rescale_intensity
from elodin_spark.errors import ImageError, InputError
from elodin_spark.images.uris import is_fits

STRETCHES = ("asinh", "linear", "sqrt", "log", "square")
COLORMAPS = ("gray", "gray_r", "viridis", "magma", "inferno", "cividis", "hot")
#: Of a picture, px.
SMALLEST, LARGEST = 16, 2048
_MOST_PIXELS = 2**24  # of a cutout that is read
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
    x0, y0, x1, y1 = cutout.file_window
    height, width = y1 - y0, x1 - x0
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


def preview_jpeg(image: Mapping[str, Any], settings: Settings, size: int) -> bytes:
    """A whole image as it is cut, made small; of FITS row 0 is at the bottom, as in thumbnails.

    Parameters
    ----------
    image : mapping
        A row of the images table.
    settings : Settings
        Of the catalog.
    size : int
        Its longest side is at most as long, px.

    Raises
    ------
    InputError
        It cannot be read, or is too large to be decoded.
    """
    checked_size(size)
    _check_decoded(image)
    images, quality = settings.images, settings.cutouts.quality
    blank = "auto" if quality is None else quality.blank
    try:
        seen = overview(image, images.steps, images.color, images.storage, blank, size)
    except (ImageError, OSError, ValueError) as error:
        raise InputError(f"{image['path']} cannot be read: {error}") from None
    return _encoded(seen.pixels[::-1] if seen.upwards else seen.pixels, "JPEG")


def grid_of(image: Mapping[str, Any], settings: Settings) -> tuple[int | None, int | None]:
    """Columns and rows, px, that the windows of an image lie on: after its steps.

    Raises
    ------
    ImageError
        The steps leave nothing of it.
    """
    width, height, steps = image["width"], image["height"], settings.images.steps
    if steps == "auto" or width is None or height is None:
        return width, height
    (height, width, *_), _ = trace_steps((height, width), steps)
    return width, height


def _check_decoded(image: Mapping[str, Any]) -> None:
    width, height = image["width"], image["height"]
    if not is_fits(image["uri"]) and width is not None and width * height > _LARGEST_PICTURE:
        raise InputError(
            f"{image['path']} has {width} x {height} px and is decoded whole: at most {_LARGEST_PICTURE:,} "
            "px are drawn"
        )


def checked_size(size: int) -> int:
    """The longest side of a picture; InputError where it is out of range."""
    if not SMALLEST <= size <= LARGEST:
        raise InputError(f"size is from {SMALLEST} to {LARGEST} px, got {size}")
    return size


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
