"""Cutouts of the same sky are found, each pair once, wherever on the sky they are."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import example, given, settings
from hypothesis import strategies as st

from elodin_spark.cutouts.cells import position_cells
from elodin_spark.cutouts.skycells import (
    cells_with_margin,
    healpix29,
    pair_order,
    repeat_pairs,
    separation_arcsec,
)

#: The poles, where RA begins, and corners and edges of the twelve base cells.
CENTERS = [
    (0.0, 90.0),
    (77.0, -90.0),
    (0.0, 0.0),
    (359.9999, 12.0),
    (45.0, 41.8103148957786),
    (0.0, 41.81),
    (90.0, 66.0),
    (315.0, -41.81),
]


def clumps(rng: np.random.Generator, centers: list[tuple[float, float]], n: int, spread_arcsec: float):
    ra, dec = [], []
    for lon, lat in centers:
        middle = SkyCoord(lon * u.deg, lat * u.deg)
        points = middle.directional_offset_by(
            rng.uniform(0, 360, n) * u.deg, np.sqrt(rng.random(n)) * spread_arcsec * u.arcsec
        )
        ra.append(points.ra.deg)
        dec.append(points.dec.deg)
    return np.concatenate(ra), np.concatenate(dec)


def brute_force(ids, image_ids, ra, dec, max_sep_arcsec):
    points = SkyCoord(ra, dec, unit="deg")
    separations = points[:, None].separation(points[None, :]).arcsec
    found = {}
    for i in range(len(ids)):
        for j in range(len(ids)):
            if ids[i] < ids[j] and image_ids[i] != image_ids[j] and separations[i, j] <= max_sep_arcsec:
                found[int(ids[i]), int(ids[j])] = separations[i, j]
    return found


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 360), st.floats(-90, 90)) | st.sampled_from(CENTERS), min_size=1, max_size=4
    ),
    st.sampled_from([0.5, 10.0, 300.0]),
    st.integers(0, 2**31),
    st.integers(0, 5),
)
@example(CENTERS, 10.0, 0, 0)
@example(CENTERS, 10.0, 1, 5)
def test_pairs_over_cells_are_those_of_all_separations(
    centers: list[tuple[float, float]], max_sep_arcsec: float, seed: int, finer: int
) -> None:
    rng = np.random.default_rng(seed)
    ra, dec = clumps(rng, centers, 12, 2 * max_sep_arcsec)
    ids = rng.permutation(10 * len(ra))[: len(ra)]
    image_ids = rng.integers(0, 4, len(ra))
    expected = brute_force(ids, image_ids, ra, dec, max_sep_arcsec)

    whole = repeat_pairs(ids, image_ids, ra, dec, max_sep_arcsec)
    assert [*zip(whole.id_a.tolist(), whole.id_b.tolist(), strict=True)] == sorted(expected)
    np.testing.assert_allclose(whole.sep_arcsec, [expected[pair] for pair in sorted(expected)], atol=1e-6)

    order = min(pair_order(max_sep_arcsec) + finer, 12)
    spread = cells_with_margin(ra, dec, order, max_sep_arcsec)
    pairs = []
    for cell in np.unique(spread.cells):
        group = spread.cells == cell
        rows = spread.position[group]
        part = repeat_pairs(
            ids[rows], image_ids[rows], ra[rows], dec[rows], max_sep_arcsec, home=spread.home[group]
        )
        pairs += zip(part.id_a.tolist(), part.id_b.tolist(), strict=True)
    assert sorted(pairs) == sorted(expected), "each exactly once"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 8), st.floats(0.001, 0.3), st.integers(0, 2**31))
def test_every_cell_gets_all_positions_within_the_margin_of_its_own(
    order: int, fraction: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    ra = np.concatenate([rng.uniform(0, 360, 300), np.array(CENTERS)[:, 0]])
    dec = np.concatenate([np.degrees(np.arcsin(rng.uniform(-1, 1, 300))), np.array(CENTERS)[:, 1]])
    margin_arcsec = fraction * np.degrees(np.sqrt(4 * np.pi / 12 / 4**order)) * 3600
    spread = cells_with_margin(ra, dec, order, margin_arcsec)
    sent = set(zip(spread.position.tolist(), spread.cells.tolist(), strict=True))
    assert len(sent) == len(spread.position), "no position twice in a cell"
    assert spread.position[spread.home].tolist() == list(range(len(ra)))
    np.testing.assert_array_equal(spread.cells[spread.home], position_cells(ra, dec, order))
    points = SkyCoord(ra, dec, unit="deg")
    for turn in range(0, 360, 15):
        moved = points.directional_offset_by(turn * u.deg, 0.999 * margin_arcsec * u.arcsec)
        cells = position_cells(moved.ra.deg, moved.dec.deg, order)
        assert {*zip(range(len(ra)), cells.tolist(), strict=True)} <= sent


def test_few_positions_are_sent_to_more_than_one_cell() -> None:
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 20_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 20_000)))
    spread = cells_with_margin(ra, dec, pair_order(5.0), 5.0)
    assert len(spread.position) < 1.25 * len(ra)


def test_a_margin_wider_than_the_cells_is_an_error() -> None:
    with pytest.raises(ValueError, match="use order 0"):
        cells_with_margin([1.0], [2.0], 5, 10_000.0)


def test_epochs_of_a_pair_are_subtracted_and_unknown_ones_stay_unknown() -> None:
    pairs = repeat_pairs(
        [3, 1, 2], [10, 11, 12], [5.0] * 3, [6.0] * 3, 1.0, mjd=np.array([100.0, 90.0, np.nan])
    )
    assert [*zip(pairs.id_a, pairs.id_b, strict=True)] == [(1, 2), (1, 3), (2, 3)]
    np.testing.assert_array_equal(pairs.dmjd, [np.nan, 10.0, np.nan])
    assert pairs.sep_arcsec.tolist() == [0, 0, 0]


def test_cutouts_without_a_position_and_lone_ones_are_in_no_pair() -> None:
    assert len(repeat_pairs([1, 2, 3], [1, 2, 3], [np.nan, np.nan, 5.0], [0.0, 0.0, 5.0], 60.0).id_a) == 0
    assert len(repeat_pairs([], [], [], [], 60.0).id_a) == 0
    spread = cells_with_margin([np.nan, 3.0], [0.0, 4.0], 3, 1.0)
    assert spread.position.tolist() == [1]


def test_cells_of_order_29_hold_their_positions_and_nest() -> None:
    import astropy_healpix

    rng = np.random.default_rng(0)
    ra = np.concatenate([rng.uniform(0, 360, 2000), np.array(CENTERS)[:, 0], [360.0, -10.0]])
    dec = np.concatenate(
        [np.degrees(np.arcsin(rng.uniform(-1, 1, 2000))), np.array(CENTERS)[:, 1], [0.0, 5.0]]
    )
    cells = healpix29(ra, dec)
    assert cells.type == pa.int64()
    assert cells.null_count == 0
    numbers = cells.to_numpy()
    lon, lat = astropy_healpix.healpix_to_lonlat(numbers, 2**29, order="nested")
    assert separation_arcsec(ra, dec, lon.deg, lat.deg).max() < 0.0005
    for order in (0, 3, 10, 20):
        np.testing.assert_array_equal(numbers >> 2 * (29 - order), position_cells(ra, dec, order))


def test_cells_of_unknown_positions_are_null() -> None:
    assert healpix29([None, 1.0, np.nan], [1.0, None, 2.0]).null_count == 3
    assert len(healpix29([], [])) == 0
    assert healpix29([1.0, 2.0], [91.0, 3.0]).is_null().to_pylist() == [True, False]
