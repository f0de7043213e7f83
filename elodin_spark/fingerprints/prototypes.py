"""Prototypes: typical vectors of an archive, of which the nearest are the labels of a cutout."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from elodin_spark.fingerprints.labels import label_sets
from elodin_spark.neighbors.files import load_faiss
from elodin_spark.neighbors.ivf.training import omp_threads

log = logging.getLogger(__name__)

#: Vectors of the sample for each prototype, at least.
VECTORS_EACH = 4
#: Prototypes for each label of a set, at least: sets of most of them would all be alike.
PROTOTYPES_EACH = 4
_ROUNDS = 25
#: Rows that BLAS sees at once, always, and in float64: the answer for a vector must not depend on
#: how many others there are.
ROWS = 32


@dataclass(frozen=True, eq=False)
class Prototypes:
    """Centers of the vectors of a sample.

    Attributes
    ----------
    centers : ndarray of float32, shape (k, d)
    scale : float
        The distance at which a score is 1/2: the median, over the sample, of that to the nearest center.
    """

    centers: NDArray[np.float32]
    scale: float

    @classmethod
    def fit(cls, vectors: NDArray[np.float32], most: int, seed: int) -> Prototypes:
        """Find centers by k-means, in one thread.

        Parameters
        ----------
        vectors : ndarray of float32, shape (n, d)
            At least one. In an order that is always the same: the first centers are chosen by it.
        most : int
            Centers wanted. There are no more than one for each :data:`VECTORS_EACH` vectors, though two,
            and no more than distinct vectors.
        seed : int
        """
        vectors = np.ascontiguousarray(vectors, np.float32)
        wanted = min(most, max(2, len(vectors) // VECTORS_EACH))
        distinct = np.unique(vectors, axis=0)
        if wanted < most:
            log.warning(
                "fitting %d prototypes in place of %d: only %d windows were found to fit them to",
                min(wanted, len(distinct)), most, len(vectors),
            )  # fmt: skip
        if wanted >= len(distinct):
            centers = distinct
        else:
            with omp_threads(1):
                means = load_faiss().Kmeans(
                    vectors.shape[1],
                    wanted,
                    niter=_ROUNDS,
                    seed=seed,
                    min_points_per_centroid=1,
                    max_points_per_centroid=len(vectors),
                )
                means.train(vectors)
            centers = means.centroids
        found = cls(centers, 1.0)
        nearest = np.sqrt(np.concatenate([block.min(axis=1) for block in found._squared(vectors)]))
        return replace(found, scale=float(np.median(nearest)) or float(nearest.mean()) or 1.0)

    def scores(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """How near vectors, shape (n, d), are to each center: ``1 / (1 + (distance / scale)**2)``.

        Returns
        -------
        ndarray of float32, shape (n, k)
            In (0, 1], each the same whatever the other vectors.
        """
        found = np.empty((len(vectors), len(self.centers)), np.float32)
        for number, block in enumerate(self._squared(vectors)):
            found[number * ROWS : (number + 1) * ROWS] = 1 / (1 + block / self.scale**2)
        return found

    def label_sets(
        self, vectors: NDArray[np.float32], n_top: int
    ) -> tuple[list[NDArray[np.int32]], list[NDArray[np.float32]]]:
        """The nearest centers of each vector with their scores, as :func:`.labels.label_sets`.

        Of few centers a set holds one of :data:`PROTOTYPES_EACH`.
        """
        return label_sets(self.scores(vectors), min(n_top, max(1, len(self.centers) // PROTOTYPES_EACH)))

    @cached_property
    def _wide(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The centers, and their squared lengths."""
        wide = self.centers.astype(np.float64)
        return wide, np.square(wide).sum(axis=1)

    def _squared(self, vectors: NDArray[np.float32]) -> Iterator[NDArray[np.float64]]:
        """Squared distances to the centers, :data:`ROWS` vectors at a time."""
        centers, lengths = self._wide
        for start in range(0, len(vectors), ROWS):
            some = vectors[start : start + ROWS]
            block = np.zeros((ROWS, centers.shape[1]))
            block[: len(some)] = some
            apart = np.square(block).sum(axis=1)[:, None] + lengths - 2 * (block @ centers.T)
            yield np.maximum(apart[: len(some)], 0.0)
