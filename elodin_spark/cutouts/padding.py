"""Pixels that hold no data though they are finite: padding, and numbers that stand for "none"."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from elodin_spark.cutouts.stretch import sample_rows
from elodin_spark.images.photometry import FluxUnit
from elodin_spark.images.planes import Plane

#: A value is padding only if so many pixels of a sample have it, px.
LEAST_PIXELS = 16
#: And if the sky lies this many sigma above it.
DEPTH_SIGMA = 5.0
#: And if no more than this share of as many pixels lies between it and half way to the sky.
SHARE_BETWEEN = 0.1
#: A number stands for none if it is so many times further from the sky than all others.
BEYOND = 1e6

_MAD_TO_SIGMA = 1.482602218505602


def padding_values(sample: np.ndarray) -> tuple[float, ...]:
    """Values that stand for no data in an image, told by how the others are spread.

    Numbers such as 1e30 are :data:`BEYOND` times further from the sky than any other pixel. Zeros, and
    repeats of the lowest value, are padding where the sky is a pedestal far above them and hardly a pixel
    lies between: no noise gives the same number again and again so far from the rest. Where the sky is
    about zero itself, zeros may be data, and are left.

    Parameters
    ----------
    sample : ndarray, shape (ny, nx) or (ny, nx, 3)
        Rows of the image, see :func:`~elodin_spark.cutouts.stretch.sample_rows`. Of colors, pixels whose
        channels are alike can be padding.

    Returns
    -------
    tuple of float
        Each a value of float32.
    """
    values = sample.astype(np.float32, copy=False)
    if values.ndim == 3:
        alike = (values == values[..., :1]).all(axis=2)
        values = np.where(alike, values[..., 0], values.mean(axis=2))
    values = values[np.isfinite(values)]
    found: list[float] = []
    while len(values) > LEAST_PIXELS:
        value = next((v for v in _candidates(values) if _stands_for_none(values, v)), None)
        if value is None:
            break
        found.append(value)
        values = values[values != np.float32(value)]
    return tuple(found)


def _candidates(values: NDArray[np.float32]) -> list[float]:
    """Zero and the farthest on either side, where they are repeated or stand out; told quickly."""
    few = values[:: max(1, len(values) // 4096)].astype(np.float64)
    sky = float(np.median(few))
    spread = float(np.median(np.abs(few - sky)))
    chosen = dict.fromkeys((float(values.max()), float(values.min()), 0.0))
    return [
        value
        for value in chosen
        if abs(value - sky) > BEYOND * spread or np.count_nonzero(values == value) >= LEAST_PIXELS
    ]


def _stands_for_none(values: NDArray[np.float32], value: float) -> bool:
    others = values[values != np.float32(value)].astype(np.float64)
    count = len(values) - len(others)
    if not count or len(others) < LEAST_PIXELS:
        return False
    sky = float(np.median(others))
    distances = np.abs(others - sky)
    if not distances.any():
        return False
    if abs(value - sky) > BEYOND * distances.max():
        return True
    depth, sigma = sky - value, _MAD_TO_SIGMA * float(np.median(distances))
    # Of counts that are mostly alike, such as single photons, nobody can tell.
    if count < LEAST_PIXELS or sigma == 0 or depth < DEPTH_SIGMA * sigma:
        return False
    # Also below it: an image of both signs has its zeros where it crosses zero.
    between = np.count_nonzero(others < value + depth / 2)
    return bool(between <= SHARE_BETWEEN * count)


class KnownPlane:
    """A plane whose padding is NaN; pixels of integers, which know no NaN, are left as they are.

    Parameters
    ----------
    plane : Plane
    blank : "auto", float or None
        The value that stands for no data; "auto": what :func:`padding_values` finds; None: no value does.
    """

    def __init__(self, plane: Plane, blank: Literal["auto"] | float | None) -> None:
        self._plane, self._blank = plane, blank
        self.shape: tuple[int, ...] = plane.shape
        self.seekable = plane.seekable
        self.mask, self.variance = plane.mask, plane.variance
        self._sampled: tuple[tuple[int, ...], np.ndarray] | None = None

    @property
    def mask_bits(self) -> dict[str, int]:
        """As of the plane."""
        return self._plane.mask_bits

    @property
    def bad_bits(self) -> tuple[str, ...]:
        """As of the plane."""
        return self._plane.bad_bits

    @property
    def saturation_level(self) -> float | None:
        """As of the plane."""
        return self._plane.saturation_level

    @property
    def flux_unit(self) -> FluxUnit | None:
        """As of the plane."""
        return self._plane.flux_unit

    def read(self, y0: int, y1: int, x0: int = 0, x1: int | None = None) -> np.ndarray:
        """Pixels of a window."""
        return self._known(self._plane.read(y0, y1, x0, x1))

    def read_rows(self, wanted: Sequence[int]) -> np.ndarray:
        """Whole rows; those that padding was looked for in are not read again."""
        self.values  # noqa: B018 - looks for padding, which may be in the same rows
        if self._sampled is not None and self._sampled[0] == tuple(wanted):
            (_, rows), self._sampled = self._sampled, None
            return self._known(rows)
        return self._known(self._plane.read_rows(wanted))

    @cached_property
    def values(self) -> tuple[float, ...]:
        """Values of pixels that hold no data."""
        if self._blank != "auto":
            return () if self._blank is None else (float(self._blank),)
        wanted = sample_rows(*self.shape[:2]).tolist()
        sample = self._plane.read_rows(wanted)
        if sample.dtype.kind != "f":
            return ()
        self._sampled = (tuple(wanted), sample)
        return padding_values(sample)

    def _known(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.dtype.kind != "f":
            return pixels
        for value in self.values:
            none = pixels == pixels.dtype.type(value)
            if none.ndim == 3:
                none = none.all(axis=2)
            if none.any():
                if not pixels.flags.writeable:
                    pixels = pixels.copy()
                pixels[none] = np.nan
        return pixels
