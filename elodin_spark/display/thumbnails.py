"""The small JPEG of a cutout as pixels."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

from elodin_spark.errors import ImageError

Pixels = npt.NDArray[np.uint8]


def decode_thumbnail(data: bytes) -> Pixels:
    """Decode a thumbnail.

    Parameters
    ----------
    data : bytes
        JPEG, gray or color (any raster format Pillow knows will do).

    Returns
    -------
    ndarray of uint8, shape (ny, nx, 3)
        Rows from the top of the picture down.

    Raises
    ------
    ImageError
        The bytes are no picture, or stop short.
    """
    return _read(data, None)


def square_thumbnail(data: bytes, size_px: int, background: tuple[int, int, int] = (241, 241, 239)) -> Pixels:
    """Decode a thumbnail to a square; an oblong one keeps its shape and is padded.

    Parameters
    ----------
    data : bytes
        As for :func:`decode_thumbnail`.
    size_px : int
        Side of the result, px.
    background : tuple of int
        RGB of the padding, 0 to 255.

    Returns
    -------
    ndarray of uint8, shape (size_px, size_px, 3)
    """
    picture = _read(data, size_px)
    ny, nx, _ = picture.shape
    square = np.empty((size_px, size_px, 3), np.uint8)
    square[:] = background
    y0, x0 = (size_px - ny) // 2, (size_px - nx) // 2
    square[y0 : y0 + ny, x0 : x0 + nx] = picture
    return square


def _read(data: bytes, longest_px: int | None) -> Pixels:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            picture = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(
            f"a thumbnail of {len(data)} bytes cannot be decoded ({error}); cut its image again", "thumbnail"
        ) from None
    if longest_px is not None:
        scale = longest_px / max(picture.size)
        width, height = (max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    return np.array(picture, dtype=np.uint8)
