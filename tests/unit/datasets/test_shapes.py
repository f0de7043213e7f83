"""Light on a grid against slow, obvious oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elodin_spark.datasets.shapes import Grid, lensed_source, sersic, spiral_disk, tidal_tail

quick = settings(deadline=None, max_examples=25)


@quick
@given(
    blobs=st.lists(
        st.tuples(st.floats(-4, 4), st.floats(-4, 4), st.floats(0.2, 1), st.floats(0, 5)),
        min_size=1,
        max_size=5,
    )
)
def test_blobs_are_sums_of_round_gaussians(blobs: list[tuple[float, float, float, float]]) -> None:
    grid = Grid.sky(3.0, 0.25)
    gx, gy = grid.at()
    expected = np.zeros_like(gx)
    for x, y, sigma, flux in blobs:
        distance2 = (gx - x) ** 2 + (gy - y) ** 2
        expected += flux / (2 * np.pi * sigma**2) * np.exp(-distance2 / (2 * sigma**2))
    np.testing.assert_allclose(grid.blobs(*np.array(blobs).T), expected, atol=1e-10)


@pytest.mark.parametrize(("arms", "hand"), [(2, 1), (2, -1), (3, 1)])
def test_spiral_arms_follow_logarithmic_spirals(arms: int, hand: int) -> None:
    grid, pitch, scale = Grid.sky(8.0, 0.1), math.radians(20), 1.6
    light = spiral_disk(
        grid, np.random.default_rng(0), scale=scale, arms=arms, pitch=pitch, hand=hand, q=1.0, angle=0.0
    )
    start = np.random.default_rng(0).uniform(0, 2 * np.pi)
    half = grid.px // 2

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
    grid = Grid.sky(10.0)
    light = tidal_tail(grid, 1.0, -2.0, heading=0.0, turn=0.0, length=5.0, width=0.3)
    assert light.sum() * grid.step**2 == pytest.approx(1, abs=0.01)
    along = light.sum(axis=0)
    bright = grid.axis()[along > 0.3 * along.max()]
    assert bright.min() == pytest.approx(1.0, abs=0.4)
    assert bright.max() == pytest.approx(6.0, abs=0.6)
    assert (light * grid.at()[1]).sum() / light.sum() == pytest.approx(-2.0, abs=0.02)


def test_a_source_behind_a_round_lens_is_a_ring_or_two_images() -> None:
    grid = Grid.sky(5.0, 0.05)
    x, y = grid.at()
    r = np.hypot(x, y)
    lens = {"einstein_radius": 2.5, "q": 0.9999, "angle": 0.3, "source_y": 0.0, "source_sigma": 0.05}
    ring = lensed_source(grid, source_x=0.0, **lens)
    assert (ring * r).sum() / ring.sum() == pytest.approx(2.5, abs=0.03)
    # A singular isothermal sphere puts the images at b + beta and, opposite, b - beta.
    pair = lensed_source(grid, source_x=0.6, **lens)
    along = x * math.cos(0.3) + y * math.sin(0.3)
    near, far = pair * (along < 0), pair * (along > 0)
    assert r.flat[np.argmax(far)] == pytest.approx(3.1, abs=0.06)
    assert r.flat[np.argmax(near)] == pytest.approx(1.9, abs=0.06)


@pytest.mark.parametrize("n", [0.8, 1.0, 2.5, 4.0])
def test_half_of_the_light_of_a_sersic_profile_is_within_its_radius(n: float) -> None:
    grid = Grid.cutout(801)
    light = sersic(grid, 0, 0, n, 0.06, 1.0, 0.0).astype(np.float64)
    x, y = grid.at()
    inside = light[np.hypot(x, y) < 0.06].sum() / light.sum()
    assert inside == pytest.approx(0.5, abs=0.06)  # the grid ends, and pixels blunt the peak


def test_light_turns_with_the_angle_of_the_galaxy() -> None:
    grid = Grid.cutout(65)
    u, v = grid.inclined(0.3, np.pi / 2)
    upright = np.exp(-np.hypot(u, v) * 4)
    x, y = grid.at()
    assert (upright * y**2).sum() > 3 * (upright * x**2).sum()
