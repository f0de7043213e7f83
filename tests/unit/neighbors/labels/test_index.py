"""Jaccard neighbors against Python's own sets and fractions."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from helpers.labels import label_index, sets_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elodin_spark.errors import CatalogError, InputError, UnknownCutoutError
from elodin_spark.neighbors.base import ExternalQueries
from elodin_spark.neighbors.labels.index import LabelIndex


def jaccard(a: set[int], b: set[int]) -> Fraction:
    return 1 - Fraction(len(a & b), len(a | b)) if a | b else Fraction(0)


def brute_force(
    catalog: dict[int, set[int]], query: set[int], k: int, second: dict[int, float] | None = None
) -> list[tuple[int, Fraction]]:
    """Sorted by (Jaccard distance, second distance, ID), all compared exactly."""
    keys = sorted((jaccard(query, s), 0.0 if second is None else second[i], i) for i, s in catalog.items())
    return [(i, distance) for distance, _, i in keys[:k]]


def index_of(catalog: dict[int, set[int]], n_labels: int, batch: int = 9) -> LabelIndex:
    ids = list(catalog)
    batches = (
        (ids[s : s + batch], [np.array(sorted(catalog[i]), dtype=np.int32) for i in ids[s : s + batch]])
        for s in range(0, len(ids), batch)
    )
    return label_index(batches, n_labels)


def asked(sets: Iterable[Iterable[int]]) -> ExternalQueries:
    arrays = [np.array(sorted(some), np.int32) for some in sets]
    return ExternalQueries(np.zeros((len(arrays), 1), np.float32), arrays)


def assert_same_as_brute_force(
    catalog: dict[int, set[int]],
    n_labels: int,
    queries: list[set[int]],
    k: int,
    second: dict[int, float] | None = None,
) -> None:
    def look_up(_row: int, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        assert second is not None
        return np.array([second[i] for i in ids.tolist()])

    near, distances = index_of(catalog, n_labels).search(
        asked(queries), k, tie_break=None if second is None else look_up
    )
    for row, query in enumerate(queries):
        expected = brute_force(catalog, query, k, second)
        assert near[row].tolist() == [i for i, _ in expected]
        assert distances[row].tolist() == [float(d) for _, d in expected]


def random_catalog(seed: int, n: int, n_labels: int, sizes: list[int]) -> dict[int, set[int]]:
    rng = np.random.default_rng(seed)
    ids = rng.choice(2**62, n, replace=False).tolist()
    return {i: set(rng.choice(n_labels, rng.choice(sizes), replace=False).tolist()) for i in ids}


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_sets_of_any_size_match_the_definition(data: st.DataObject) -> None:
    n_labels = data.draw(st.integers(1, 12))
    sets = st.sets(st.integers(0, n_labels - 1))
    catalog = dict(enumerate(data.draw(st.lists(sets, min_size=1, max_size=40))))
    queries = data.draw(st.lists(sets, min_size=1, max_size=4))
    assert_same_as_brute_force(catalog, n_labels, queries, data.draw(st.integers(1, len(catalog) + 2)))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_ties_go_by_the_second_distance_and_then_by_id(data: st.DataObject) -> None:
    sets = st.sets(st.integers(0, 5), min_size=3, max_size=3)
    catalog = dict(enumerate(data.draw(st.lists(sets, min_size=1, max_size=40))))
    second = {i: float(data.draw(st.integers(0, 3))) for i in catalog}
    k = data.draw(st.integers(1, len(catalog)))
    assert_same_as_brute_force(catalog, 6, data.draw(st.lists(sets, min_size=1, max_size=3)), k, second)


@pytest.mark.parametrize("sizes", [[20], [3, 19, 20, 21], [0, 1, 5, 30, 70]])
@pytest.mark.parametrize("n_labels", [70, 1000])
def test_more_sets_than_are_fetched_at_once_match_the_definition(sizes: list[int], n_labels: int) -> None:
    catalog = random_catalog(1, 700, n_labels, sizes)
    queries = list(random_catalog(2, 20, n_labels, [*sizes, 2]).values())
    second = {i: float(i % 5) for i in catalog}
    assert_same_as_brute_force(catalog, n_labels, queries, 10, second)


def test_a_tie_larger_than_any_margin_is_considered_whole() -> None:
    # 1500 sets tie at the boundary; the nearest by the second distance are the last ones by ID.
    catalog = {i: {1, 2, 3} for i in range(1500)} | {5000: {1, 2}, 5001: {1, 2, 3, 4}}
    second = {i: 1e6 - i for i in catalog}
    assert_same_as_brute_force(catalog, 8, [{1, 2, 3}, {1, 2}, {6}, set()], 4, second)


def test_equal_fractions_of_different_sizes_tie() -> None:
    # 1/2 and 2/4 must fall together, or the second distance would not decide.
    catalog = {1: {0}, 2: {0, 1, 2, 3}, 3: {0, 1, 8, 9}, 4: {9}}
    second = {1: 2.0, 2: 1.0, 3: 0.0, 4: 0.0}
    assert_same_as_brute_force(catalog, 10, [{0, 1}], 4, second)


def test_empty_sets_are_equal_to_each_other_and_far_from_all_others() -> None:
    catalog: dict[int, set[int]] = {1: set(), 2: {3}, 3: set()}
    near, distances = index_of(catalog, 5).search(asked([[]]), 3)
    assert near[0].tolist() == [1, 3, 2]
    assert distances[0].tolist() == [0.0, 0.0, 1.0]


def test_the_tie_break_hears_of_each_query_with_its_row() -> None:
    catalog = {10: {1}, 11: {1}, 12: {2}, 13: {2}, 14: {3}}
    asked = {}

    def second(row: int, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        asked[row] = sorted(ids.tolist())
        return -ids.astype(float)

    near, _ = index_of(catalog, 4).search([12, 14, 11], 1, tie_break=second)
    assert near.ravel().tolist() == [13, 14, 11]
    assert asked == {0: [12, 13], 2: [10, 11]}


def test_the_answer_does_not_depend_on_insertion_order() -> None:
    catalog = random_catalog(3, 300, 40, [4, 5, 6])
    shuffled = dict(sorted(catalog.items()))
    assert list(shuffled) != list(catalog)
    one, other = index_of(catalog, 40), index_of(shuffled, 40, batch=300)
    for a, b in zip(one.search(list(catalog), 20), other.search(list(catalog), 20), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(one.shards, other.shards, strict=True):
        assert a.record["crc32"] == b.record["crc32"]


def test_a_smaller_k_begins_the_answer_for_a_larger_one() -> None:
    catalog = random_catalog(4, 300, 30, [5, 6])
    index = index_of(catalog, 30)
    queries = list(catalog)[:5]
    near = index.search(queries, 300)[0]
    for k in (1, 3, 65, 128, 299):
        np.testing.assert_array_equal(index.search(queries, k)[0], near[:, :k])


def test_sets_come_back_sorted_without_repeats_and_in_the_order_asked() -> None:
    index = label_index([([7, 3, 5], [[9, 1, 9], [], [0, 99]])], 100)
    sets = sets_of(index, [5, 7, 3, 7])
    assert [s.tolist() for s in sets] == [[0, 99], [1, 9], [], [1, 9]]
    assert {s.dtype for s in sets} == {np.dtype(np.int32)}


def test_arrow_columns_and_lists_build_the_same_index() -> None:
    rows = [[4, 2], [], [1, 3, 0], [4, 4]]
    column = pa.array([[9], *rows, [8]], type=pa.list_(pa.int32()))
    for given_as in (column.slice(1, 4), pa.chunked_array([column.slice(1, 1), column.slice(2, 3)])):
        index = label_index([([1, 2, 3, 4], given_as)], 10)
        assert [s.tolist() for s in sets_of(index, [1, 2, 3, 4])] == [sorted(set(r)) for r in rows]
    with pytest.raises(CatalogError, match="null"):
        label_index([([1, 2], pa.array([[1], None], type=pa.list_(pa.int32())))], 10)


def test_bad_input_is_refused_with_the_reason() -> None:
    with pytest.raises(CatalogError, match=r"collision.*\(5\)"):
        label_index([([5, 6], [[1], [2]]), ([5], [[1]])], 4)
    with pytest.raises(CatalogError, match=r"label 4 is not in 0 \.\. 3"):
        label_index([([5, 6], [[1], [4]])], 4)
    with pytest.raises(CatalogError, match="label -1 is not in"):
        label_index([([5], [[-1]])], 4)
    with pytest.raises(CatalogError, match="1 IDs but 2 label sets"):
        label_index([([5], [[1], [2]])], 4)
    with pytest.raises(CatalogError, match="integers"):
        label_index([([5], [[0.5]])], 4)
    index = label_index([([5, 6], [[1], [2]])], 4)
    with pytest.raises(UnknownCutoutError, match="cutout 7"):
        index.search([5, 7], 1)
    with pytest.raises(InputError, match="got 0"):
        index.search([5], 0)
    with pytest.raises(CatalogError, match="the query: label 9"):
        index.search(asked([[9]]), 1)


def test_an_empty_index_has_no_neighbors() -> None:
    assert label_index([], 100).search(asked([[1, 2]]), 3)[0].shape == (1, 0)
