"""Copies show the same and do not give themselves away."""

from __future__ import annotations

import numpy as np
import pytest

from elodin_spark.fingerprints.copies import COPIES, copies, learned_copy


def test_copies_have_no_corners_of_another_value() -> None:
    flat = np.full((40, 30, 3), 200, np.uint8)
    for kind in ("rotation", "blur", "shift"):
        assert (copies([flat] * 5, kind, 0)[3] == 200).all()


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("shape", [(40, 40, 3), (40, 30)])
def test_each_copy_differs_and_is_the_same_whatever_pictures_follow(kind, shape) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, shape, np.uint8) for _ in range(4)]
    made = copies(pictures, kind, 1)
    assert all((a != b).any() for a, b in zip(made, pictures, strict=True))
    assert {(copy.dtype, copy.shape) for copy in made} == {(np.dtype(np.uint8), shape)}
    again = copies(pictures[:2], kind, 1)
    assert all(np.array_equal(a, b) for a, b in zip(again, made, strict=False))


@pytest.mark.parametrize("shape", [(40, 50, 3), (40, 30), (1, 1), (2, 1, 3)])
def test_copies_that_are_learned_from_are_drawn_by_the_cutout_alone(shape) -> None:
    window = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    made = [learned_copy(window, cutout_id) for cutout_id in range(-8, 8)]
    assert {(copy.dtype, copy.shape) for copy in made} == {(np.dtype(np.uint8), shape)}
    again = [learned_copy(window.copy(), cutout_id) for cutout_id in range(-8, 8)]
    assert all(np.array_equal(a, b) for a, b in zip(made, again, strict=True))
    if window.size > 100:
        # Of two of a kind the blurred ones alone are the same.
        same = [np.array_equal(made[i], made[i + 4]) for i in range(8, 12)]
        assert same == [False, True, False, False]
        assert all((copy != window).any() for copy in made)


def test_light_only_adds_and_saturates_nothing() -> None:
    flat = np.full((40, 30, 3), 100, np.uint8)
    lit = learned_copy(flat, 7)
    assert 100 <= lit.min() < lit.max() < 255
    assert len(np.unique(lit[0, 0])) > 1
    assert (learned_copy(np.full((9, 9), 255, np.uint8), 7) == 255).all()
