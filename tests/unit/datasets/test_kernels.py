"""Kernels of the synthetic survey against slow, obvious oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elodin_spark.datasets import ARTIFACT_TYPES, artifacts
from elodin_spark.datasets.layout import Layout, _Crowd
from elodin_spark.datasets.morphology import Grid, lensed_source, spiral_disk, tidal_tail
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
@given(
    blobs=st.lists(
        st.tuples(st.floats(-4, 4), st.floats(-4, 4), st.floats(0.2, 1), st.floats(0, 5)),
        min_size=1,
        max_size=5,
    )
)
def test_blobs_are_sums_of_round_gaussians(blobs: list[tuple[float, float, float, float]]) -> None:
    grid = Grid(3.0, 0.25)
    expected = np.zeros_like(grid.x)
    for x, y, sigma, flux in blobs:
        distance2 = (grid.x - x) ** 2 + (grid.y - y) ** 2
        expected += flux / (2 * np.pi * sigma**2) * np.exp(-distance2 / (2 * sigma**2))
    np.testing.assert_allclose(grid.blobs(*np.array(blobs).T), expected, atol=1e-10)


@pytest.mark.parametrize(("arms", "hand"), [(2, 1), (2, -1), (3, 1)])
def test_spiral_arms_follow_logarithmic_spirals(arms: int, hand: int) -> None:
    grid, pitch, scale = Grid(8.0, 0.1), math.radians(20), 1.6
    light = spiral_disk(
        grid, np.random.default_rng(0), scale=scale, arms=arms, pitch=pitch, hand=hand, q=1.0, angle=0.0
    )
    start = np.random.default_rng(0).uniform(0, 2 * np.pi)
    half = grid.x.shape[0] // 2

    def along(offset: float) -> np.ndarray:
        r = np.linspace(1.4, 3.0, 40) * scale
        theta = start / arms + hand * np.log(r / scale) / math.tan(pitch) + offset
        columns = np.rint(r * np.cos(theta) / 0.1).astype(int) + half
        rows = np.rint(r * np.sin(theta) / 0.1).astype(int) + half
        return light[rows, columns]

    for arm in range(arms):
        turn = 2 * np.pi * arm / arms
        assert (along(turn) > 2 * along(turn + np.pi / arms)).mean() > 0.9


def test_a_tail_starts_at_its_galaxy_and_ends_at_its_length() -> None:
    grid = Grid(10.0)
    light = tidal_tail(grid, 1.0, -2.0, heading=0.0, turn=0.0, length=5.0, width=0.3)
    assert light.sum() * grid.step_arcsec**2 == pytest.approx(1, abs=0.01)
    along = light.sum(axis=0)
    bright = grid.x[0][along > 0.3 * along.max()]
    assert bright.min() == pytest.approx(1.0, abs=0.4)
    assert bright.max() == pytest.approx(6.0, abs=0.6)
    assert (light * grid.y).sum() / light.sum() == pytest.approx(-2.0, abs=0.02)


def test_a_source_behind_a_round_lens_is_a_ring_or_two_images() -> None:
    grid = Grid(5.0, 0.05)
    r = np.hypot(grid.x, grid.y)
    lens = {"einstein_radius": 2.5, "q": 0.9999, "angle": 0.3, "source_y": 0.0, "source_sigma": 0.05}
    ring = lensed_source(grid, source_x=0.0, **lens)
    assert (ring * r).sum() / ring.sum() == pytest.approx(2.5, abs=0.03)
    # A singular isothermal sphere puts the images at b + beta and, opposite, b - beta.
    pair = lensed_source(grid, source_x=0.6, **lens)
    along = grid.x * math.cos(0.3) + grid.y * math.sin(0.3)
    near, far = pair * (along < 0), pair * (along > 0)
    assert r.flat[np.argmax(far)] == pytest.approx(3.1, abs=0.06)
    assert r.flat[np.argmax(near)] == pytest.approx(1.9, abs=0.06)


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
