"""Vectors to points of the plane: PCA, then t-SNE or UMAP."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.config.settings import Method
from elodin_spark.errors import InputError

#: Called with the step ("pca", "tsne" or "umap") and the part of it that is done, 0 to 1.
Progress = Callable[[str, float], None]

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
    method : {"tsne", "umap"}
        openTSNE (Policar, Strazar & Zupan 2019; Barnes-Hut below 10,000 points, FFT
        interpolation above) or UMAP (McInnes, Healy & Melville 2018). Both start from the first
        two principal components, which keeps the global arrangement (Kobak & Linderman 2021).
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
    if method not in ("tsne", "umap"):
        raise InputError(f"unknown projection {method!r}: one of tsne, umap")
    rows = _checked(vectors)
    report = progress or _silent
    if (rows == rows[0]).all():
        return np.zeros((len(rows), 2), np.float32)
    components = _principal(_drawn_in(rows), pca, seed)
    report("pca", 1.0)
    if method == "tsne":
        points = _tsne(components, perplexity, seed, report)
    else:
        points = _umap(components, n_neighbors, min_dist, seed)
    points = np.ascontiguousarray(points, dtype=np.float32)
    if not np.isfinite(points).all():
        raise InputError(f"{method} gave places that are not finite for these vectors")
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


def _drawn_in(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors about their median in units near their usual distance from it, none beyond :data:`_FARTHEST`.

    The unit is a power of two: vectors of usual size keep all their digits.
    """
    wide = rows.astype(np.float64)
    wide -= np.median(wide, axis=0)
    largest = np.abs(wide).max(axis=1)
    # Scaled before they are squared: 1e38 squared is beyond half of what float64 holds, and 1e-38 vanishes.
    unit = np.where(largest > 0, largest, 1.0)
    far = unit * np.linalg.norm(wide / unit[:, np.newaxis], axis=1)
    usual = float(np.median(far[far > 0]))
    wide *= 2.0 ** -np.round(np.log2(usual))
    wide *= np.minimum(1.0, _FARTHEST * usual / np.where(far > 0, far, usual))[:, np.newaxis]
    return wide.astype(np.float32)


def _principal(rows: NDArray[np.float32], pca: int, seed: int) -> NDArray[np.float32]:
    """Scores on the first principal components, at least two columns wide."""
    from sklearn.decomposition import PCA

    kept = max(1, min(pca, len(rows) - 1, rows.shape[1]))
    scores = PCA(n_components=kept, svd_solver=_solver(rows.shape, kept), random_state=seed).fit_transform(
        rows
    )
    if kept < 2:
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
