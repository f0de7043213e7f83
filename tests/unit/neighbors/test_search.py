"""Overlap suppression and the search above the indices."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from helpers.labels import label_index
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import CatalogError, InputError, UnknownCutoutError
from elodin_spark.neighbors.base import Found, Index, Queries
from elodin_spark.neighbors.flat import L2Index
from elodin_spark.neighbors.labels.index import TieBroken
from elodin_spark.neighbors.search import neighbors_of
from elodin_spark.neighbors.suppression import WindowTable, suppress_overlaps
from elodin_spark.schema import NEIGHBORS

Box = tuple[int, int, int, int, int]  # image_id, x0, y0, x1, y1

boxes = st.builds(
    lambda image, x, y, w, h: (image, x, y, x + w, y + h),
    *(st.integers(0, 2), st.integers(0, 9), st.integers(0, 9), st.integers(0, 5), st.integers(0, 5)),
)


def table(rows: list[Box]) -> WindowTable:
    return WindowTable(*np.array(rows, dtype=np.int64).reshape(-1, 5).T)


def share_pixels(a: Box, b: Box) -> bool:
    """By listing the pixels."""

    def pixels(box: Box) -> set[tuple[int, int, int]]:
        image, x0, y0, x1, y1 = box
        return set(itertools.product([image], range(x0, x1), range(y0, y1)))

    return bool(pixels(a) & pixels(b))


def greedy(query: Box, candidates: list[Box], limit: int) -> list[int]:
    kept: list[int] = []
    for row, box in enumerate(candidates):
        if len(kept) < limit and not any(
            share_pixels(box, o) for o in [query, *(candidates[i] for i in kept)]
        ):
            kept.append(row)
    return kept


@settings(deadline=None, max_examples=150)
@given(boxes, st.lists(boxes, max_size=25), st.integers(0, 25))
def test_suppression_matches_counting_pixels(query: Box, candidates: list[Box], limit: int) -> None:
    assert suppress_overlaps(table([query]), table(candidates), limit).tolist() == greedy(
        query, candidates, limit
    )
    assert suppress_overlaps(table([query]), table(candidates)).tolist() == greedy(query, candidates, 99)


def test_windows_of_other_images_and_windows_that_only_touch_are_kept() -> None:
    query = table([(1, 0, 0, 10, 10)])
    candidates = table([(2, 0, 0, 10, 10), (1, 10, 0, 20, 10), (1, 9, 9, 19, 19), (1, 0, 10, 10, 20)])
    assert suppress_overlaps(query, candidates).tolist() == [0, 1, 3]


def test_windows_are_read_from_a_cutouts_table_and_checked() -> None:
    columns = {"image_id": [1, 2], "x0": [0, 1], "y0": [2, 3], "x1": [4, 5], "y1": [6, 7]}
    windows = WindowTable.from_arrow(pa.table(columns))
    assert {name: getattr(windows, name).tolist() for name in columns} == columns
    with pytest.raises(CatalogError, match="'y1'"):
        WindowTable.from_arrow(pa.table(columns).drop_columns(["y1"]))
    with pytest.raises(CatalogError, match="1 windows have no x1"):
        WindowTable.from_arrow(pa.table(columns | {"x1": [None, 1]}))
    with pytest.raises(CatalogError, match="different lengths"):
        WindowTable(*(np.arange(n) for n in (2, 2, 2, 2, 3)))
    with pytest.raises(CatalogError, match="integers"):
        WindowTable(*(np.linspace(0, 1, 3) for _ in range(5)))
    with pytest.raises(CatalogError, match="one query window at a time, got 2"):
        suppress_overlaps(windows, windows)


class Survey:
    """Overlapping windows of a few images, with vectors and label sets that tie often."""

    def __init__(self, seed: int = 0, n: int = 240) -> None:
        rng = np.random.default_rng(seed)
        self.ids = rng.choice(2**62, n, replace=False)
        self.vectors = rng.integers(0, 3, (n, 6)).astype(np.float32)
        self.sets = [rng.choice(12, 4, replace=False) for _ in range(n)]
        x, y = rng.integers(0, 60, (2, n))
        self.boxes: list[Box] = [
            (int(i), int(a), int(b), int(a) + 16, int(b) + 16)
            for i, a, b in zip(rng.integers(0, 4, n), x, y, strict=True)
        ]
        self.row = {int(i): row for row, i in enumerate(self.ids)}
        self.l2 = L2Index.build([(self.ids, self.vectors)], 6)
        self.jaccard = label_index([(self.ids, self.sets)], 12)
        self.asked: list[NDArray[np.int64]] = []

    def windows_of(self, ids: NDArray[np.int64]) -> WindowTable:
        self.asked.append(ids)
        return table([self.boxes[self.row[int(i)]] for i in ids])

    def keys(self, metric: str, query: int) -> list[tuple[float, float, int]]:
        q = self.row[query]
        l2 = np.sqrt(((self.vectors.astype(float) - self.vectors[q].astype(float)) ** 2).sum(axis=1))
        if metric == "l2":
            return sorted((float(d), 0.0, int(i)) for d, i in zip(l2, self.ids, strict=True))
        mine = set(self.sets[q].tolist())
        others = [set(s.tolist()) for s in self.sets]
        distances = [1 - len(mine & o) / len(mine | o) for o in others]
        second = l2 if metric == "jaccard by l2" else np.zeros(len(l2))
        # Rounded: 1 - 4/6 and 1 - 2/3 differ in the last bit.
        return sorted(
            (round(d, 12), float(s), int(i)) for d, s, i in zip(distances, second, self.ids, strict=True)
        )

    def expected(self, metric: str, query: int, k: int, allow_overlap: bool) -> list[tuple[int, float]]:
        others = [(i, d) for d, _, i in self.keys(metric, query) if i != query]
        if not allow_overlap:
            kept = greedy(self.boxes[self.row[query]], [self.boxes[self.row[i]] for i, _ in others], k)
            others = [others[j] for j in kept]
        return others[:k]

    def index(self, metric: str) -> Index:
        indices: dict[str, Index] = {
            "l2": self.l2,
            "jaccard": self.jaccard,
            "jaccard by l2": TieBroken(self.jaccard, self.l2),
        }
        return indices[metric]


@pytest.fixture(scope="module")
def survey() -> Survey:
    return Survey()


@pytest.mark.parametrize("metric", ["l2", "jaccard", "jaccard by l2"])
@pytest.mark.parametrize("allow_overlap", [True, False])
@pytest.mark.parametrize("k", [1, 9, 25, 500])
def test_neighbors_match_sorting_and_suppressing_everything(
    survey: Survey, metric: str, allow_overlap: bool, k: int
) -> None:
    queries = survey.ids[[0, 17, 17, 99, 239]]
    result = neighbors_of(
        queries, k, survey.index(metric), windows_of=survey.windows_of, allow_overlap=allow_overlap
    )
    assert result.schema.equals(NEIGHBORS, check_metadata=True)
    expected = [(int(q), survey.expected(metric, int(q), k, allow_overlap)) for q in queries]
    assert result["query_id"].to_pylist() == [q for q, near in expected for _ in near]
    assert result["rank"].to_pylist() == [r for _, near in expected for r in range(1, len(near) + 1)]
    assert result["neighbor_id"].to_pylist() == [i for _, near in expected for i, _ in near]
    np.testing.assert_allclose(result["distance"], [d for _, near in expected for _, d in near], atol=1e-11)


def test_a_cutout_is_never_its_own_neighbor_even_among_identical_ones() -> None:
    ids = np.arange(100)
    index = L2Index.build([(ids, np.ones((100, 3), np.float32))], 3)
    near = neighbors_of([50], 100, index, allow_overlap=True)
    assert near["neighbor_id"].to_pylist() == [i for i in range(100) if i != 50]
    assert near["rank"].to_pylist() == list(range(1, 100))


class CountingIndex:
    def __init__(self, index: Index) -> None:
        self.index = index
        self.calls: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self.index)

    def contains(self, ids: ArrayLike) -> NDArray[np.bool_]:
        return self.index.contains(ids)

    def search(self, queries: Queries, k: int, *, allowed: ArrayLike | None = None) -> Found:
        self.calls.append((np.asarray(queries).size, k))
        return self.index.search(queries, k, allowed=allowed)


def test_more_is_fetched_in_doubling_steps_and_only_for_queries_that_lack_neighbors() -> None:
    # Cutouts 0 to 899 show one place; the others do not overlap.
    ids = np.arange(1000)
    index = CountingIndex(L2Index.build([(ids, ids[:, np.newaxis].astype(np.float32))], 1))

    def windows_of(wanted: NDArray[np.int64]) -> WindowTable:
        place = np.maximum(wanted - 899, 0) * 10
        zero = np.zeros_like(wanted)
        return WindowTable(zero, place, zero, place + 10, zero + 10)

    result = neighbors_of([0, 990], 3, index, windows_of=windows_of)
    assert result["neighbor_id"].to_pylist() == [900, 901, 902, 989, 991, 988]
    assert index.calls == [(2, 16), (1, 32), (1, 64), (1, 128), (1, 256), (1, 512), (1, 1000)]


def test_windows_are_asked_for_once_a_round_and_each_once(survey: Survey) -> None:
    survey.asked.clear()
    neighbors_of(survey.ids[:20], 2, survey.l2, windows_of=survey.windows_of)
    for ids in survey.asked:
        np.testing.assert_array_equal(ids, np.unique(ids))
    assert len(survey.asked) < 10


def test_fewer_neighbors_come_back_only_from_an_exhausted_catalog() -> None:
    index = L2Index.build([([1, 2, 3], np.eye(3, dtype=np.float32))], 3)

    def one_place(ids: NDArray[np.int64]) -> WindowTable:
        return WindowTable(*(np.full(ids.size, v) for v in (7, 0, 0, 5, 5)))

    assert neighbors_of([1], 2, index, windows_of=one_place).num_rows == 0
    assert neighbors_of([1], 9, index, allow_overlap=True).num_rows == 2
    assert neighbors_of([], 9, index, allow_overlap=True).schema.equals(NEIGHBORS)


def test_impossible_requests_are_refused(survey: Survey) -> None:
    missing: Callable[[NDArray[np.int64]], WindowTable] = lambda ids: survey.windows_of(ids[1:])  # noqa: E731
    with pytest.raises(InputError, match="at least 1 neighbor, got 0"):
        neighbors_of([int(survey.ids[0])], 0, survey.l2, allow_overlap=True)
    with pytest.raises(InputError, match="windows_of is needed"):
        neighbors_of([int(survey.ids[0])], 3, survey.l2)
    with pytest.raises(UnknownCutoutError, match="cutout -5"):
        neighbors_of([-5], 3, survey.jaccard, allow_overlap=True)
    with pytest.raises(CatalogError, match="do not belong together"):
        neighbors_of([int(survey.ids[0])], 3, survey.l2, windows_of=missing)
