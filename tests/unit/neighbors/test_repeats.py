"""Known repeats: left out or grouped as brute force over whole rankings says."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elodin_spark.catalog.search.engine import NeighborSearch
from elodin_spark.catalog.search.options import SearchOptions
from elodin_spark.errors import InputError
from elodin_spark.neighbors.flat import L2Index
from elodin_spark.neighbors.suppression import Repeats

N = 24
RNG = np.random.default_rng(5)
IDS = np.sort(RNG.choice(10**6, N, replace=False)).astype(np.int64)
INDEX = L2Index.build([(IDS, RNG.integers(0, 3, (N, 3)).astype(np.float32))], 3)
#: Two to an image, which overlap.
WINDOWS = pa.table(
    {
        "cutout_id": IDS,
        "image_id": np.arange(N) // 2,
        **{name: np.full(N, value) for name, value in (("x0", 0), ("y0", 0), ("x1", 9), ("y1", 9))},
        **{name: pa.array([None] * N, pa.float64()) for name in ("ra", "dec")},
    }
)
EVERY_PAIR = [(a, b) for b in range(N) for a in range(b)]
#: A few, or many: a cutout has up to some ten repeats.
PAIRS = st.builds(
    lambda seed, count: [
        EVERY_PAIR[at] for at in np.random.default_rng(seed).permutation(len(EVERY_PAIR))[:count]
    ],
    st.integers(0, 2**32 - 1),
    st.integers(0, 120),
)


def brute_force(
    query: int, k: int, pairs: set[tuple[int, int]], rule: str, overlap: bool
) -> list[tuple[int, list[int]]]:
    """Neighbors and their repeats, from the whole ranking."""

    def paired(a: int, b: int) -> bool:
        return (min(a, b), max(a, b)) in pairs

    def covers(a: int, b: int) -> bool:
        return not overlap and a // 2 == b // 2

    ranking = [int(np.searchsorted(IDS, i)) for i in INDEX.search(IDS[[query]], N)[0][0]]
    ranking.remove(query)
    listed: list[int] = []
    for row in ranking:
        blocked = any(paired(row, other) or covers(row, other) for other in listed)
        if blocked or covers(row, query) or (rule == "leave-out" and paired(row, query)):
            continue
        listed.append(row)
    listed = listed[:k]
    repeats: dict[int, list[int]] = {row: [] for row in listed}
    for row in ranking:
        owner = next((other for other in listed if paired(row, other)), None)
        if owner is not None:
            repeats[owner].append(row)
    return [(int(IDS[row]), sorted(int(IDS[other]) for other in repeats[row])) for row in listed]


@given(
    PAIRS, st.integers(0, N - 1), st.integers(1, N), st.sampled_from(["leave-out", "group"]), st.booleans()
)
def test_repeats_are_left_out_or_grouped_as_brute_force_says(pairs, query, k, rule, overlap) -> None:
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    repeats = Repeats(IDS[rows[:, 1]], IDS[rows[:, 0]])
    options = SearchOptions(k=k, allow_overlap=overlap, repeats=rule)
    found = NeighborSearch(options, INDEX, WINDOWS, "the test", repeats=repeats)(IDS[[query]])
    listed = found.column("neighbor_id").to_pylist()
    wanted = brute_force(query, k, set(pairs), rule, overlap)
    assert listed == [cutout for cutout, _ in wanted]
    groups = repeats.grouped(int(IDS[query]), listed, INDEX)
    assert [group.tolist() for group in groups] == [repeats for _, repeats in wanted]


def test_repeats_are_found_by_either_and_only_those_that_are_indexed_are_listed() -> None:
    known = Repeats([5, 5, 9], [9, 7, 5])
    assert known.of(5).tolist() == [7, 9]
    assert known.of(7).tolist() == [5]
    assert known.of(6).size == 0
    index = L2Index.build([([5, 9], np.zeros((2, 1), np.float32))], 1)
    assert [group.tolist() for group in known.grouped(None, [5], index)] == [[9]]
    assert Repeats([], []).of(5).size == 0


def test_another_rule_is_refused() -> None:
    with pytest.raises(InputError, match="'keep', 'leave-out' or 'group"):
        SearchOptions(k=3, repeats="drop")  # type: ignore[arg-type]
