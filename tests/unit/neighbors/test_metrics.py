"""Cosine, blended and filtered metrics, and shared labels, against brute force."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers.labels import label_index, sets_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elodin_spark.errors import InputError, UnknownCutoutError
from elodin_spark.neighbors.base import ExternalQueries, Index
from elodin_spark.neighbors.cosine import CosineIndex, cosine_distances
from elodin_spark.neighbors.explain import label_weights, shared_labels
from elodin_spark.neighbors.flat import L2Index
from elodin_spark.neighbors.fusion import DEPTH, RankFusion
from elodin_spark.neighbors.ivf.factory import choose_index_config
from elodin_spark.neighbors.ivf.index import ApproximateL2Index
from elodin_spark.neighbors.ivf.shard import add_shard
from elodin_spark.neighbors.ivf.training import train
from elodin_spark.neighbors.labels.clustering import train_centers
from elodin_spark.neighbors.labels.index import LabelIndex, TieBroken
from elodin_spark.neighbors.labels.shard import LabelShard, add_label_shard


def squared_cosine(a: list[int], b: list[int]) -> Fraction:
    """Cosine times its own size, exactly: its order is that of the cosine."""
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    norms = sum(x * x for x in a) * sum(x * x for x in b)
    if norms == 0:
        return Fraction(int(not any(a) and not any(b)))
    return Fraction(dot * abs(dot), norms)


@settings(max_examples=60)
@given(st.data())
def test_cosine_neighbors_match_exact_fractions(data: st.DataObject) -> None:
    d = data.draw(st.integers(1, 4))
    row = st.lists(st.integers(-3, 3), min_size=d, max_size=d)
    rows = data.draw(st.lists(row, min_size=1, max_size=40))
    scales = data.draw(st.lists(st.sampled_from([1.0, 2.0**-60, 2.0**40]), min_size=40, max_size=40))
    vectors = np.array(rows, float) * np.array(scales)[: len(rows), np.newaxis]
    ids = np.array(data.draw(st.permutations(range(len(rows)))))
    index = CosineIndex(L2Index.build([(ids, vectors.astype(np.float32))], d))
    k = data.draw(st.integers(1, len(rows)))
    near, distances = index.search(ids, k)
    for query, found, apart in zip(range(len(rows)), near, distances, strict=True):
        exact = {int(i): squared_cosine(rows[query], row) for i, row in zip(ids, rows, strict=True)}
        cosine = {i: math.copysign(math.sqrt(abs(c)), c) for i, c in exact.items()}
        np.testing.assert_allclose(apart, [1 - cosine[int(i)] for i in found], atol=1e-14)
        # By exact values: rounding may only change the order of ties, which then go by ID or by rounding.
        expected = sorted(exact.values(), reverse=True)[:k]
        assert [exact[int(i)] for i in found] == expected
        assert len(set(found.tolist())) == k


def test_equal_directions_tie_by_id_and_zero_is_near_zero_only() -> None:
    vectors = np.array([[1, 2], [2, 4], [4, 8], [0, 0], [0, 0], [-1, -2]], np.float32)
    index = CosineIndex(L2Index.build([([9, 3, 5, 8, 1, 2], vectors)], 2))
    near, distances = index.search([5, 8], 6)
    assert near.tolist() == [[3, 5, 9, 1, 8, 2], [1, 8, 2, 3, 5, 9]]
    np.testing.assert_allclose(distances, [[0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 1]], rtol=1e-15)
    assert (distances[:, :2] == 0).all()


def test_many_vectors_match_float64_and_a_smaller_k_begins_a_larger_one() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.gamma(1, 1, (2500, 48)).astype(np.float32)
    vectors[500:600] = vectors[0] + rng.normal(0, 1e-5, (100, 48)).astype(
        np.float32
    )  # float32 cannot part these
    ids = rng.permutation(2500)
    index = CosineIndex(L2Index.build([(ids, vectors)], 48))
    near, distances = index.search(ids[:5], 2500)
    for row in range(5):
        exact = cosine_distances(vectors[row], vectors, np.arange(2500))
        wide = vectors.astype(float)
        cosine = wide @ wide[row] / np.linalg.norm(wide, axis=1) / np.linalg.norm(wide[row])
        np.testing.assert_allclose(exact, 1 - cosine, atol=1e-13)
        order = np.lexsort((ids, exact))
        assert np.array_equal(near[row], ids[order])
        assert np.array_equal(distances[row], exact[order])
        assert near[row, 0] == ids[row]
    assert np.array_equal(index.search(ids[:5], 60)[0], near[:, :60])
    with pytest.raises(UnknownCutoutError):
        index.search([-1], 1)
    with pytest.raises(InputError):
        index.search(ids[:1], 0)


class World:
    """Cutouts with vectors and labels, in all kinds of indices."""

    def __init__(self, folder: Path, n: int = 1200, d: int = 24, labels: int = 40) -> None:
        rng = np.random.default_rng(5)
        kinds = rng.normal(size=(20, d))
        self.vectors = (np.abs(kinds[rng.integers(0, 20, n)] + rng.normal(0, 0.4, (n, d))) + 0.01).astype(
            np.float32
        )
        self.vectors *= rng.uniform(0.9, 1.1, (n, 1)).astype(np.float32)
        self.ids = rng.choice(2**62, n, replace=False)
        self.l2 = L2Index.build([(self.ids, self.vectors)], d)
        sets = np.argsort(-(rng.gumbel(size=(n, labels)) - np.log(np.arange(1, labels + 1))), axis=1)[:, :6]
        self.jaccard = TieBroken(label_index([(self.ids, list(sets))], labels), self.l2)
        centers = train_centers(list(sets), 8, labels)
        add_label_shard(folder / "labels", centers, [(self.ids, list(sets))])
        self.lists = TieBroken(LabelIndex(centers, [LabelShard(folder / "labels", centers)]), self.l2)
        train(
            choose_index_config(n, d, 1, factory="IVF8,SQ8", store="f32"), [self.vectors], folder / "trained"
        )
        add_shard(folder / "shard", folder / "trained", [(self.ids, self.vectors)])
        self.approximate = ApproximateL2Index.open(
            folder / "trained", [folder / "shard"], nprobe=4, candidates=200
        )
        self.approximate.settings = replace(self.approximate.settings, exact_below=20)
        self.kinds: dict[str, Index] = {
            "cosine": CosineIndex(self.l2),
            "rank_fusion": RankFusion(self.l2, self.jaccard),
            "lists": self.lists,
            "approximate": CosineIndex(self.approximate),
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def fused(query: int, rankings: list[list[int]]) -> list[int]:
    """By the definition, in fractions."""
    ranks = []
    for ranking in rankings:
        others = [i for i in ranking if i != query][:DEPTH]
        ranks.append({i: rank for rank, i in enumerate(others, 1)})
    score = {
        i: sum(Fraction(1, 60 + each[i]) for each in ranks if i in each)
        for i in set(ranks[0]) | set(ranks[1])
    }
    return sorted(score, key=lambda i: (-score[i], ranks[0].get(i, math.inf), i))


def test_the_blend_is_reciprocal_rank_fusion(world: World) -> None:
    blend = world.kinds["rank_fusion"]
    assert len(blend) == DEPTH
    queries = world.ids[:6]
    near, distances = blend.search(queries, DEPTH)
    rankings = [index.search(queries, 1200)[0].tolist() for index in (world.l2, world.jaccard)]
    for row, query in enumerate(queries.tolist()):
        expected = fused(query, [ranking[row] for ranking in rankings])[: DEPTH - 1]
        assert near[row].tolist() == [query, *expected]
    assert (np.diff(distances, axis=1) >= 0).all()
    assert (distances[:, 0] == 0).all()
    assert (distances[:, 1:] < 1).all()
    assert np.array_equal(blend.search(queries, 7)[0], near[:, :7])


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 7)), min_size=1, max_size=30), st.integers(1, 30))
def test_blends_of_rankings_full_of_ties(rows: list[tuple[int, int]], k: int) -> None:
    ids = np.arange(len(rows))[::-1].copy()
    l2 = L2Index.build([(ids, np.array([[place] for place, _ in rows], np.float32))], 1)
    sets = [np.flatnonzero([bits & 1, bits & 2, bits & 4]) for _, bits in rows]
    jaccard = TieBroken(label_index([(ids, sets)], 3), l2)
    near, _ = RankFusion(l2, jaccard).search(ids, k)
    rankings = [index.search(ids, len(rows))[0].tolist() for index in (l2, jaccard)]
    for row, query in enumerate(ids.tolist()):
        expected = [query, *fused(query, [ranking[row] for ranking in rankings])]
        assert near[row].tolist() == expected[:k]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.permutations(range(5)), st.sampled_from([0, 1, 2, 4])), min_size=1, max_size=25))
def test_label_distances_tie_by_l2_and_then_by_id(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[list[int], int]]
) -> None:
    # Equal scores of 1, 2 or 4 labels: shares, and so the sums of their squares, are exact.
    n = len(rows)
    ids, places = np.arange(n)[::-1].copy(), np.arange(n) % 3
    sets = [sorted(order[:size]) for order, size in rows]
    columns = (
        pa.array(sets, pa.list_(pa.int32())),
        pa.array([[1.0] * len(s) for s in sets], pa.list_(pa.float32())),
    )
    centers, folder = train_centers([], 1, 5), tmp_path_factory.mktemp("labels") / "shard"
    add_label_shard(folder, centers, [(ids, *columns)], shares=True)
    l2 = L2Index.build([(ids, places[:, np.newaxis].astype(np.float32))], 1)
    index = TieBroken(LabelIndex(centers, [LabelShard(folder, centers)]), l2, "label_scores")
    near, _ = index.search(ids, n)
    shares = [{label: Fraction(1, len(some)) for label in some} for some in sets]
    for row in range(n):
        apart = [
            sum((shares[row].get(j, Fraction(0)) - other.get(j, Fraction(0))) ** 2 for j in range(5))
            for other in shares
        ]
        keys = sorted(zip(apart, abs(places - places[row]).tolist(), ids.tolist(), strict=True))
        assert near[row].tolist() == [i for _, _, i in keys]


def test_a_cutout_that_is_first_in_both_is_0_away() -> None:
    ids = np.arange(5)
    l2 = L2Index.build([(ids, ids[:, np.newaxis].astype(np.float32))], 1)
    jaccard = label_index([(ids, [[0], [0], [1], [2], [3]])], 4)
    near, distances = RankFusion(l2, TieBroken(jaccard, l2)).search([0], 5)
    assert near.tolist() == [[0, 1, 2, 3, 4]]
    np.testing.assert_allclose(distances[0, :3], [0, 0, 1 - 61 / 62])


@pytest.mark.parametrize("kind", ["cosine", "rank_fusion", "lists", "approximate"])
@pytest.mark.parametrize("share", [0.01, 0.4])
def test_a_filter_gives_all_that_are_allowed(world: World, kind: str, share: float) -> None:
    allowed = np.random.default_rng(3).choice(world.ids, int(share * 1200), replace=False)
    queries = np.concatenate([allowed[:2], world.ids[:3]])
    near, distances = world.kinds[kind].search(queries, 9, allowed=np.append(allowed, -5))
    assert near.shape == (len(queries), 9)
    assert np.isin(near, allowed).all()
    assert (np.diff(distances, axis=1) >= 0).all()
    assert (near[:2, 0] == queries[:2]).all()
    if kind in ("cosine", "lists"):
        whole, _ = world.kinds[kind].search(queries, 1200)
        for row in range(len(queries)):
            assert near[row].tolist() == whole[row][np.isin(whole[row], allowed)][:9].tolist()


@pytest.mark.parametrize("kind", ["cosine", "rank_fusion", "lists", "approximate"])
@pytest.mark.parametrize("filtered", [False, True])
def test_what_a_cutout_has_asks_like_the_cutout(world: World, kind: str, filtered: bool) -> None:
    ids = np.sort(world.ids)[:600]
    queries = ExternalQueries(world.l2.vectors_of(ids[:4]), sets_of(world.jaccard.index, ids[:4]))
    index, allowed = world.kinds[kind], ids if filtered else None
    near, distances = index.search(queries.take(np.arange(3)), 5, allowed=allowed)
    assert near[:, 0].tolist() == ids[:3].tolist()
    assert distances[:, 0].tolist() == [0, 0, 0]
    if kind != "rank_fusion":  # there the cutout itself takes a rank of each list
        by_id = index.search(ids[:3], 5, allowed=allowed)
        np.testing.assert_array_equal(near, by_id[0])
        np.testing.assert_array_equal(distances, by_id[1])


def test_the_label_distance_is_not_asked_with_what_has_no_scores(world: World) -> None:
    queries = ExternalQueries(world.l2.vectors_of(world.ids[:1]), sets_of(world.jaccard.index, world.ids[:1]))
    with pytest.raises(InputError, match="label distance compares cutouts of a catalog"):
        replace(world.lists, metric="label_scores").search(queries, 5)


def test_cosine_among_candidates_finds_nearly_all(world: World) -> None:
    exact, _ = world.kinds["cosine"].search(world.ids[:100], 11)
    found, apart = world.kinds["approximate"].search(world.ids[:100], 11)
    assert np.mean([np.isin(e, f).mean() for e, f in zip(exact, found, strict=True)]) > 0.95
    assert (found[:, 0] == world.ids[:100]).all()
    assert (apart[:, 0] == 0).all()
    by_vector, _ = world.kinds["approximate"].search(ExternalQueries(world.vectors[:100]), 11)
    assert (by_vector == found).mean() > 0.95


def test_longer_and_shorter_vectors_of_one_direction_are_found(world: World, tmp_path: Path) -> None:
    vectors = world.vectors.copy()
    vectors[1:40] = vectors[0] * np.linspace(0.6, 1.7, 39, dtype=np.float32)[:, np.newaxis]
    index_config = choose_index_config(1200, 24, 1, factory="IVF8,SQ8", store="f32")
    train(index_config, [vectors], tmp_path / "trained")
    add_shard(tmp_path / "shard", tmp_path / "trained", [(np.arange(1200), vectors)])
    index = ApproximateL2Index.open(tmp_path / "trained", [tmp_path / "shard"], nprobe=8, candidates=400)
    for exact_below in (0, 20_000):
        index.settings = replace(index.settings, exact_below=exact_below)
        near, _ = CosineIndex(index).search([0], 40)
        assert set(near[0].tolist()) == set(range(40))


def test_few_cutouts_are_all_compared(world: World) -> None:
    index = world.approximate
    whole = ApproximateL2Index(index.trained, index.shards, replace(index.settings, exact_below=1200))
    exact = CosineIndex(L2Index.build([(world.ids, index.vectors_of(world.ids))], 24))
    for found, expected in zip(
        CosineIndex(whole).search(world.ids[:9], 30),
        exact.search(world.ids[:9], 30),
        strict=True,
    ):
        assert np.array_equal(found, expected)


@given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 9)), st.integers(1, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_shared_labels_are_the_rarest_of_the_intersection(
    query: list[int], other: list[int], most: int, seed: int
) -> None:
    counts: NDArray[np.int64] = np.random.default_rng(seed).integers(0, 20, 10)
    weights = label_weights(counts, 20)
    found = shared_labels(query, other, weights, most)
    both = set(query) & set(other)
    assert len(found) == min(most, len(both))
    assert {label for label, _ in found} <= both
    rest = [weights[label] for label in both - {label for label, _ in found}]
    assert [w for _, w in found] == sorted((w for _, w in found), reverse=True)
    assert not rest or max(rest) <= found[-1][1]
    for label, weight in found:
        assert weight == pytest.approx(math.log(20 / max(1, counts[label])))
