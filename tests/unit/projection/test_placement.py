"""Cutouts placed among a sample: near what they are like, whatever comes with them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from elodin_spark.errors import CatalogError
from elodin_spark.projection.placement import NEAREST, PERPLEXITY, Placement, _weights
from elodin_spark.projection.quality import map_quality
from elodin_spark.projection.reduce import METHODS, lay_out, principal_axes


def clusters(
    n: int, d: int = 24, groups: int = 6, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Groups 10 times farther apart than they are wide, and the group of each vector."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % groups
    centers = 10 * np.random.default_rng(7).normal(size=(groups, d))
    return (centers[label] + rng.normal(size=(n, d))).astype(np.float32), label


def placement_of(
    vectors: NDArray[np.float32], methods: tuple[str, ...] = ("pca",), **options: float
) -> Placement:
    axes, scores = principal_axes(vectors)
    places = {method: lay_out(scores, method, seed=1, **options) for method in methods}  # type: ignore[arg-type]
    return Placement.of_sample(axes, np.arange(len(vectors)), vectors, scores, places)


@pytest.fixture(scope="module")
def laid_out() -> Placement:
    return placement_of(clusters(240)[0], METHODS, perplexity=10, n_neighbors=10)


def test_new_cutouts_come_to_lie_in_their_group(laid_out: Placement) -> None:
    _, label = clusters(240)
    vectors, of_new = clusters(900, seed=5)
    for method, (xy, marks) in laid_out.place(vectors).items():
        apart = np.linalg.norm(xy[:, np.newaxis] - laid_out.places[method], axis=2)
        nearest = label[apart.argsort(axis=1)[:, :5]]
        assert (nearest == of_new[:, np.newaxis]).mean() > (0.85 if method == "pca" else 0.99), method
        assert method == "pca" or marks.mean() < 0.05
        assert len(np.unique(xy, axis=0)) > 0.9 * len(xy), "they lie on top of one another"


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_between_two_groups_a_cutout_is_placed_in_one_of_them(laid_out: Placement, method: str) -> None:
    vectors, label = clusters(240)
    halfway = (vectors[label == 0][:1] + vectors[label == 1][:1]) / 2
    ((xy,), _) = laid_out.place(halfway)[method]
    apart = np.linalg.norm(laid_out.places[method] - xy, axis=1)
    within = np.linalg.norm(
        laid_out.places[method][label == 0] - laid_out.places[method][label == 0][0], axis=1
    )
    assert apart.min() < within.max() / 2, "in the empty middle"


def test_a_vector_of_the_sample_is_placed_near_its_own_place(laid_out: Placement) -> None:
    vectors, _ = clusters(240)
    for method, (xy, _) in laid_out.place(vectors).items():
        off = np.linalg.norm(xy - laid_out.places[method], axis=1)
        width = np.ptp(laid_out.places[method], axis=0).max()
        assert np.median(off) < 0.02 * width, method


def test_places_do_not_depend_on_what_comes_with_a_cutout(laid_out: Placement) -> None:
    vectors, _ = clusters(1300, seed=8)
    whole = laid_out.place(vectors)
    order = np.random.default_rng(3).permutation(len(vectors))
    cuts = [0, 1, 2, 500, 513, 1025, 1300]
    for start, stop in pairwise(cuts):
        some = order[start:stop]
        for method, (xy, marks) in laid_out.place(vectors[some]).items():
            np.testing.assert_array_equal(xy, whole[method][0][some])
            np.testing.assert_array_equal(marks, whole[method][1][some])


def test_placing_by_components_is_the_matrix_of_the_sample(laid_out: Placement) -> None:
    vectors, _ = clusters(240)
    np.testing.assert_allclose(laid_out.place(vectors)["pca"][0], laid_out.places["pca"], atol=1e-3)
    axes = laid_out.axes
    biggest = np.abs(axes.matrix).argmax(axis=1)
    assert (axes.matrix[np.arange(len(biggest)), biggest] > 0).all(), "the signs are chance"


def test_placing_keeps_about_the_neighbors_that_the_layout_keeps() -> None:
    rng = np.random.default_rng(2)
    curve = np.sort(rng.random(1200)) * 6
    vectors = np.stack([np.cos(curve), np.sin(curve), curve], axis=1) @ rng.normal(size=(3, 20))
    vectors = (vectors + 0.02 * rng.normal(size=vectors.shape)).astype(np.float32)[rng.permutation(1200)]
    placement = placement_of(vectors[:400], ("tsne",))
    xy, _ = placement.place(vectors[400:])["tsne"]
    laid, placed = (
        map_quality(vectors[:400], placement.places["tsne"]),
        map_quality(vectors[400:800], xy[:400]),
    )
    assert placed["trustworthiness"] > laid["trustworthiness"] - 0.02
    assert placed["neighbors_kept"] > 0.6 * laid["neighbors_kept"]


def test_weights_have_the_perplexity_and_fall_with_distance() -> None:
    squares = np.sort(np.random.default_rng(0).random((50, NEAREST)) * np.logspace(-8, 8, 50)[:, np.newaxis])
    weights = _weights(squares - squares[:, :1], PERPLEXITY)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(-(weights * np.log(weights)).sum(axis=1)), PERPLEXITY, rtol=1e-6)
    assert (np.diff(weights, axis=1) <= 0).all()
    np.testing.assert_allclose(_weights(np.zeros((1, 5)), 2.0), 0.2)


@pytest.mark.parametrize("vectors", [np.full((20, 8), 3.0), np.eye(5, 3), np.arange(7.0)[:, np.newaxis]])
def test_equal_few_and_short_vectors_are_placed(vectors: NDArray[np.float64]) -> None:
    rows = vectors.astype(np.float32)
    placement = placement_of(rows, METHODS)
    more = np.concatenate([rows, rows + 1, np.full((1, rows.shape[1]), 1e30, np.float32)])
    for xy, marks in placement.place(more).values():
        assert xy.shape == (len(more), 2)
        assert np.isfinite(xy).all()
        assert not marks.any(), "too few to say"
    assert placement.place(np.empty((0, rows.shape[1]), np.float32))["tsne"][0].shape == (0, 2)


def test_a_placement_is_read_as_it_was_written(laid_out: Placement, tmp_path: Path) -> None:
    laid_out.save(tmp_path / "placement.npz")
    read = Placement.load(tmp_path / "placement.npz")
    vectors, _ = clusters(30, seed=4)
    for method, (xy, marks) in laid_out.place(vectors).items():
        np.testing.assert_array_equal(read.place(vectors)[method][0], xy)
        np.testing.assert_array_equal(read.place(vectors)[method][1], marks)
    content = (tmp_path / "placement.npz").read_bytes()
    (tmp_path / "placement.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(CatalogError, match="damaged"):
        Placement.load(tmp_path / "placement.npz")
    np.savez(tmp_path / "objects.npz", middle=np.array([{}], object))
    with pytest.raises(CatalogError, match="damaged"):
        Placement.load(tmp_path / "objects.npz")
