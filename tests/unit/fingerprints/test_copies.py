"""Copies show the same and do not give themselves away."""

from __future__ import annotations

import numpy as np
import pytest

from elodin_spark.fingerprints.copies import COPIES, copies


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
