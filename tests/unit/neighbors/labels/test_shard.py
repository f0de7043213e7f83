"""Label sets in shards against the exact index, brute force, and themselves in other shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers.labels import label_index, sets_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elodin_spark.errors import CatalogError, InputError, UnknownCutoutError
from elodin_spark.neighbors.base import ExternalQueries
from elodin_spark.neighbors.labels.bitcodes import encode
from elodin_spark.neighbors.labels.clustering import LabelCenters, hamming, list_count, train_centers
from elodin_spark.neighbors.labels.index import LabelIndex
from elodin_spark.neighbors.labels.shard import LabelShard, add_label_shard

LABELS = 70


class Archive:
    """Sets of clustered labels, best first, with scores; many tie."""

    def __init__(
        self, seed: int, n: int, families: int = 12, sizes: tuple[int, ...] = (9, 9, 9, 9, 7, 0)
    ) -> None:
        rng = np.random.default_rng(seed)
        self.ids = rng.choice(2**62, n, replace=False)
        appeal = rng.gumbel(size=(families, LABELS))[rng.integers(0, families, n)]
        appeal += rng.gumbel(size=(n, LABELS)) / 2
        order = np.argsort(-appeal, axis=1)
        self.sets = [row[:size] for row, size in zip(order, rng.choice(sizes, n), strict=True)]
        # Powers of two: shares and distances are exact in float64, and tie where they should.
        self.scores = [2.0 ** -rng.integers(0, 3, len(row)) for row in self.sets]

    def batch(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], pa.Array, pa.Array]:
        sets = pa.array([self.sets[r] for r in rows], pa.list_(pa.int32()))
        return self.ids[rows], sets, pa.array([self.scores[r] for r in rows], pa.list_(pa.float32()))

    def shares(self) -> NDArray[np.float64]:
        """Dense: labels that a set does not hold are 0."""
        out = np.zeros((len(self.ids), LABELS))
        for row, (labels, scores) in enumerate(zip(self.sets, self.scores, strict=True)):
            out[row, labels] = (scores / max(scores.sum(), 1e-300)).astype(np.float32)
        return out


def build(
    folder: Path, archive: Archive, centers: LabelCenters, owner: NDArray[np.int64], shares: bool = True
) -> LabelIndex:
    """A shard for each value of `owner`, its sets in two batches, in any order."""
    rng = np.random.default_rng(owner.sum())
    shards = []
    for number in np.unique(owner):
        rows = rng.permutation(np.flatnonzero(owner == number))
        halves = [archive.batch(half) for half in np.array_split(rows, 2)]
        add_label_shard(folder / f"shard-{number}", centers, halves, shares=shares)
        shards.append(folder / f"shard-{number}")
    centers.save(folder / "centers.npz")
    return LabelIndex.open(folder / "centers.npz", shards)


@pytest.fixture(scope="module")
def archive() -> Archive:
    return Archive(0, 900)


@pytest.fixture(scope="module")
def centers(archive: Archive) -> LabelCenters:
    return train_centers(archive.sets[:400], 16, LABELS)


@pytest.fixture(scope="module")
def one(archive, centers, tmp_path_factory: pytest.TempPathFactory) -> LabelIndex:
    return build(tmp_path_factory.mktemp("one"), archive, centers, np.zeros(len(archive.ids), np.int64))


def by_id(row: int, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Some second distance, which ties too."""
    return (ids % 5).astype(np.float64)


def test_with_all_lists_the_answers_are_those_of_the_exact_index(archive, one) -> None:
    exact = label_index([(archive.ids, archive.sets)], LABELS)
    queries = archive.ids[::30]
    for k in (1, 10, 700):
        for found, expected in zip(
            one.search(queries, k, tie_break=by_id), exact.search(queries, k, tie_break=by_id), strict=True
        ):
            assert np.array_equal(found, expected)
    assert np.array_equal(one.ids, exact.ids)
    sets = sets_of(exact, queries)
    assert all(np.array_equal(a, b) for a, b in zip(sets_of(one, queries), sets, strict=True))
    asked = ExternalQueries(np.zeros((len(sets), 1), np.float32), sets)
    assert np.array_equal(one.search(asked, 5)[0], exact.search(asked, 5)[0])


def test_sets_of_one_size_are_compared_as_numbers_of_labels_with_the_same_answers(tmp_path: Path) -> None:
    even = Archive(1, 700, sizes=(6,))
    exact = label_index([(even.ids, even.sets)], LABELS)
    several = build(tmp_path, even, train_centers(even.sets, 8, LABELS), np.arange(700) % 3, shares=False)
    assert all(shard.size == 6 for shard in several.shards)
    for k in (1, 2, 7, 50):
        for found, expected in zip(
            several.search(even.ids[::20], k, tie_break=by_id),
            exact.search(even.ids[::20], k, tie_break=by_id),
            strict=True,
        ):
            assert np.array_equal(found, expected)


def test_a_filter_among_lists_leaves_what_is_allowed_in_them(
    archive, one, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elodin_spark.neighbors.labels.index._EXACT_BELOW", 0)
    monkeypatch.setattr("elodin_spark.neighbors.labels.index._MOST_WIDENING", 1)
    allowed = np.random.default_rng(3).choice(archive.ids, 450, replace=False)
    one.nprobe = 4
    try:
        for query in archive.ids[:20]:
            among = one.search([query], 5, tie_break=by_id, allowed=allowed)
            whole = one.search([query], 120, tie_break=by_id)
            keep = np.isin(whole[0][0], allowed)
            if keep.sum() >= 5:
                assert among[0][0].tolist() == whole[0][0][keep][:5].tolist()
                assert among[1][0].tolist() == whole[1][0][keep][:5].tolist()
    finally:
        one.nprobe = 16


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 7), st.integers(0, 2**32 - 1), st.integers(1, 16), st.integers(1, 40))
def test_shards_answer_with_the_bits_of_one(
    archive, centers, one, tmp_path_factory, shards: int, seed: int, nprobe: int, k: int
) -> None:
    owner = np.random.default_rng(seed).integers(0, shards, len(archive.ids))
    several = build(tmp_path_factory.mktemp("several"), archive, centers, owner)
    several.nprobe = one.nprobe = nprobe
    queries = np.random.default_rng(seed).choice(archive.ids, 8, replace=False)
    allowed = np.random.default_rng(seed + 1).choice(archive.ids, 500, replace=False)
    try:
        for metric in ("jaccard", "label_scores"):
            for only in (None, allowed):
                found = several.search(queries, k, tie_break=by_id, metric=metric, allowed=only)
                expected = one.search(queries, k, tie_break=by_id, metric=metric, allowed=only)
                assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    finally:
        one.nprobe = 16


@pytest.mark.parametrize("nprobe", [2, 16])
def test_the_label_distance_is_that_of_scores_divided_by_their_sum(archive, one, nprobe: int) -> None:
    one.nprobe = nprobe
    shares = archive.shares()
    code = encode(archive.sets, LABELS, "test")
    lists = one.centers.nearest(code, 1)[:, 0]
    try:
        for row in (3, 50, 512, 899):
            near = one.centers.nearest(code[row : row + 1], nprobe)[0]
            inside = np.flatnonzero(np.isin(lists, near))
            distance = np.sqrt(np.square(shares[inside] - shares[row]).sum(axis=1))
            expected = sorted(zip(distance.tolist(), archive.ids[inside].tolist(), strict=True))[:25]
            ids, distances = one.search(archive.ids[row : row + 1], 25, metric="label_scores")
            np.testing.assert_allclose(distances[0], [d for d, _ in expected], atol=1e-15)
            # Distances that differ by rounding only are a tie for neither or for both.
            rounded = sorted((round(d, 12), i) for d, i in zip(distances[0].tolist(), ids[0], strict=True))
            assert rounded == sorted((round(d, 12), i) for d, i in expected)
    finally:
        one.nprobe = 16


def test_equal_scores_are_zero_apart_and_empty_sets_too(tmp_path: Path) -> None:
    sets = pa.array([[4, 2], [4, 2], [4], [], []], pa.list_(pa.int32()))
    scores = pa.array([[0.7, 0.1], [1.4, 0.2], [0.3], [], []], pa.list_(pa.float32()))
    centers = train_centers([], 1, LABELS)
    add_label_shard(tmp_path / "s", centers, [(np.arange(5), sets, scores)], shares=True)
    index = LabelIndex(centers, [LabelShard(tmp_path / "s", centers)])
    ids, distances = index.search([0, 3], 5, metric="label_scores")
    assert ids[0, :2].tolist() == [0, 1]
    assert distances[0, :2].tolist() == [0, 0]
    assert ids[1, :2].tolist() == [3, 4]
    assert distances[1, :2].tolist() == [0, 0]
    assert distances[1, -1] == 1.0  # one label of share 1


def test_what_is_left_out_is_never_found(archive, centers, one) -> None:
    gone = archive.ids[:200]
    left = LabelIndex(centers, [LabelShard(one.shards[0].folder, centers, gone)])
    assert len(left) == 700
    assert not left.contains(gone).any()
    found, _ = left.search(archive.ids[200:220], 700)
    assert np.array_equal(np.sort(found[0]), np.sort(archive.ids[200:]))
    with pytest.raises(UnknownCutoutError):
        left.search(gone[:1], 1)


def test_lists_that_hold_too_few_are_not_the_end(archive, one) -> None:
    one.nprobe = 1
    try:
        whole = one.search(archive.ids[:4], 899)[0]
    finally:
        one.nprobe = 16
    assert np.array_equal(whole, one.search(archive.ids[:4], 899)[0])


def test_label_counts_are_those_of_the_sets(archive, one) -> None:
    expected = np.bincount(np.concatenate(archive.sets), minlength=LABELS)
    assert np.array_equal(one.label_counts(), expected)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
@settings(max_examples=25)
def test_the_nearest_lists_are_those_of_least_distance_and_number(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    centers = LabelCenters(rng.integers(0, 4, (30, 16), dtype=np.uint8), 128)
    codes = rng.integers(0, 4, (5, 16), dtype=np.uint8)
    bits = [np.unpackbits(some, axis=1).astype(int) for some in (codes, centers.codes)]
    distance = np.abs(bits[0][:, np.newaxis] - bits[1]).sum(axis=2)
    assert np.array_equal(hamming(codes, centers.codes), distance)
    expected = np.sort(np.argsort(distance, axis=1, kind="stable")[:, :count], axis=1)
    assert np.array_equal(centers.nearest(codes, count), expected)


def test_centers_are_the_same_for_the_same_sets_and_find_families(archive) -> None:
    first, again = (train_centers(archive.sets, 12, LABELS) for _ in range(2))
    assert first.digest == again.digest
    index = first.nearest(encode(archive.sets, LABELS, "test"), 1)[:, 0]
    assert np.bincount(index).max() < 300  # of 900: they part the sets
    assert len(train_centers([[1], [1], [2]], 16, LABELS)) == 2
    assert list_count(1000) == 1
    assert list_count(10**6) == 4096
    assert list_count(10**10) == 16384


def test_damage_and_strangers_are_refused_by_name(archive, centers, one, tmp_path: Path) -> None:
    shard = tmp_path / "shard"
    add_label_shard(shard, centers, [archive.batch(np.arange(9))])
    with pytest.raises(CatalogError, match="is there already"):
        add_label_shard(shard, centers, [])
    with pytest.raises(CatalogError, match="no scores of labels"):
        LabelIndex(centers, [LabelShard(shard, centers)]).search(archive.ids[:1], 1, metric="label_scores")
    with pytest.raises(CatalogError, match="another trained index"):
        LabelShard(shard, train_centers([[1], [2]], 2, LABELS))
    with pytest.raises(CatalogError, match="more than one shard"):
        LabelIndex(centers, [LabelShard(shard, centers), *one.shards])
    with pytest.raises(InputError, match="k must be"):
        one.search(archive.ids[:1], 0)
    codes = shard / "codes.bin"
    codes.write_bytes(codes.read_bytes()[:-3])
    with pytest.raises(CatalogError, match=r"codes\.bin"):
        LabelShard(shard, centers)
    for batch, message in (
        ((np.array([1, 1]), pa.array([[1], [2]])), "collision"),
        ((np.array([1]), pa.array([[1], [2]])), "1 IDs but 2 label sets"),
        ((np.array([1]), pa.array([[LABELS]])), "another backbone"),
    ):
        with pytest.raises(CatalogError, match=message):
            add_label_shard(tmp_path / "bad", centers, [batch])
    uneven = (np.array([1]), pa.array([[1, 2]]), pa.array([[0.5]]))
    with pytest.raises(CatalogError, match="one score"):
        add_label_shard(tmp_path / "bad", centers, [uneven], shares=True)
    assert not (tmp_path / "bad").exists()
    (tmp_path / "centers.npz").write_bytes(b"nonsense")
    with pytest.raises(CatalogError, match=r"centers\.npz"):
        LabelCenters.load(tmp_path / "centers.npz")


def test_a_shard_without_sets_is_no_trouble(archive, centers, one, tmp_path: Path) -> None:
    add_label_shard(tmp_path / "empty", centers, [], shares=True)
    index = LabelIndex(centers, [LabelShard(tmp_path / "empty", centers), *one.shards])
    assert np.array_equal(index.search(archive.ids[:3], 5)[0], one.search(archive.ids[:3], 5)[0])
    assert len(LabelIndex(centers, index.shards[:1])) == 0
