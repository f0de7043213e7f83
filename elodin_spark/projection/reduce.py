"""Vectors to points of the plane: principal components, and of these t-SNE or UMAP."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.config.settings import Method
from elodin_spark.errors import InputError

#: Called with the step ("pca", "tsne" or "umap") and the part of it that is done, 0 to 1.
Progress = Callable[[str, float], None]

#: Of a map.
METHODS: tuple[Method, ...] = get_args(Method)

#: Fewer points than this have no map worth the name.
MIN_POINTS = 5

_TSNE_STEPS = 250 + 500  # openTSNE's default: early exaggeration, then the rest
_TSNE_REPORT_EVERY = 50
_FARTHEST = 20.0  # from the middle, of the usual distance


def project(
    vectors: ArrayLike,
    method: Method,
    *,
    pca: int = 50,
    perplexity: float = 30.0,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Lay vectors out in the plane so that near neighbors stay near.

    Vectors farther from the middle than 20 times the usual are drawn in to that distance: one of 1e30
    would leave all others on one point. Distances in the map are not distances of the vectors: ask the
    index for neighbors. The same input and seed give the same bits on the same machine and library
    versions: the layout runs in one thread.

    Parameters
    ----------
    vectors : array_like of float32, shape (n, d)
        At least 5 rows.
    method : {"tsne", "umap", "pca"}
        openTSNE (Policar, Strazar & Zupan 2019; Barnes-Hut below 10,000 points, FFT
        interpolation above), UMAP (McInnes, Healy & Melville 2018), or the first two principal
        components. The others start from these, which keeps the global arrangement
        (Kobak & Linderman 2021).
    pca : int, optional
        Principal components kept beforehand, at most ``min(n - 1, d)``.
    perplexity : float, optional
        Of t-SNE; lowered to ``(n - 1) / 3`` where that is less.
    n_neighbors : int, optional
        Of UMAP; lowered to ``n - 1`` where that is less.
    min_dist : float, optional
        Of UMAP.
    seed : int, optional
    progress : callable, optional
        Called with (step, part done).

    Returns
    -------
    ndarray of float32, shape (n, 2)
        All zero where all vectors are equal.

    Raises
    ------
    InputError
        Fewer than 5 vectors, NaN or infinite ones, or an unknown `method`.
    """
    if method not in METHODS:
        raise InputError(f"unknown projection {method!r}: one of {', '.join(METHODS)}")
    report = progress or _silent
    axes, scores = principal_axes(vectors, pca, seed)
    if not axes.matrix.any():
        return np.zeros((len(scores), 2), np.float32)
    report("pca", 1.0)
    return lay_out(
        scores, method, perplexity=perplexity, n_neighbors=n_neighbors, min_dist=min_dist, seed=seed,
        progress=progress,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class PrincipalAxes:
    """What brings vectors of `d` components to their scores on principal components.

    Attributes
    ----------
    middle : ndarray of float64, shape (d,)
        Median of the vectors it was fitted to.
    usual : float
        Their median distance from it.
    mean : ndarray of float32, shape (d,)
        Of them, about `middle` and in units near `usual`.
    matrix : ndarray of float32, shape (c, d)
        Of each row the component that is farthest from 0 is positive; all 0 where all vectors were equal.
    """

    middle: NDArray[np.float64]
    usual: float
    mean: NDArray[np.float32]
    matrix: NDArray[np.float32]

    def drawn_in(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors about the middle in units near the usual distance from it, none beyond 20 times that.

        The unit is a power of two: vectors of usual size keep all their digits.
        """
        wide, far = _about(rows, self.middle)
        wide *= 2.0 ** -np.round(np.log2(self.usual))
        wide *= np.minimum(1.0, _FARTHEST * self.usual / np.where(far > 0, far, self.usual))[:, np.newaxis]
        return wide.astype(np.float32)

    def scores(self, drawn_in: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of what :meth:`drawn_in` gives, shape (n, c), but for c = 1, where a column of 0 follows."""
        return _two_wide((drawn_in - self.mean) @ self.matrix.T)


def principal_axes(
    vectors: ArrayLike, pca: int = 50, seed: int = 0
) -> tuple[PrincipalAxes, NDArray[np.float32]]:
    """Fit principal components.

    Parameters
    ----------
    vectors : array_like of float32, shape (n, d)
        At least 5 rows.
    pca : int, optional
        Components kept, at most ``min(n - 1, d)``.
    seed : int, optional

    Returns
    -------
    axes : PrincipalAxes
    scores : ndarray of float32, shape (n, max(2, c))
        Of the vectors.

    Raises
    ------
    InputError
        Fewer than 5 vectors, or NaN or infinite ones.
    """
    from sklearn.decomposition import PCA

    rows = _checked(vectors)
    kept = max(1, min(pca, len(rows) - 1, rows.shape[1]))
    middle = np.median(rows.astype(np.float64), axis=0)
    if (rows == rows[0]).all():
        nothing = np.zeros(rows.shape[1], np.float32)
        axes = PrincipalAxes(middle, 1.0, nothing, np.zeros((kept, rows.shape[1]), np.float32))
        return axes, np.zeros((len(rows), max(2, kept)), np.float32)
    _, far = _about(rows, middle)
    nothing = np.empty(0, np.float32)
    drawn_in = PrincipalAxes(middle, float(np.median(far[far > 0])), nothing, nothing)
    fitted = PCA(n_components=kept, svd_solver=_solver(rows.shape, kept), random_state=seed)
    inner = drawn_in.drawn_in(rows)
    scores = _two_wide(fitted.fit_transform(inner))
    axes = PrincipalAxes(
        middle,
        drawn_in.usual,
        np.asarray(fitted.mean_, np.float32),
        np.asarray(fitted.components_, np.float32),
    )
    return axes, scores


def lay_out(
    scores: NDArray[np.float32],
    method: Method,
    *,
    perplexity: float = 30.0,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Places of vectors by their scores on principal components.

    Parameters
    ----------
    scores : ndarray of float32, shape (n, c)
        Of :func:`principal_axes`.
    method, perplexity, n_neighbors, min_dist, seed, progress
        As of :func:`project`.

    Returns
    -------
    ndarray of float32, shape (n, 2)

    Raises
    ------
    InputError
        A place is not finite.
    """
    report = progress or _silent
    if not scores.any():
        return np.zeros((len(scores), 2), np.float32)
    if method == "tsne":
        points = _tsne(scores, perplexity, seed, report)
    elif method == "umap":
        points = _umap(scores, n_neighbors, min_dist, seed)
    else:
        points = scores[:, :2]
    points = np.ascontiguousarray(points, dtype=np.float32)
    if not np.isfinite(points).all():
        raise InputError(f"{method} gave places that are not finite for these vectors")
    if method != "pca":
        report(method, 1.0)
    return points


def _checked(vectors: ArrayLike) -> NDArray[np.float32]:
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise InputError(f"a projection takes vectors of shape (n, d), got {rows.shape}")
    if len(rows) < MIN_POINTS:
        raise InputError(
            f"a projection needs at least {MIN_POINTS} vectors, got {len(rows)}: "
            "run more images, or leave the projection out"
        )
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise InputError(
            f"{bad.sum()} of {len(rows)} vectors hold NaN or infinity (first at row {int(bad.argmax())}): "
            "leave them out"
        )
    return rows


def _about(
    rows: NDArray[np.float32], middle: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Vectors about a middle, and how far from it they are."""
    wide = rows.astype(np.float64)
    wide -= middle
    largest = np.abs(wide).max(axis=1)
    # Scaled before they are squared: 1e38 squared is beyond half of what float64 holds, and 1e-38 vanishes.
    unit = np.where(largest > 0, largest, 1.0)
    return wide, unit * np.linalg.norm(wide / unit[:, np.newaxis], axis=1)


def _two_wide(scores: NDArray[Any]) -> NDArray[np.float32]:
    """Scores, at least two columns wide."""
    if scores.shape[1] < 2:
        scores = np.hstack([scores, np.zeros_like(scores)])
    return np.ascontiguousarray(scores, dtype=np.float32)


def _solver(shape: tuple[int, ...], kept: int) -> str:
    # The full decomposition of 20,000 x 2048 takes minutes; the randomized one is seeded and
    # accurate for components well below the rank.
    return "randomized" if min(shape) > 500 and kept < min(shape) // 4 else "full"


def _tsne(rows: NDArray[np.float32], perplexity: float, seed: int, report: Progress) -> NDArray[Any]:
    from openTSNE import TSNE

    done = 0

    def advance(_iteration: int, _divergence: float, _embedding: object) -> None:
        # The iteration number restarts after early exaggeration.
        nonlocal done
        done += _TSNE_REPORT_EVERY
        report("tsne", min(1.0, done / _TSNE_STEPS))

    tsne = TSNE(
        perplexity=min(perplexity, (len(rows) - 1) / 3),
        initialization="pca",
        negative_gradient_method="auto",
        n_jobs=1,  # threads add up the repulsion in another order each time
        random_state=seed,
        callbacks=[advance],
        callbacks_every_iters=_TSNE_REPORT_EVERY,
    )
    return np.asarray(tsne.fit(rows))


def _umap(rows: NDArray[np.float32], n_neighbors: int, min_dist: float, seed: int) -> NDArray[Any]:
    with warnings.catch_warnings():
        # Import: deprecations inside its dependencies. Fit: points far from all others, kept anyway.
        warnings.simplefilter("ignore")
        with _without_tensorflow():
            from umap import UMAP
        _keep_compiled()
        return UMAP(
            n_components=2,
            n_neighbors=max(2, min(n_neighbors, len(rows) - 1)),
            min_dist=min_dist,
            init="pca",  # the spectral start fails on a handful of points
            random_state=seed,
            n_jobs=1,
        ).fit_transform(rows)


@cache
def _keep_compiled() -> None:
    """Let numba keep what it compiles of UMAP, as it does for most of its parts: else 20 s in each process.

    It lies beside the package, or in the user's cache folder where that cannot be written.
    """
    from numba.core.dispatcher import Dispatcher

    for name in [name for name in sys.modules if name.partition(".")[0] in ("umap", "pynndescent")]:
        for function in [each for each in vars(sys.modules[name]).values() if isinstance(each, Dispatcher)]:
            try:
                function.enable_caching()
            except RuntimeError:  # there is no folder that can be written: compiled again, then
                return


@contextmanager
def _without_tensorflow() -> Iterator[None]:
    """Keep umap from importing TensorFlow for its parametric variant: seconds and a gigabyte."""
    if "tensorflow" in sys.modules:
        yield
        return
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["tensorflow"]


def _silent(_step: str, _part: float) -> None:
    return None
