"""The quality of windows is what counting their pixels one by one gives."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from astropy.stats import mad_std, sigma_clip
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from elodin_spark.config.quality import FractionRule, QualitySettings
from elodin_spark.cutouts import quality as module
from elodin_spark.cutouts.fill import fill_nodata
from elodin_spark.cutouts.quality import Verdict, judge, no_data, pixels_to_fill, window_quality
from elodin_spark.cutouts.skylevel import CLIP_ROUNDS, MIN_SKY_PX, clipped_median_and_sigma
from elodin_spark.errors import ImageError
from elodin_spark.schema import QUALITY

BITS = {"BAD": 0, "SAT": 1, "CR": 3, "EDGE": 7, "NEVER": 5}


def scene(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels with holes of every kind, and a mask plane."""
    pixels = rng.normal(100, 5, (height, width)).astype(np.float32)
    pixels[rng.random(pixels.shape) < 0.1] = np.nan
    pixels[rng.random(pixels.shape) < 0.02] = np.inf
    pixels[rng.random(pixels.shape) < 0.02] = -np.inf
    pixels[rng.random(pixels.shape) < 0.05] = 0.0
    pixels[rng.random(pixels.shape) < 0.05] = 60_000.0
    mask = np.zeros(pixels.shape, np.int32)
    for number in (0, 1, 3, 7):
        mask[rng.random(pixels.shape) < 0.05 * number + 0.02] |= 1 << number
    return pixels, mask


def random_windows(rng: np.random.Generator, n: int, height: int, width: int) -> np.ndarray:
    x = np.sort(rng.integers(0, width + 1, (n, 2)), axis=1)
    y = np.sort(rng.integers(0, height + 1, (n, 2)), axis=1)
    windows = np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)
    return windows[(windows[:, 0] < windows[:, 2]) & (windows[:, 1] < windows[:, 3])].astype(np.int32)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 60), st.sampled_from([1, 3, 40]),
    st.sampled_from(["i4", ">i4", "u1", "i8", "u2"]), st.sampled_from([40, 2**18]),
)  # fmt: skip
def test_fractions_are_those_of_counting_pixels(
    seed: int, height: int, width: int, n: int, dtype: str, band: int
) -> None:
    rng = np.random.default_rng(seed)
    pixels, mask = scene(rng, height, width)
    windows = random_windows(rng, n, height, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BAND_PIXELS", band)
        found = window_quality(
            pixels, windows, mask=mask.astype(dtype), mask_bits=BITS, bad_bits=("BAD", "CR", "OTHER"),
            saturation_level=50_000.0, blank=0.0,
        )  # fmt: skip
    assert len(found) == len(windows)
    for i, (x0, y0, x1, y1) in enumerate(windows):
        cut, bits = pixels[y0:y1, x0:x1], mask[y0:y1, x0:x1]
        total = cut.size
        unknown = sum(not np.isfinite(v) or v == 0 for v in cut.ravel())
        assert found.nodata_fraction[i] == pytest.approx(unknown / total)
        assert found.saturated_fraction[i] == pytest.approx(sum(v >= 5e4 for v in cut.ravel()) / total)
        assert found.masked_fraction[i] == pytest.approx(sum(v & 9 != 0 for v in bits.ravel()) / total)
        for name, number in BITS.items():
            fraction = sum(int(v) >> number & 1 for v in bits.ravel()) / total
            if name in found.bit_fractions:
                assert found.bit_fractions[name][i] == pytest.approx(fraction)
            else:
                assert fraction == 0
        assert found.edge_px[i] == min(x0, y0, width - x1, height - y1)


def test_sky_and_noise_are_those_of_astropy() -> None:
    rng = np.random.default_rng(3)
    pixels, mask = scene(rng, 200, 200)
    windows = random_windows(rng, 40, 200, 200)
    windows[:, 2:] = np.minimum(windows[:, :2] + 30, 200)  # small enough that every pixel is used
    found = window_quality(pixels, windows, mask=mask, mask_bits=BITS, bad_bits=("BAD",), blank=0.0)
    checked = 0
    for i, (x0, y0, x1, y1) in enumerate(windows):
        cut = pixels[y0:y1, x0:x1].astype(np.float64)
        good = np.isfinite(cut) & (cut != 0) & (mask[y0:y1, x0:x1] & 1 == 0)
        if good.sum() < MIN_SKY_PX:
            assert np.isnan(found.sky[i])
            assert np.isnan(found.sky_sigma[i])
            continue
        kept = sigma_clip(cut[good], sigma=3, maxiters=5, stdfunc="mad_std", masked=False)
        assert found.sky[i] == pytest.approx(np.median(kept), rel=1e-5)
        assert found.sky_sigma[i] == pytest.approx(mad_std(kept), rel=1e-4)
        checked += 1
    assert checked > 30


def test_a_sample_of_a_large_window_gives_its_sky_and_noise() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.normal(-3, 2, (600, 600)).astype(np.float32)
    pixels[::7] += 40  # a pattern of rows that a regular sample might fall in step with
    pixels[100:160, 100:160] += 500
    found = window_quality(pixels, [[0, 0, 512, 512], [88, 88, 600, 600]])
    np.testing.assert_allclose(found.sky, -3, atol=0.4)
    np.testing.assert_allclose(found.sky_sigma, 2, rtol=0.15)


def test_a_sky_without_noise_has_none() -> None:
    found = window_quality(np.full((40, 40), 7.0, np.float32), [[0, 0, 40, 40]])
    assert (found.sky[0], found.sky_sigma[0]) == (7.0, 0.0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(16, 300))
def test_clipping_rows_together_is_clipping_each(seed: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_t(1.5, (6, m)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    values[5] = np.round(values[5])
    median, sigma = clipped_median_and_sigma(values)
    for i, row in enumerate(values):
        kept = row[~np.isnan(row)].astype(np.float64)
        if len(kept) < MIN_SKY_PX:
            assert np.isnan(median[i])
            continue
        for _ in range(CLIP_ROUNDS):
            middle = np.median(kept)
            spread = 1.4826022185056018 * np.median(np.abs(kept - middle))
            kept = kept[np.abs(kept - middle) <= 3 * spread * (1 + 1e-6)]
        assert median[i] == pytest.approx(np.median(kept), rel=1e-4, abs=1e-4)
        assert sigma[i] == pytest.approx(
            1.4826022185056018 * np.median(np.abs(kept - np.median(kept))), rel=1e-3, abs=1e-4
        )


def test_a_window_outside_the_pixels_is_an_error() -> None:
    with pytest.raises(ValueError, match="leaves the pixels"):
        window_quality(np.zeros((40, 60), np.float32), [[0, 10, 20, 41]])


def test_colors_and_integers_have_quality_too() -> None:
    color = np.zeros((20, 20, 3), np.uint8)
    color[..., 0], color[..., 1], color[..., 2] = 30, 60, 90
    color[:10, :5, 1] = 255
    found = window_quality(color, [[0, 0, 20, 20]], saturation_level=255)
    assert found.saturated_fraction.tolist() == pytest.approx([50 / 400])
    assert found.nodata_fraction.tolist() == [0]
    assert found.sky.tolist() == [60.0]
    assert no_data(np.dstack([color.astype(float), np.full((20, 20), np.nan)])).all()


def test_columns_follow_the_schema_and_what_is_unknown_is_null() -> None:
    pixels, mask = scene(np.random.default_rng(0), 40, 40)
    windows = [[0, 0, 40, 40], [10, 10, 12, 12]]
    bare = pa.RecordBatch.from_pydict(window_quality(pixels, windows).columns(), schema=QUALITY)
    for name in ("masked_fraction", "mask_fractions", "saturated_fraction", "shifted"):
        assert bare.column(name).null_count == 2
    assert bare.column("sky").is_valid().to_pylist() == [True, False]
    assert bare.column("sky_sigma").is_valid().to_pylist() == [True, False]

    mask[10:12, 10:12] = 0
    mask[10, 10] = 8
    found = window_quality(
        pixels,
        windows,
        mask=mask,
        mask_bits=BITS,
        bad_bits=("CR",),
        saturation_level=1.0,
        shifted=np.array([True, False]),
    )
    full = pa.RecordBatch.from_pydict(found.columns(), schema=QUALITY).to_pylist()
    assert full[1]["mask_fractions"] == [("CR", 0.25)]
    assert {name for name, _ in full[0]["mask_fractions"]} == {"BAD", "SAT", "CR", "EDGE"}
    assert [row["shifted"] for row in full] == [True, False]
    assert all(None not in row.values() for row in full[:1])
    empty = window_quality(pixels, np.empty((0, 4), np.int32), mask=mask, mask_bits=BITS).columns()
    assert pa.RecordBatch.from_pydict(empty, schema=QUALITY).num_rows == 0


def test_a_bit_beyond_the_mask_is_an_error() -> None:
    with pytest.raises(ImageError, match="8 bits, but bit 12"):
        window_quality(
            np.zeros((5, 5)),
            [[0, 0, 5, 5]],
            mask=np.zeros((5, 5), "u1"),
            mask_bits={"X": 12},
            bad_bits=("X",),
        )


# ---- rules ---------------------------------------------------------------------------------


def test_rules_keep_fill_and_reject_by_fraction() -> None:
    pixels = np.zeros((10, 50), np.float32)
    pixels[:2, 10:20] = np.nan
    pixels[:8, 20:30] = np.nan
    mask = np.zeros(pixels.shape, np.uint16)
    mask[0, 30:40] = 1 << 3
    windows = [[x, 0, x + 10, 10] for x in range(0, 50, 10)]
    quality = window_quality(pixels, windows, mask=mask, mask_bits=BITS, bad_bits=("CR",))
    chosen = QualitySettings(
        nodata=FractionRule(fill_above=0.0, reject_above=0.5),
        bits={"CR": FractionRule(reject_above=0.05), "SAT": FractionRule(reject_above=0.0)},
    )
    verdicts, reasons = judge(quality, chosen)
    assert verdicts.tolist() == [Verdict.KEEP, Verdict.FILL, Verdict.REJECT, Verdict.REJECT, Verdict.KEEP]
    assert reasons[2] == "0.800 of the window has no data, more than 0.5"
    assert reasons[3] == "0.100 of the window has mask bit CR, more than 0.05"
    assert [reason is None for reason in reasons] == [True, True, False, False, True]
    assert judge(quality, QualitySettings())[0].tolist() == [0] * 5, "by default all are kept"


def test_windows_near_the_edge_are_rejected_where_that_is_asked_for() -> None:
    quality = window_quality(np.zeros((100, 100)), [[0, 0, 10, 10], [4, 50, 14, 60], [5, 50, 15, 60]])
    verdicts, reasons = judge(quality, QualitySettings(min_edge_px=5))
    assert verdicts.tolist() == [2, 2, 0]
    assert reasons[1] == "the window is 4 px from the edge of the image, less than 5"


def test_only_pixels_of_rules_that_fill_are_filled() -> None:
    pixels = np.zeros((4, 4), np.float32)
    pixels[0, 0], pixels[1, 1], pixels[2, 2] = np.nan, 1000, -1
    mask = np.zeros((4, 4), np.uint8)
    mask[3, 3], mask[3, 0], mask[0, 3] = 1, 8, 2
    fill = FractionRule(fill_above=0.0)

    def chosen(**rules: object) -> list[tuple[int, int]]:
        flags = pixels_to_fill(
            pixels,
            QualitySettings(**rules),
            mask=mask,
            mask_bits=BITS,
            bad_bits=("BAD", "CR"),
            saturation_level=999.0,
        )
        return [(int(y), int(x)) for y, x in np.argwhere(flags)]

    assert chosen() == []
    assert chosen(nodata=fill) == [(0, 0)]
    assert chosen(nodata=fill, blank=-1.0) == [(0, 0), (2, 2)]
    assert chosen(saturated=fill) == [(1, 1)]
    assert chosen(masked=fill) == [(3, 0), (3, 3)]
    assert chosen(bits={"SAT": fill}) == [(0, 3)]


def test_rules_that_never_apply_are_refused() -> None:
    with pytest.raises(ValidationError, match="never applies"):
        FractionRule(fill_above=0.5, reject_above=0.5)
    with pytest.raises(ValidationError):
        FractionRule(reject_above=1.5)
    with pytest.raises(ValidationError):
        QualitySettings(nodate=FractionRule())


# ---- filling -------------------------------------------------------------------------------


def test_small_holes_get_the_median_of_the_known_pixels_around() -> None:
    rng = np.random.default_rng(5)
    image = rng.normal(10, 1, (40, 50)).astype(np.float32)
    hole = rng.random(image.shape) < 0.3
    image[hole] = np.nan
    filled = fill_nodata(image)
    for y, x in np.argwhere(hole):
        around = image[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4]
        assert filled[y, x] == pytest.approx(np.nanmedian(around), rel=1e-6)
    np.testing.assert_array_equal(filled[~hole], image[~hole])
    assert np.isnan(image[hole]).all(), "the image that was given stays as it is"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 70), st.integers(1, 70), st.floats(0, 1))
def test_holes_of_any_size_and_shape_are_filled_within_the_range_of_what_is_known(
    seed: int, height: int, width: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, (height, width)).astype(np.float32)
    for x0, y0, x1, y1 in random_windows(rng, 4, height, width):
        image[y0:y1, x0:x1] = np.nan
    bad = rng.random(image.shape) < share
    known = np.isfinite(image) & ~bad
    if not known.any():
        with pytest.raises(ImageError, match="no pixel") as caught:
            fill_nodata(image, bad)
        assert caught.value.kind == "no_data"
        return
    filled = fill_nodata(image, bad)
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(filled[known], image[known])
    assert filled.min() >= image[known].min()
    assert filled.max() <= image[known].max()


def test_a_large_hole_in_a_slope_continues_the_slope() -> None:
    y, x = np.indices((224, 224))
    image = (x + 2.0 * y).astype(np.float32)
    expected = image.copy()
    image[80:150, 60:130] = np.nan
    assert np.abs(fill_nodata(image) - expected).max() < 110
    image[:, :] = np.where(np.isnan(image), np.nan, 5.0)
    np.testing.assert_allclose(fill_nodata(image), 5.0)


def test_nothing_to_fill_gives_the_pixels_back_and_channels_are_filled_one_by_one() -> None:
    image = np.ones((5, 5), np.float32)
    assert fill_nodata(image) is image
    color = np.stack([image, 2 * image, 3 * image], axis=2)
    color[2, 2] = np.nan
    color[0, 0, 1] = np.inf
    np.testing.assert_array_equal(fill_nodata(color), np.stack([image, 2 * image, 3 * image], axis=2))
