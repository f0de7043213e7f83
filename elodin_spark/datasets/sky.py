"""What lies between an object and a pixel: brightness scale, seeing, noise, the mask's planes."""

from __future__ import annotations

from dataclasses import dataclass

import galsim
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]

#: AB magnitude of 1 nJy.
ZERO_POINT_MAG = 31.4
#: Pixels hold at most this, nJy.
SATURATION_NJY = 60_000.0
#: Electrons per nJy, for the noise of the objects themselves.
GAIN = 1.0
#: Bits of the mask, numbered as in Rubin images where those have the plane.
MASK_BITS = {"BAD": 0, "SAT": 1, "CR": 3, "TRAIL": 9}

# Mean noise of the sky in one pixel, nJy.
_SKY_NOISE_NJY = 12.0
_MOFFAT_BETA = 3.5


def flux_njy(mag: float) -> float:
    """Flux of an AB magnitude, nJy."""
    return float(10 ** (0.4 * (ZERO_POINT_MAG - mag)))


def bit(plane: str) -> np.int16:
    """Mask value of one plane of ``MASK_BITS``."""
    return np.int16(1 << MASK_BITS[plane])


@dataclass(frozen=True)
class Conditions:
    """Seeing and sky of one tile.

    Attributes
    ----------
    fwhm_arcsec : float
        Of the PSF.
    g1, g2 : float
        Shear of the PSF.
    noise_njy : float
        Standard deviation of the sky in one pixel, nJy.
    """

    fwhm_arcsec: float
    g1: float
    g2: float
    noise_njy: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Conditions:
        """Draw the conditions of a tile from its own random stream."""
        return cls(
            fwhm_arcsec=float(rng.uniform(0.62, 0.80)),
            g1=float(rng.uniform(-0.02, 0.02)),
            g2=float(rng.uniform(-0.02, 0.02)),
            noise_njy=_SKY_NOISE_NJY * float(rng.uniform(0.85, 1.15)),
        )

    def psf(self) -> galsim.GSObject:
        """PSF of the tile, a Moffat profile of unit flux."""
        return galsim.Moffat(beta=_MOFFAT_BETA, fwhm=self.fwhm_arcsec).shear(g1=self.g1, g2=self.g2)

    def add_noise(self, pixels: Pixels, rng: np.random.Generator) -> None:
        """Add the noise of sky and objects in place, as Gaussian.

        Parameters
        ----------
        pixels : ndarray, shape (ny, nx), float32
            Noiseless and sky-subtracted, nJy.
        rng : numpy.random.Generator
        """
        sigma = np.sqrt(self.noise_njy**2 + np.maximum(pixels, 0) / GAIN, dtype=np.float32)
        pixels += sigma * rng.standard_normal(pixels.shape, dtype=np.float32)
