"""Medians and percentiles by a guess: the same bits as NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elodin_spark.cutouts.ranks import median, percentile, ranked

SIZES = (1, 2, 3, 1000, 2**16 + 1, 2**17, 2**18 + 3)


def _values(kind: str, size: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    match kind:
        case "noise":
            values = rng.normal(100, 3, size)
        case "few values":
            values = rng.integers(-2, 3, size)
        case "mostly alike":
            values = np.where(rng.random(size) < 0.9, 5.0, rng.normal(0, 1e6, size))
        case "sorted":
            values = np.sort(rng.exponential(1, size))
        case "a period":  # the sample sees other values than the rest
            values = np.where(np.arange(size) % (size // 2**14 | 1) == 0, 1e3, rng.normal(0, 1, size))
        case _:
            values = rng.standard_cauchy(size) * 1e30
    return values.astype(np.float32)


KINDS = ("noise", "few values", "mostly alike", "sorted", "a period", "wide")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_medians_and_percentiles_are_numpys_to_the_bit(kind: str, size: int) -> None:
    values = _values(kind, size, size)
    before = values.copy()
    assert median(values) == float(np.median(values))
    for percent in (0.0, 0.01, 50.1, 99.8, 99.9999, 100.0):
        # float64 values: of float32 ones NumPy 2 rounds the rank to float32.
        expected = np.percentile(values.astype(np.float64), percent)
        assert percentile(values, percent) == pytest.approx(expected, rel=1e-6)
        if np.lib.NumpyVersion(np.__version__) < "2.0.0":
            assert percentile(values, percent) == float(np.percentile(values, percent))
    assert np.array_equal(values, before)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(KINDS), st.integers(2**16 + 1, 2**17), st.floats(0, 1), st.integers(1, 3))
def test_ranks_are_those_of_a_sort(kind: str, size: int, place: float, count: int) -> None:
    values = _values(kind, size, count)
    start = int(place * (size - count))
    assert np.array_equal(ranked(values, start, start + count), np.sort(values)[start : start + count])
