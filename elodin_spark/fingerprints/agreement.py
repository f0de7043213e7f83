"""How far two sets of fingerprints of the same windows agree: what a cheaper network costs.

The vectors of a network have a large part in common, which the raw cosine mostly sees; what tells
windows apart are the differences from their mean, and what an archive is searched by are neighbors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import InputError
from elodin_spark.neighbors.flat import L2Index

#: Neighbors that are compared.
NEIGHBORS = 10

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """One set of vectors beside those it is to replace.

    Attributes
    ----------
    overlap : float
        Mean share of the nearest neighbors in common, by L2, the window itself left out.
    cosine : float
        Mean cosine of a vector with its counterpart.
    centerd_cosine : float
        The same with the mean of the reference subtracted from both.
    purity : float or None
        Macro precision at as many neighbors, see :func:`macro_precision`; None without labels.
    """

    overlap: float
    cosine: float
    centerd_cosine: float
    purity: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """Plain values, rounded to what a sample can tell."""
        return {name: None if value is None else round(value, 5) for name, value in asdict(self).items()}


def compare(
    reference: Matrix, vectors: Matrix, labels: Sequence[object] | None = None, k: int = NEIGHBORS
) -> Agreement:
    """Compare vectors with those of the same windows in float32.

    Parameters
    ----------
    reference, vectors : ndarray of float32, shape (n, d)
        Row by row of the same windows.
    labels : sequence of length n, optional
        Class of each window.
    k : int
        Neighbors; all others where there are fewer.

    Returns
    -------
    Agreement

    Raises
    ------
    InputError
        Of different shapes, fewer than two rows, or not finite.
    """
    _check(reference, vectors)
    near = nearest(vectors, k)
    return Agreement(
        overlap=shared(nearest(reference, k), near),
        cosine=float(cosines(reference, vectors).mean()),
        centerd_cosine=float(cosines(*centerd(reference, vectors)).mean()),
        purity=None if labels is None else macro_precision(near, labels),
    )


def nearest(vectors: Matrix, k: int = NEIGHBORS) -> NDArray[np.int64]:
    """Rows of the nearest others of each row, by L2, as a catalog finds them.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
    k : int

    Returns
    -------
    ndarray of int64, shape (n, min(k, n - 1))
        Nearest first; of equal distances the lower row first.
    """
    n = len(vectors)
    rows = np.arange(n, dtype=np.int64)
    index = L2Index.build([(rows, vectors)], vectors.shape[1], expected=n)
    found = index.search(rows, min(k, n - 1) + 1)[0]
    others = found != rows[:, None]
    # Where more than k rows are equal to it, a row may be missing from its own list.
    others[others.all(axis=1), -1] = False
    return found[others].reshape(n, -1)


def shared(expected: NDArray[np.int64], found: NDArray[np.int64]) -> float:
    """Mean share of the neighbors in `expected` that are in `found`, row by row, in any order."""
    both = (expected[:, :, None] == found[:, None, :]).any(axis=2)
    return float(both.mean())


def cosines(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Cosine of each row with its counterpart, shape (n,); 1 where both are zero, 0 where one is."""
    left, right = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(left, axis=1), np.linalg.norm(right, axis=1)
    product, dot = lengths[0] * lengths[1], np.einsum("ij,ij->i", left, right)
    found = np.divide(dot, product, out=np.zeros(len(left)), where=product > 0)
    found[(lengths[0] == 0) & (lengths[1] == 0)] = 1.0
    return np.clip(found, -1.0, 1.0)


def centerd(reference: Matrix, vectors: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both without the mean of the reference, as float64."""
    mean = reference.mean(axis=0, dtype=np.float64)
    return reference - mean, vectors - mean


def macro_precision(near: NDArray[np.int64], labels: Sequence[object]) -> float:
    """Share of neighbors of the same class, averaged over each class and then over classes.

    Parameters
    ----------
    near : ndarray of int64, shape (n, k)
        From :func:`nearest`.
    labels : sequence of length n

    Raises
    ------
    InputError
        There is not one label for each row.
    """
    classes, codes = np.unique(np.asarray(labels), return_inverse=True)
    if len(codes) != len(near):
        raise InputError(f"{len(near)} windows need as many labels, got {len(codes)}: give one for each")
    same = (codes[near] == codes[:, None]).mean(axis=1)
    return float(np.mean([same[codes == code].mean() for code in range(len(classes))]))


def _check(reference: Matrix, vectors: Matrix) -> None:
    if reference.ndim != 2 or reference.shape != vectors.shape or len(reference) < 2:
        raise InputError(
            "vectors are compared row by row, two rows or more: got shapes "
            f"{reference.shape} and {vectors.shape}"
        )
    if not (np.isfinite(reference).all() and np.isfinite(vectors).all()):
        raise InputError("vectors with NaN or infinity cannot be compared: leave their windows out")
