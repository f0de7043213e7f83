"""Top labels: the order, the ties, and the zeros that are no labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from elodin_spark.catalog.build.resolve import settle_transform
from elodin_spark.config.settings import FingerprintsSettings
from elodin_spark.config.transform import AUTO_LABELS
from elodin_spark.errors import ConfigError
from elodin_spark.fingerprints.labels import label_sets, settled_labels, top_labels
from elodin_spark.fingerprints.weights.types import Weights

# Few distinct values, so that ties are the rule; both zeros; the smallest and largest floats.
VALUES = st.sampled_from([0.0, -0.0, 0.25, 0.5, 1.0, -1.0, -0.5, 1e-45, 3e38, -3e38])
MATRICES = hnp.arrays(
    np.float32, st.tuples(st.integers(0, 5), st.integers(1, 12)), elements=VALUES.map(np.float32)
)


def slow_top(row: np.ndarray, n_top: int) -> list[int]:
    return sorted(range(len(row)), key=lambda i: (-float(row[i]), i))[:n_top]


@settings(deadline=None, max_examples=200)
@given(MATRICES, st.integers(1, 15))
def test_top_labels_are_those_of_a_full_sort_by_score_then_index(scores, n_top):
    labels, values = top_labels(scores, n_top)
    assert labels.dtype == np.int32
    assert values.dtype == np.float32
    assert labels.shape == values.shape == (len(scores), min(n_top, scores.shape[1]))
    for row, found, value in zip(scores, labels, values, strict=True):
        assert found.tolist() == slow_top(row, n_top)
        assert value.tolist() == row[found].tolist()


def test_ties_at_the_cut_go_to_the_smaller_index():
    scores = np.zeros((1, 1000), np.float32)
    scores[0, [900, 17, 500]] = 1.0
    labels, _ = top_labels(scores, 5)
    assert labels[0].tolist() == [17, 500, 900, 0, 1]


def test_many_columns_and_continuous_scores_agree_with_the_slow_sort():
    scores = np.random.default_rng(3).normal(size=(20, 2048)).astype(np.float32)
    labels, _ = top_labels(scores, 30)
    assert labels.tolist() == [slow_top(row, 30) for row in scores]


@settings(deadline=None, max_examples=100)
@given(MATRICES, st.integers(1, 15))
def test_label_sets_hold_only_values_above_zero(values, n_top):
    labels, scores = label_sets(values, n_top)
    for row, found, score in zip(values, labels, scores, strict=True):
        assert found.tolist() == [i for i in slow_top(row, n_top) if row[i] > 0]
        assert score.tolist() == row[found].tolist()


def test_a_row_of_zeros_has_no_labels_and_not_made_up_ones():
    labels, scores = label_sets(np.zeros((2, 8), np.float32), 3)
    assert [len(row) for row in labels] == [0, 0]
    assert [len(row) for row in scores] == [0, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_cannot_be_ranked_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        top_labels(np.array([[0.0, bad]], np.float32), 1)


def test_wrong_shapes_and_counts_are_refused():
    with pytest.raises(ValueError, match=r"shape \(n, c\)"):
        top_labels(np.zeros(3, np.float32), 1)
    with pytest.raises(ValueError, match="at least 1"):
        top_labels(np.zeros((1, 3), np.float32), 0)


def test_labels_left_to_the_program_are_classes_where_there_is_a_head():
    headless = Weights("random:0", "/w", "0" * 64, "resnet50")
    trained = Weights("imagenet", "/w", "1" * 64, "resnet50", classes=1000)
    assert settled_labels("auto", trained) == "classes"
    assert settled_labels("auto", headless) == AUTO_LABELS
    joined = replace(headless, joined=(trained,))
    assert (settled_labels("auto", joined), settled_labels("classes", joined)) == (AUTO_LABELS, "classes")
    assert settled_labels("units", trained) == "units"
    with pytest.raises(ConfigError, match="random:0 have no head: take auto, units or prototypes"):
        settled_labels("classes", headless)


def test_a_transform_left_to_the_program_has_its_power_unless_one_is_named():
    headless = Weights("random:0", "/w", "0" * 64, "resnet50")

    def settled(**values):
        found = settle_transform(FingerprintsSettings(weights="random:0", **values), headless)
        return found.transform, found.exponent

    assert settled() == ("standardize", 0.5)
    assert settled(power=0.7) == ("standardize", 0.7)
    assert settled(transform="standardize") == ("standardize", 1.0)
    assert settled(transform="none") == ("none", 1.0)
