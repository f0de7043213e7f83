"""A whole image, stretched as its windows are, at the size of a screen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.settings import ColorSettings, Step
from elodin_spark.cutouts.picture import Blank, open_picture
from elodin_spark.cutouts.pixels import to_uint8
from elodin_spark.errors import ImageError
from elodin_spark.images.uris import is_fits

#: Longest side of an overview, px.
LONGEST_PX = 1600

_STRIP_PIXELS = 2**24  # of the image, read at once


@dataclass(frozen=True, eq=False)
class Overview:
    """An image made smaller.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (ny, nx) or (ny, nx, 3)
        Means over squares of the image.
    width, height : int
        Of the image after its steps, px: the grid that windows are on.
    upwards : bool
        Row 0 is the bottom, as in FITS.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    upwards: bool


def overview(
    image: Mapping[str, Any],
    steps: Literal["auto"] | Sequence[Step] = "auto",
    color: ColorSettings | None = None,
    storage: Mapping[str, Any] | None = None,
    blank: Blank = "auto",
    longest_px: int = LONGEST_PX,
) -> Overview:
    """Read an image as it is cut, strip by strip, and make it small.

    Parameters
    ----------
    image : mapping
        A row of ``schema.IMAGES``.
    steps, color, storage, blank
        As of :func:`~elodin_spark.cutouts.picture.open_picture`.
    longest_px : int
        Most pixels of a side; a smaller image stays as it is.

    Returns
    -------
    Overview

    Raises
    ------
    ImageError
        The image is not there, cannot be read, or has changed since it was cut.
    """
    try:
        return _overview(image, steps, color, storage or {}, blank, longest_px)
    except ImageError as error:
        if error.kind != "needs_stretch" or steps == "auto":
            raise
    # The steps of its windows, not those of the image, give it a black and a white.
    stretch = Step(type="AsinhStretch")
    return _overview(image, (*steps, stretch), color, storage or {}, blank, longest_px)


def _overview(
    image: Mapping[str, Any],
    steps: Literal["auto"] | Sequence[Step],
    color: ColorSettings | None,
    storage: Mapping[str, Any],
    blank: Blank,
    longest_px: int,
) -> Overview:
    import cv2

    with open_picture(image, steps, color, storage, as_bytes=True, blank=blank) as (picture, _):
        height, width = picture.shape[:2]
        if not height or not width:
            raise ImageError("the image has no pixels")
        factor = max(1, math.ceil(max(height, width) / longest_px))
        rows = max(1, _STRIP_PIXELS // (width * factor)) * factor
        strips = []
        for y0 in range(0, height, rows):
            y1 = min(y0 + rows, height)
            strip = to_uint8(picture.read(0, y0, width, y1))
            if factor > 1:
                size = (math.ceil(width / factor), math.ceil((y1 - y0) / factor))
                whole = np.ascontiguousarray(strip)
                strip = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)
            strips.append(strip)
    return Overview(np.concatenate(strips), width, height, is_fits(image["uri"]))
