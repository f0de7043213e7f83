"""Vectors of the shape of ResNet50's last pooling, with clusters and a known seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_BLOCK = 4096
_LATENT = 96  # directions in which cutouts differ
_FAMILIES = 300  # kinds of cutouts
_SPREAD = 0.55  # within a family, in units of the spread between families
_NOISE = 0.35  # of each component on its own, in units of its spread
_SOFTNESS = 0.35  # an average over 49 positions seldom vanishes, but is often small


class SyntheticVectors:
    """Non-negative vectors, many components small: softened ReLU of a mixture in fewer dimensions.

    Parameters
    ----------
    dimension : int
    seed : int
        The world (families, directions) and all vectors follow from it.
    """

    def __init__(self, dimension: int = 2048, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, 0])
        spectrum = np.arange(1, _LATENT + 1) ** -0.5  # few strong directions, many weak ones
        self._directions = (rng.normal(size=(_LATENT, dimension)) * spectrum[:, None]).astype(np.float32)
        self._directions /= np.sqrt((spectrum**2).sum())
        self._families = rng.normal(size=(_FAMILIES, _LATENT)).astype(np.float32)
        weights = np.arange(1, _FAMILIES + 1) ** -0.7  # some kinds are rare
        self._weights = weights / weights.sum()
        self._offset = rng.normal(-0.8, 0.5, dimension).astype(np.float32)
        self._scale = rng.gamma(2.0, 0.25, dimension).astype(np.float32)
        self._seed = seed
        self.dimension = dimension

    def block(self, number: int, stream: int = 1) -> NDArray[np.float32]:
        """Block `number` of 4,096 vectors, float32, shape (4096, dimension); streams are independent."""
        rng = np.random.default_rng([self._seed, stream, number])
        family = rng.choice(_FAMILIES, _BLOCK, p=self._weights)
        latent = self._families[family]
        latent = latent + np.float32(_SPREAD) * rng.standard_normal(latent.shape, dtype=np.float32)
        x = latent @ self._directions
        x += np.float32(_NOISE) * rng.standard_normal(x.shape, dtype=np.float32)
        x += self._offset
        x /= np.float32(_SOFTNESS)
        np.exp(x, out=x)
        x += 1
        np.log(x, out=x)
        x *= self._scale * np.float32(_SOFTNESS)
        return x

    def batches(self, count: int, stream: int = 1) -> Iterator[NDArray[np.float32]]:
        """The first `count` vectors of a stream, in blocks."""
        for number, start in enumerate(range(0, count, _BLOCK)):
            yield self.block(number, stream)[: count - start]
