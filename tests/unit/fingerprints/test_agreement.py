"""Statistics of reduced precision against loops that cannot be misread."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from elodin_spark.errors import InputError
from elodin_spark.fingerprints.agreement import compare, cosines, macro_precision, nearest, shared

# Whole numbers, so that many distances are equal and each is exact.
NUMBERS = st.integers(-3, 3).map(np.float32)


@st.composite
def pairs(draw):
    shape = draw(st.tuples(st.integers(2, 14), st.integers(1, 5)))
    return draw(arrays(np.float32, shape, elements=NUMBERS)), draw(
        arrays(np.float32, shape, elements=NUMBERS)
    )


def loop_nearest(vectors, k):
    found = []
    for i, query in enumerate(vectors):
        others = [(float(((query - other) ** 2).sum()), j) for j, other in enumerate(vectors) if j != i]
        found.append([j for _, j in sorted(others)[:k]])
    return found


def loop_cosine(a, b):
    lengths = math.dist(a, 0 * a), math.dist(b, 0 * b)
    if 0 in lengths:
        return float(lengths[0] == lengths[1])
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True)) / lengths[0] / lengths[1]


@given(pairs(), st.integers(1, 12))
def test_the_statistics_are_those_of_loops(pair, k):
    reference, vectors = pair
    labels = [f"class {int(row[0]) % 3}" for row in reference]
    found = compare(reference, vectors, labels, k)
    expected, near = loop_nearest(reference, k), loop_nearest(vectors, k)
    assert nearest(vectors, k).tolist() == near
    shares = [len(set(a) & set(b)) / len(a) for a, b in zip(expected, near, strict=True)]
    assert found.overlap == pytest.approx(np.mean(shares))
    assert found.cosine == pytest.approx(np.mean([loop_cosine(*ab) for ab in zip(*pair, strict=True)]))
    purity = {label: [] for label in labels}
    for label, row in zip(labels, near, strict=True):
        purity[label].append(sum(labels[j] == label for j in row) / len(row))
    assert found.purity == pytest.approx(np.mean([np.mean(shares) for shares in purity.values()]))


@given(pairs())
def test_the_centerd_cosine_does_not_see_what_all_vectors_share(pair):
    reference, vectors = (array.astype(np.float64) for array in pair)
    mean = reference.mean(axis=0)
    expected = cosines(reference - mean, vectors - mean).mean()
    assert compare(*pair).centerd_cosine == pytest.approx(expected)
    # A raw cosine near 1, whatever the vectors do.
    far = np.float32(1e4)
    assert compare(pair[0] + far, pair[1] + far).cosine > 0.999


def test_a_set_agrees_with_itself_and_not_with_its_rows_exchanged():
    vectors = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    same = compare(vectors, vectors)
    assert (same.overlap, same.purity) == (1.0, None)
    assert same.cosine == pytest.approx(1.0)
    assert compare(vectors, vectors[::-1]).overlap < 0.2
    assert same.to_dict() == {"overlap": 1.0, "cosine": 1.0, "centerd_cosine": 1.0, "purity": None}


def test_a_row_with_more_equals_than_neighbors_is_not_its_own_neighbor():
    near = nearest(np.zeros((40, 3), np.float32))
    assert near.shape == (40, 10)
    assert not (near == np.arange(40)[:, None]).any()
    assert shared(near, near[:, ::-1]) == 1.0


def test_small_classes_count_as_much_as_large_ones():
    vectors = np.array([[0.0], [0.1], [0.2], [0.3], [9.0], [9.1]], np.float32)
    # Of the large class all neighbors are of it, of the small one none of the two are alike.
    assert macro_precision(nearest(vectors, 1), ["a"] * 4 + ["b", "c"]) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("reference", "vectors"),
    [(np.ones((3, 2)), np.ones((2, 2))), (np.ones((1, 2)),) * 2, (np.full((3, 2), np.nan),) * 2],
)
def test_what_cannot_be_compared_is_refused(reference, vectors):
    with pytest.raises(InputError, match="compared"):
        compare(reference.astype(np.float32), vectors.astype(np.float32))
    with pytest.raises(InputError, match="label"):
        macro_precision(np.zeros((3, 1), np.int64), ["a"])
