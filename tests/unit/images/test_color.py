"""Bands of one sky, aligned and stretched to color."""

from __future__ import annotations

import math
import pickle
import tracemalloc
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.visualization import make_lupton_rgb
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elodin_spark.config.color import ColorSettings
from elodin_spark.cutouts.stretch import asinh_stretch
from elodin_spark.errors import ImageError
from elodin_spark.images import sky
from elodin_spark.images.align import Alignment, Box, Grid, align
from elodin_spark.images.color import STRIP_ROWS, ColorImage, ColorStretch, LazyPlane
from elodin_spark.images.photometry import FluxUnit, flux_unit
from elodin_spark.images.planes import open_plane

SCALE = 0.4 / 3600  # deg a px


def in_memory(pixels: np.ndarray, wcs: str | None) -> LazyPlane:
    """A plane of an array."""
    height, width = pixels.shape
    return LazyPlane(Grid(wcs, width, height), lambda box: pixels[box[1] : box[3], box[0] : box[2]])


def compose(
    planes: dict[str, np.ndarray], wcs: dict[str, str | None], settings: ColorSettings
) -> NDArray[np.uint8]:
    """Arrays as one color image, composed strip by strip."""
    image = ColorImage({band: in_memory(plane, wcs.get(band)) for band, plane in planes.items()}, settings)
    width, height = image.grid.width, image.grid.height
    out = np.empty((height, width, 3), np.uint8)
    for y in range(0, height, STRIP_ROWS):
        out[y : y + STRIP_ROWS] = image.read((0, y, width, min(y + STRIP_ROWS, height)))
    return out


def header(
    width: int,
    height: int,
    dx: float = 0.0,
    dy: float = 0.0,
    angle: float = 0.0,
    scale: float = SCALE,
    **cards: Any,
) -> fits.Header:
    """A TAN grid whose pixel (x, y) shows what (x + dx, y + dy) of the plain one does, where not turned."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    values: dict[str, Any] = {
        "SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": width, "NAXIS2": height,
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 359.999, "CRVAL2": 42.0, "RADESYS": "ICRS",
        "CRPIX1": (width + 1) / 2 - dx, "CRPIX2": (height + 1) / 2 - dy,
        "CD1_1": -scale * cos, "CD1_2": scale * sin, "CD2_1": scale * sin, "CD2_2": scale * cos,
    }  # fmt: skip
    return fits.Header(list((values | cards).items()))


def text_of(cards: fits.Header) -> str:
    text = sky.header_text(cards)
    assert text is not None
    return text


def grid_of(cards: fits.Header) -> Grid:
    return Grid(text_of(cards), cards["NAXIS1"], cards["NAXIS2"])


def stars(
    grid: Grid, positions: SkyCoord, flux: float = 100.0, sigma_arcsec: float = 0.7
) -> NDArray[np.float32]:
    """Round stars of one flux at true places, sampled at the centers of pixels."""
    wcs = sky.wcs_of(grid.wcs or "")
    scale = sky.pixel_scale_arcsec(wcs)
    assert scale is not None
    sigma = sigma_arcsec / scale
    y, x = np.mgrid[: grid.height, : grid.width].astype(np.float64)
    image = np.zeros(x.shape)
    for column, row in zip(*wcs.world_to_pixel(positions), strict=True):
        image += np.exp(-0.5 * ((x - column) ** 2 + (y - row) ** 2) / sigma**2)
    return (image * flux / (2 * np.pi * sigma**2)).astype(np.float32)


def field(grid: Grid, number: int = 6) -> SkyCoord:
    rng = np.random.default_rng(5)
    x, y = rng.uniform(35, grid.width - 35, number), rng.uniform(35, grid.height - 35, number)
    return sky.wcs_of(grid.wcs or "").pixel_to_world(x, y).icrs


def resampled(
    alignment: Alignment, pixels: np.ndarray, box: Box | None = None, **options: Any
) -> NDArray[np.float32]:
    box = box or (0, 0, alignment.target.width, alignment.target.height)
    x0, y0, x1, y1 = window = alignment.window(box)
    return alignment.resample(pixels[y0:y1, x0:x1], window, box, **options)


def moments(image: np.ndarray, x: float, y: float, radius: int = 9) -> tuple[float, float, float]:
    """Flux and centroid within a square around a place."""
    column, row = round(x), round(y)
    cut = np.nan_to_num(image[row - radius : row + radius + 1, column - radius : column + radius + 1])
    rows, columns = np.mgrid[row - radius : row + radius + 1, column - radius : column + radius + 1]
    flux = float(cut.sum(dtype=np.float64))
    return flux, float((cut * columns).sum() / flux), float((cut * rows).sum() / flux)


def color_settings(**changes: Any) -> ColorSettings:
    values: dict[str, Any] = {
        "grouping": {"kind": "pattern", "pattern": "f-{band}.fits"},
        "channels": ["i", "r", "g"],
    }
    return ColorSettings.model_validate(values | changes)


def noisy(shape: tuple[int, int], seed: int = 0, level: float = 10.0) -> NDArray[np.float32]:
    """Sky of noise 1 with some bright pixels."""
    rng = np.random.default_rng(seed)
    image = rng.normal(level, 1.0, shape)
    bright = rng.random(shape) < 0.01
    image[bright] += rng.exponential(200.0, int(bright.sum()))
    return image.astype(np.float32)


TURNED = {
    "whole px": {"dx": 7.0, "dy": -4.0},
    "part of a px": {"dx": -2.65, "dy": 9.06},
    "half a px": {"dx": 0.5, "dy": 0.5},
    "turned": {"dx": 3.3, "angle": 33.0},
    "coarser px": {"angle": -10.0, "scale": 1.5 * SCALE, "width": 200, "height": 180},
    "finer px": {"angle": 120.0, "scale": 0.35 * SCALE, "width": 700, "height": 660},
    "another frame": {"RADESYS": "FK5", "dx": 0.3},
    "distorted": {
        "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2,
        "A_2_0": 1e-5, "B_0_2": -2e-5, "AP_ORDER": 1, "BP_ORDER": 1,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", TURNED)
def test_stars_keep_their_places_and_fluxes_on_another_grid(name: str) -> None:
    target = grid_of(header(240, 220))
    source = grid_of(header(**({"width": 260, "height": 250} | TURNED[name])))
    places = field(target)
    alignment = align(target, source)
    assert alignment.kind == ("shifted" if name == "whole px" else "resampled")
    moved = resampled(alignment, stars(source, places))
    assert moved.shape == (220, 240)
    assert moved.dtype == np.float32
    for x, y in zip(*sky.wcs_of(target.wcs or "").world_to_pixel(places), strict=True):
        flux, column, row = moments(moved, float(x), float(y))
        assert flux == pytest.approx(100.0, rel=0.01)
        assert math.hypot(column - x, row - y) < 0.03


def test_a_fraction_of_a_pixel_is_undone_to_a_percent_of_the_peak() -> None:
    target, source = grid_of(header(240, 220)), grid_of(header(240, 220, dx=0.5, dy=-1.5))
    places = field(target)
    truth, moved = stars(target, places), resampled(align(target, source), stars(source, places))
    inside = np.isfinite(moved)
    assert np.abs(moved - truth)[inside].max() < 0.01 * truth.max()


def test_whole_pixels_are_copied_and_what_is_not_covered_is_unknown() -> None:
    target, source = grid_of(header(40, 30)), grid_of(header(40, 30, dx=7, dy=-4))
    image = noisy((30, 40))
    moved = resampled(align(target, source), image)
    expected = np.full((30, 40), np.nan, np.float32)
    expected[:26, 7:] = image[4:, :33]
    np.testing.assert_array_equal(moved, expected)


def test_brightness_per_area_does_not_grow_with_the_pixels() -> None:
    target = grid_of(header(60, 60))
    for unit, expected in (("MJy/sr", 3.0), ("Jy/beam", 3.0), ("nanomaggy / per px", 3.0 / 1.5**2)):
        source = grid_of(header(80, 80, scale=1.5 * SCALE, BUNIT=unit))
        moved = resampled(align(target, source), np.full((80, 80), 3.0, np.float32))
        np.testing.assert_allclose(moved, expected, rtol=1e-4)


def test_unknown_pixels_stay_unknown_and_leave_their_surroundings_alone() -> None:
    target, source = grid_of(header(80, 80)), grid_of(header(80, 80, dx=0.4, dy=0.4))
    image = np.full((80, 80), 1000.0, np.float32)
    image[30:40, 30:40] = np.nan
    moved = resampled(align(target, source), image, background=1000.0)
    unknown = ~np.isfinite(moved[5:75, 5:75])
    assert 100 <= unknown.sum() <= 12 * 12
    np.testing.assert_allclose(moved[5:75, 5:75][~unknown], 1000.0, rtol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 199), st.integers(0, 179), st.integers(1, 90), st.integers(1, 90))
def test_a_box_is_the_same_on_its_own_as_in_the_whole(x0: int, y0: int, width: int, height: int) -> None:
    image, whole = turned_image()
    box = (x0, y0, min(x0 + width, 200), min(y0 + height, 180))
    alone = image.read(box).astype(int)
    assert np.abs(alone - whole[box[1] : box[3], box[0] : box[2]]).max() <= 1  # of 255: rounding


@cache
def turned_image() -> tuple[ColorImage, NDArray[np.uint8]]:
    grids = {
        "r": grid_of(header(200, 180)),
        "i": grid_of(header(230, 230, angle=25.0, dx=0.2)),
        "g": grid_of(header(210, 190, dx=2.4, dy=-3.3)),
    }
    rng = np.random.default_rng(1)
    planes, wcs = {}, {band: grid.wcs for band, grid in grids.items()}
    for band, grid in grids.items():
        noise = rng.normal(5.0, 0.2, (grid.height, grid.width))
        planes[band] = (stars(grid, field(grids["r"])) + noise).astype(np.float32)
    planes["g"][50:60, 70:90] = np.nan
    lazy = {band: in_memory(planes[band], wcs[band]) for band in planes}
    return ColorImage(lazy, color_settings()), compose(planes, wcs, color_settings())


def test_lupton_color_is_that_of_astropy_on_the_whole_image() -> None:
    planes = {band: noisy((300, 70), seed) for seed, band in enumerate("irg")}
    made = compose(
        planes, {}, color_settings(stretch={"kind": "lupton", "q": 5, "stretch": 20, "minimum": -1.0})
    )
    sky_of = ColorStretch.fit(planes, color_settings()).sky
    above = [planes[band] - np.float32(sky_of[band]) for band in "irg"]
    oracle = np.rint(make_lupton_rgb(*above, minimum=-1.0, stretch=20, Q=5, output_dtype=np.float64) * 255)
    brightness = 0.1 * np.arcsinh(5 * (np.mean(above, axis=0) + 1) / 20) / np.arcsinh(0.5)
    core = brightness > 0.79  # whose hue is that of their rims
    assert 0 < core.sum() < 0.01 * core.size
    np.testing.assert_array_equal(made[~core], oracle[~core])


def saturated_star(caps: dict[str, float], x: int = 50, y: int = 40) -> dict[str, NDArray[np.float32]]:
    """One star of one hue on noise of 1, each band cut off at its own level, as detectors do."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:80, :100]
    star = 60_000 * np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) / 2.5**2)
    planes = {}
    for band, share in HUE.items():
        values = np.minimum(star * share, caps.get(band, np.inf))
        planes[band] = (values + rng.normal(5.0, 1.0, star.shape)).astype(np.float32)
    return planes


HUE = {"i": 1.0, "r": 0.6, "g": 0.3}


@pytest.mark.parametrize(
    "caps", [{}, {"i": 3000.0}, {"r": 2000.0}, {"g": 1500.0}, {"i": 5000.0, "g": 1000.0}, {"r": 0.0 + 900}]
)
def test_saturated_cores_have_the_hue_of_their_star(caps: dict[str, float]) -> None:
    made = compose(saturated_star(caps), {}, color_settings()).astype(float)
    core = made[36:45, 46:55].reshape(-1, 3)  # 1.8 sigma and less: all above the caps
    assert (core.max(axis=1) > 200).all()
    np.testing.assert_allclose(core[:, 1] / core[:, 0], 0.6, atol=0.05)
    np.testing.assert_allclose(core[:, 2] / core[:, 0], 0.3, atol=0.05)


def test_a_saturated_core_across_boxes_is_that_of_the_whole() -> None:
    planes = saturated_star({"i": 3000.0, "g": 900.0})
    lazy = {band: in_memory(plane, None) for band, plane in planes.items()}
    image = ColorImage(lazy, color_settings())
    whole = image.read((0, 0, 100, 80))
    for x in (37, 48, 50, 63):
        for y in (29, 40, 41):
            boxes = [(0, 0, x, y), (x, 0, 100, y), (0, y, x, 80), (x, y, 100, 80)]
            for x0, y0, x1, y1 in boxes:
                apart = image.read((x0, y0, x1, y1)).astype(int) - whole[y0:y1, x0:x1]
                assert np.abs(apart).max() <= 1  # of 255: rounding


def test_the_brightest_star_of_the_sdss_field_has_no_false_core(shared_data: Path) -> None:
    planes, samples = {}, {}
    for band in "irg":
        with fits.open(shared_data / "sdss_field" / f"frame-{band}-003918-3-0213.fits.bz2") as hdus:
            pixels = np.ascontiguousarray(hdus[0].data, np.float32)
            planes[band] = in_memory(pixels, text_of(hdus[0].header))
            samples[band] = pixels[::4, ::4]
    weighted = color_settings(weights={"r": 1.16, "g": 1.6})
    image = ColorImage(planes, weighted, ColorStretch.fit(samples, weighted))
    made = image.read((1634, 698, 1694, 758)).astype(float)
    core = made[made.mean(axis=2) > 215]
    assert len(core) > 20
    assert (core.min(axis=1) / core.max(axis=1)).min() > 0.75  # magenta and cyan, 0.4, by their own values


def test_a_color_does_not_depend_on_brightness() -> None:
    levels = np.array([[3.0, 10.0, 30.0, 90.0]], np.float32)
    samples = {band: np.random.default_rng(2).normal(0, 1, 10_000) for band in "irg"}
    stretch = ColorStretch.fit(samples, color_settings(stretch={"kind": "lupton", "minimum": 0.0}))
    shares = {"i": 1.0, "r": 0.5, "g": 0.25}
    made = stretch.apply({b: levels * share + np.float32(stretch.sky[b]) for b, share in shares.items()})
    assert (np.diff(made[0, :, 0].astype(int)) > 0).all()
    ratios = made[0, 1:, 1:] / made[0, 1:, :1]
    np.testing.assert_allclose(ratios, np.broadcast_to([0.5, 0.25], ratios.shape), atol=0.02)


def test_each_channel_may_have_the_stretch_of_a_single_image() -> None:
    planes = {band: noisy((90, 110), seed, level=50 * seed) for seed, band in enumerate("irg")}
    made = compose(planes, {}, color_settings(stretch={"kind": "asinh", "white_percentile": 99.0}))
    for number, band in enumerate("irg"):
        oracle = np.rint(asinh_stretch(planes[band], white_percentile=99.0) * 255)
        assert np.abs(made[..., number].astype(int) - oracle).max() <= 1


def test_a_channel_may_be_the_mean_of_bands_with_weights() -> None:
    planes = {band: noisy((64, 64), seed) for seed, band in enumerate("zirg")}
    fixed = {"kind": "lupton", "stretch": 20, "minimum": 0}
    mixed = color_settings(channels=[["z", "i"], "r", "g"], weights={"z": 3.0}, stretch=fixed)
    stretch = ColorStretch.fit(planes, mixed)
    red = (3 * (planes["z"] - stretch.sky["z"]) + planes["i"] - stretch.sky["i"]) / 2
    by_hand = stretch.apply(planes)
    plain = ColorStretch.fit({"i": red, "r": planes["r"], "g": planes["g"]}, color_settings(stretch=fixed))
    other = plain.apply({"i": red + np.float32(plain.sky["i"]), "r": planes["r"], "g": planes["g"]})
    assert np.abs(by_hand.astype(int) - other).max() <= 1


def test_weights_by_noise_make_bands_of_different_units_alike() -> None:
    planes = {"i": noisy((80, 80), 0), "r": 1000 * noisy((80, 80), 1), "g": 0.01 * noisy((80, 80), 2)}
    stretch = ColorStretch.fit(planes, color_settings(weights="noise"))
    for band in "irg":
        assert stretch.weights[band] * stretch.noise[band] == pytest.approx(1.0)
    made = stretch.apply(planes)
    brightness = made.reshape(-1, 3).mean(axis=0)
    assert brightness.max() / brightness.min() < 1.3


UNITS = {
    "nanomaggy": ({"BUNIT": "nanomaggy", "NMGY": 0.005}, 3.631, False),
    "nJy": ({"BUNIT": "nJy"}, 1e-3, False),
    "mJy is not MJy": ({"BUNIT": "mJy"}, 1e3, False),
    "MJy/sr": ({"BUNIT": "MJy/sr"}, 1.0, True),
    "MAGZERO": ({"MAGZERO": 30.0, "MAGZPT": 24.8}, 3631e6 * 10**-12.0, False),
    "MAGZP": ({"MAGZP": 22.5}, 3.631, False),
    "PHOTZP": ({"PHOTZP": " 25.0 "}, 0.3631, False),
    "FLUXMAG0": ({"FLUXMAG0": 63095734448.0194}, 0.05754594, False),  # of magnitude 27
    # AB zero point of ACS F814W: 25.947, by -2.5 log PHOTFLAM - 5 log PHOTPLAM - 2.408.
    "PHOTFLAM": ({"PHOTFLAM": 7.033e-20, "PHOTPLAM": 8045.0, "BUNIT": "ELECTRONS/S"}, 0.15183, False),
    "electrons": (
        {"PHOTFLAM": 7.033e-20, "PHOTPLAM": 8045.0, "BUNIT": "ELECTRONS", "EXPTIME": 100.0},
        0.0015183,
        False,
    ),
    "FPA.ZP": ({"HIERARCH FPA.ZP": 25.0, "EXPTIME": 10.0}, 0.03631, False),
    "unknown": ({"PHOTFLAM": 0.0, "MAGZERO": 0.0, "BUNIT": "adu", "EXPTIME": 5.0}, None, False),
    "a word": ({"MAGZERO": "none"}, None, False),
}


@pytest.mark.parametrize("name", UNITS)
def test_the_worth_of_a_unit_is_found_where_headers_keep_it(name: str) -> None:
    cards, value, surface = UNITS[name]
    found = flux_unit([fits.Header(), fits.Header(list(cards.items()))])
    assert found == (None if value is None else (pytest.approx(value, rel=1e-3), surface))


def test_bands_are_brought_to_one_unit_by_their_zero_points(tmp_path: Path) -> None:
    truth = saturated_star({})
    zero_points = {"i": 25.0, "r": 26.0, "g": 24.5}
    lazy, plain = {}, {}
    for band, zero_point in zero_points.items():
        counts = truth[band] * np.float32(10 ** (0.4 * (zero_point - 26.0)))
        fits.writeto(tmp_path / f"{band}.fits", counts, fits.Header({"MAGZERO": zero_point}))
        with open_plane(str(tmp_path / f"{band}.fits"), 0) as plane:
            lazy[band] = replace(in_memory(plane.read(0, 80), None), unit=plane.flux_unit)
        plain[band] = in_memory(truth[band], None)
    box = (0, 0, 100, 80)
    image, expected = ColorImage(lazy, color_settings()), ColorImage(plain, color_settings())
    assert np.abs(image.read(box).astype(int) - expected.read(box)).max() <= 1
    assert image.stretch.weights == pytest.approx({"i": 10**0.4, "r": 1.0, "g": 10**0.6})
    given = color_settings(weights={"i": 2.0})
    assert ColorImage(lazy, given).stretch.weights == pytest.approx({"i": 2.0, "r": 1.0, "g": 10**0.6})
    lacking = lazy | {"g": replace(lazy["g"], unit=None)}
    assert set(ColorImage(lacking, color_settings()).stretch.weights.values()) == {1.0}
    mixed = lazy | {"g": replace(lazy["g"], unit=FluxUnit(1.0, True))}
    assert set(ColorImage(mixed, color_settings()).stretch.weights.values()) == {1.0}


def test_the_sky_is_found_beside_bright_sources() -> None:
    stretch = ColorStretch.fit({b: noisy((200, 200), 3, level=1234.0) for b in "irg"}, color_settings())
    assert stretch.sky["r"] == pytest.approx(1234.0, abs=0.03)
    assert stretch.noise["r"] == pytest.approx(1.0, abs=0.05)


def test_pixels_that_one_band_lacks_are_black() -> None:
    planes = {band: noisy((30, 40), seed) for seed, band in enumerate("irg")}
    planes["g"][5:9, 6:11] = np.nan
    planes["i"][20, 3] = np.inf
    made = compose(planes, {}, color_settings(stretch={"kind": "lupton", "minimum": -50.0}))
    dark = np.zeros((30, 40), bool)
    dark[5:9, 6:11] = dark[20, 3] = True
    np.testing.assert_array_equal(made.max(axis=2) == 0, dark)


def test_a_flat_image_is_black_and_raises_no_warning() -> None:
    planes = {band: np.full((20, 20), 7.0, np.float32) for band in "irg"}
    for kind in ("lupton", "asinh"):
        assert compose(planes, {}, color_settings(stretch={"kind": kind})).max() == 0


def test_bands_that_cannot_be_put_together_are_refused_by_name() -> None:
    here, there = header(20, 20), header(20, 20, CRVAL2=10.0)
    image = noisy((20, 20))
    planes = dict.fromkeys("irg", image)
    wcs: dict[str, str | None] = dict.fromkeys("irg", text_of(here))
    for changed, kind in (({"g": text_of(there)}, "no_overlap"), ({"g": None}, "no_wcs")):
        with pytest.raises(ImageError, match="band g") as caught:
            compose(planes, wcs | changed, color_settings())
        assert caught.value.kind == kind
    with pytest.raises(ImageError, match="no plane of band g"):
        compose({"i": image, "r": image}, wcs, color_settings())
    with pytest.raises(ImageError, match="no pixel is known"):
        compose(planes | {"g": np.full((20, 20), np.nan)}, wcs, color_settings())


def test_a_stretch_travels_to_other_processes_and_gives_the_same() -> None:
    planes = {band: noisy((50, 60), seed) for seed, band in enumerate("irg")}
    for kind in ("lupton", "asinh"):
        stretch = ColorStretch.fit(planes, color_settings(stretch={"kind": kind}))
        again = pickle.loads(pickle.dumps(stretch))
        assert again == stretch == ColorStretch.fit(planes, color_settings(stretch={"kind": kind}))
        np.testing.assert_array_equal(again.apply(planes), stretch.apply(planes))


def test_memory_beside_the_result_does_not_grow_with_the_image() -> None:
    settings_ = color_settings()
    peaks = []
    for rows in (1024, 4096):
        planes = {band: noisy((rows, 512), seed) for seed, band in enumerate("irg")}
        tracemalloc.start()
        made = compose(planes, {}, settings_)
        peaks.append(tracemalloc.get_traced_memory()[1] - made.nbytes)
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


def test_sdss_bands_coincide_after_alignment(shared_data: Path) -> None:
    sep = pytest.importorskip("sep")
    from scipy.spatial import cKDTree

    planes, found, flux_ratios = {}, {}, {}
    for band in "irg":
        with fits.open(shared_data / "sdss_field" / f"frame-{band}-003918-3-0213.fits.bz2") as hdus:
            pixels = np.ascontiguousarray(hdus[0].data, np.float32)
            planes[band] = in_memory(pixels, text_of(hdus[0].header))
    image = ColorImage(planes, color_settings())
    for band, pixels in image.bands((0, 0, 2048, 1489)).items():
        above = np.nan_to_num(pixels - np.float32(image.stretch.sky[band]))
        objects = sep.extract(above, 15 * image.stretch.noise[band], minarea=6)
        x, y, flag = sep.winpos(above, objects["x"], objects["y"], np.full(len(objects), 1.5))
        # Stars: round, alone, not saturated.
        star = (objects["flag"] == 0) & (flag == 0) & (objects["peak"] < 15)
        star &= objects["b"] / objects["a"] > 0.8
        star &= (np.abs(x - 1024) < 1000) & (np.abs(y - 745) < 720)
        found[band] = x[star], y[star]
        before = planes[band].read((0, 0, 2048, 1489)) - np.float32(image.stretch.sky[band])
        there = image.alignments[band].positions(*found[band])
        fluxes = [sep.sum_circle(*at, 6.0, subpix=10)[0] for at in ((above, *found[band]), (before, *there))]
        flux_ratios[band] = (fluxes[0] / fluxes[1])[fluxes[1] > 5]
    for band in "ig":
        apart, _ = cKDTree(np.stack(found[band], axis=1)).query(np.stack(found["r"], axis=1))
        apart = apart[apart < 2]
        assert len(apart) >= 30
        assert np.median(apart) < 0.12
        assert np.percentile(apart, 95) < 0.3
        np.testing.assert_allclose(flux_ratios[band], 1.0, atol=0.01)
    # Before, they lie pixels apart.
    shift = image.alignments["g"].positions([1000.0], [700.0])
    assert abs(shift[1][0] - 700) > 8
