"""How good vectors are, by labels: precision of neighbors, a linear probe, and finding copies again.

Each score is a mean over cutouts, or the mean of its means over classes, so that a rare class counts
as much as a common one. Its interval is the 2.5 and 97.5 % percentiles of a bootstrap over objects
(Efron 1979, Annals of Statistics 7, 1): all cutouts of an object are drawn together. What is drawn
are the cutouts that are asked about; the collection they are looked up in stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import InputError
from elodin_spark.neighbors.base import Index
from elodin_spark.neighbors.cosine import CosineIndex
from elodin_spark.neighbors.flat import L2Index

#: Neighbors that are looked at.
NEIGHBORS = 10
#: Resamples of a bootstrap.
RESAMPLES = 1000
#: Inverse strength of the L2 penalty of the linear probe: strong, for there are often about as many
#: components as cutouts.
PROBE_C = 0.01
_PROBE_STEPS = 1000
_RESAMPLES_AT_ONCE = 64

Matrix = NDArray[np.float32]
#: A class or an object of each cutout, or None.
Names = Sequence[object] | NDArray[Any] | None


@dataclass(frozen=True)
class Score:
    """A mean over cutouts, and how far it would move with other objects.

    Attributes
    ----------
    value : float
        Between 0 and 1; of differences between -1 and 1.
    low, high : float
        The 95 % interval.
    by_class : dict of str to float
        Means of the classes, where `value` is the mean of these.
    """

    value: float
    low: float
    high: float
    by_class: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, rounded to what a sample can tell."""
        found: dict[str, Any] = {name: round(getattr(self, name), 4) for name in ("value", "low", "high")}
        if self.by_class:
            found["by_class"] = {name: round(value, 4) for name, value in self.by_class.items()}
        return found


def score(
    vectors: Matrix,
    labels: Names,
    groups: Names = None,
    *,
    k: int = NEIGHBORS,
    metric: Literal["l2", "cosine"] = "l2",
    probe: bool = True,
    seed: int = 0,
) -> dict[str, Score]:
    """Precision of the nearest neighbors of labeled vectors and, unless told not to, a linear probe.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
        As they are to be compared: transformed, but for cosine not of length 1.
    labels : sequence of length n
        Class of each cutout.
    groups : sequence of length n, optional
        Object that each cutout shows; by default each shows another.
    k : int
    metric : {"l2", "cosine"}
    probe : bool
        False: without :func:`linear_probe`, which takes most of the time.
    seed : int

    Returns
    -------
    dict of str to Score
        ``precision``, see :func:`precision_at_k`, and those of :func:`linear_probe`.

    Raises
    ------
    InputError
        As those raise it.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> vectors = np.concatenate([rng.normal(0, 1, (20, 8)), rng.normal(5, 1, (20, 8))]).astype(np.float32)
    >>> labels = ["spiral"] * 20 + ["lens"] * 20
    >>> print(score(vectors, labels, k=5, probe=False)["precision"])
    1.000 [1.000, 1.000]
    """
    index = l2_index(vectors)
    near = nearest_others(CosineIndex(index) if metric == "cosine" else index, k, groups)
    found = {"precision": precision_at_k(near, labels, groups, seed=seed)}
    if probe:
        found |= linear_probe(vectors, labels, groups, seed=seed)
    return found


def l2_index(vectors: Matrix) -> L2Index:
    """Exact index of vectors, shape (n, d), by their rows.

    Raises
    ------
    InputError
        They are no matrix, fewer than two, or not finite.
    """
    if vectors.ndim != 2 or len(vectors) < 2 or not vectors.shape[1]:
        raise InputError(f"vectors must be two or more of shape (n, d), got {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise InputError("vectors with NaN or infinity cannot be compared: leave their cutouts out")
    rows = np.arange(len(vectors), dtype=np.int64)
    return L2Index.build([(rows, vectors)], vectors.shape[1], expected=len(vectors))


def nearest_others(
    index: Index, k: int = NEIGHBORS, groups: Names = None, rows: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Rows of the nearest cutouts of other objects, in any metric that has an index.

    Parameters
    ----------
    index : Index
        Of the IDs ``0 .. n - 1``.
    k : int
        Neighbors wanted.
    groups : sequence of length n, optional
        Object that each cutout shows; a cutout of the same one is never a neighbor. By default each
        shows another.
    rows : array_like of int64, shape (q,), optional
        Cutouts that are asked about; all by default.

    Returns
    -------
    ndarray of int64, shape (q, min(k, n - the most cutouts of one object))
        Nearest first, equal distances in the order of `index`.

    Raises
    ------
    InputError
        `k` is below 1, there is not one group for each cutout, or only one object.
    """
    n = len(index)
    objects = _codes(groups, n, "group")[1]
    most = int(np.bincount(objects).max())
    if k < 1 or most == n:
        raise InputError(f"neighbors need k of 1 or more and two objects or more: k is {k}, {n} cutouts")
    asked = np.arange(n, dtype=np.int64) if rows is None else np.asarray(rows, np.int64)
    k = min(k, n - most)
    found = index.search(asked, k + most)[0]
    others = objects[found] != objects[asked, None]
    # Stable: the others first, in their order.
    order = np.argsort(~others, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(found, order, axis=1)


def precision_at_k(
    near: NDArray[np.int64],
    labels: Names,
    groups: Names = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Score:
    """Macro precision: share of neighbors of the same class, by class, then the mean of the classes.

    Parameters
    ----------
    near : ndarray of int64, shape (n, k)
        From :func:`nearest_others`, of all cutouts.
    labels : sequence of length n
    groups : sequence of length n, optional
        Objects, drawn together by the bootstrap.
    seed, resamples : int
        Of the bootstrap.

    Returns
    -------
    Score
        With the mean of each class.

    Raises
    ------
    InputError
        There is not one label, or one group, for each row.

    Examples
    --------
    >>> near = np.array([[1], [0], [3], [0]])
    >>> precision_at_k(near, ["spiral", "spiral", "lens", "lens"]).by_class
    {'lens': 0.5, 'spiral': 1.0}
    """
    shares = shares_of_same(near, labels)
    return mean_score(shares, labels, groups, seed=seed, resamples=resamples)


def shares_of_same(near: NDArray[np.int64], labels: Names) -> NDArray[np.float64]:
    """Share of the neighbors of each cutout that are of its class, shape (n,).

    The difference of two of these, by :func:`mean_score`, is that of two kinds of vectors of the same
    cutouts, with an interval that does not count what both have in common.

    Parameters
    ----------
    near : ndarray of int64, shape (n, k)
        From :func:`nearest_others`, of all cutouts.
    labels : sequence of length n

    Returns
    -------
    ndarray of float64, shape (n,)

    Raises
    ------
    InputError
        There is not one label for each row.

    Examples
    --------
    >>> shares_of_same(np.array([[1, 2], [0, 2], [0, 1]]), ["lens", "lens", "spiral"])
    array([0.5, 0.5, 0. ])
    """
    codes = _codes(labels, len(near), "label")[1]
    return np.asarray((codes[near] == codes[:, None]).mean(axis=1))


def linear_probe(
    vectors: Matrix,
    labels: Names,
    groups: Names = None,
    *,
    folds: int = 5,
    c: float = PROBE_C,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Score]:
    """How well a linear classifier tells the classes apart: each cutout by one that has not seen it.

    Logistic regression by scikit-learn on components that are standardized by the cutouts it is
    fitted to, in stratified cross-validation that keeps the cutouts of an object together.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
    labels : sequence of length n
    groups : sequence of length n, optional
    folds : int
        Fewer where a class has fewer objects.
    c : float
        Inverse strength of the L2 penalty.
    seed, resamples : int
        Of the folds and the bootstrap.

    Returns
    -------
    dict of str to Score
        ``accuracy``: share of the cutouts that are told right. ``balanced``: mean of this share over
        the classes.

    Raises
    ------
    InputError
        There are fewer than two classes, or a class has one object only.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes, codes = _codes(labels, len(vectors), "label")
    objects = _codes(groups, len(vectors), "group")[1]
    fewest = min(len(np.unique(objects[codes == code])) for code in range(len(classes)))
    if len(classes) < 2 or fewest < 2:
        raise InputError(
            f"a linear probe needs two classes of two objects each, and here are {len(classes)} classes, the "
            f"smallest of {fewest}: leave small classes out"
        )
    split = StratifiedGroupKFold(min(folds, fewest), shuffle=True, random_state=seed)
    right = np.zeros(len(vectors))
    for seen, held in split.split(vectors, codes, objects):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=_PROBE_STEPS))
        right[held] = model.fit(vectors[seen], codes[seen]).predict(vectors[held]) == codes[held]
    return {
        "accuracy": mean_score(right, None, groups, seed=seed, resamples=resamples),
        "balanced": mean_score(right, labels, groups, seed=seed, resamples=resamples),
    }


def retrieval(
    originals: Matrix,
    copies: NDArray[np.float32],
    groups: Names = None,
    *,
    metric: Literal["l2", "cosine"] = "l2",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Score:
    """Share of the cutouts whose copies stand before everything else.

    Asked with each original in the collection of all originals and all copies: its nearest c others are
    its c copies, in any order.

    Parameters
    ----------
    originals : ndarray of float32, shape (n, d)
    copies : ndarray of float32, shape (n, c, d)
        Of the same objects, turned or shifted or the like.
    groups : sequence of length n, optional
        For the bootstrap alone: another cutout of the object is no copy.
    metric : {"l2", "cosine"}
    seed, resamples : int

    Returns
    -------
    Score

    Raises
    ------
    InputError
        The shapes do not belong together.
    """
    n, c = copies.shape[:2]
    if copies.ndim != 3 or (n, copies.shape[2]) != originals.shape or c < 1:
        raise InputError(
            f"copies must have shape (n, c, d) for originals of shape (n, d), got {copies.shape} and "
            f"{originals.shape}"
        )
    # Rows: the originals, then the copies of the first, of the second ...
    index = l2_index(np.concatenate([originals, copies.reshape(n * c, -1)]))
    near = nearest_others(CosineIndex(index) if metric == "cosine" else index, c, rows=np.arange(n))
    whole = ((near - n) // c == np.arange(n)[:, None]).all(axis=1)
    return mean_score(whole.astype(np.float64), None, groups, seed=seed, resamples=resamples)


def mean_score(
    values: NDArray[np.float64],
    labels: Names = None,
    groups: Names = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Score:
    """Mean of values, or with `labels` the mean of their means over classes, with its interval.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
    labels, groups : sequence of length n, optional
    seed, resamples : int
        A resample that misses a class is the mean of the others.

    Returns
    -------
    Score

    Raises
    ------
    InputError
        There is not one label, or one group, for each value, or no value.

    Examples
    --------
    >>> mean_score(np.array([0.0, 1.0, 1.0]), ["lens", "spiral", "spiral"]).by_class
    {'lens': 0.0, 'spiral': 1.0}
    """
    n = len(values)
    classes, codes = (np.array([""]), np.zeros(n, np.intp)) if labels is None else _codes(labels, n, "label")
    names, objects = _codes(groups, n, "group")
    shape = (len(names), len(classes))
    totals, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(totals, (objects, codes), values)
    np.add.at(counts, (objects, codes), 1)
    means = totals.sum(axis=0) / counts.sum(axis=0)
    rng, drawn = np.random.default_rng(seed), []
    for start in range(0, resamples, _RESAMPLES_AT_ONCE):
        size = min(_RESAMPLES_AT_ONCE, resamples - start)
        times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=size)
        with np.errstate(invalid="ignore"):
            drawn.append(np.nanmean((times @ totals) / (times @ counts), axis=1))
    low, high = np.percentile(np.concatenate(drawn), [2.5, 97.5])
    by_class = {} if labels is None else dict(zip(map(str, classes), map(float, means), strict=True))
    return Score(float(means.mean()), float(low), float(high), by_class)


def _codes(names: Names, n: int, what: str) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Distinct names and the number of each row's; a name of its own for each row where there are none."""
    if not n:
        raise InputError("there are no cutouts to score: give two or more")
    if names is None:
        return np.arange(n), np.arange(n)
    if len(names) != n:
        raise InputError(f"{n} cutouts need one {what} each, got {len(names)}")
    classes, codes = np.unique(np.asarray(names), return_inverse=True)
    return classes, codes
