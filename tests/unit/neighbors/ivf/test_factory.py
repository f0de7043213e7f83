"""Recipes of indices: their choice, their bytes, and what FAISS makes of them."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from helpers.paths import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from elodin_spark.errors import ConfigError
from elodin_spark.neighbors.ivf.factory import (
    STORES,
    Store,
    choose_index_config,
    in_words,
    list_count,
    memory_table,
)

GIB = 1 << 30


@pytest.mark.parametrize("count", [1, 10**3, 10**5, 10**6])
def test_an_archive_that_fits_in_memory_is_searched_exactly(count: int) -> None:
    index_config = choose_index_config(count, 2048, 64 * GIB)
    assert index_config.exact
    assert index_config.factory == "Flat"
    assert index_config.store_bytes == 8192
    tight = choose_index_config(count, 2048, count * index_config.memory_bytes)
    assert tight.exact
    assert not choose_index_config(count, 2048, count * index_config.memory_bytes - 1).exact


def test_codes_take_at_most_128_bytes_of_memory_up_to_ten_billion() -> None:
    for count in (10**5, 10**6, 10**8, 10**10):
        for recall in (0.8, 0.95, 0.99, 1.0):
            index_config = choose_index_config(count, 2048, count * 128, recall)
            assert index_config.memory_bytes <= 128
            assert not index_config.mapped
            assert count / index_config.lists >= 39 or index_config.lists == 16
            assert index_config.training <= count


def test_codes_that_do_not_fit_are_mapped() -> None:
    index_config = choose_index_config(10**10, 2048, 64 * GIB)
    assert index_config.mapped
    assert index_config.memory_bytes == 0
    assert "memory-mapped" in index_config.describe()
    assert index_config.lists == 2**18
    assert "HNSW" in index_config.factory  # comparing a query with all the centroids would take longest


@settings(deadline=None, max_examples=25)
@given(st.integers(100, 10**6), st.sampled_from([16, 100, 256, 512]), st.floats(0.5, 1.0))
def test_what_is_chosen_is_what_faiss_makes_and_the_bytes_agree(
    count: int, dimension: int, recall: float
) -> None:
    index_config = choose_index_config(count, dimension, 1, recall)
    index = faiss.index_factory(dimension, index_config.faiss_factory)
    ivf = faiss.extract_index_ivf(faiss.downcast_index(index.base_index))
    store = faiss.downcast_index(index.refine_index)
    assert (ivf.nlist, ivf.code_size) == (index_config.lists, index_config.code_bytes)
    assert store.sa_code_size() == index_config.store_bytes
    width = ivf.d
    projection = 0 if width == dimension else 4 * width * dimension
    links = 272 if "HNSW" in index_config.factory else 0  # 2 x 32 neighbors of 4 bytes, and upper levels
    assert index_config.fixed_bytes == index_config.lists * (4 * width + links) + projection
    assert index_config.disk_bytes == index_config.code_bytes + index_config.store_bytes + 8 + 16


@pytest.mark.parametrize("store", list(STORES))
def test_a_factory_string_and_a_store_override_the_choice(store: Store) -> None:
    index_config = choose_index_config(10**6, 64, GIB, factory="OPQ8_32,IVF64,PQ8", store=store)
    assert index_config.faiss_factory == f"OPQ8_32,IVF64,PQ8,Refine({STORES[store]})"
    assert (index_config.lists, index_config.code_bytes) == (64, 8)
    assert index_config.fixed_bytes == 4 * (64 * 32 + 32 * 64)
    assert choose_index_config(10**10, 2048, 1, factory="Flat").exact


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 0}, "count of at least 1, got 0"),
        ({"dimension": 0}, "dimension of at least 1"),
        ({"memory_bytes": -3}, "memory_bytes of at least 1"),
        ({"recall": 0.0}, r"\(0, 1\]"),
        ({"recall": 1.5}, r"\(0, 1\]"),
        ({"recall": np.nan}, r"\(0, 1\]"),
        ({"store": "f8"}, "f32, f16, sq8"),
        ({"factory": "IVF8,Nonsense"}, "FAISS cannot make"),
        ({"factory": "HNSW32"}, "no inverted lists"),
        ({"factory": "PQ8"}, "no inverted lists"),
        ({"factory": "IVF8,PQ8,Refine(SQ8)"}, "leave out Refine"),
    ],
)
def test_what_cannot_be_made_is_refused(change: dict[str, object], message: str) -> None:
    wanted: dict[str, object] = {"count": 10**6, "dimension": 64, "memory_bytes": 1, **change}
    with pytest.raises(ConfigError, match=message):
        choose_index_config(**wanted)  # type: ignore[arg-type]


def test_the_lists_grow_with_the_root_of_the_count() -> None:
    counts = (1, 5000, 10**5, 10**6, 10**8, 10**10)
    assert [list_count(n) for n in counts] == [16, 128, 1024, 4096, 32768, 262144]


def test_bytes_are_said_in_powers_of_a_thousand() -> None:
    sizes = [0, 999, 4.8e6, 2.5e11, 4.2e13, 3e16]
    assert [in_words(n) for n in sizes] == ["0 B", "999 B", "4.8 MB", "250 GB", "42 TB", "30,000 TB"]


def test_the_page_on_neighbors_holds_the_table_that_the_code_makes() -> None:
    page = ROOT / "docs" / "neighbors.md"
    assert memory_table() in page.read_text(encoding="utf-8")
