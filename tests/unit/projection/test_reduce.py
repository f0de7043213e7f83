"""Maps that can be made again, and that keep clusters apart."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from elodin_spark.config.settings import Method
from elodin_spark.errors import InputError
from elodin_spark.projection.reduce import principal_axes, project

METHODS: tuple[Method, ...] = ("tsne", "umap", "pca")


def clusters(n: int, d: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Three clusters 10 times farther apart than they are wide, and the cluster of each vector."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 3
    centers = 10 * rng.normal(size=(3, d))
    return (centers[label] + rng.normal(size=(n, d))).astype(np.float32), label


@pytest.mark.parametrize("method", METHODS)
def test_clusters_stay_apart_and_the_map_can_be_made_again_bit_by_bit(method: Method) -> None:
    vectors, label = clusters(90, 64)
    points = project(vectors, method, seed=3)
    assert points.shape == (90, 2)
    assert points.dtype == np.float32
    distances = np.linalg.norm(points[:, np.newaxis] - points, axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argsort(axis=1)[:, :5]
    assert (label[nearest] == label[:, np.newaxis]).all()
    np.testing.assert_array_equal(project(vectors.copy(), method, seed=3), points)
    assert method == "pca" or (project(vectors, method, seed=4) != points).any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n", "d"), [(5, 64), (6, 1), (7, 2), (12, 3)])
def test_a_handful_of_vectors_is_enough_and_warns_of_nothing(method: Method, n: int, d: int) -> None:
    vectors, _ = clusters(n, d)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        points = project(vectors, method)
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()
    assert len(np.unique(points, axis=0)) == n


@pytest.mark.parametrize("method", METHODS)
def test_equal_vectors_do_not_crash(method: Method) -> None:
    np.testing.assert_array_equal(project(np.full((20, 8), 3.0), method), np.zeros((20, 2), np.float32))
    one_apart = np.zeros((20, 8), np.float32)
    one_apart[4] = 1
    assert np.isfinite(project(one_apart, method)).all()
    few_distinct = np.repeat(clusters(3, 8)[0], 20, axis=0)
    assert np.isfinite(project(few_distinct, method)).all()


@pytest.mark.parametrize("method", METHODS)
def test_progress_grows_to_one(method: Method) -> None:
    heard: list[tuple[str, float]] = []
    project(clusters(30, 8)[0], method, progress=lambda step, part: heard.append((step, part)))
    assert heard[0] == ("pca", 1.0)
    assert heard[-1] == (method, 1.0)
    if method == "pca":
        return
    parts = [part for step, part in heard if step == method]
    assert parts == sorted(parts)
    assert method == "umap" or len(parts) > 5


@pytest.mark.parametrize(
    ("n", "d", "pca", "kept"), [(40, 12, 5, 5), (8, 30, 50, 7), (9, 4, 50, 4), (700, 600, 6, 6)]
)
def test_principal_components_match_the_singular_value_decomposition(
    n: int, d: int, pca: int, kept: int
) -> None:
    rng = np.random.default_rng(9)
    rows = (rng.normal(size=(n, d)) * 0.7 ** np.arange(d) + 5).astype(np.float32)
    _, scores = principal_axes(rows, pca)
    u, s, _ = np.linalg.svd(rows - rows.mean(axis=0, dtype=float), full_matrices=False)
    assert scores.shape == (n, kept)
    # Of either sign: compare the inner products of the rows.
    expected = u[:, :kept] * s[:kept]
    np.testing.assert_allclose(scores @ scores.T, expected @ expected.T, atol=2e-4 * s[0] ** 2)


@pytest.mark.parametrize("method", METHODS)
def test_bad_vectors_are_refused(method: Method) -> None:
    vectors, _ = clusters(10, 4)
    with pytest.raises(InputError, match="at least 5 vectors, got 4"):
        project(vectors[:4], method)
    vectors[7, 1] = np.nan
    with pytest.raises(InputError, match=r"1 of 10 vectors .* row 7"):
        project(vectors, method)
    with pytest.raises(InputError, match=r"got \(10,\)"):
        project(vectors[:, 0], method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1e8, 1e16, 1e30, 3e38])
def test_one_extreme_vector_leaves_the_others_their_places(method: Method, size: float) -> None:
    vectors, label = clusters(60, 16)
    vectors[7] *= np.float32(size) / np.abs(vectors[7]).max()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        points = project(vectors, method)
    assert np.isfinite(points).all()
    rest = np.arange(60) != 7
    distances = np.linalg.norm(points[rest, np.newaxis] - points[rest], axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argsort(axis=1)[:, :5]
    assert (label[rest][nearest] == label[rest][:, np.newaxis]).mean() > 0.95


@pytest.mark.parametrize("size", [2.0**-100, 2.0**90])
def test_the_unit_of_the_vectors_does_not_matter(size: float) -> None:
    vectors, _ = clusters(30, 8)
    np.testing.assert_array_equal(project(vectors * np.float32(size), "tsne"), project(vectors, "tsne"))


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(InputError, match="'isomap'"):
        project(clusters(10, 4)[0], "isomap")  # type: ignore[arg-type]


def test_what_is_compiled_of_umap_is_kept_for_the_next_process() -> None:
    project(np.random.default_rng(0).normal(size=(8, 4)), "umap")
    from umap import umap_

    for function in (umap_.compute_membership_strengths, umap_.smooth_knn_dist):
        assert type(function._cache).__name__ != "NullCache"
