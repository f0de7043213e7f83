"""The benchmarks of fingerprinting run, and the ways they compare answer alike: they stop where not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.benchmarks import result

pytestmark = pytest.mark.e2e


@pytest.mark.spark
def test_all_ways_give_the_vectors_of_the_loop() -> None:
    arguments = ["--precision", "f32", "--across", "1", "--cores", "1", "--batch", "1", "--repeats", "1"]
    found = result("fingerprint.py", *arguments)
    assert [row["way"][:3] for row in found["rows"]] == ["(a)", "(b)", "(c)", "(d)", "(e)", "(f)"]
    assert found["settings"]["N1 and N2, f32"] == [3, 6]


@pytest.mark.spark
def test_a_worker_builds_one_network_whatever_it_is_given() -> None:
    found = result("fingerprint_memory.py", "--tiles", "2", "--side", "224", "--batch", "1")
    (row,) = found["rows"]
    assert (row["windows"], row["tasks"], row["workers"], row["networks built"]) == (2, 2, 1, 1)
    assert row["peak of a worker, MiB"] > 100


def test_a_run_in_one_process_is_measured_with_other_instructions() -> None:
    arguments = ["--precision", "f32", "--across", "2", "--repeats", "1", "--isa", "default", "SSE41"]
    plain, old = result("fingerprint_fused.py", *arguments)["rows"]
    assert (plain["instructions"], old["instructions"]) == ("default", "SSE41")
    assert 0 < plain["rest, ms"] < plain["run, ms"]
    if "avx2" in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        assert old["loop, ms"] > 1.3 * plain["loop, ms"]  # oneDNN heeds it


def test_the_network_on_a_device_gives_each_batch_its_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jax")
    monkeypatch.setitem(os.environ, "KERAS_BACKEND", "jax")
    tiny = ["--px", "32", "--images", "4", "--repeats", "1", "--side", "64", "--products", "2"]
    found = result("fingerprint_gpu.py", "--device", "cpu", "--batches", "2", *tiny)
    assert [row["batch"] for row in found["rows"]] == [2]
    assert all(row["share"] > 0 for row in found["rows"])
