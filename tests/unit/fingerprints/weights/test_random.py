"""Weights that were never trained: the same everywhere, and kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from elodin_spark.fingerprints.weights.random import random_arrays
from elodin_spark.fingerprints.weights.resolve import resolve_weights
from elodin_spark.fingerprints.weights.types import digest_arrays


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    # One folder for all tests of a run: random weights are written once.
    return tmp_path_factory.getbasetemp() / "fingerprint-weights"


@pytest.fixture(scope="module")
def headless(cache):
    return resolve_weights("random:0", cache=cache)


def test_random_weights_are_the_same_arrays_for_the_same_seed_only(tmp_path, cache, headless):
    again = resolve_weights("random:0", cache=tmp_path / "elsewhere")
    other = resolve_weights("random:1", cache=cache)
    assert again.sha256 == headless.sha256
    assert again.path != headless.path
    assert other.sha256 != headless.sha256
    assert Path(headless.path).name == f"{headless.sha256}.weights.h5"
    assert (headless.name, headless.classes) == ("random:0", None)
    assert headless.describe() == "ResNet50, random weights (seed 0): not trained"
    assert headless.label_name(12) == "unit 12"


def test_random_arrays_equal_those_of_other_machines_to_the_bit():
    # Worked out once; a change of NumPy, or of the recipe, must not pass unnoticed.
    shapes = {"conv1_conv/kernel": (7, 7, 3, 64), "conv1_bn/gamma": (64,)}
    assert digest_arrays(random_arrays(shapes, 0)) == (
        "8e9a4819eee26c5cb53bba82e024c06d42aab7649f134c77769f9cc7738c76f1"
    )


def test_random_kernels_have_the_variance_of_he_and_filters_that_sum_to_zero():
    kernel = random_arrays({"a_conv/kernel": (3, 3, 64, 256)}, 7)["a_conv/kernel"]
    assert kernel.dtype == np.float32
    assert kernel.var() == pytest.approx(2 / (9 * 64), rel=0.01)
    assert np.abs(kernel.sum(axis=(0, 1, 2))).max() < 1e-5


def test_cached_random_weights_are_found_without_starting_tensorflow(cache, headless):
    program = (
        "import sys; from pathlib import Path\n"
        "import elodin_spark.fingerprints.stage\n"
        "from elodin_spark.fingerprints.weights.resolve import resolve_weights\n"
        "print(resolve_weights('random:0', cache=Path(sys.argv[1])).sha256)\n"
        "assert not {'tensorflow', 'keras', 'pyspark'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(cache)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == headless.sha256


def test_a_damaged_file_in_the_cache_of_random_weights_is_made_anew(cache):
    first = resolve_weights("random:1", cache=cache)
    whole = Path(first.path).read_bytes()
    Path(first.path).write_bytes(whole[:1000])
    assert resolve_weights("random:1", cache=cache) == first
    assert Path(first.path).stat().st_size == len(whole)
    assert not list(cache.glob(".new-*"))  # no scratch left
