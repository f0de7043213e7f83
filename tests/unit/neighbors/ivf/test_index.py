"""The approximate index: its answers, in whatever shards, against brute force."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elodin_spark.errors import CatalogError, InputError, UnknownCutoutError
from elodin_spark.neighbors.base import ExternalQueries
from elodin_spark.neighbors.flat import L2Index
from elodin_spark.neighbors.ivf.factory import Store, choose_index_config
from elodin_spark.neighbors.ivf.index import ApproximateL2Index, Search
from elodin_spark.neighbors.ivf.shard import Shard, add_shard, compact, merge_shards
from elodin_spark.neighbors.ivf.training import Trained, train
from elodin_spark.neighbors.ivf.tuning import calibrate, measure
from elodin_spark.neighbors.search import neighbors_of

N, D = 1500, 48
Answer = tuple[NDArray[np.int64], NDArray[np.float64]]


def world(seed: int, n: int, d: int = D) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Clusters, with vectors that are stored twice and IDs of 63 bits."""
    rng = np.random.default_rng(seed)
    centers = rng.gamma(0.5, 1.0, (25, d))
    vectors = (centers[rng.integers(0, 25, n)] + 0.3 * rng.random((n, d))).astype(np.float32)
    vectors[n // 2 : n // 2 + n // 10] = vectors[: n // 10]
    return rng.choice(2**63 - 1, n, replace=False), vectors


def brute_force(
    ids: NDArray[np.int64], vectors: NDArray[np.float32], query: NDArray[np.float32], k: int
) -> list[int]:
    distances = np.sqrt(((vectors.astype(float) - query.astype(float)) ** 2).sum(axis=1))
    return [i for _, i in sorted(zip(distances.tolist(), ids.tolist(), strict=True))[:k]]


def build(
    folder: Path,
    ids: NDArray[np.int64],
    vectors: NDArray[np.float32],
    cuts: list[int],
    *,
    factory: str = "PCAR32,IVF16,RaBitQ",
    store: Store = "f16",
    batch: int = 4096,
) -> tuple[Path, list[Path]]:
    """A trained index, and shards of the vectors cut at `cuts`."""
    path = folder / "trained.index"
    if not path.exists():
        train(choose_index_config(N, vectors.shape[1], 1, factory=factory, store=store), [vectors], path)
    shards = []
    for low, high in zip([0, *cuts], [*cuts, len(ids)], strict=True):
        shards.append(folder / f"{len(cuts)}cuts_{low}")
        starts = range(low, high, batch)
        parts = [slice(at, min(at + batch, high)) for at in starts]
        add_shard(shards[-1], path, [(ids[part], vectors[part]) for part in parts])
    return path, shards


def same(one: Answer, other: Answer) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def survey() -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return world(1, N)


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, survey: tuple[NDArray[np.int64], NDArray[np.float32]]
) -> tuple[Path, list[Path]]:
    return build(tmp_path_factory.mktemp("built"), *survey, [200, 900])


@pytest.fixture
def index(built: tuple[Path, list[Path]]) -> ApproximateL2Index:
    """Read only."""
    return ApproximateL2Index.open(*built, nprobe=4, candidates=60)


FACTORIES = [
    *("PCAR32,IVF16,RaBitQ", "IVF16,SQ8", "PCA32,IVF16,PQ8x4", "IVF32_HNSW8,RaBitQ2", "IVF16,Flat"),
    *("PCAR32,IVF16,PQ16x4fs", "PCAR32,IVF16,PQ16x4fsr", "PCAR32,IVF16,RaBitQfs", "Flat"),
]


@pytest.mark.parametrize("factory", FACTORIES)
def test_seven_layouts_give_the_same_answers_to_the_last_bit(
    tmp_path: Path, survey: tuple[NDArray[np.int64], NDArray[np.float32]], factory: str
) -> None:
    ids, vectors = survey
    trained, (one,) = build(tmp_path, ids, vectors, [], factory=factory)
    _, seven = build(tmp_path, ids, vectors, [1, 300, 301, 700, 1300, 1301], factory=factory, batch=97)
    index = Trained.load(trained)
    merge_shards(tmp_path / "merged", seven, index)
    merge_shards(tmp_path / "files", seven[:3], index, memory_bytes=1)
    order = np.random.default_rng(0).permutation(N)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "trained.index").write_bytes(trained.read_bytes())
    _, shuffled = build(tmp_path / "other", ids[order], vectors[order], [800])
    layouts: dict[str, list[Path]] = {
        "one": [one],
        "seven": seven,
        "reversed": seven[::-1],
        "merged": [tmp_path / "merged"],
        "appended": [tmp_path / "files", *seven[3:]],
        "shuffled": shuffled,
    }
    opened = {
        name: ApproximateL2Index.open(trained, shards, nprobe=3, candidates=25)
        for name, shards in layouts.items()
    }
    opened["mapped"] = ApproximateL2Index.open(trained, seven, nprobe=3, candidates=25, mapped=True)
    queries = world(2, 40)[1]
    expected = opened["one"].search(ExternalQueries(queries), 5), opened["one"].search(ids[:40], 5)
    for name, each in opened.items():
        assert same(each.search(ExternalQueries(queries), 5), expected[0]), name
        assert same(each.search(ids[:40], 5), expected[1]), name
        assert np.array_equal(each.ids, np.sort(ids))


def test_lists_of_full_blocks_are_merged_within_their_memory(tmp_path: Path) -> None:
    ids, vectors = world(3, 12_800)
    trained, shards = build(tmp_path, ids, vectors, [3200, 6400, 9600], factory="IVF1,PQ24x4fs")
    merge_shards(tmp_path / "merged", shards, Trained.load(trained))
    layouts = [ApproximateL2Index.open(trained, each) for each in (shards, [tmp_path / "merged"])]
    assert same(*(each.search(ExternalQueries(vectors[:20]), 9) for each in layouts))


@settings(deadline=None, max_examples=12)
@given(st.data())
def test_shards_never_matter_even_among_many_equal_vectors(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    seed, n = data.draw(st.integers(0, 2**32 - 1)), data.draw(st.integers(40, 300))
    rng = np.random.default_rng(seed)
    vectors = rng.integers(0, 2, (n, 8)).astype(np.float32)  # many fall together
    ids = rng.choice(10 * n, n, replace=False)
    folder = tmp_path_factory.mktemp("equal")
    cuts = sorted(data.draw(st.sets(st.integers(1, n - 1), max_size=6)))
    factory = data.draw(st.sampled_from(["IVF4,RaBitQ", "IVF4,PQ4x4fs"]))
    trained, shards = build(folder, ids, vectors, cuts, factory=factory)
    merge_shards(folder / "merged", shards, Trained.load(trained))
    settings = Search(nprobe=data.draw(st.integers(1, 4)), candidates=data.draw(st.integers(1, 30)))
    k = data.draw(st.integers(1, n + 2))
    answers = []
    for layout in (shards, [folder / "merged"]):
        index = ApproximateL2Index.open(trained, layout)
        index.settings = settings
        answers.append(index.search(ids[:7], k))
    assert same(*answers)
    near, distances = answers[0]
    assert near.shape == (7, min(k, n))
    row = dict(zip(ids.tolist(), vectors, strict=True))
    for query, some, far in zip(ids[:7], near, distances, strict=True):
        assert len(set(some.tolist())) == some.size
        exact = [float(np.linalg.norm(row[int(query)] - row[int(i)])) for i in some]
        np.testing.assert_allclose(far, exact, atol=1e-6)
        assert sorted(zip(far.tolist(), some.tolist(), strict=True)) == list(zip(far, some, strict=True))
        assert far[0] == 0


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**32 - 1), st.integers(2, 90), st.integers(1, 3))
def test_the_flat_recipe_in_shards_is_brute_force(
    tmp_path_factory: pytest.TempPathFactory, seed: int, n: int, k: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(0, 3, (n, 3)).astype(np.float32)
    ids = rng.choice(10 * n, n, replace=False)
    paths = build(tmp_path_factory.mktemp("flat"), ids, vectors, [n // 2], factory="Flat", store="f32")
    near, distances = ApproximateL2Index.open(*paths).search(ExternalQueries(vectors[:5]), k)
    whole = L2Index.build([(ids, vectors)], 3).search(ExternalQueries(vectors[:5]), k)
    assert same((near, distances), whole)
    assert near.tolist() == [brute_force(ids, vectors, query, k) for query in vectors[:5]]


@pytest.mark.parametrize("store", ["f32", "f16", "sq8"])
def test_all_lists_and_enough_candidates_find_the_true_neighbors(
    tmp_path: Path, survey: tuple[NDArray[np.int64], NDArray[np.float32]], store: Store
) -> None:
    ids, vectors = survey
    index = ApproximateL2Index.open(*build(tmp_path, ids, vectors, [500], store=store), nprobe=16)
    index.settings = Search(nprobe=16, candidates=700)
    kept = index.vectors_of(ids)
    if store == "f32":
        np.testing.assert_array_equal(kept, vectors)
    np.testing.assert_allclose(kept, vectors, atol={"f32": 0, "f16": 2e-3, "sq8": 2e-2}[store])
    near, _ = index.search(ids[:30], 6)
    assert near.tolist() == [brute_force(ids, kept, query, 6) for query in kept[:30]]


def test_a_query_alone_and_among_others_and_on_more_threads_gets_the_same_answer(
    index: ApproximateL2Index, survey: tuple[NDArray[np.int64], NDArray[np.float32]]
) -> None:
    queries = world(3, 600)[1]
    together = index.search(ExternalQueries(queries), 8)
    index.settings = Search(nprobe=4, candidates=60, threads=2)
    assert same(index.search(ExternalQueries(queries), 8), together)
    for row in range(0, 600, 61):
        alone = index.search(ExternalQueries(queries[row : row + 1]), 8)
        assert same(alone, (together[0][row : row + 1], together[1][row : row + 1]))


@pytest.mark.parametrize("kept", [0, 1, 3, 40, 700])
@pytest.mark.parametrize("below", [0, 50])
def test_a_filter_is_applied_inside_the_search(
    index: ApproximateL2Index,
    survey: tuple[NDArray[np.int64], NDArray[np.float32]],
    kept: int,
    below: int,
) -> None:
    ids = survey[0]
    allowed = np.random.default_rng(kept).choice(ids, kept, replace=False)
    index.settings = Search(nprobe=16, candidates=600, exact_below=below)
    stored = index.vectors_of(ids)
    near, _ = index.search(ids[:20], 5, allowed=[*allowed, 17, 18])  # unknown ones do no harm
    here = np.isin(ids, allowed)
    assert near.tolist() == [brute_force(ids[here], stored[here], query, 5) for query in stored[:20]]
    index.settings = Search(nprobe=1, candidates=1, exact_below=below)
    assert index.search(ids[:20], 5, allowed=allowed)[0].shape == (20, min(5, kept))


def test_masked_cutouts_take_no_place_and_compaction_changes_no_answer(
    tmp_path: Path, survey: tuple[NDArray[np.int64], NDArray[np.float32]]
) -> None:
    ids, vectors = survey
    paths = build(tmp_path, ids, vectors, [400])
    index = ApproximateL2Index.open(*paths, nprobe=3, candidates=25)
    gone = index.search(ExternalQueries(vectors[:40]), 6)[0].ravel()
    index.remove(gone)
    assert not index.contains(gone).any()
    masked = index.search(ExternalQueries(vectors[:40]), 6)
    assert not np.isin(masked[0], gone).any()
    with pytest.raises(UnknownCutoutError, match=str(gone.min())):
        index.search([gone.min()], 3)
    for shard in paths[1]:
        compact(shard, index.trained)
    assert same(
        ApproximateL2Index.open(*paths, nprobe=3, candidates=25).search(ExternalQueries(vectors[:40]), 6),
        masked,
    )
    left = ~np.isin(ids, gone)
    (tmp_path / "never").mkdir()
    (tmp_path / "never" / "trained.index").write_bytes(paths[0].read_bytes())
    _, never = build(tmp_path / "never", ids[left], vectors[left], [])
    assert same(
        ApproximateL2Index.open(paths[0], never, nprobe=3, candidates=25).search(
            ExternalQueries(vectors[:40]), 6
        ),
        masked,
    )


def test_k_beyond_the_lists_scanned_and_beyond_the_index_is_met(
    index: ApproximateL2Index, survey: tuple[NDArray[np.int64], NDArray[np.float32]]
) -> None:
    ids, _ = survey
    index.settings = Search(nprobe=1, candidates=1)
    stored = index.vectors_of(ids)
    for k in (300, N, N + 10):  # no single list holds 300
        near, _ = index.search(ids[:2], k)
        assert near.tolist() == [brute_force(ids, stored, query, k) for query in stored[:2]]


def test_a_cutout_finds_itself_even_where_its_code_would_not(index: ApproximateL2Index) -> None:
    index.settings = Search(nprobe=1, candidates=1)
    near, distances = index.search(index.ids, 1)
    assert (distances == 0).all()
    assert (near[:, 0] <= index.ids).all()  # itself, or one like it with a smaller ID


def test_what_cannot_be_answered_is_refused(
    index: ApproximateL2Index, survey: tuple[NDArray[np.int64], NDArray[np.float32]]
) -> None:
    ids, vectors = survey
    for ask in (index.vectors_of, lambda i: index.search(i, 2)):
        with pytest.raises(UnknownCutoutError, match="cutout 4, 9;"):
            ask([9, ids[0], 4])
    for k in (0, -1):
        with pytest.raises(InputError, match=f"at least 1 neighbor, got {k}"):
            index.search(ExternalQueries(vectors[:1]), k)
    with pytest.raises(CatalogError, match=rf"\(n, {D}\), got \(1, 5\)"):
        index.search(ExternalQueries(vectors[:1, :5]), 1)
    for bad in (np.nan, np.inf, 1e30):
        with pytest.raises(CatalogError, match="a query"):
            index.search(ExternalQueries(np.full((1, D), bad)), 1)
    with pytest.raises(InputError, match="at least 1"):
        Search(nprobe=0, candidates=3)
    assert index.search(ExternalQueries(vectors[:0]), 3)[0].shape == (0, 3)


def test_no_shards_and_empty_shards_have_no_neighbors(
    tmp_path: Path, built: tuple[Path, list[Path]], survey: tuple[NDArray[np.int64], NDArray[np.float32]]
) -> None:
    add_shard(tmp_path / "empty", built[0], [])
    for shards in ([], [tmp_path / "empty"]):
        index = ApproximateL2Index.open(built[0], shards)
        assert len(index) == 0
        assert index.search(ExternalQueries(survey[1][:2]), 3)[0].shape == (2, 0)
    both = ApproximateL2Index.open(built[0], [tmp_path / "empty", *built[1]])
    assert same(
        both.search(ExternalQueries(survey[1][:9]), 3),
        ApproximateL2Index.open(*built).search(ExternalQueries(survey[1][:9]), 3),
    )


def test_neighbors_of_cutouts_come_from_it_as_from_any_index(
    index: ApproximateL2Index, survey: tuple[NDArray[np.int64], NDArray[np.float32]]
) -> None:
    table = neighbors_of(survey[0][:3], 4, index, allow_overlap=True)
    assert table["rank"].to_pylist() == [1, 2, 3, 4] * 3
    assert not (table["query_id"].to_numpy() == table["neighbor_id"].to_numpy()).any()


def test_a_shard_of_another_training_is_not_searched_with_the_rest(
    tmp_path: Path, built: tuple[Path, list[Path]], survey: tuple[NDArray[np.int64], NDArray[np.float32]]
) -> None:
    ids, vectors = survey
    other, shards = build(tmp_path, ids, vectors, [], factory="IVF8,SQ8")
    with pytest.raises(CatalogError, match="another trained index or configuration"):
        ApproximateL2Index.open(built[0], [*built[1], *shards])
    with pytest.raises(CatalogError, match="another trained index or configuration"):
        ApproximateL2Index(Trained.load(built[0]), [Shard(shards[0], Trained.load(other))], Search(1, 1))


def held_back(index: ApproximateL2Index) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    queries = world(8, 60)[1]
    return queries, index.scan(queries, 100)[0]


def test_calibration_reaches_the_recall_with_the_least_work_or_says_so(index: ApproximateL2Index) -> None:
    queries, exact = held_back(index)
    found = {recall: calibrate(index, queries, exact, recall) for recall in (0.3, 0.9, 1.0)}
    for recall, result in found.items():
        assert result.reached
        index.settings = result.search
        near = index.search(ExternalQueries(queries), 10)[0]
        assert np.mean([np.isin(e[:10], n).mean() for e, n in zip(exact, near, strict=True)]) >= recall
    assert found[0.3].search.nprobe < found[1.0].search.nprobe
    nonsense = np.full_like(exact, -5)
    failed = calibrate(index, queries, nonsense, 0.5)
    assert not failed.reached
    assert "below the 0.500 asked for" in failed.describe()
    with pytest.raises(InputError, match="ten or more exact neighbors"):
        calibrate(index, queries, exact[:, :9], 0.5)


def test_the_record_says_what_was_measured(tmp_path: Path, index: ApproximateL2Index) -> None:
    queries, exact = held_back(index)
    index.settings = Search(nprobe=16, candidates=1000)
    perfect = measure(index, queries, exact)
    assert perfect["recall@1"] == perfect["recall@10"] == perfect["recall@100"] == 1
    assert perfect["distance_error"] == pytest.approx(0, abs=1e-9)
    assert perfect["memory_bytes_per_vector"] == index.trained.ivf.code_size + 8
    files: Callable[[Shard], int] = lambda shard: sum(p.stat().st_size for p in shard.folder.glob("*.*"))  # noqa: E731
    total = sum(files(shard) - (shard.folder / "shard.json").stat().st_size for shard in index.shards)
    assert perfect["disk_bytes_per_vector"] == pytest.approx(total / N)
    index.settings = Search(nprobe=1, candidates=1)
    poor = measure(index, queries, exact)
    assert poor["recall@10"] < 0.95
    assert poor["distance_error"] > 0.001
    assert json.loads(json.dumps(poor)) == poor  # as the record of an index keeps it
