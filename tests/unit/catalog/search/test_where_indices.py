"""All kinds of index, asked among few cutouts and with queries from outside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from helpers.labels import label_index, sets_of

from elodin_spark.catalog.search.engine import NeighborSearch
from elodin_spark.catalog.search.options import SearchOptions
from elodin_spark.neighbors.base import ExternalQueries, Index
from elodin_spark.neighbors.flat import L2Index
from elodin_spark.neighbors.ivf.factory import choose_index_config
from elodin_spark.neighbors.ivf.index import ApproximateL2Index
from elodin_spark.neighbors.ivf.shard import add_shard
from elodin_spark.neighbors.ivf.training import train
from elodin_spark.neighbors.labels.index import TieBroken


@pytest.fixture(scope="module", params=["l2", "approximate", "jaccard"])
def large(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[Index, Callable[[int], np.ndarray]]:
    """An index of 40,000 cutouts, and distances of all from one of them by brute force."""
    n, d, labels = 40_000, 16, 40
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(n, d)).astype(np.float32)
    ids = np.arange(n)

    def euclidean(query: int) -> np.ndarray:
        return np.linalg.norm(vectors.astype(float) - vectors[query].astype(float), axis=1)

    exact = L2Index.build([(ids, vectors)], d)
    if request.param == "l2":
        return exact, euclidean
    if request.param == "approximate":
        folder = tmp_path_factory.mktemp("shards")
        train(
            choose_index_config(n, d, 1, factory="IVF64,SQ8", store="f32"),
            [vectors],
            folder / "trained.index",
        )
        for part in (0, 1):
            some = slice(part * n // 2, (part + 1) * n // 2)
            add_shard(folder / f"shard{part}", folder / "trained.index", [(ids[some], vectors[some])])
        shards = [folder / "shard0", folder / "shard1"]
        return ApproximateL2Index.open(folder / "trained.index", shards, nprobe=1, candidates=50), euclidean
    members = rng.random((n, labels)) < 0.2

    def jaccard(query: int) -> np.ndarray:
        both = (members & members[query]).sum(axis=1)
        return 1 - both / np.maximum((members | members[query]).sum(axis=1), 1)

    sets = [np.flatnonzero(row) for row in members]
    return TieBroken(label_index([(ids, sets)], labels), exact), jaccard


def places(ids: np.ndarray) -> pa.Table:
    """Windows that overlap no other."""
    zero = np.zeros_like(ids)
    windows = {"cutout_id": ids, "image_id": ids, "x0": zero, "y0": zero, "x1": zero + 1, "y1": zero + 1}
    return pa.table({**windows, "ra": zero * 0.0, "dec": zero * 0.0})


def test_a_filter_that_keeps_one_in_a_thousand_still_gives_k_exact_ones(large) -> None:
    index, distances = large
    ids = np.arange(len(index))
    kept = np.sort(np.random.default_rng(6).choice(ids, len(ids) // 1000, replace=False))
    answer = NeighborSearch(SearchOptions(k=9, where="asked before"), index, places(ids), "the test", kept)
    for query in (17, int(kept[3])):
        found = answer([query])
        assert found.num_rows == 9
        others = kept[kept != query]
        best = np.sort(distances(query)[others])[:9]
        np.testing.assert_allclose(found.column("distance").to_numpy(), best, rtol=1e-12)
        assert set(found.column("neighbor_id").to_pylist()) <= set(others.tolist())


@pytest.mark.parametrize("share", [1, 1000, 1000_000])
def test_queries_from_outside_are_answered_as_those_by_id(large, share: int) -> None:
    """Asked with the vector and the labels of a cutout, an index finds it first and then its neighbors."""
    index, _ = large
    ids = np.arange(len(index))
    kept = None if share == 1 else ids[17::share]
    by = index.by if isinstance(index, TieBroken) else index
    sets = sets_of(index.index, [17, 4]) if isinstance(index, TieBroken) else None
    queries = ExternalQueries(by.vectors_of([17, 4]), sets)
    options = SearchOptions(k=6, where=None if kept is None else "asked before")
    answer = NeighborSearch(options, index, places(ids), "the test", kept)
    found = answer.outside(queries)
    for row, cutout in enumerate((17, 4)):
        mine = found.filter(pa.compute.equal(found.column("query_id"), -1 - row))
        near = list(zip(mine["neighbor_id"].to_pylist(), mine["distance"].to_pylist(), strict=True))
        if kept is None or cutout in kept:
            assert near.pop(0) == (cutout, 0)
        alone = answer([cutout])
        expected = list(zip(alone["neighbor_id"].to_pylist(), alone["distance"].to_pylist(), strict=True))
        assert near == expected[: len(near)]
        assert len(mine) == min(6, len(index) if kept is None else len(kept))
