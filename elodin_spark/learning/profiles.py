"""What a cutout measures by itself: brightness and color by distance from the middle.

A fingerprint that tells these of an object from any turned, blurred or noisy view of it has learned its
concentration, its colors and how clumpy it is, without a label.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from elodin_spark.learning.views import Place, sampled

_SIDE = 32
#: Limits of the rings, of half a side; they widen outwards, as objects do.
_RINGS = np.array([0.0, 0.08, 0.16, 0.25, 0.36, 0.5, 0.66, 0.84, 1.0])
#: About what brightnesses of cutouts and their deviations within a ring are, of 255.
_MEANS, _DEVIATIONS = (40.0, 45.0), (15.0, 15.0)

#: Numbers of a profile: means and standard deviations of R, G and B in each ring.
PROFILE_LENGTH = 6 * (len(_RINGS) - 1)


def _rings() -> NDArray[np.float32]:
    axis = (np.arange(_SIDE) + 0.5) * (2 / _SIDE) - 1
    distance = np.hypot(*np.meshgrid(axis, axis)).ravel()
    inside = [(distance >= low) & (distance < high) for low, high in itertools.pairwise(_RINGS)]
    rows = np.array(inside, np.float32)
    return rows / rows.sum(axis=1, keepdims=True)


_WEIGHTS = _rings()


def profile(window: NDArray[np.uint8], place: Place) -> NDArray[np.float32]:
    """Measure a place of a cutout as it is.

    Parameters
    ----------
    window : ndarray of uint8, shape (side, side, 3)
    place : Place

    Returns
    -------
    ndarray of float32, shape (48,)
        Means of the rings in R, G and B, then their standard deviations, each of about unit spread.
    """
    scale = place.side / _SIDE
    middle = (_SIDE - 1) / 2
    matrix = np.array([[scale, 0, place.x - scale * middle], [0, scale, place.y - scale * middle]])
    pixels = sampled(window, matrix, scale, _SIDE).astype(np.float32).reshape(-1, 3)
    means = _WEIGHTS @ pixels
    deviations = np.sqrt(np.maximum(_WEIGHTS @ pixels**2 - means**2, 0))
    scaled = [(means - _MEANS[0]) / _MEANS[1], (deviations - _DEVIATIONS[0]) / _DEVIATIONS[1]]
    return np.concatenate([part.ravel() for part in scaled]).astype(np.float32)
