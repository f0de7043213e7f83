"""The small JPEG of a cutout as pixels."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

from elodin_spark.errors import ImageError

Pixels = npt.NDArray[np.uint8]

# Of 255: contrast below which there is nothing to stretch, and above which something is seen.
_FLAT, _LEAST_SEEN = 8.0, 5.0
_MOST_GAIN = 5.0
_CELLS = 16
_TIMES_NOISE = 10.0  # JPEG makes the noise of neighboring pixels alike


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


def square_thumbnail(
    data: bytes,
    size_px: int,
    background: tuple[int, int, int] = (241, 241, 239),
    *,
    stretch: bool = False,
) -> Pixels:
    """Decode a thumbnail to a square; an oblong one keeps its shape and is padded.

    Parameters
    ----------
    data : bytes
        As for :func:`decode_thumbnail`.
    size_px : int
        Side of the result, px.
    background : tuple of int
        RGB of the padding, 0 to 255.
    stretch : bool
        Stretch it for this size, see :func:`stretch_small`.

    Returns
    -------
    ndarray of uint8, shape (size_px, size_px, 3)
    """
    picture = _read(data, size_px, means=stretch)
    if stretch:
        picture = stretch_small(picture)
    ny, nx, _ = picture.shape
    square = np.empty((size_px, size_px, 3), np.uint8)
    square[:] = background
    y0, x0 = (size_px - ny) // 2, (size_px - nx) // 2
    square[y0 : y0 + ny, x0 : x0 + nx] = picture
    return square


def stretch_small(picture: Pixels) -> Pixels:
    """Stretch what is drawn small, so that what is faint and little in it is seen.

    By asinh (Lupton et al. 1999) of the pixels as they are drawn, from just below the sky, or from the 1st
    percentile where that is far below it, to the 99.5th, or 10 times the noise where that is more. Colors
    keep their hue. Contrast grows at most fivefold, and a picture without any stays as it is.

    Parameters
    ----------
    picture : ndarray of uint8, shape (ny, nx, 3)

    Returns
    -------
    ndarray of uint8, shape (ny, nx, 3)
    """
    colors = picture.astype(np.float32)
    light = colors.mean(axis=2)
    low, sky, high = (float(value) for value in np.percentile(light, (1.0, 50.0, 99.5)))
    if high - low < _FLAT:
        return picture
    noise = max(_noise(light), 0.5)
    black = min(sky - 0.5 * noise, low + 2 * noise)  # of noise alone these are about the same
    white = max(high, black + 10 * noise, black + 255 / _MOST_GAIN)
    softening = max(3 * noise, (white - black) / 15)
    above = np.maximum(light - black, 0)
    shown = 255 * np.arcsinh(above / softening) / np.arcsinh((white - black) / softening)
    gain = shown / np.maximum(light, 1.0)
    stretched = np.clip(colors * gain[..., np.newaxis], 0, 255)
    return np.asarray(np.rint(stretched), np.uint8)


def shows_something(data: bytes) -> bool:
    """Whether a thumbnail shows more than empty sky; True of one that cannot be decoded.

    Its means over a grid of 16 x 16 differ from their median by more than the noise of its pixels explains.

    Parameters
    ----------
    data : bytes
        As for :func:`decode_thumbnail`.
    """
    try:
        light = _read(data, None).mean(axis=2, dtype=np.float32)
    except ImageError:
        return True
    ny, nx = (side // _CELLS for side in light.shape)
    if min(ny, nx) < 1:
        return True
    cells = light[: ny * _CELLS, : nx * _CELLS].reshape(_CELLS, ny, _CELLS, nx).mean(axis=(1, 3))
    apart = np.abs(cells - np.median(cells)).max()
    return bool(apart > max(_LEAST_SEEN, _TIMES_NOISE * _noise(light) / np.sqrt(ny * nx)))


def _noise(light: npt.NDArray[np.float32]) -> float:
    """Sigma of the noise, by the differences of neighboring pixels."""
    if light.shape[1] < 2:
        return 0.0
    return float(1.4826 / np.sqrt(2) * np.median(np.abs(np.diff(light, axis=1))))


def _read(data: bytes, longest_px: int | None, means: bool = False) -> Pixels:
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
        # Means keep the light of what is small, and ring around nothing.
        smaller = means and scale < 1
        picture = picture.resize(
            (width, height), Image.Resampling.BOX if smaller else Image.Resampling.LANCZOS
        )
    return np.array(picture, dtype=np.uint8)
