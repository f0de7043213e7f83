"""Conversions of pixels."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from elodin_spark.cutouts.pixelbuffer import PixelBuffer
from elodin_spark.cutouts.pixels import as_float, channel_of, gray, seen_as_rgb, to_uint8
from elodin_spark.cutouts.stretch import AsinhLevels
from elodin_spark.errors import ImageError


def test_gray_is_the_weighted_mean_of_the_channels() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    expected = rgb.astype(np.float64) @ [0.299, 0.587, 0.114]
    single = gray(rgb)
    assert single.dtype == np.uint8
    np.testing.assert_allclose(single, expected, atol=0.5001)
    np.testing.assert_allclose(gray(rgb.astype(np.float32)), expected, rtol=1e-5)
    np.testing.assert_array_equal(gray(np.full((2, 2, 3), 255, np.uint8)), 255)
    assert gray(single) is single


def test_integers_become_fractions_of_their_largest_value() -> None:
    np.testing.assert_array_equal(as_float(np.array([0, 51, 255], np.uint8)), np.float32([0, 0.2, 1]))
    np.testing.assert_allclose(as_float(np.array([0, 13107, 65535], np.uint16)), np.float32([0, 0.2, 1]))
    values = np.float32([-5, 7])
    np.testing.assert_array_equal(as_float(values), values)


def test_8_bits_stay_and_16_bits_are_scaled() -> None:
    eight = np.arange(256, dtype=np.uint8)
    assert to_uint8(eight) is eight
    np.testing.assert_array_equal(to_uint8(eight.astype(np.uint16) * 257), eight)
    every = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(to_uint8(every), np.rint(every / 257.0))
    np.testing.assert_array_equal(to_uint8(np.array([True, False])), [255, 0])


def test_floats_between_0_and_1_become_8_bits_and_nan_black() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = to_uint8(np.array([0, 0.2, 1, np.nan, -1e-7, 1 + 1e-7], np.float64))
    np.testing.assert_array_equal(found, [0, 51, 255, 0, 0, 255])
    assert found.dtype == np.uint8


@pytest.mark.parametrize("values", [[0.0, 1.1], [-0.1, 0.5], [np.nan, 300.0], [np.inf, 0.0]])
def test_physical_values_need_a_stretch(values: list[float]) -> None:
    with pytest.raises(ImageError, match="add a stretch such as AsinhStretch") as caught:
        to_uint8(np.array(values, np.float32))
    assert caught.value.kind == "needs_stretch"


def test_integers_without_a_black_and_white_need_a_stretch() -> None:
    with pytest.raises(ImageError, match="int32") as caught:
        to_uint8(np.array([1, 2], np.int32))
    assert caught.value.kind == "needs_stretch"


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 40)), elements=st.floats(width=32)),
    st.tuples(*[st.floats(-1e3, 1e3)] * 2, st.floats(1e-6, 1e3)),
    st.sampled_from([(), (3,)]),
)
def test_a_stretch_to_bytes_is_the_stretch_and_then_bytes(
    pixels: np.ndarray, numbers: tuple[float, float, float], channels: tuple[int, ...]
) -> None:
    black, above, softening = numbers
    levels = AsinhLevels(black, softening, black + abs(above) + 1e-3)
    pixels = np.repeat(pixels[..., None], 3, axis=2) if channels else pixels
    before, out = pixels.copy(), np.full(pixels.shape, 7, np.uint8)
    levels.apply_as_bytes(pixels, out, np.empty_like(pixels))
    np.testing.assert_array_equal(pixels, before)
    np.testing.assert_array_equal(out, np.rint(levels.apply(pixels) * np.float32(255)).astype(np.uint8))


def test_halves_are_rounded_to_the_even_level() -> None:
    steps = np.arange(256, dtype=np.float64)
    halves = ((steps[:-1] + 0.5) / 255).astype(np.float32)
    around = np.concatenate([np.nextafter(halves, 0), halves, np.nextafter(halves, np.float32(1))])
    np.testing.assert_array_equal(to_uint8(around), np.rint(around * np.float32(255)).astype(np.uint8))
    np.testing.assert_array_equal(to_uint8((steps / 255).astype(np.float32)), steps)


def test_gray_that_is_seen_as_color_is_written_as_color() -> None:
    single = np.random.default_rng(1).integers(0, 256, (30, 40), dtype=np.uint8)
    seen = seen_as_rgb(single)[3:20, 5:30]
    np.testing.assert_array_equal(channel_of(seen), single[3:20, 5:30])
    assert channel_of(single) is channel_of(np.ascontiguousarray(seen)) is None
    buffer = PixelBuffer()
    places = [buffer.add(window) for window in (seen, single[:7, 1:9], np.ascontiguousarray(seen))]
    assert len(buffer) == 2 * seen.size + 7 * 8
    written = buffer.take([places[0], None, *places[1:]]).to_pylist()
    assert written == [seen.tobytes(), None, single[:7, 1:9].tobytes(), seen.tobytes()]
    assert len(buffer) == 0
