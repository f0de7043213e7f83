"""Windows where coordinates are awkward: where RA begins, at the poles, and in maps of the whole sky."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elodin_spark.config.settings import SlidingWindow
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.stage import fuse, run_plain

WIDTH, HEIGHT, WINDOW_PX = 72, 40, 8


def wcs_of(axes: str, projection: str, longitude: float, latitude: float, scale_deg: float, turn: float = 0):
    wcs = WCS(naxis=2)
    first, second = ("RA---", "DEC--") if axes == "icrs" else ("GLON-", "GLAT-")
    wcs.wcs.ctype = [first + projection, second + projection]
    wcs.wcs.crval = [longitude, latitude]
    wcs.wcs.crpix = [(WIDTH + 1) / 2, (HEIGHT + 1) / 2]
    wcs.wcs.cdelt = [-scale_deg, scale_deg]
    cosine, sine = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    wcs.wcs.pc = [[cosine, -sine], [sine, cosine]]
    if axes == "icrs":
        wcs.wcs.radesys = "ICRS"
    return wcs


def cut(
    folder: Path, wcs: WCS, pixels: np.ndarray | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The row of an image with a WCS, and the rows of its windows."""
    path = folder / "sky.fits"
    if pixels is None:
        pixels = np.random.default_rng(4).normal(size=(HEIGHT, WIDTH)).astype(np.float32)
    fits.writeto(path, pixels, wcs.to_header(), overwrite=True)
    spec = fuse(DescribeSpec(), TileSpec(SlidingWindow(size=WINDOW_PX, step=WINDOW_PX), thumbnail_px=8))
    rows = run_plain(spec, files_to_batches(list_files([str(path)]))).to_pylist()
    (image,) = [row["image"] for row in rows if row["image"]]
    assert not [row for row in rows if row["failure"]]
    return image, [row for row in rows if row["cutout_id"] is not None]


def centers(windows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    x = np.array([(window["x0"] + window["x1"] - 1) / 2 for window in windows])
    y = np.array([(window["y0"] + window["y1"] - 1) / 2 for window in windows])
    return x, y


def farthest_arcsec(windows: list[dict[str, Any]], wcs: WCS) -> float:
    """Largest distance of the centers from where astropy has them."""
    found = SkyCoord([w["ra"] for w in windows] * u.deg, [w["dec"] for w in windows] * u.deg)
    return float(wcs.pixel_to_world(*centers(windows)).icrs.separation(found).arcsec.max())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    axes=st.sampled_from(["icrs", "galactic"]),
    projection=st.sampled_from(["TAN", "SIN", "ZEA", "STG"]),
    longitude=st.sampled_from([0.0, 1e-9, 359.999999, 180.0, 123.4]) | st.floats(0, 359.9),
    latitude=st.sampled_from([90.0, -90.0, 89.999, -89.999, 0.0]) | st.floats(-90, 90),
    turn=st.floats(0, 360),
)
def test_windows_around_the_poles_and_where_ra_begins_are_where_astropy_has_them(
    tmp_path: Path, axes: str, projection: str, longitude: float, latitude: float, turn: float
) -> None:
    wcs = wcs_of(axes, projection, longitude, latitude, 0.01, turn)
    image, windows = cut(tmp_path, wcs)
    assert len(windows) == 45
    for place in (image, *windows):
        assert 0 <= place["ra"] < 360
        assert -90 <= place["dec"] <= 90
    assert farthest_arcsec(windows, wcs) < 0.01


@pytest.mark.parametrize("pole", [90.0, -90.0])
def test_windows_around_a_pole_have_every_right_ascension(tmp_path: Path, pole: float) -> None:
    image, windows = cut(tmp_path, wcs_of("icrs", "TAN", 0.0, pole, 0.01))
    assert image["dec"] == pytest.approx(pole, abs=1e-9)
    quarters = {int(window["ra"] // 90) for window in windows}
    assert quarters == {0, 1, 2, 3}
    assert max(abs(abs(window["dec"]) - 90) for window in windows) < 0.4


def test_windows_on_both_sides_of_the_start_of_ra_are_neighbors_on_the_sky(tmp_path: Path) -> None:
    _, windows = cut(tmp_path, wcs_of("icrs", "TAN", 0.0, 10.0, 0.01))
    ra = np.array([window["ra"] for window in windows])
    assert ((ra < 1) | (ra > 359)).all()
    assert (ra < 1).sum() > 10
    assert (ra > 359).sum() > 10


@pytest.mark.parametrize("axes", ["icrs", "galactic"])
@pytest.mark.parametrize("longitude", [0.0, 180.0, 266.4])
@pytest.mark.parametrize("projection", ["AIT", "MOL", "SFL", "PAR"])
def test_maps_of_the_whole_sky_have_positions_on_it_and_none_in_their_corners(
    tmp_path: Path, projection: str, longitude: float, axes: str
) -> None:
    wcs = wcs_of(axes, projection, longitude, 0.0, 5.0)
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    on_sky = np.isfinite(wcs.all_pix2world(x.ravel(), y.ravel(), 0)).all(axis=0).reshape(x.shape)
    assert 0.5 < on_sky.mean() < 0.95
    pixels = np.where(on_sky, np.random.default_rng(5).normal(size=x.shape), np.nan).astype(np.float32)
    image, windows = cut(tmp_path, wcs, pixels)
    assert image["ra"] is not None
    known = np.isfinite(wcs.all_pix2world(*centers(windows), 0)).all(axis=0)
    assert 0 < (~known).sum() < len(windows) / 2
    for window, there in zip(windows, known, strict=True):
        assert (window["ra"] is not None, window["dec"] is not None, window["healpix"] is not None) == (
            there,
        ) * 3
    assert farthest_arcsec([w for w, there in zip(windows, known, strict=True) if there], wcs) < 0.01
    # What is unknown is black, and does not spoil the stretch of the rest.
    for window in windows:
        box = (slice(window["y0"], window["y1"]), slice(window["x0"], window["x1"]))
        values = np.frombuffer(window["pixels"], np.uint8).reshape(window["pixel_shape"])
        assert not values[~on_sky[box]].any()
    corner = next(w for w in windows if (w["x0"], w["y0"]) == (0, 0))
    assert corner["ra"] is None
    middle = next(w for w in windows if (w["x0"], w["y0"]) == (32, 16))
    assert len(set(middle["pixels"])) > 20


def test_a_plate_carree_map_has_no_sky_beyond_its_poles_nor_the_same_sky_twice(tmp_path: Path) -> None:
    scale_deg = 6.0  # so that the image is 432 x 240 deg
    _, windows = cut(tmp_path, wcs_of("icrs", "CAR", 180.0, 0.0, scale_deg))
    x, y = centers(windows)
    longitude, latitude = (x - (WIDTH - 1) / 2) * scale_deg, (y - (HEIGHT - 1) / 2) * scale_deg
    off = (np.abs(longitude) > 180) | (np.abs(latitude) > 90)
    assert 0 < off.sum() < len(windows)
    assert [window["ra"] is None for window in windows] == list(off)
    assert [window["healpix"] is None for window in windows] == list(off)
    known = [window["dec"] for window in windows if window["dec"] is not None]
    np.testing.assert_allclose(known, latitude[~off], atol=1e-9)
