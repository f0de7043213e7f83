"""Texture and shape of a window in a few numbers, beside its fingerprint.

Of the 8-bit gray window, by mahotas (Coelho 2013, Journal of Open Research Software 1, e3).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from elodin_spark.cutouts.pixels import gray
from elodin_spark.errors import import_extra

Texture = Literal["haralick", "zernike"]

#: Degree of the Zernike polynomials: 25 of them.
ZERNIKE_DEGREE = 8
#: How many numbers each kind has.
LENGTHS: dict[Texture, int] = {"haralick": 13, "zernike": 25}


def texture(pixels: NDArray[np.uint8], kind: Texture) -> NDArray[np.float32] | None:
    """Measure one window.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (ny, nx) or (ny, nx, 3)
    kind : {"haralick", "zernike"}
        ``haralick``: the first 13 statistics of the gray-level co-occurrence matrix of neighboring
        pixels, mean of the four directions (Haralick et al. 1973, IEEE Trans. SMC 3, 610). ``zernike``:
        magnitudes of the moments up to degree 8 on the disk inscribed in the window, which do not
        change when the window is turned (Teague 1980, JOSA 70, 920).

    Returns
    -------
    ndarray of float32, shape (13,) or (25,)
        None where they are not defined: a window of one value, or of fewer than 2 px a side.

    Raises
    ------
    MissingDependencyError
        mahotas is not installed.
    """
    features = import_extra("mahotas.features", "cutouts.texture")
    levels = np.ascontiguousarray(gray(pixels))
    height, width = levels.shape
    if min(height, width) < 2 or levels.min() == levels.max():
        return None
    if kind == "haralick":
        values = features.haralick(levels, return_mean=True)
    else:
        center = ((height - 1) / 2, (width - 1) / 2)
        values = features.zernike_moments(levels, min(height, width) / 2, ZERNIKE_DEGREE, cm=center)
    return values.astype(np.float32) if np.isfinite(values).all() else None
