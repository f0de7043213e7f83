"""Thumbnails drawn small: stars are seen, empty sky is known."""

from __future__ import annotations

import io

import numpy as np
import pytest
from helpers.figures import jpeg
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import spearmanr

from elodin_spark.display.thumbnails import decode_thumbnail, shows_something, square_thumbnail, stretch_small


def encoded(pixels: NDArray[np.float64]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def sky(seed: int = 0, side: int = 96, noise: float = 5.0) -> NDArray[np.float64]:
    return 25 + noise * np.random.default_rng(seed).normal(size=(side, side))


def star(fwhm: float, peak: float, side: int = 96) -> NDArray[np.float64]:
    y, x = np.mgrid[:side, :side] - [[[side * 0.4]], [[side * 0.6]]]
    return peak * np.exp(-np.log(16) * (x**2 + y**2) / fwhm**2)


@pytest.mark.parametrize("size_px", [24, 36, 60])
def test_a_faint_star_stands_out_on_a_dark_sky_at_the_size_drawn(size_px: int) -> None:
    data = encoded(sky() + star(9, 45))
    shown = square_thumbnail(data, size_px, stretch=True).mean(axis=2)
    at = (int(0.4 * size_px), int(0.6 * size_px))
    assert np.median(shown) < 60, "the sky is gray"
    assert shown[at] > 180, "the star is dim"
    plain = square_thumbnail(data, size_px).mean(axis=2)
    assert shown[at] - np.median(shown) > 2 * (plain[at] - np.median(plain))


def test_a_smaller_picture_has_the_means_of_its_pixels() -> None:
    pixels = np.full((96, 96), 100, np.uint8)
    pixels[33:35, 48:51] = 110  # too little contrast to be stretched, once it is small
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    shown = square_thumbnail(buffer.getvalue(), 24, stretch=True)
    means = pixels.reshape(24, 4, 24, 4).mean(axis=(1, 3))
    np.testing.assert_array_equal(shown[..., 0], np.floor(means + 0.5))


def test_colors_keep_their_hue_and_a_bright_texture_its_range() -> None:
    rng = np.random.default_rng(1)
    light = 60 + 40 * np.sin(np.linspace(0, 9, 48))[:, np.newaxis] + rng.normal(size=(48, 48))
    picture = np.rint(light[..., np.newaxis] * [1.5, 1.0, 0.5]).clip(0, 255).astype(np.uint8)
    shown = stretch_small(picture).astype(float)
    inner = (shown.max(axis=2) < 250) & (shown.mean(axis=2) > 30)
    np.testing.assert_allclose(shown[inner][:, 0] / shown[inner][:, 2], 3.0, rtol=0.15)
    assert np.percentile(shown.mean(axis=2), 5) < 30
    assert np.percentile(shown.mean(axis=2), 95) > 150
    agreed = spearmanr(light, shown.mean(axis=2), axis=None).statistic
    assert agreed > 0.95, "brighter is no longer brighter"


@pytest.mark.parametrize("value", [0, 90, 255])
def test_a_picture_of_one_value_stays_as_it_is(value: int) -> None:
    picture = np.full((20, 30, 3), value, np.uint8)
    np.testing.assert_array_equal(stretch_small(picture), picture)
    assert square_thumbnail(jpeg((200, 30, 30)), 16, stretch=True)[8, 8] == pytest.approx(
        [200, 30, 30], abs=3
    )


def test_contrast_grows_at_most_fivefold() -> None:
    picture = np.full((40, 40, 3), 100, np.uint8)
    picture[::2] = 109
    shown = stretch_small(picture).mean(axis=2)
    assert 9 < np.ptp(shown) < 120


@pytest.mark.parametrize("noise", [0.0, 1.0, 5.0, 20.0])
def test_empty_sky_shows_nothing(noise: float) -> None:
    assert [shows_something(encoded(sky(seed, noise=noise))) for seed in range(25)].count(True) <= 1


@pytest.mark.parametrize(
    "pixels",
    [
        sky() + star(7, 60),
        sky() + star(40, 12),
        sky() + 60 * (np.abs(np.subtract.outer(np.arange(96), np.arange(96))) < 2),
        sky(noise=1) + np.linspace(0, 20, 96),
        sky(side=200) + star(15, 60, 200),
        255 - (sky() + star(9, 60)),
    ],
    ids=["a star", "a faint galaxy", "a trail", "a nebula", "larger", "inverted"],
)
def test_whatever_is_more_than_sky_shows_something(pixels: NDArray[np.float64]) -> None:
    assert shows_something(encoded(pixels))


def test_what_cannot_be_judged_is_left_to_who_draws_it() -> None:
    assert shows_something(b"broken")
    assert shows_something(jpeg(size=(12, 12)))
    assert not shows_something(jpeg())
    assert decode_thumbnail(jpeg()).shape == (32, 32, 3)
