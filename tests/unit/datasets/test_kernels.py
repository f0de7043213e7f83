"""Kernels of the synthetic survey against slow, obvious oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elodin_spark.datasets import ARTIFACT_TYPES, artifacts
from elodin_spark.datasets.layout import Layout, _Crowd
from elodin_spark.datasets.survey import _objects_by_tile

pytest.importorskip("galsim", reason="GalSim is not installed")


quick = settings(deadline=None, max_examples=25)


@quick
@given(tiles=st.integers(1, 500))
def test_the_grid_is_as_square_as_possible(tiles: int) -> None:
    layout = Layout(tiles, 512)
    assert layout.columns * layout.rows >= tiles > layout.columns * (layout.rows - 1)
    assert 0 <= layout.columns - layout.rows <= 1
    assert len({layout.name(tile) for tile in range(tiles)}) == tiles


@quick
@given(seed=st.integers(0, 1000), tiles=st.integers(1, 9), size_px=st.integers(128, 600))
def test_every_tile_is_given_the_objects_that_reach_into_it(seed: int, tiles: int, size_px: int) -> None:
    layout = Layout(tiles, size_px)
    objects = layout.place(seed)
    given_to = _objects_by_tile(layout, objects)
    for tile in range(tiles):
        x, y = layout.tile_wcs(tile).all_world2pix([o.ra for o in objects], [o.dec for o in objects], 0)
        outside = np.maximum(np.abs(x - (size_px - 1) / 2), np.abs(y - (size_px - 1) / 2)) - size_px / 2
        for item, away in zip(objects, outside, strict=True):
            if item.type in ARTIFACT_TYPES:
                assert (item in given_to[tile]) == (item.tile == tile)
            elif away < 128:
                assert item in given_to[tile]


@quick
@given(
    points=st.lists(st.tuples(st.floats(0, 400), st.floats(0, 400)), max_size=12),
    candidates=st.lists(st.tuples(st.floats(0, 400), st.floats(0, 400)), min_size=1, max_size=8),
)
def test_the_roomiest_place_is_the_one_a_full_search_finds(
    points: list[tuple[float, float]], candidates: list[tuple[float, float]]
) -> None:
    crowd = _Crowd()
    for x, y in points:
        crowd.add(x, y)
    room = [min((math.dist(c, p) for p in points), default=math.inf) for c in candidates]
    wide = [c for c, r in zip(candidates, room, strict=True) if r >= 95]
    expected = wide[0] if wide else candidates[int(np.argmax(room))]
    assert crowd.roomiest(np.array(candidates)) == expected


@quick
@given(seed=st.integers(0, 10**6), x=st.floats(15, 135), y=st.floats(15, 185))
def test_a_trail_is_told_where_it_is_seen(seed: int, x: float, y: float) -> None:
    pixels, mask = np.zeros((200, 150), np.float32), np.zeros((200, 150), np.int16)
    seen = artifacts.satellite_trail(pixels, mask, x, y, 10.0, np.random.default_rng(seed))
    angle = math.radians(seen.position_angle_deg - 90)
    t = np.linspace(-400, 400, 80_001)
    px, py = x + t * math.cos(angle), y + t * math.sin(angle)
    inside = (px > -0.5) & (px < 149.5) & (py > -0.5) & (py < 199.5)
    assert (seen.x, seen.y) == pytest.approx((px[inside].mean(), py[inside].mean()), abs=0.05)
    assert seen.radius_px == pytest.approx(np.ptp(t[inside]) / 2, abs=0.05)
    rows, columns = np.rint(py[inside]).astype(int), np.rint(px[inside]).astype(int)
    assert (mask[rows.clip(0, 199), columns.clip(0, 149)] > 0).all()
