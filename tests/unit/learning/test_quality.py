"""Scores of vectors against loops and against answers that are known."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.labels import label_index
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from elodin_spark.errors import InputError
from elodin_spark.learning.quality import (
    l2_index,
    linear_probe,
    mean_score,
    nearest_others,
    precision_at_k,
    retrieval,
    score,
    shares_of_same,
)

# Whole numbers, so that many distances are equal and each is exact.
NUMBERS = st.integers(-3, 3).map(np.float32)


@st.composite
def labeled(draw):
    """Vectors with labels, and two objects or more."""
    n = draw(st.integers(2, 12))
    vectors = draw(arrays(np.float32, (n, draw(st.integers(1, 4))), elements=NUMBERS))
    labels = draw(st.lists(st.sampled_from(["disk", "ring", "arc"]), min_size=n, max_size=n))
    groups = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n).filter(lambda g: len(set(g)) > 1))
    return vectors, labels, groups


def loop_nearest(vectors, k, groups):
    """Rows of the nearest of other groups, by (distance, row)."""
    most = max(groups.count(group) for group in groups)
    found = []
    for i, query in enumerate(vectors):
        others = [
            (float(((query - other) ** 2).sum()), j)
            for j, other in enumerate(vectors)
            if groups[j] != groups[i]
        ]
        found.append([j for _, j in sorted(others)[: min(k, len(vectors) - most)]])
    return found


@given(labeled(), st.integers(1, 12))
def test_precision_is_that_of_loops(given_set, k):
    vectors, labels, groups = given_set
    near = nearest_others(l2_index(vectors), k, groups)
    expected = loop_nearest(vectors, k, groups)
    assert near.tolist() == expected
    shares = {label: [] for label in labels}
    for label, row in zip(labels, expected, strict=True):
        shares[label].append(np.mean([labels[j] == label for j in row]))
    found = precision_at_k(near, labels, groups, resamples=20)
    assert found.by_class == pytest.approx({label: np.mean(values) for label, values in shares.items()})
    assert found.value == pytest.approx(np.mean([np.mean(values) for values in shares.values()]))
    assert 0 <= found.low <= found.high <= 1 + 1e-12


@given(labeled())
def test_without_groups_each_cutout_is_an_object(given_set):
    vectors, labels, _ = given_set
    alone = score(vectors, labels, k=3, probe=False)
    assert alone == score(vectors, labels, list(range(len(labels))), k=3, probe=False)
    assert nearest_others(l2_index(vectors), 3).tolist() == loop_nearest(vectors, 3, list(range(len(labels))))


def test_any_index_answers():
    sets = [[0, 1], [1, 2], [0, 1, 2], [5], [5, 6]]
    index = label_index([(np.arange(5), [np.array(s, np.int32) for s in sets])], 8)
    assert nearest_others(index, 1)[:, 0].tolist() == [2, 2, 0, 4, 3]
    assert nearest_others(index, 1, ["a", "b", "a", "c", "d"], rows=[0, 1])[:, 0].tolist() == [1, 2]


def clusters(n_classes=3, each=40, spread=0.1, seed=0):
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_classes), each)
    vectors = 10 * np.eye(n_classes, 6)[codes] + rng.normal(0, spread, (len(codes), 6))
    return vectors.astype(np.float32), [f"class {code}" for code in codes]


def test_classes_far_apart_score_one_and_noise_scores_chance():
    vectors, labels = clusters()
    found = score(vectors, labels)
    assert {name: (s.value, s.low, s.high) for name, s in found.items()} == dict.fromkeys(
        ("precision", "accuracy", "balanced"), (1.0, 1.0, 1.0)
    )
    noise = np.random.default_rng(1).normal(size=vectors.shape).astype(np.float32)
    for chance in score(noise, labels).values():
        assert chance.low < 1 / 3 < chance.high


def test_cosine_sees_directions_alone():
    vectors, labels = clusters()
    lengths = np.random.default_rng(2).uniform(-3, 3, len(vectors))
    stretched = (vectors * 10 ** lengths[:, None]).astype(np.float32)
    assert score(stretched, labels, metric="cosine", probe=False)["precision"].value == 1
    assert score(stretched, labels, probe=False)["precision"].value < 0.95


def test_a_probe_does_not_see_other_cutouts_of_the_object():
    # Each object has a component of its own and a label by chance: only leakage can tell it.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 4)
    labels = rng.permutation(40)[groups] % 2
    vectors = np.eye(40, dtype=np.float32)[groups]
    assert linear_probe(vectors, labels)["accuracy"].value > 0.95
    assert linear_probe(vectors, labels, groups)["accuracy"].value < 0.7


def test_a_rare_class_counts_as_much_as_a_common_one():
    values = np.array([1.0] * 90 + [0.0] * 10)
    labels = ["common"] * 90 + ["rare"] * 10
    assert mean_score(values).value == pytest.approx(0.9)
    assert mean_score(values, labels).value == pytest.approx(0.5)


def test_intervals_are_those_of_a_mean_and_widen_with_objects():
    values = np.random.default_rng(0).integers(0, 2, 400).astype(np.float64)
    alone, error = mean_score(values, resamples=4000), np.sqrt(values.var() / 400)
    assert alone.low == pytest.approx(values.mean() - 1.96 * error, abs=0.006)
    assert alone.high == pytest.approx(values.mean() + 1.96 * error, abs=0.006)
    together = mean_score(np.repeat(values[:100], 4), groups=np.repeat(np.arange(100), 4), resamples=4000)
    assert together.high - together.low == pytest.approx(2 * (alone.high - alone.low), rel=0.1)
    assert mean_score(values, seed=7) == mean_score(values, seed=7) != mean_score(values, seed=8)


def test_a_difference_of_two_networks_has_a_narrower_interval_than_either():
    vectors, labels = clusters(spread=6)
    near = [
        nearest_others(l2_index(v)) for v in (vectors, vectors + np.float32(0.5) * np.eye(6, dtype="f")[0])
    ]
    assert mean_score(np.subtract(*(shares_of_same(n, labels) for n in near)), labels).value == 0
    blurred = vectors + np.random.default_rng(3).normal(0, 1, vectors.shape).astype(np.float32)
    a, b = (shares_of_same(nearest_others(l2_index(v)), labels) for v in (vectors, blurred))
    difference, alone = mean_score(a - b, labels), mean_score(a, labels)
    assert difference.value == pytest.approx(alone.value - mean_score(b, labels).value)
    assert difference.high - difference.low < 0.8 * (alone.high - alone.low)


@settings(max_examples=50)
@given(st.integers(2, 8), st.integers(1, 3), st.integers(0, 100))
def test_copies_are_found_as_by_loops(n, c, seed):
    rng = np.random.default_rng(seed)
    originals = rng.integers(-3, 4, (n, 2)).astype(np.float32)
    copies = originals[:, None] + rng.integers(-1, 2, (n, c, 2)).astype(np.float32)
    everything = np.concatenate([originals, copies.reshape(-1, 2)])
    whole = []
    for i, row in enumerate(loop_nearest(everything, c, list(range(len(everything))))[:n]):
        whole.append(set(row) == {n + c * i + j for j in range(c)})
    assert retrieval(originals, copies, resamples=5).value == pytest.approx(np.mean(whole))


def test_what_cannot_be_scored_is_refused():
    vectors, labels = clusters()
    with pytest.raises(InputError, match="120 cutouts need one label each, got 3"):
        score(vectors, labels[:3])
    with pytest.raises(InputError, match="one group each, got 1"):
        score(vectors, labels, ["a"])
    with pytest.raises(InputError, match="two objects or more"):
        nearest_others(l2_index(vectors), 3, ["one"] * 120)
    with pytest.raises(InputError, match="k is 0"):
        nearest_others(l2_index(vectors), 0)
    with pytest.raises(InputError, match="no cutouts"):
        mean_score(np.empty(0))
    with pytest.raises(InputError, match="NaN"):
        score(np.full((4, 2), np.nan, np.float32), list("aabb"))
    with pytest.raises(InputError, match="shape"):
        l2_index(vectors[0])
    with pytest.raises(InputError, match="here are 2 classes, the smallest of 1"):
        linear_probe(vectors[:3], ["a", "a", "b"])
    with pytest.raises(InputError, match=r"shape \(n, c, d\)"):
        retrieval(vectors, vectors[:5, None])
