"""Bytes of a cutout to an image of the size and the channels that a network takes."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elodin_spark.cutouts.pixels import gray, rgb, to_uint8
from elodin_spark.errors import ImageError
from elodin_spark.fingerprints.rows import window_of
from elodin_spark.fingerprints.windows import resize_window

#: Larger pictures, px, are no cutouts.
MAX_PIXELS = 2**26

#: What Pillow raises for damaged files.
_ERRORS = (OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, struct.error, zlib.error)


@dataclass(frozen=True)
class Decoder:
    """Makes images of one size.

    Parameters
    ----------
    side_px : int
        Side of the images; another aspect ratio is not kept.
    channels : {1, 3}
        Gray (0.299 R + 0.587 G + 0.114 B) or RGB.
    """

    side_px: int
    channels: Literal[1, 3]

    def __call__(self, content: bytes | None, shape: str | None) -> NDArray[np.uint8]:
        """Decode one cutout.

        Parameters
        ----------
        content : bytes or None
            A JPEG or PNG file, or pixels.
        shape : str or None
            Of pixels, such as ``64,64,3``; None for a file.

        Returns
        -------
        ndarray of uint8, shape (side_px, side_px, channels)
            Files with the top row first, turned as their orientation tag says; pixels as they lie.

        Raises
        ------
        ImageError
            Kinds ``null``, ``truncated``, ``unreadable``, ``too_large``, ``bad_pixels``.
        """
        if content is None:
            raise ImageError("there is no image: the value is null", "null")
        picture = self._decode(content) if shape is None else _pixels(content, shape)
        image = resize_window(rgb(picture) if self.channels == 3 else gray(picture), self.side_px)
        return image.reshape(self.side_px, self.side_px, self.channels)

    def _decode(self, content: bytes) -> NDArray[np.uint8]:
        from PIL import Image, ImageOps

        try:
            with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    raise ImageError(
                        f"the picture has {width} x {height} px, more than {MAX_PIXELS}: cut it", "too_large"
                    )
                # Of a JPEG, what is shrunk by 2, 4 or 8 need not be decoded in full.
                picture.draft("L" if self.channels == 1 else "RGB", (self.side_px, self.side_px))
                if "exif" in picture.info:
                    with suppress(*_ERRORS):  # a damaged tag turns nothing
                        ImageOps.exif_transpose(picture, in_place=True)
                return _array(picture)
        except Image.DecompressionBombError as error:
            raise ImageError(f"the picture is too large: {error}", "too_large") from None
        except _ERRORS as error:
            early = "truncated" in str(error).lower() or isinstance(error, EOFError)
            raise ImageError(
                f"{len(content)} bytes cannot be decoded as JPEG or PNG ({type(error).__name__}: {error})",
                "truncated" if early else "unreadable",
            ) from None


def _array(picture: Any) -> NDArray[np.uint8]:
    if picture.mode.startswith("I"):  # gray of 16 bits, which Pillow would clip
        return to_uint8(np.asarray(picture).astype(np.uint16))
    mode = "L" if picture.mode in ("1", "L", "LA", "La") else "RGB"
    return np.asarray(picture if picture.mode == mode else picture.convert(mode))


def _pixels(content: bytes, shape: str) -> NDArray[np.uint8]:
    sides = [int(side) for side in shape.split(",")] if shape else []
    if len(sides) not in (2, 3) or (len(sides) == 3 and sides[2] != 3):
        raise ImageError(f"the shape of the pixels is ({shape}), not (h, w) or (h, w, 3)", "bad_pixels")
    return window_of(pa.py_buffer(content), sides)
