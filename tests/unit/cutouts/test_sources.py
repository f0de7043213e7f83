"""Sources are detected and measured, and each gets its window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sep
from hypothesis import given, settings
from hypothesis import strategies as st

from elodin_spark.cutouts import sources as module
from elodin_spark.cutouts.sources import (
    Sources,
    detect_sources,
    detect_sources_in_strips,
)
from elodin_spark.cutouts.sourcewindows import source_windows
from elodin_spark.errors import ImageError

TRUTH = [(40.0, 30.0, 8000.0), (150.25, 60.5, 5000.0), (90.0, 120.75, 20000.0), (20.0, 170.0, 3000.0)]


def stars(
    shape: tuple[int, int] = (200, 180),
    truth: list[tuple[float, float, float]] = TRUTH,
    sigma: float = 2.0,
    noise: float = 1.0,
    sky: float = 500.0,
) -> np.ndarray:
    """Gaussian stars given as (x, y, flux), by their value at the center of each pixel."""
    y, x = np.indices(shape)
    image = np.random.default_rng(1).normal(sky, noise, shape) if noise else np.full(shape, sky)
    for cx, cy, flux in truth:
        image += flux / (2 * np.pi * sigma**2) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
    return image.astype(np.float32)


def some_sources(boxes: list[tuple[int, int, int, int]], flux: list[float] | None = None) -> Sources:
    corners = np.array(boxes, np.int32).reshape(-1, 4)
    n = len(corners)
    one = np.ones(n)
    return Sources(
        x=(corners[:, 0] + corners[:, 2] - 1) / 2,
        y=(corners[:, 1] + corners[:, 3] - 1) / 2,
        flux=one if flux is None else np.array(flux, float),
        mag=None,
        a=one,
        b=one,
        theta_deg=one,
        ellipticity=one,
        half_light_px=one,
        boxes=corners,
        flags=np.zeros(n, np.int32),
    )


def test_stars_are_found_where_they_are_with_their_magnitude_and_size() -> None:
    found = detect_sources(stars(), zero_point=25.0)
    expected = sorted(TRUTH, key=lambda star: star[1])
    assert len(found) == len(TRUTH)
    np.testing.assert_allclose(found.x, [x for x, _, _ in expected], atol=0.1)
    np.testing.assert_allclose(found.y, [y for _, y, _ in expected], atol=0.1)
    assert found.mag is not None
    np.testing.assert_allclose(found.mag, [25 - 2.5 * np.log10(f) for _, _, f in expected], atol=0.12)
    # Half of the flux of a Gaussian is within sigma sqrt(2 ln 2).
    np.testing.assert_allclose(found.half_light_px, 2.0 * np.sqrt(2 * np.log(2)), rtol=0.1)
    assert (found.ellipticity < 0.1).all()


def test_a_tilted_galaxy_has_its_axes_and_angle() -> None:
    y, x = np.indices((120, 120))
    u = (x - 60) * np.cos(0.5) + (y - 60) * np.sin(0.5)
    v = -(x - 60) * np.sin(0.5) + (y - 60) * np.cos(0.5)
    image = 2000 * np.exp(-0.5 * ((u / 8) ** 2 + (v / 4) ** 2)) + np.random.default_rng(0).normal(
        0, 1, x.shape
    )
    found = detect_sources(image)
    assert len(found) == 1
    assert found.theta_deg[0] == pytest.approx(np.degrees(0.5), abs=1)
    assert found.ellipticity[0] == pytest.approx(0.5, abs=0.05)
    assert found.a[0] == pytest.approx(8, rel=0.1)
    assert found.mag is None
    x0, y0, x1, y1 = found.boxes[0]
    assert x0 < 60 - 8 < 60 + 8 < x1
    assert y0 < 60 < y1


def test_the_byte_order_and_type_of_the_pixels_do_not_matter() -> None:
    image = np.rint(stars())
    expected = detect_sources(image)
    for dtype in (">f4", "<f8", ">f8", ">i2", "<u2", "i4"):
        found = detect_sources(image.astype(dtype))
        np.testing.assert_array_equal(found.x, expected.x)
        np.testing.assert_array_equal(found.flux, expected.flux)
    np.testing.assert_array_equal(detect_sources(image[::-1][::-1]).y, expected.y)


def test_the_pixels_and_limits_that_are_given_stay_as_they_are() -> None:
    image = stars()
    image[5, 5] = np.nan
    before = image.copy(), sep.get_extract_pixstack(), sep.get_sub_object_limit()
    detect_sources(image)
    np.testing.assert_array_equal(image, before[0])
    assert (sep.get_extract_pixstack(), sep.get_sub_object_limit()) == before[1:]


def test_missing_pixels_are_no_sources_and_hide_no_others() -> None:
    image = stars()
    expected = detect_sources(image)
    image[:, 100:110] = np.nan
    image[:10] = np.inf
    image[190:] = -np.inf
    image[150, 60] = 1e30
    mask = np.zeros(image.shape, bool)
    mask[150, 60] = True
    found = detect_sources(image, mask)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.x, expected.x, atol=0.1)


def test_nothing_to_see_gives_no_sources() -> None:
    for image in (
        np.ones((50, 60), np.float32),
        np.full((50, 60), np.nan, np.float32),
        np.zeros((1, 1), np.float32),
        np.zeros((0, 5), np.float32),
        np.random.default_rng(0).normal(size=(100, 100)),
    ):
        found = detect_sources(image, zero_point=20.0, threshold_sigma=6.0)
        assert len(found) == 0
        assert found.boxes.shape == (0, 4)
        windows = source_windows(found, (50, 60), size_px=20).windows
        assert (windows.shape, windows.dtype) == ((0, 4), np.int32)


def test_images_smaller_than_a_sky_box_are_searched() -> None:
    image = stars((20, 30), [(15.0, 10.0, 3000.0)], sigma=1.0)
    assert len(detect_sources(image)) == 1


def test_sources_stand_out_of_a_sky_without_noise() -> None:
    found = detect_sources(stars(noise=0.0, sky=0.0))
    assert len(found) == len(TRUTH)


def test_the_threshold_follows_the_noise_from_place_to_place() -> None:
    rng = np.random.default_rng(4)
    image = rng.normal(0, 1, (256, 512)).astype(np.float32)
    image[:, 256:] *= 20
    assert len(detect_sources(image, threshold_sigma=5.0)) == 0


def test_color_is_refused() -> None:
    with pytest.raises(ImageError, match="one channel"):
        detect_sources(np.zeros((10, 10, 3), np.float32))


def crowded() -> np.ndarray:
    """Many peaks on one bright hill: one blend of many parts."""
    y, x = np.indices((300, 300))
    image = 300 * np.exp(-((x - 150) ** 2 + (y - 150) ** 2) / (2 * 60**2))
    rng = np.random.default_rng(0)
    for cx, cy in rng.integers(60, 240, (150, 2)):
        image[cy - 2 : cy + 3, cx - 2 : cx + 3] += 400
    return (image + rng.normal(0, 1, image.shape)).astype(np.float32)


def test_limits_are_raised_for_crowded_images(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = detect_sources(crowded())
    assert len(expected) > 20
    before = sep.get_extract_pixstack(), sep.get_sub_object_limit()
    try:
        sep.set_extract_pixstack(2000)
        sep.set_sub_object_limit(2)
        found = detect_sources(crowded())
        assert (sep.get_extract_pixstack(), sep.get_sub_object_limit()) == (2000, 2)
        np.testing.assert_array_equal(found.x, expected.x)
        monkeypatch.setattr(module, "MAX_BLEND_PARTS", 4)
        with pytest.raises(ImageError, match="raise threshold_sigma") as caught:
            detect_sources(crowded())
        assert caught.value.kind == "too_many_sources"
        monkeypatch.setattr(module, "MAX_ACTIVE_PIXELS", 4000)
        with pytest.raises(ImageError, match="raise threshold_sigma"):
            detect_sources(crowded())
    finally:
        sep.set_extract_pixstack(before[0])
        sep.set_sub_object_limit(before[1])


def field(shape: tuple[int, int], n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    grid = [(x, y) for x in range(20, shape[1] - 20, 30) for y in range(20, shape[0] - 20, 30)]
    chosen = rng.choice(len(grid), min(n, len(grid)), replace=False)
    truth = [
        (grid[i][0] + rng.uniform(-8, 8), grid[i][1] + rng.uniform(-8, 8), rng.uniform(2e3, 2e4))
        for i in chosen
    ]
    return stars(shape, truth)


@pytest.mark.parametrize("strip", [64, 100, 256, 1000])
def test_strips_find_the_sources_of_the_whole_image_once(strip: int) -> None:
    image = field((512, 200), 60, 2)
    expected = detect_sources(image, threshold_sigma=5.0, zero_point=25.0)
    assert len(expected) >= 55
    read = []

    def rows(y0: int, y1: int) -> tuple[np.ndarray, None, None]:
        read.append(y1 - y0)
        return image[y0:y1], None, None

    found = detect_sources_in_strips(
        rows, image.shape, strip_px=strip, margin_px=64, threshold_sigma=5.0, zero_point=25.0
    )
    assert max(read) <= strip + 128
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.x, expected.x, atol=0.1)
    np.testing.assert_allclose(found.y, expected.y, atol=0.1)
    np.testing.assert_allclose(found.mag, expected.mag, atol=0.1)


def test_a_source_on_a_seam_is_found_once() -> None:
    for y in np.arange(62.0, 66.05, 0.25):
        image = stars((128, 128), [(60.0, y, 9000.0)])
        found = detect_sources_in_strips(
            lambda a, b, image=image: (image[a:b], None, None),
            image.shape,
            strip_px=64,
            margin_px=32,
            threshold_sigma=8.0,
        )
        assert found.y.tolist() == pytest.approx([y], abs=0.1)


boxes_in = st.lists(
    st.tuples(st.integers(0, 95), st.integers(0, 75), st.integers(1, 20), st.integers(1, 20)).map(
        lambda b: (b[0], b[1], min(b[0] + b[2], 96), min(b[1] + b[3], 76))
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(boxes_in, st.integers(1, 76) | st.floats(0.5, 9.0), st.integers(1, 30), st.integers(0, 2**31))
def test_windows_are_distinct_squares_inside_the_image_and_every_source_has_one(
    boxes: list[tuple[int, int, int, int]], size: int | float, min_size: int, seed: int
) -> None:
    flux = np.random.default_rng(seed).integers(0, 3, len(boxes)).astype(float)
    sources = some_sources(boxes, flux.tolist())
    chosen = {"size_px": size} if isinstance(size, int) else {"extent_factor": size, "min_size_px": min_size}
    found = source_windows(sources, (76, 96), **chosen)
    rows = [tuple(row) for row in found.windows.tolist()]
    assert len(set(rows)) == len(rows)
    assert rows == sorted(rows, key=lambda w: (w[1], w[0], w[2]))
    assert len(found.window_of) == len(boxes)
    for number, (x0, y0, x1, y1) in enumerate(rows):
        assert 0 <= x0 < x1 <= 96
        assert 0 <= y0 < y1 <= 76
        assert x1 - x0 == y1 - y0
        members = np.flatnonzero(found.window_of == number)
        assert found.source[number] == min(members, key=lambda i: (-flux[i], i))
        for i in members:
            bx0, by0, bx1, by1 = boxes[i]
            wanted = (
                size if isinstance(size, int) else max(np.ceil(max(bx1 - bx0, by1 - by0) * size), min_size)
            )
            assert x1 - x0 == min(wanted, 76)
            middle = abs((x0 + x1) / 2 - (bx0 + bx1) / 2), abs((y0 + y1) / 2 - (by0 + by1) / 2)
            # Another source's window may have come to lie on this one by being moved inside.
            assert i != found.source[number] or found.shifted[number] or max(middle) <= 0.5


def test_the_order_of_the_sources_does_not_change_the_windows() -> None:
    boxes = [(5, 5, 9, 9), (60, 10, 70, 30), (5, 5, 9, 9), (30, 60, 35, 62)]
    flux = [1.0, 2.0, 3.0, 4.0]
    expected = source_windows(some_sources(boxes, flux), (76, 96), extent_factor=2.0)
    again = source_windows(some_sources(boxes[::-1], flux[::-1]), (76, 96), extent_factor=2.0)
    np.testing.assert_array_equal(again.windows, expected.windows)
    np.testing.assert_array_equal(3 - again.source, expected.source)


def test_one_size_and_room_for_it_are_needed() -> None:
    with pytest.raises(ValueError, match="one of"):
        source_windows(some_sources([]), (10, 10))
    with pytest.raises(ValueError, match="one of"):
        source_windows(some_sources([]), (10, 10), size_px=5, extent_factor=1.0)
    with pytest.raises(ImageError, match="does not hold one window of 11 px"):
        source_windows(some_sources([]), (10, 20), size_px=11)


def test_sources_of_a_real_field_are_those_seen_in_its_other_band(shared_data: Path) -> None:
    from astropy.io import fits

    bands = [
        fits.getdata(shared_data / "sdss_field" / f"frame-{band}-003918-3-0213.fits.bz2") for band in "ri"
    ]
    r, i = (detect_sources(pixels, zero_point=22.5) for pixels in bands)
    assert r.mag is not None
    bright = (r.mag < 20) & (r.x > 50) & (r.x < 1998) & (r.y > 50) & (r.y < 1439)
    assert bright.sum() > 50
    nearest = np.hypot(r.x[bright][:, None] - i.x, r.y[bright][:, None] - i.y).min(axis=1)
    # The bands of a drift scan are some pixels apart; the same shift fits all.
    assert (nearest < 12).mean() > 0.95
    assert np.nanmedian(r.half_light_px) == pytest.approx(2.0, abs=0.5)
