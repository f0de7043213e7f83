"""What counts as a difference between two checkouts."""

from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np
import pytest
from helpers.paths import ROOT

CLOSE = 1e-5


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("compare_checkouts")


def answer(neighbors: list[int], distances: list[float]) -> dict[str, np.ndarray]:
    return {"l2: neighbors": np.array(neighbors), "l2: distances": np.array(distances)}


def same(program: ModuleType, a: dict[str, np.ndarray], b: dict[str, np.ndarray], close: float) -> list[bool]:
    return [row["same"] for row in program.compare(a, b, close)]


def test_with_the_same_packages_only_the_same_bits_are_the_same(program: ModuleType) -> None:
    a = answer([1, 2, 3], [0.1, 0.2, 0.3])
    assert same(program, a, answer([1, 2, 3], [0.1, 0.2, 0.3]), 0.0) == [True, True]
    assert same(program, a, answer([1, 2, 3], [0.1, 0.2, 0.3 + 1e-9]), 0.0) == [True, False]
    assert same(program, a, answer([1, 2, 3], [0.1, 0.2, 0.3 + 1e-9]), CLOSE) == [True, True]
    assert same(program, a, answer([1, 2, 3], [0.1, 0.2, 0.31]), CLOSE) == [True, False]


def test_neighbors_change_places_only_where_their_distances_are_nearly_the_same(program: ModuleType) -> None:
    a = answer([1, 2, 3], [0.1, 0.2, 0.2 + 1e-9])
    assert same(program, a, answer([1, 3, 2], [0.1, 0.2, 0.2 + 1e-9]), CLOSE) == [True, True]
    assert same(program, a, answer([1, 3, 2], [0.1, 0.2, 0.2 + 1e-9]), 0.0) == [False, True]
    assert same(program, a, answer([2, 1, 3], [0.1, 0.2, 0.2 + 1e-9]), CLOSE) == [False, True]


def test_what_only_one_has_and_other_shapes_are_differences(program: ModuleType) -> None:
    a = answer([1, 2], [0.1, 0.2])
    assert same(program, a, answer([1], [0.1]), CLOSE) == [False, False]
    assert same(program, a, a | {"cosine: neighbors": np.array([1])}, CLOSE) == [True, True, False]
    nulls = {"cutouts, ra": np.array([np.nan, 1.0])}
    assert same(program, nulls, {"cutouts, ra": np.array([0.0, 1.0])}, CLOSE) == [False]
