"""Windows of simulated tiles, and the pool that they join."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from elodin_spark.datasets.stamps import STAMP_KINDS
from elodin_spark.errors import MissingDependencyError
from elodin_spark.learning.stamppool import KINDS, stamp_pool, tile_stamps

windows_module = pytest.importorskip("elodin_spark.datasets.windows", reason="GalSim is not installed")
draw_windows, TILE_WINDOWS = windows_module.draw_windows, windows_module.TILE_WINDOWS


def test_windows_are_the_same_for_the_same_number_and_differ_between_tiles() -> None:
    windows, types = draw_windows(3, 40, 1)
    again, same = draw_windows(3, 40, 1)
    assert np.array_equal(windows, again)
    assert types == same
    assert windows.shape == (TILE_WINDOWS, 40, 40, 3)
    assert not np.array_equal(windows, draw_windows(4, 40, 1)[0])
    assert not np.array_equal(windows, draw_windows(3, 40, 2)[0])


def test_a_window_of_a_trail_has_a_line_and_one_of_sky_has_nothing() -> None:
    found: dict[str, list[float]] = {}
    for number in range(6):
        for window, kind in zip(*draw_windows(number, 64, 0), strict=True):
            found.setdefault(kind, []).append(float(np.quantile(window, 0.98)))
    assert {"spiral", "edge_on", "lens", "satellite_trail", "sky"} <= set(found)
    assert np.median(found["sky"]) < 60 < np.median(found["satellite_trail"])


def test_a_pool_holds_objects_then_windows_of_known_kind(tmp_path: Path) -> None:
    pool = stamp_pool(tmp_path, 5, 1, 32, 0, 1)
    assert len(pool.windows) == len(pool.kinds) == len(pool.shapes) == 5 + TILE_WINDOWS
    assert (pool.kinds[:5] < len(STAMP_KINDS)).all()
    alone = tile_stamps(0, 1, 32, 0)
    assert np.array_equal(pool.windows[5:], alone.windows)
    assert np.array_equal(pool.kinds[5:], alone.kinds)
    assert {KINDS[kind] for kind in alone.kinds} <= set(KINDS)
    assert np.isnan(pool.shapes[5:]).all()


def test_tiles_without_galsim_are_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "galsim", None)
    with pytest.raises(MissingDependencyError, match=r"elodin_spark\[simulate\].*tiles to 0"):
        stamp_pool(tmp_path, 5, 1, 32, 0, 1)
