"""Exact Euclidean neighbors against brute force in float64."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elodin_spark.errors import CatalogError, InputError, UnknownCutoutError
from elodin_spark.neighbors.base import ExternalQueries
from elodin_spark.neighbors.flat import L2Index


def brute_force(
    ids: NDArray[np.int64], vectors: NDArray[np.float32], query: NDArray[np.float32], k: int
) -> tuple[list[int], list[float]]:
    """All distances in float64, sorted by (distance, ID)."""
    distances = np.sqrt(((vectors.astype(float) - query.astype(float)) ** 2).sum(axis=1))
    pairs = sorted(zip(distances.tolist(), ids.tolist(), strict=True))[:k]
    return [i for _, i in pairs], [d for d, _ in pairs]


def index_of(ids: NDArray[np.int64], vectors: NDArray[np.float32], batch: int = 7) -> L2Index:
    batches = ((ids[s : s + batch], vectors[s : s + batch]) for s in range(0, len(ids), batch))
    return L2Index.build(batches, vectors.shape[1])


def assert_same_as_brute_force(
    ids: NDArray[np.int64], vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int
) -> None:
    near, distances = index_of(ids, vectors).search(ExternalQueries(queries), k)
    for row, query in enumerate(queries):
        expected_ids, expected = brute_force(ids, vectors, query, k)
        assert near[row].tolist() == expected_ids
        np.testing.assert_allclose(distances[row], expected, rtol=1e-12, atol=0)


@pytest.fixture(scope="module")
def survey() -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """400 vectors of 96 components in clusters, some stored twice, with IDs of 63 bits."""
    rng = np.random.default_rng(5)
    centers = np.abs(rng.normal(size=(8, 96)))
    vectors = (centers[rng.integers(0, 8, 400)] + 0.1 * rng.normal(size=(400, 96))).astype(np.float32)
    vectors[200:230] = vectors[:30]
    return rng.choice(2**63 - 1, 400, replace=False), vectors


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_small_integer_vectors_full_of_ties_match_brute_force(data: st.DataObject) -> None:
    n, d = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 5))
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    vectors = rng.integers(0, 3, (n, d)).astype(np.float32)
    ids = rng.choice(10 * n, n, replace=False)
    queries = rng.integers(0, 3, (data.draw(st.integers(1, 4)), d)).astype(np.float32)
    assert_same_as_brute_force(ids, vectors, queries, data.draw(st.integers(1, n + 3)))


@pytest.mark.parametrize("n_queries", [1, 2, 30, 300])
def test_clusters_with_duplicates_match_brute_force_for_one_and_many_queries(
    survey: tuple[NDArray[np.int64], NDArray[np.float32]], n_queries: int
) -> None:
    ids, vectors = survey
    rng = np.random.default_rng(1)
    queries = vectors[rng.integers(0, len(ids), n_queries)]
    assert_same_as_brute_force(ids, vectors, queries, 12)


@pytest.mark.parametrize("n_queries", [1, 5, 300])
@pytest.mark.parametrize("offset", [10.0, 1000.0])
def test_near_duplicates_far_from_the_origin_match_brute_force(n_queries: int, offset: float) -> None:
    # Expanding ||x||^2 - 2xy + ||y||^2 in float32, as FAISS does for many queries, loses these distances.
    rng = np.random.default_rng(2)
    vectors = (offset + 1e-2 * rng.normal(size=(300, 600))).astype(np.float32)
    ids = rng.permutation(300)
    raw = faiss.IndexFlatL2(600)
    raw.add(vectors)
    _, naive = raw.search(vectors, 10)
    exact = [brute_force(np.arange(300), vectors, query, 10)[0] for query in vectors]
    assert naive.tolist() != exact, "the case is too easy to test anything"
    assert_same_as_brute_force(ids, vectors, vectors[:n_queries], 10)


def test_a_tie_larger_than_any_margin_goes_to_the_smallest_ids() -> None:
    rng = np.random.default_rng(3)
    vectors = np.repeat(rng.normal(size=(2, 32)).astype(np.float32), [900, 100], axis=0)
    ids = rng.permutation(1000)
    near, distances = index_of(ids, vectors, batch=100).search(ExternalQueries(vectors[:1]), 5)
    assert near[0].tolist() == sorted(ids[:900])[:5]
    assert (distances == 0).all()


@pytest.mark.parametrize("scale", [1e-22, 1e-10, 1e10])
def test_vectors_of_any_scale_match_brute_force(scale: float) -> None:
    rng = np.random.default_rng(4)
    vectors = (scale * rng.normal(size=(300, 24))).astype(np.float32)
    assert_same_as_brute_force(np.arange(300), vectors, vectors[:70], 8)


def test_one_outlier_changes_nothing_for_the_others() -> None:
    rng = np.random.default_rng(6)
    vectors = rng.normal(size=(300, 24)).astype(np.float32)
    vectors[17] = 1e15
    assert_same_as_brute_force(np.arange(300), vectors, vectors[:20], 8)


def test_the_answer_does_not_depend_on_insertion_order(
    survey: tuple[NDArray[np.int64], NDArray[np.float32]],
) -> None:
    ids, vectors = survey
    order = np.random.default_rng(7).permutation(len(ids))
    one, other = index_of(ids, vectors), index_of(ids[order], vectors[order], batch=400)
    for a, b in zip(one.search(ids[:50], 20), other.search(ids[:50], 20), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_answer_to_a_query_does_not_depend_on_the_others_of_its_batch(
    survey: tuple[NDArray[np.int64], NDArray[np.float32]],
) -> None:
    ids, vectors = survey
    index = index_of(ids, vectors)
    together = index.search(ExternalQueries(vectors), 9)
    for row in range(0, 400, 37):
        alone = index.search(ExternalQueries(vectors[row : row + 1]), 9)
        np.testing.assert_array_equal(alone[0][0], together[0][row])
        np.testing.assert_array_equal(alone[1][0], together[1][row])


def test_a_smaller_k_begins_the_answer_for_a_larger_one(
    survey: tuple[NDArray[np.int64], NDArray[np.float32]],
) -> None:
    index = index_of(*survey)
    near = index.search(survey[0][:10], 400)[0]
    for k in (1, 2, 16, 17, 100, 399):
        np.testing.assert_array_equal(index.search(survey[0][:10], k)[0], near[:, :k])


def test_k_beyond_the_index_returns_every_cutout_once(
    survey: tuple[NDArray[np.int64], NDArray[np.float32]],
) -> None:
    near, _ = index_of(*survey).search(survey[0][:3], 10_000)
    assert near.shape == (3, 400)
    np.testing.assert_array_equal(np.sort(near[1]), np.sort(survey[0]))


def test_a_saved_index_answers_as_before(
    survey: tuple[NDArray[np.int64], NDArray[np.float32]], tmp_path: Path
) -> None:
    index = index_of(*survey)
    index.save(tmp_path / "l2.faiss")
    again = L2Index.load(tmp_path / "l2.faiss")
    assert [p.name for p in tmp_path.iterdir()] == ["l2.faiss"]
    assert len(again) == 400
    assert again.dimension == 96
    np.testing.assert_array_equal(again.vectors_of(survey[0]), survey[1])
    for a, b in zip(
        index.search(ExternalQueries(survey[1][:40]), 10),
        again.search(ExternalQueries(survey[1][:40]), 10),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_a_failed_save_leaves_the_old_file_and_no_other(
    survey: tuple[NDArray[np.int64], NDArray[np.float32]], tmp_path: Path
) -> None:
    with pytest.raises(CatalogError, match="no folder"):
        index_of(*survey).save(tmp_path / "absent" / "l2.faiss")
    (tmp_path / "l2.faiss").mkdir()  # cannot be replaced by a file
    with pytest.raises(OSError, match=r"l2\.faiss"):
        index_of(*survey).save(tmp_path / "l2.faiss")
    assert [p.name for p in tmp_path.iterdir()] == ["l2.faiss"]


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused_by_name(
    survey: tuple[NDArray[np.int64], NDArray[np.float32]], tmp_path: Path, part: float
) -> None:
    path = tmp_path / "l2.faiss"
    index_of(*survey).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(CatalogError, match=r"l2\.faiss is not a readable L2 index"):
        L2Index.load(path)


def test_foreign_and_missing_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "l2.faiss"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(CatalogError, match=r"l2\.faiss"):
        L2Index.load(path)
    other = faiss.IndexHNSWFlat(4, 8)
    faiss.write_index(other, str(path))
    with pytest.raises(CatalogError, match="not an exact L2 index"):
        L2Index.load(path)
    with pytest.raises(CatalogError, match="no L2 index at"):
        L2Index.load(tmp_path / "absent")


def test_a_repeated_id_is_a_collision_and_is_named() -> None:
    def batches() -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        yield [1, 2, 77], np.ones((3, 4), np.float32)
        yield [77, 5], np.zeros((2, 4), np.float32)

    with pytest.raises(CatalogError, match=r"collision.*\(77\)"):
        L2Index.build(batches(), 4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_a_vector_that_is_not_finite_is_refused_with_its_cutout(bad: float) -> None:
    vectors = np.ones((3, 4), np.float32)
    vectors[1, 2] = bad
    with pytest.raises(CatalogError, match="cutouts 12"):
        L2Index.build([([11, 12, 13], vectors)], 4)
    with pytest.raises(CatalogError, match="query"):
        L2Index.build([([11], vectors[:1])], 4).search(ExternalQueries(vectors), 1)


def test_wrong_shapes_are_refused() -> None:
    good = np.ones((3, 4), np.float32)
    with pytest.raises(CatalogError, match=r"\(n, 5\), got \(3, 4\)"):
        L2Index.build([([1, 2, 3], good)], 5)
    with pytest.raises(CatalogError, match="2 IDs but 3 vectors"):
        L2Index.build([([1, 2], good)], 4)
    with pytest.raises(CatalogError, match="int64"):
        L2Index.build([([1.5, 2.0, 3.0], good)], 4)
    with pytest.raises(CatalogError, match=r"\(n, 4\), got \(4,\)"):
        L2Index.build([([1, 2, 3], good)], 4).search(ExternalQueries(good[0]), 1)


def test_unknown_cutouts_and_a_k_of_zero_are_refused() -> None:
    index = L2Index.build([([3, 1, 2], np.eye(3, dtype=np.float32))], 3)
    for ask in (index.vectors_of, lambda ids: index.search(ids, 2)):
        with pytest.raises(UnknownCutoutError, match="4, 9;"):
            ask([2, 9, 4])
    with pytest.raises(InputError, match="at least 1 neighbor, got 0"):
        index.search([1], 0)
    np.testing.assert_array_equal(index.contains([9, 1, 4, 3]), [False, True, False, True])


def test_only_allowed_ones_are_found_whoever_asked_before(
    survey: tuple[NDArray[np.int64], NDArray[np.float32]],
) -> None:
    ids, index = survey[0], index_of(*survey)
    whole, far = index.search(ids[:3], len(ids))
    for allowed in (ids[::7], ids[::3], ids[::3], ids[:0], [*ids[5:9], -5]):
        near, distances = index.search(ids[:3], len(ids), allowed=allowed)
        here = np.isin(whole, allowed)
        assert near.ravel().tolist() == whole[here].tolist()
        assert distances.ravel().tolist() == far[here].tolist()
    with pytest.raises(UnknownCutoutError):
        index.search([-5], 1, allowed=ids[:0])


def test_an_empty_index_can_be_saved_and_has_no_neighbors(tmp_path: Path) -> None:
    index = L2Index.build(iter([]), 6, expected=10)
    index.save(tmp_path / "empty")
    again = L2Index.load(tmp_path / "empty")
    assert len(again) == 0
    assert again.search(ExternalQueries(np.ones((2, 6), np.float32)), 3)[0].shape == (2, 0)
