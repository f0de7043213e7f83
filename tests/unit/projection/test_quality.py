"""How true a map is, against the definitions and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from elodin_spark.errors import InputError
from elodin_spark.projection.quality import doubtful, map_quality, squared_distances


@pytest.mark.parametrize(("n", "neighbors"), [(5, 10), (9, 10), (60, 10), (300, 7)])
def test_trustworthiness_is_that_of_scikit_learn(n: int, neighbors: int) -> None:
    rng = np.random.default_rng(n)
    vectors = rng.normal(size=(n, 12))
    places = vectors[:, :2] + 0.3 * rng.normal(size=(n, 2))
    k = min(neighbors, (n - 1) // 2)
    found = map_quality(vectors, places, neighbors)
    assert found["trustworthiness"] == pytest.approx(
        trustworthiness(vectors, places, n_neighbors=k), abs=1e-12
    )
    near = [
        NearestNeighbors(n_neighbors=k).fit(rows).kneighbors(return_distance=False)
        for rows in (vectors, places)
    ]
    kept = np.mean([len(set(one) & set(other)) / k for one, other in zip(*near, strict=True)])
    assert found["neighbors_kept"] == pytest.approx(kept, abs=1e-12)


def test_a_true_map_keeps_all_and_one_at_random_half_of_the_trust() -> None:
    rng = np.random.default_rng(1)
    places = rng.random((400, 2))
    assert map_quality(places * 7 + 3, places) == {"trustworthiness": 1.0, "neighbors_kept": 1.0}
    lost = map_quality(rng.random((400, 2)), places)
    assert lost["trustworthiness"] == pytest.approx(0.5, abs=0.03)
    assert lost["neighbors_kept"] == pytest.approx(10 / 399, abs=0.01)


def test_too_few_points_or_other_lengths_are_errors() -> None:
    with pytest.raises(InputError, match="4 vectors and 4 places"):
        map_quality(np.zeros((4, 3)), np.zeros((4, 2)))
    with pytest.raises(InputError, match="9 vectors and 8 places"):
        map_quality(np.zeros((9, 3)), np.zeros((8, 2)))


def two_groups() -> tuple[np.ndarray, np.ndarray]:
    """Two groups of 150, much as they are on the map."""
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 150)
    vectors = rng.normal(size=(300, 4)) * [1, 1, 0.1, 0.1] + 40 * group[:, np.newaxis]
    return vectors, vectors[:, :2].copy()


def test_a_cutout_put_into_the_other_group_is_doubtful_and_no_other() -> None:
    vectors, places = two_groups()
    places[[3, 200]] = places[[160, 9]] + 0.01
    own = np.arange(300)
    marks = doubtful(squared_distances(vectors, vectors), places, places, own)
    assert np.flatnonzero(marks).tolist() == [3, 200]
    # The same of cutouts that are not of the reference.
    rest = np.setdiff1d(own, [3, 200])
    marks = doubtful(squared_distances(vectors, vectors[rest]), places, places[rest])
    assert np.flatnonzero(marks).tolist() == [3, 200]


@pytest.mark.parametrize(("count", "few"), [(60, 30), (299, 30), (300, 30), (500, 50)])
@pytest.mark.parametrize("far", [0, 5, 6, 10])
def test_more_than_half_of_ten_must_be_far(count: int, few: int, far: int) -> None:
    places = np.stack([np.arange(count) + 1.0, np.zeros(count)], axis=1)
    rank = np.arange(count)
    # Of the ten first on the map so many are just beyond the nearest by vector, the others just within.
    rank[: 10 - far], rank[few - (10 - far) : few] = (
        rank[few - (10 - far) : few].copy(),
        rank[: 10 - far].copy(),
    )
    rank[10 - far : 10], rank[few : few + far] = rank[few : few + far].copy(), rank[10 - far : 10].copy()
    assert sorted(rank.tolist()) == list(range(count))
    assert doubtful(rank[np.newaxis] + 1.0, np.zeros((1, 2)), places).tolist() == [far > 5]


def test_none_is_its_own_neighbor() -> None:
    places = np.stack([np.arange(100.0), np.zeros(100)], axis=1)
    rank = np.arange(100.0)
    rank[5:11], rank[40:46] = rank[40:46].copy(), rank[5:11].copy()  # of 1 to 10 on the map six are far
    at = np.zeros((1, 2))
    assert doubtful(rank[np.newaxis], at, places, np.array([0])).tolist() == [True]
    assert doubtful(rank[np.newaxis], at, places, np.array([-1])).tolist() == [False]
    assert doubtful(rank[np.newaxis], at, places).tolist() == [False]


def test_it_does_not_fill_a_place_among_the_nearest() -> None:
    places = np.stack([np.arange(100.0), np.zeros(100)], axis=1)
    rank = np.arange(100.0)
    rank[5:10], rank[40:45] = rank[40:45].copy(), rank[5:10].copy()  # of 1 to 10 on the map five are far
    assert doubtful(rank[np.newaxis], np.zeros((1, 2)), places, np.array([0])).tolist() == [False]


def test_of_a_reference_of_few_nothing_is_said() -> None:
    vectors, places = two_groups()
    places = np.random.default_rng(1).permutation(places)
    some = slice(120, 180)
    assert doubtful(squared_distances(vectors, vectors[some]), places, places[some]).any()
    some = slice(120, 179)
    assert not doubtful(squared_distances(vectors, vectors[some]), places, places[some]).any()
    assert doubtful(np.empty((0, 9)), np.empty((0, 2)), places[:9]).shape == (0,)


def test_squared_distances_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(5)
    rows, others = rng.normal(size=(7, 3)), rng.normal(size=(4, 3))
    expected = ((rows[:, np.newaxis] - others) ** 2).sum(axis=2)
    for direct in (False, True):
        np.testing.assert_allclose(squared_distances(rows, others, direct), expected, atol=1e-12)
