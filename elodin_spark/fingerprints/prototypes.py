"""Prototypes: typical vectors of an archive, of which the nearest are the labels of a cutout."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elodin_spark.fingerprints.labels import label_sets
from elodin_spark.neighbors.files import load_faiss
from elodin_spark.neighbors.trained import omp_threads

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
                "%d windows were found to fit prototypes to: there are %d of them in place of %d",
                len(vectors), min(wanted, len(distinct)), most,
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
        nearest = np.sqrt(_squared(vectors, centers).min(axis=1))
        return cls(centers, float(np.median(nearest)) or float(nearest.mean()) or 1.0)

    def scores(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """How near vectors, shape (n, d), are to each center: ``1 / (1 + (distance / scale)**2)``.

        Returns
        -------
        ndarray of float32, shape (n, k)
            In (0, 1], each the same whatever the other vectors.
        """
        return (1 / (1 + _squared(vectors, self.centers) / self.scale**2)).astype(np.float32)

    def label_sets(
        self, vectors: NDArray[np.float32], n_top: int
    ) -> tuple[list[NDArray[np.int32]], list[NDArray[np.float32]]]:
        """The nearest centers of each vector with their scores, as :func:`.labels.label_sets`.

        Of few centers a set holds one of :data:`PROTOTYPES_EACH`.
        """
        return label_sets(self.scores(vectors), min(n_top, max(1, len(self.centers) // PROTOTYPES_EACH)))


def _squared(vectors: NDArray[np.float32], centers: NDArray[np.float32]) -> NDArray[np.float64]:
    """Squared distances, shape (n, k)."""
    others = centers.astype(np.float64)
    lengths = np.square(others).sum(axis=1)
    found = np.empty((len(vectors), len(centers)))
    for start in range(0, len(vectors), ROWS):
        some = vectors[start : start + ROWS]
        block = np.zeros((ROWS, centers.shape[1]))
        block[: len(some)] = some
        apart = np.square(block).sum(axis=1)[:, None] + lengths - 2 * (block @ others.T)
        found[start : start + len(some)] = apart[: len(some)]
    return np.maximum(found, 0.0)
