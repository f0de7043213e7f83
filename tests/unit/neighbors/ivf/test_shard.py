"""Shards of an index: written whole, checked when read, merged, masked, compacted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from elodin_spark.errors import CatalogError, InputError
from elodin_spark.neighbors.ivf.factory import choose_index_config
from elodin_spark.neighbors.ivf.index import ApproximateL2Index
from elodin_spark.neighbors.ivf.shard import Shard, add_shard, compact, merge_shards
from elodin_spark.neighbors.ivf.training import Trained, train, training_record

N, D = 1200, 48
FACTORY = "PCAR32,IVF16,RaBitQ"


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    rng = np.random.default_rng(3)
    centers = rng.gamma(0.5, 1.0, (20, D))
    return (centers[rng.integers(0, 20, N)] + 0.2 * rng.random((N, D))).astype(np.float32)


@pytest.fixture(scope="module")
def ids() -> NDArray[np.int64]:
    return np.random.default_rng(4).choice(2**63 - 1, N, replace=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, vectors: NDArray[np.float32]) -> Trained:
    path = tmp_path_factory.mktemp("trained") / "trained.index"
    return train(choose_index_config(N, D, 1, factory=FACTORY), [vectors], path)


@pytest.fixture
def shard(tmp_path: Path, trained: Trained, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> Path:
    add_shard(tmp_path / "shard", trained, [(ids, vectors)])
    return tmp_path / "shard"


def test_training_again_gives_the_same_file_and_another_seed_another(
    tmp_path: Path, trained: Trained, vectors: NDArray[np.float32]
) -> None:
    index_config = choose_index_config(N, D, 1, factory=FACTORY)
    again = train(index_config, (vectors[at : at + 100] for at in range(0, N, 100)), tmp_path / "again")
    assert again.digest == trained.digest
    assert train(index_config, [vectors], tmp_path / "other", seed=1).digest != trained.digest
    record = training_record(tmp_path / "again")
    assert (record["sample"], record["seed"], record["digest"]) == (N, 0, trained.digest)


def test_the_recorded_error_is_the_mean_squared_distance_to_the_centroids(
    shard: Path, trained: Trained, vectors: NDArray[np.float32]
) -> None:
    import faiss

    refine = faiss.read_index(trained.source)
    base = faiss.downcast_index(refine.base_index)
    projection = faiss.downcast_VectorTransform(base.chain.at(0))
    ivf = faiss.extract_index_ivf(base)
    centroids = projection.reverse_transform(ivf.quantizer.reconstruct_n(0, ivf.nlist))
    down = projection.apply(vectors)
    nearest = ivf.quantizer.search(down, 1)[1].ravel()
    expected = np.square(vectors.astype(float) - centroids[nearest]).sum(axis=1).mean()
    assert Shard(shard, trained).record["quantization_error"] == pytest.approx(expected, rel=1e-4)
    assert training_record(trained.source)["quantization_error"] == pytest.approx(expected, rel=1e-4)


def test_vectors_unlike_the_sample_are_a_reason_to_train_again(
    tmp_path: Path, shard: Path, trained: Trained, ids: NDArray[np.int64], vectors: NDArray[np.float32]
) -> None:
    error = training_record(trained.source)["quantization_error"]
    assert Shard(shard, trained).needs_retraining(error) is None
    add_shard(tmp_path / "strange", trained, [(ids, np.roll(vectors, 7, axis=1))])
    advice = Shard(tmp_path / "strange", trained).needs_retraining(error)
    assert advice is not None
    assert "the archive has changed" in advice
    add_shard(tmp_path / "few", trained, [(ids[:9], np.roll(vectors[:9], 7, axis=1))])
    assert Shard(tmp_path / "few", trained).needs_retraining(error) is None  # too few to say


def test_a_shard_finds_its_vectors_by_id_and_a_worker_needs_only_paths(
    tmp_path: Path, trained: Trained, ids: NDArray[np.int64], vectors: NDArray[np.float32]
) -> None:
    record = add_shard(
        str(tmp_path / "s"), trained.source, iter([(ids[:700], vectors[:700]), ([], vectors[:0])])
    )
    assert record["count"] == 700
    opened = Shard(tmp_path / "s", trained)
    rows = opened.find(ids[[5, 699, 700, 2]])
    assert rows.tolist() == [5, 699, -1, 2]
    np.testing.assert_array_equal(
        trained.decode(opened.stored(rows[[3, 0]])), vectors[[2, 5]].astype(np.float16).astype(np.float32)
    )
    np.testing.assert_array_equal(opened.ids, np.sort(ids[:700]))


def test_little_memory_gives_the_same_answers(
    tmp_path: Path,
    shard: Path,
    trained: Trained,
    ids: NDArray[np.int64],
    vectors: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("elodin_spark.neighbors.ivf.inverted_lists._FEWEST", 300)  # so that 1,200 are many
    batches = [(ids[at : at + 150], vectors[at : at + 150]) for at in range(0, N, 150)]
    add_shard(tmp_path / "spilt", trained, batches, memory_bytes=1)
    assert len(list((tmp_path / "spilt").glob("codes*.index"))) == 4
    assert merge_shards(tmp_path / "merged", [tmp_path / "spilt"], trained)["count"] == N
    assert len(list((tmp_path / "merged").glob("codes*.index"))) == 1
    one, other = (
        ApproximateL2Index.open(trained.source, [folder], nprobe=3, candidates=30)
        for folder in (shard, tmp_path / "spilt")
    )
    for a, b in zip(one.search(ids[:60], 7), other.search(ids[:60], 7), strict=True):
        np.testing.assert_array_equal(a, b)


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_masked_cutouts_are_gone_at_once_and_from_the_files_after_compaction(
    shard: Path, trained: Trained, ids: NDArray[np.int64]
) -> None:
    opened = Shard(shard, trained)
    assert opened.remove([*ids[:50], 12345]) == 50
    assert opened.remove(ids[:50]) == 0
    for each in (opened, Shard(shard, trained)):
        assert len(each) == N - 50
        assert (each.find(ids[:60]) >= 0).tolist() == [False] * 50 + [True] * 10
        assert not np.isin(each.ids, ids[:50]).any()
    before = (shard / "vectors.bin").stat().st_size
    assert compact(shard, trained)["count"] == N - 50
    assert before - (shard / "vectors.bin").stat().st_size == 50 * trained.row_bytes
    assert Shard(shard, trained).removed.size == 0
    unchanged = files_below(shard)
    compact(shard, trained)
    assert files_below(shard) == unchanged
    assert [path.name for path in shard.parent.iterdir()] == ["shard"]


def test_a_cutout_masked_in_one_shard_and_added_in_another_is_merged_once(
    tmp_path: Path, shard: Path, trained: Trained, ids: NDArray[np.int64], vectors: NDArray[np.float32]
) -> None:
    Shard(shard, trained).remove(ids[:3])
    add_shard(tmp_path / "again", trained, [(ids[:3], vectors[10:13])])
    merge_shards(tmp_path / "merged", [shard, tmp_path / "again"], trained)
    index = ApproximateL2Index.open(trained.source, [tmp_path / "merged"])
    assert len(index) == N
    np.testing.assert_array_equal(index.vectors_of(ids[:3]), index.vectors_of(ids[10:13]))


def test_one_id_twice_is_a_collision_wherever_it_happens(
    tmp_path: Path, shard: Path, trained: Trained, ids: NDArray[np.int64], vectors: NDArray[np.float32]
) -> None:
    with pytest.raises(CatalogError, match=r"collision.*\(77\)"):
        add_shard(tmp_path / "bad", trained, [([77, 5], vectors[:2]), ([77], vectors[:1])])
    add_shard(tmp_path / "more", trained, [(ids[7:8], vectors[:1])])
    with pytest.raises(CatalogError, match=rf"more than one shard \({ids[7]}\)"):
        ApproximateL2Index.open(trained.source, [shard, tmp_path / "more"])
    with pytest.raises(CatalogError, match="collision"):
        merge_shards(tmp_path / "merged", [shard, tmp_path / "more"], trained)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["more", "shard"]  # nothing half made


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30, 7e4])
def test_a_vector_that_cannot_be_stored_is_refused_with_its_cutout(
    tmp_path: Path, trained: Trained, vectors: NDArray[np.float32], bad: float
) -> None:
    rows = vectors[:3].copy()
    rows[1, 2] = bad
    with pytest.raises(CatalogError, match="cutouts 12"):
        add_shard(tmp_path / "bad", trained, [([11, 12, 13], rows)])
    assert not list(tmp_path.iterdir())


def test_wrong_shapes_and_too_few_vectors_are_refused(
    tmp_path: Path, trained: Trained, vectors: NDArray[np.float32]
) -> None:
    for batch, message in (
        (([1], vectors[:1, :5]), rf"\(n, {D}\), got \(1, 5\)"),
        (([1, 2], vectors[:1]), "2 IDs but 1 vectors"),
        (([1], np.full((2, D), np.nan)), "1 IDs but 2 vectors"),
        (([-4], vectors[:1]), "-4 is negative"),
        (([1.5], vectors[:1]), "int64"),
    ):
        with pytest.raises(CatalogError, match=message):
            add_shard(tmp_path / "bad", trained, [batch])
    with pytest.raises(CatalogError, match="no folder"):
        add_shard(tmp_path / "absent" / "s", trained, [])
    index_config = choose_index_config(N, D, 1, factory=FACTORY)
    with pytest.raises(InputError, match="9 vectors cannot train 16"):
        train(index_config, [vectors[:9]], tmp_path / "t")
    with pytest.raises(CatalogError, match="training sample"):
        train(index_config, [vectors, np.full((1, D), np.nan)], tmp_path / "t")
    assert not list(tmp_path.iterdir())


def test_of_two_writers_one_wins_and_nothing_is_mixed(
    tmp_path: Path, trained: Trained, ids: NDArray[np.int64], vectors: NDArray[np.float32]
) -> None:
    def slow() -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        yield ids[:100], vectors[:100]
        add_shard(tmp_path / "s", trained, [(ids[:300], vectors[:300])])  # another comes in between
        yield ids[100:200], vectors[100:200]

    with pytest.raises(CatalogError, match="by another process"):
        add_shard(tmp_path / "s", trained, slow())
    assert len(Shard(tmp_path / "s", trained)) == 300
    with pytest.raises(CatalogError, match="there already"):
        add_shard(tmp_path / "s", trained, [(ids, vectors)])
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def scramble(path: Path) -> None:
    path.write_bytes(b"\xff" * path.stat().st_size)


@pytest.mark.parametrize("name", ["codes0.index", "vectors.bin", "ids.bin", "shard.json"])
@pytest.mark.parametrize("damage", [cut, scramble, Path.unlink])
def test_a_damaged_file_is_named_and_not_searched(
    shard: Path, trained: Trained, name: str, damage: Callable[[Path], None]
) -> None:
    damage(shard / name)
    for mapped in (False, True):
        with pytest.raises(CatalogError, match=name if name != "shard.json" else "shard"):
            Shard(shard, trained, mapped=mapped)


def test_a_damaged_list_of_masked_cutouts_is_named(shard: Path, trained: Trained) -> None:
    (shard / "removed.npy").write_bytes(b"no array")
    with pytest.raises(CatalogError, match=r"removed\.npy is damaged"):
        Shard(shard, trained)


def test_a_shard_of_another_training_is_refused(
    tmp_path: Path, shard: Path, vectors: NDArray[np.float32]
) -> None:
    other = train(choose_index_config(N, D, 1, factory=FACTORY), [vectors], tmp_path / "other", seed=9)
    with pytest.raises(CatalogError, match="another trained index or configuration"):
        Shard(shard, other)
    # Even where the record was swapped, its files say whose they are.
    record = json.loads((shard / "shard.json").read_text())
    (shard / "shard.json").write_text(json.dumps({**record, "trained": other.digest}))
    with pytest.raises(CatalogError, match="another trained index or configuration"):
        Shard(shard, other)


def test_a_damaged_trained_index_is_refused(tmp_path: Path, trained: Trained) -> None:
    path = tmp_path / "trained.index"
    with pytest.raises(CatalogError, match="no trained index at"):
        Trained.load(path)
    shutil.copy(trained.source, path)
    with pytest.raises(CatalogError, match="no training record at"):
        ApproximateL2Index.open(path, [])
    path.with_name("trained.index.json").write_text('{"digest": ')
    with pytest.raises(CatalogError, match="is damaged"):
        training_record(path)
    path.with_name("trained.index.json").write_text('{"digest": "x"}')
    with pytest.raises(CatalogError, match="lacks candidates"):
        training_record(path)
    shutil.copy(f"{trained.source}.json", tmp_path)
    cut(path)
    with pytest.raises(CatalogError, match="not a readable index"):
        Trained.load(path)
