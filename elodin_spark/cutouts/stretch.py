"""Steps that change pixel values: stretches and histogram equalizations.

All give float32 in [0, 1]. Pixels that are not finite become 0, black; an image whose finite
pixels are all alike becomes all 0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elodin_spark.cutouts.pixels import as_float, unit_to_uint8
from elodin_spark.cutouts.ranks import median, percentile
from elodin_spark.errors import import_extra

#: Pixels that statistics of a stretch are taken from; larger images are sampled regularly.
SAMPLE_PIXELS = 2**20

_MAD_TO_SIGMA = 1.482602218505602  # of a normal distribution


class AsinhLevels(NamedTuple):
    """An asinh stretch whose numbers are settled: each pixel of the result depends on that pixel.

    Attributes
    ----------
    black, softening, white : float
        In the unit of the image.
    """

    black: float
    softening: float
    white: float

    def apply(self, pixels: np.ndarray, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Stretch pixels; float32 in [0, 1], of the same shape, in `out` where it is given."""
        known = np.isfinite(pixels)  # first, for `out` may be `pixels`
        stretched = self._unbounded(pixels, out)
        np.maximum(stretched, np.float32(0), out=stretched)  # a third of the time of np.clip
        np.minimum(stretched, np.float32(1), out=stretched)
        if not known.all():
            stretched[~known] = 0
        return stretched

    def apply_as_bytes(self, pixels: np.ndarray, out: NDArray[np.uint8], work: NDArray[np.float32]) -> None:
        """Write to `out` the stretched pixels as 8 bits, by way of `work`; all C-contiguous, of one shape."""
        import cv2

        known = np.isfinite(pixels)  # first, for `work` may be `pixels`
        stretched = self._unbounded(pixels, work).reshape(len(work), -1)
        # A third of the time of NumPy's; what they make of NaN is replaced below.
        cv2.threshold(stretched, 0, 0, cv2.THRESH_TOZERO, dst=stretched)
        cv2.threshold(stretched, 1, 0, cv2.THRESH_TRUNC, dst=stretched)
        unit_to_uint8(stretched, out)
        if not known.all():
            out[~known] = 0

    def _unbounded(self, pixels: np.ndarray, out: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """Black 0, white 1, darker and brighter beyond."""
        values = pixels.astype(np.float32, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            stretched = np.subtract(values, np.float32(self.black), out=out)
            stretched /= np.float32(self.softening)
            np.arcsinh(stretched, out=stretched)
            stretched /= np.float32(math.asinh((self.white - self.black) / self.softening))
        return stretched


def fit_asinh(
    sample: np.ndarray, black_sigma: float = 1.5, softening_sigma: float = 4.0, white_percentile: float = 99.8
) -> AsinhLevels | None:
    """Settle an asinh stretch (Lupton et al. 1999, AJ 118, 1406).

    The sky is the median of the sample and the noise 1.4826 x its median absolute deviation;
    where more than half of the pixels equal the sky, the deviation is that of the others.
    ``asinh((v - black) / softening)`` runs from 0 at black = sky - `black_sigma` x noise to 1 at
    white = the `white_percentile`, with softening = `softening_sigma` x noise.

    Parameters
    ----------
    sample : ndarray, shape (ny, nx) or (ny, nx, 3)
        Rows of the image, see :func:`sample_rows`. The channels of color share one
        stretch, that of their mean.
    black_sigma, softening_sigma : float
        In units of the noise.
    white_percentile : float
        In (50, 100].

    Returns
    -------
    AsinhLevels or None
        None where all finite pixels are alike: everything is black.
    """
    mono = sample.astype(np.float32, copy=False)
    mono = (mono if mono.ndim == 2 else mono.mean(axis=2)).reshape(-1)
    known = np.isfinite(mono)
    if not known.all():
        mono = mono[known]
    if mono.size == 0:
        return None
    sky = median(mono)
    deviations = np.abs(mono - sky)
    noise = median(deviations)
    if noise == 0 and deviations.any():
        noise = median(deviations[deviations > 0])
    noise *= _MAD_TO_SIGMA
    black = sky - black_sigma * noise
    white = percentile(mono, white_percentile)
    if white <= black:
        white = float(mono.max())
    if not (white > black and noise > 0 and math.isfinite(white - black)):
        return None
    return AsinhLevels(black, softening_sigma * noise, white)


def asinh_stretch(
    pixels: np.ndarray, black_sigma: float = 1.5, softening_sigma: float = 4.0, white_percentile: float = 99.8
) -> NDArray[np.float32]:
    """Stretch an image by asinh with levels of its own; see :func:`fit_asinh`.

    Returns
    -------
    ndarray, float32 in [0, 1], of the shape of `pixels`
    """
    sample = pixels[sample_rows(pixels.shape[0], pixels.shape[1])]
    levels = fit_asinh(sample, black_sigma, softening_sigma, white_percentile)
    return np.zeros(pixels.shape, np.float32) if levels is None else levels.apply(pixels)


def sample_rows(height: int, width: int) -> NDArray[np.intp]:
    """Rows whose pixels stand for an image: all, or at regular intervals about `SAMPLE_PIXELS` pixels.

    Whole rows, because they can be read without the rest of a large file.
    """
    stride = max(1, -(-height * width // SAMPLE_PIXELS))
    return np.arange(stride // 2, height, stride)


def rescale_intensity(pixels: np.ndarray, low: float = 2.0, high: float = 98.0) -> NDArray[np.float32]:
    """Stretch linearly from the percentile `low` (black) to the percentile `high` (white).

    Parameters
    ----------
    pixels : ndarray, shape (ny, nx) or (ny, nx, 3)
        The channels of color share one stretch.
    low, high : float
        Percentiles of the finite values.

    Returns
    -------
    ndarray, float32 in [0, 1], of the same shape
    """
    values = as_float(pixels)
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return np.zeros(values.shape, np.float32)
    black, white = np.percentile(finite, [low, high])
    if white <= black:  # all but a few pixels are alike
        black, white = float(finite.min()), float(finite.max())
    if white <= black:
        return np.zeros(values.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (values - np.float32(black)) / np.float32(white - black)
    return _black_where_unknown(np.clip(scaled, 0, 1, out=scaled), values)


def equalize(pixels: np.ndarray) -> NDArray[np.float32]:
    """Spread the values so that each is equally frequent; 256 bins, all channels together."""
    exposure = import_extra("skimage.exposure", "histogram equalization")

    finite = np.isfinite(pixels)
    if not finite.any() or pixels[finite].min() == pixels[finite].max():
        return np.zeros(pixels.shape, np.float32)
    values = pixels if finite.all() else np.where(finite, pixels, pixels[finite].min())
    # Flat, because scikit-image warns about three columns that might be color.
    flat = exposure.equalize_hist(values.reshape(1, -1), mask=finite.reshape(1, -1))
    equalized = flat.reshape(pixels.shape).astype(np.float32)
    return _black_where_unknown(np.clip(equalized, 0, 1), pixels)


def equalize_adaptive(pixels: np.ndarray, clip_limit: float = 0.03) -> NDArray[np.float32]:
    """Contrast-limited adaptive equalization (CLAHE) in tiles of an eighth of the image.

    Color is equalized in the value channel of HSV, as scikit-image does.
    """
    exposure = import_extra("skimage.exposure", "histogram equalization")

    values = as_float(pixels)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, np.float32)
    low, high = float(values[finite].min()), float(values[finite].max())
    if low == high:
        return np.zeros(values.shape, np.float32)
    scaled = np.where(finite, values, np.float32(low)).astype(np.float64)
    if low < 0 or high > 1:  # scikit-image takes no physical values
        scaled = (scaled - low) / (high - low)
    equalized = exposure.equalize_adapthist(scaled, clip_limit=clip_limit).astype(np.float32)
    return _black_where_unknown(np.clip(equalized, 0, 1), values)


def _black_where_unknown(stretched: NDArray[np.float32], values: np.ndarray) -> NDArray[np.float32]:
    known = np.isfinite(values)
    if not known.all():
        stretched[~known] = 0
    return stretched
