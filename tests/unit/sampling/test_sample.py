"""Samples that do not depend on order, partitioning or size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elodin_spark.errors import InputError
from elodin_spark.sampling.sample import sample_keys, stable_sample

int64 = st.integers(-(2**63), 2**63 - 1)
seeds = st.integers(0, 2**31 - 1)


def splitmix64(state: int) -> int:
    """The published generator's output, in Python integers."""
    z = (state + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_the_oracle_is_the_published_generator() -> None:
    # First outputs for seed 1234567, as given with the reference implementation.
    states = [(1234567 + i * 0x9E3779B97F4A7C15) % 2**64 for i in range(3)]
    assert [splitmix64(s) for s in states] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@settings(deadline=None, max_examples=100)
@given(st.lists(int64, max_size=20), seeds)
def test_keys_are_splitmix64_of_the_id_and_the_hashed_seed(ids: list[int], seed: int) -> None:
    keys = sample_keys(np.array(ids, dtype=np.int64), seed)
    assert keys.dtype == np.int64
    assert keys.tolist() == [splitmix64((i % 2**64) ^ splitmix64(seed)) >> 1 for i in ids]


@settings(deadline=None, max_examples=100)
@given(st.lists(int64, max_size=60), st.integers(0, 70), seeds, st.randoms())
def test_a_sample_is_the_ids_with_the_smallest_keys_in_any_order(
    ids: list[int], n: int, seed: int, random: object
) -> None:
    key = dict(zip(ids, sample_keys(np.array(ids, dtype=np.int64), seed).tolist(), strict=True))
    shuffled = sorted(ids, key=lambda _: random.random())  # type: ignore[attr-defined]
    sample = stable_sample(np.array(shuffled, dtype=np.int64), n, seed).tolist()
    assert sample == sorted(key, key=lambda i: (key[i], i))[:n]


@settings(deadline=None, max_examples=50)
@given(st.lists(int64, unique=True, max_size=60), st.integers(0, 20), st.integers(1, 7), seeds)
def test_sampling_partitions_and_then_their_samples_changes_nothing(
    ids: list[int], n: int, partitions: int, seed: int
) -> None:
    array = np.array(ids, dtype=np.int64)
    parts = [stable_sample(array[p::partitions], n, seed) for p in range(partitions)]
    assert stable_sample(np.concatenate(parts), n, seed).tolist() == stable_sample(array, n, seed).tolist()


def test_smaller_samples_are_part_of_larger_ones_and_seeds_matter() -> None:
    ids = np.arange(10_000)
    large = stable_sample(ids, 500, 3)
    for n in (0, 1, 250, 499):
        np.testing.assert_array_equal(stable_sample(ids, n, 3), large[:n])
    assert np.intersect1d(large, stable_sample(ids, 500, 4)).size < 60  # 25 expected


def test_keys_of_consecutive_ids_are_uniform() -> None:
    keys = sample_keys(np.arange(100_000), 0).astype(np.float64)
    counts, _ = np.histogram(keys, bins=20, range=(0, 2.0**63))
    assert (np.abs(counts - 5000) < 6 * np.sqrt(5000)).all()


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="size of 0 or more, got -1"):
        stable_sample([1, 2], -1, 0)
    with pytest.raises(InputError, match="1-D integers"):
        sample_keys([[1, 2]], 0)
    with pytest.raises(InputError, match="1-D integers"):
        sample_keys([1.5], 0)
