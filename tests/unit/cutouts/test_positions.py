"""Positions on the sky are found on the images that show them, and on no others."""

from __future__ import annotations

import warnings
from pathlib import Path

import astropy_healpix
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from hypothesis import example, given, settings
from hypothesis import strategies as st

from elodin_spark.cutouts.cells import cell_key, key_order, position_cells, unit_vectors
from elodin_spark.cutouts.positions import (
    centered_windows,
    image_cells,
    image_keys,
    image_order,
    position_keys,
    positions_in_image,
    sky_to_pixel,
)
from elodin_spark.errors import ImageError
from elodin_spark.images import sky


def header_of(
    ra: float,
    dec: float,
    width: int,
    height: int,
    scale_arcsec: float,
    angle_deg: float = 0.0,
    projection: str = "TAN",
    axes: tuple[str, str] = ("RA--", "DEC-"),
    sip: bool = False,
) -> str:
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    scale = scale_arcsec / 3600
    header = fits.Header()
    header["NAXIS"], header["NAXIS1"], header["NAXIS2"] = 2, width, height
    suffix = "-SIP" if sip else ""
    header["CTYPE1"] = f"{axes[0]}-{projection}{suffix}"
    header["CTYPE2"] = f"{axes[1]}-{projection}{suffix}"
    header["CRVAL1"], header["CRVAL2"] = ra, dec
    header["CRPIX1"], header["CRPIX2"] = (width + 1) / 2, (height + 1) / 2
    header["CD1_1"], header["CD1_2"] = -scale * cos, scale * sin
    header["CD2_1"], header["CD2_2"] = scale * sin, scale * cos
    if sip:
        header["A_ORDER"], header["A_2_0"], header["A_1_1"] = 2, 2e-5, -1e-5
        header["B_ORDER"], header["B_0_2"], header["B_1_1"] = 2, -2e-5, 1e-5
    return header.tostring(sep="\n")


def random_sky(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))


def around(ra: float, dec: float, radius_deg: float, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points spread evenly over a cap."""
    rng = np.random.default_rng(seed)
    distance = np.degrees(np.arccos(1 - rng.random(n) * (1 - np.cos(np.radians(min(radius_deg, 180))))))
    points = SkyCoord(ra * u.deg, dec * u.deg).directional_offset_by(
        rng.uniform(0, 360, n) * u.deg, distance * u.deg
    )
    return points.ra.deg, points.dec.deg


def brute_force(text: str, width: int, height: int, ra: np.ndarray, dec: np.ndarray) -> dict[int, np.ndarray]:
    """One position at a time, by the general solver of astropy, checked on the sky."""
    wcs = WCS(fits.Header.fromstring(text, sep="\n"), naxis=2)
    scale = float(np.mean(proj_plane_pixel_scales(wcs)))
    found = {}
    for i, point in enumerate(SkyCoord(ra * u.deg, dec * u.deg)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what does not converge is not on the image
            xy = np.array(wcs.world_to_pixel(point)).ravel()
        if not np.isfinite(xy).all() or (xy < -0.5).any() or (xy >= [width - 0.5, height - 0.5]).any():
            continue
        if wcs.pixel_to_world(*xy).icrs.separation(point).deg < 0.05 * scale:
            found[i] = xy
    return found


skies = {
    "ra": st.floats(0, 360, exclude_max=True) | st.sampled_from([0.0, 359.9999, 180.0]),
    "dec": st.floats(-90, 90) | st.sampled_from([-90.0, -89.99, 41.81, 89.99, 90.0]),
    "angle": st.floats(0, 360),
    "scale": st.sampled_from([0.04, 0.4, 5.0, 60.0]),
    "shape": st.tuples(st.integers(20, 4000), st.integers(20, 4000)),
    "projection": st.sampled_from(["TAN", "ZEA", "STG", "SIN"]),
    "seed": st.integers(0, 2**31),
}


@settings(max_examples=25, deadline=None)
@given(**skies, sip=st.booleans())
@example(0.0, 90.0, 30.0, 60.0, (400, 300), "TAN", 1, False)
def test_positions_on_an_image_are_those_of_brute_force(
    ra: float, dec: float, angle: float, scale: float, shape: tuple[int, int], projection: str, seed: int,
    sip: bool,
) -> None:  # fmt: skip
    width, height = shape
    sip = sip and projection == "TAN" and max(shape) < 2000
    text = header_of(ra, dec, width, height, scale, angle, projection, sip=sip)
    near = around(ra, dec, 0.8 * np.hypot(width, height) * scale / 3600, 25, seed)
    far = random_sky(np.random.default_rng(seed), 10)
    lon, lat = np.concatenate([near[0], far[0]]), np.concatenate([near[1], far[1]])
    size = min(16, width, height)
    found = positions_in_image(text, width, height, lon, lat, size)
    expected = brute_force(text, width, height, lon, lat)
    assert found.position.tolist() == list(expected)
    for x, y, xy in zip(found.x, found.y, expected.values(), strict=True):
        assert np.hypot(x - xy[0], y - xy[1]) < 1e-3
    assert found.windows.dtype == np.int32
    assert (found.windows[:, 2:] - found.windows[:, :2] == size).all()
    assert (found.windows >= 0).all()
    assert (found.windows[:, 2:] <= [width, height]).all()
    dropped = positions_in_image(text, width, height, lon, lat, size, edge="drop")
    assert dropped.position.tolist() == found.position[~found.shifted].tolist()


@settings(max_examples=40, deadline=None)
@given(**skies)
@example(0.0, 90.0, 30.0, 60.0, (400, 300), "TAN", 1)
@example(359.9999, 0.0, 0.0, 0.4, (4000, 20), "TAN", 1)
def test_no_position_on_an_image_lacks_a_key_in_common_with_it(
    ra: float, dec: float, angle: float, scale: float, shape: tuple[int, int], projection: str, seed: int
) -> None:
    width, height = shape
    text = header_of(ra, dec, width, height, scale, angle, projection)
    keys = image_keys(text, width, height)
    rng = np.random.default_rng(seed)
    # Evenly, along the outline, and into the corners, where slivers of cells are.
    x = np.concatenate([rng.uniform(-0.5, width - 0.5, 3000), np.linspace(-0.5, width - 0.5, 2000)])
    y = np.concatenate([rng.uniform(-0.5, height - 0.5, 3000), np.full(2000, -0.5)])
    lon, lat = sky.pixel_to_sky(sky.wcs_of(text), np.append(x, width - 0.5), np.append(y, height - 0.5))
    index, theirs = position_keys(lon, lat, tuple(set(key_order(keys).tolist())))
    assert sorted(index.tolist()) == list(range(len(lon)))
    assert np.isin(theirs, keys).all()
    assert len(set(keys.tolist())) == len(keys) < 600


def test_a_join_on_keys_and_the_exact_test_find_all_pairs_of_a_survey() -> None:
    rng = np.random.default_rng(5)
    centers = [
        *zip(*random_sky(rng, 20), strict=True),
        (0.01, 0.0),
        (359.99, 0.0),
        (12.0, 89.9),
        (7.0, -90.0),
    ]
    images = [
        header_of(ra, dec, 300, 200, scale, rng.uniform(0, 360))
        for ra, dec in centers
        for scale in (0.5, 20.0)
    ]
    points = [random_sky(rng, 300), *(around(ra, dec, 0.6, 20, 3) for ra, dec in centers)]
    points += [around(ra, dec, 0.02, 5, 4) for ra, dec in centers]
    ra, dec = (np.concatenate(part) for part in zip(*points, strict=True))
    keys = [image_keys(text, 300, 200) for text in images]
    index, theirs = position_keys(ra, dec, tuple({int(o) for k in keys for o in key_order(k)}))
    pairs = set()
    candidates = 0
    for number, text in enumerate(images):
        chosen = np.unique(index[np.isin(theirs, keys[number])])
        candidates += len(chosen)
        found = positions_in_image(text, 300, 200, ra[chosen], dec[chosen], 32)
        pairs |= {(number, int(i)) for i in chosen[found.position]}
    expected = set()
    unit = unit_vectors(ra, dec)
    for number, text in enumerate(images):
        lon, lat = sky.pixel_to_sky(sky.wcs_of(text), 149.5, 99.5)
        near = np.flatnonzero(unit @ unit_vectors(lon, lat)[0] > np.cos(np.radians(2.0)))
        expected |= {(number, int(near[i])) for i in brute_force(text, 300, 200, ra[near], dec[near])}
    assert pairs == expected
    assert len(pairs) > 300
    assert candidates < 3 * len(pairs)


@pytest.mark.parametrize("order", [6, 9])
def test_the_cells_of_an_image_are_those_its_pixels_lie_in_and_few_more(order: int) -> None:
    for ra, dec in [(0.0, 0.0), (200.0, 89.9), (45.0, 41.81), (315.0, -41.81), (123.0, -60.0)]:
        text = header_of(ra, dec, 200, 150, 60.0, 25.0)
        x, y = np.meshgrid(np.arange(-0.5, 200, 0.5), np.arange(-0.5, 150, 0.5))
        lon, lat = sky.pixel_to_sky(sky.wcs_of(text), x.ravel(), y.ravel())
        touched = np.unique(position_cells(lon, lat, order))
        cells = image_cells(text, 200, 150, order)
        assert np.isin(touched, cells).all()
        assert len(cells) <= 2 * len(touched) + 8


def test_the_cells_of_an_all_sky_map_are_all_cells() -> None:
    text = header_of(0.0, 0.0, 360, 180, 3600.0, projection="AIT")
    assert image_cells(text, 360, 180, 3) is None
    assert image_keys(text, 360, 180).tolist() == list(range(4, 16))


@pytest.mark.parametrize("projection", ["AIT", "CAR", "MOL", "SFL", "CEA"])
@pytest.mark.parametrize("axes", [("RA--", "DEC-"), ("GLON", "GLAT")])
def test_all_sky_maps_show_every_position_once(projection: str, axes: tuple[str, str]) -> None:
    # A few more pixels than the sky has, so that its edge is on the map.
    text = header_of(0.0, 0.0, 364, 184, 3600.0, 180.0, projection=projection, axes=axes)
    ra, dec = random_sky(np.random.default_rng(1), 500)
    found = positions_in_image(text, 364, 184, ra, dec, 8)
    assert found.position.tolist() == list(range(500))
    back = sky.pixel_to_sky(sky.wcs_of(text), found.x, found.y)
    separation = SkyCoord(*back, unit="deg").separation(SkyCoord(ra, dec, unit="deg"))
    assert separation.arcsec.max() < 1e-3


def test_a_cylindrical_map_that_runs_past_180_degrees_holds_what_astropy_knows_of_it() -> None:
    header = fits.Header.fromstring(header_of(0.0, 0.0, 360, 180, 3600.0, projection="CAR"), sep="\n")
    header["CRPIX1"], header["CD1_1"] = 0.5, 1.0
    text = header.tostring(sep="\n")
    x, y = sky_to_pixel(text, 360, 180, [10.0, 170.0, 200.0, 350.0], [0.0, 20.0, 20.0, -30.0])
    np.testing.assert_allclose(x, [9.5, 169.5, np.nan, np.nan])
    np.testing.assert_allclose(y, [89.5, 109.5, np.nan, np.nan])
    assert not np.isfinite(sky.pixel_to_sky(sky.wcs_of(text), 199.5, 109.5)).any()


def test_the_far_side_of_the_sky_and_unknown_positions_are_on_no_image() -> None:
    text = header_of(10.0, 20.0, 5000, 5000, 60.0)
    for ra, dec in [
        (190.0, -20.0),
        (190.0, -20.01),
        (np.nan, 20.0),
        (10.0, np.nan),
        (10.0, 95.0),
        (np.inf, 0.0),
    ]:
        assert len(positions_in_image(text, 5000, 5000, [ra], [dec], 8).position) == 0
    assert len(positions_in_image(text, 5000, 5000, [], [], 8).position) == 0
    assert positions_in_image(text, 5000, 5000, [370.0], [20.0], 8).x.tolist() == pytest.approx([2499.5])


def test_polynomials_of_a_distortion_lead_no_distant_position_onto_the_image() -> None:
    text = header_of(150.0, 2.0, 1000, 1000, 0.4, sip=True)
    ra, dec = around(150.0, 2.0, 30.0, 4000, 8)
    expected = brute_force(text, 1000, 1000, ra[:200], dec[:200])
    found = positions_in_image(text, 1000, 1000, ra, dec, 8)
    true = SkyCoord(ra, dec, unit="deg").separation(SkyCoord(150, 2, unit="deg")).arcsec < 400
    assert set(found.position.tolist()) <= set(np.flatnonzero(true).tolist())
    assert [i for i in found.position.tolist() if i < 200] == list(expected)


def test_windows_are_those_of_astropy_cutouts() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(60, 80))
    x, y = rng.uniform(10, 70, 200), rng.uniform(10, 50, 200)
    x[:20], y[:20] = np.rint(x[:20]), np.rint(y[:20])
    for size in (15, 16):
        boxes, shifted = centered_windows(x, y, size, 80, 60)
        assert not shifted.any()
        for (x0, y0, x1, y1), position in zip(boxes, zip(x, y, strict=True), strict=True):
            np.testing.assert_array_equal(image[y0:y1, x0:x1], Cutout2D(image, position, size).data)


def test_windows_near_an_edge_are_moved_inside() -> None:
    boxes, shifted = centered_windows([0.0, 50.0, 99.0], [0.0, 40.0, 79.0], 20, 100, 80)
    assert boxes.tolist() == [[0, 0, 20, 20], [40, 30, 60, 50], [80, 60, 100, 80]]
    assert shifted.tolist() == [True, False, True]


def test_an_image_too_small_for_the_window_is_refused() -> None:
    with pytest.raises(ImageError, match="50 x 40 px") as caught:
        positions_in_image(header_of(1.0, 2.0, 50, 40, 1.0), 50, 40, [1.0], [2.0], 41)
    assert caught.value.kind == "smaller_than_window"


def test_larger_images_have_larger_cells() -> None:
    orders = [image_order(header_of(1.0, 2.0, n, n, 0.4), n, n) for n in (100, 400, 1600, 100_000)]
    assert orders == sorted(orders, reverse=True)
    assert len(set(orders)) == 4


@given(st.integers(0, 29), st.data())
def test_a_key_gives_back_its_order(order: int, data: st.DataObject) -> None:
    for cell in (0, 12 * 4**order - 1, data.draw(st.integers(0, 12 * 4**order - 1))):
        assert key_order(cell_key([cell], order)).tolist() == [order]


def test_real_images_find_the_positions_of_their_own_pixels(shared_data: Path) -> None:
    from elodin_spark.images.fits import describe_fits

    checked = 0
    for path in sorted((shared_data / "fits").iterdir()):
        if path.suffix == ".csv":
            continue
        try:
            image = describe_fits(str(path))
        except ImageError:
            continue
        if image.wcs is None:
            continue
        rng = np.random.default_rng(checked)
        x, y = rng.uniform(-0.5, image.width - 0.5, 50), rng.uniform(-0.5, image.height - 0.5, 50)
        ra, dec = sky.pixel_to_sky(sky.wcs_of(image.wcs), x, y)
        known = np.isfinite(dec)
        found_x, found_y = sky_to_pixel(image.wcs, image.width, image.height, ra, dec)
        np.testing.assert_allclose(found_x[known], x[known], atol=0.01, err_msg=path.name)
        np.testing.assert_allclose(found_y[known], y[known], atol=0.01, err_msg=path.name)
        keys = image_keys(image.wcs, image.width, image.height)
        index, theirs = position_keys(ra, dec, tuple(set(key_order(keys).tolist())))
        assert set(index[np.isin(theirs, keys)].tolist()) == set(np.flatnonzero(known).tolist()), path.name
        checked += 1
    assert checked > 20


def test_cells_agree_with_the_library_point_by_point() -> None:
    ra, dec = random_sky(np.random.default_rng(2), 50)
    healpix = astropy_healpix.HEALPix(2**7, order="nested")
    expected = [int(healpix.lonlat_to_healpix(a * u.deg, d * u.deg)) for a, d in zip(ra, dec, strict=True)]
    assert position_cells(ra, dec, 7).tolist() == expected
    assert position_cells([np.nan, 1.0, 361.0], [0.0, 91.0, 0.0], 7).tolist() == [
        -1,
        -1,
        int(position_cells(1.0, 0.0, 7)[0]),
    ]
