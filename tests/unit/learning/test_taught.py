"""Labeled cutouts that a training learns from."""

from __future__ import annotations

import numpy as np
import pytest

from elodin_spark.learning.labeled import LabeledSet
from elodin_spark.learning.taught import Taught


def some(labels: str, attributes: np.ndarray | None = None) -> LabeledSet:
    pictures = [np.full((30 + i, 20, 3), i, np.uint8) for i in range(len(labels))]
    return LabeledSet("mine", pictures, [*labels], attributes=attributes)


def test_pictures_are_squares_of_no_more_px_than_asked_for_and_attributes_of_unit_spread() -> None:
    values = np.array([[1, np.nan, 5], [3, 2, 5], [np.nan, 4, 5], [5, 9, 5]], np.float32)
    found = Taught.of(some("baab", values), 32)
    assert [each.shape for each in found.windows] == [(30, 30, 3), (31, 31, 3), (32, 32, 3), (32, 32, 3)]
    assert found.names == ("a", "b")
    assert found.classes.tolist() == [1, 0, 0, 1]
    # What is the same in all teaches nothing.
    assert found.attributes.shape == (4, 2)
    assert np.isnan(found.attributes).tolist() == [
        [False, True],
        [False, False],
        [True, False],
        [False, False],
    ]
    assert np.nanmean(found.attributes, axis=0) == pytest.approx([0, 0], abs=1e-6)
    assert np.nanstd(found.attributes, axis=0) == pytest.approx([1, 1])
    assert Taught.of(some("ab"), 32).attributes.shape == (2, 0)


def test_of_a_class_four_times_as_large_twice_as_many_are_drawn() -> None:
    found = Taught.of(some("a" * 8 + "b" * 2), 32)
    drawn = found.classes[found.draw(3000, np.random.default_rng(0))]
    assert (drawn == 0).mean() == pytest.approx(2 / 3, abs=0.03)
