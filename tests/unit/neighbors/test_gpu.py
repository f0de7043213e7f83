"""FAISS on a GPU answers like FAISS on a CPU; without one, only that nothing is asked of it."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from elodin_spark.neighbors import gpu
from elodin_spark.neighbors.base import ExternalQueries
from elodin_spark.neighbors.flat import L2Index
from elodin_spark.neighbors.ivf.factory import choose_index_config
from elodin_spark.neighbors.ivf.training import Trained, train

needs_gpu = pytest.mark.skipif(gpu.gpu_count() == 0, reason="FAISS sees no GPU: GPU search is NOT tested")


def vectors(n: int = 3000, d: int = 64) -> np.ndarray:
    rng = np.random.default_rng(8)
    centers = np.abs(rng.normal(size=(40, d)))
    return (centers[rng.integers(0, 40, n)] + 0.05 * rng.normal(size=(n, d))).astype(np.float32)


def test_nothing_goes_to_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "gpu_count", lambda: 0)
    flat = faiss.IndexFlatL2(64)
    flat.add(vectors(10))
    assert gpu.on_gpus(flat) is None
    ivf = faiss.index_factory(64, "IVF4,Flat")
    with gpu.clustering_on_gpus(ivf):
        assert ivf.clustering_index is None


@needs_gpu
def test_exact_answers_of_a_gpu_are_those_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = vectors()
    ids = np.random.default_rng(1).permutation(len(rows)).astype(np.int64)
    on_gpu = L2Index.build([(ids, rows)], rows.shape[1])
    queries = ExternalQueries(rows[:50])
    found = [on_gpu.search(queries, k) for k in (1, 10, 2100)]  # the last beyond what a GPU gives
    assert on_gpu._on_gpus is not None
    monkeypatch.setattr(gpu, "gpu_count", lambda: 0)
    on_cpu = L2Index.build([(ids, rows)], rows.shape[1])
    for k, (near, distances) in zip((1, 10, 2100), found, strict=True):
        expected = on_cpu.search(queries, k)
        np.testing.assert_array_equal(near, expected[0])
        np.testing.assert_array_equal(distances, expected[1])


@needs_gpu
def test_an_index_trained_on_a_gpu_is_one_of_cpus(tmp_path: Path) -> None:
    rows = vectors()
    index_config = choose_index_config(len(rows), rows.shape[1], 2**18)
    trained = train(index_config, [rows], tmp_path / "trained.index")
    again = Trained.load(tmp_path / "trained.index")
    assert again.digest == trained.digest
    assert again.nearest_lists(again.project(rows[:5]), 1)[1].shape == (5, 1)
