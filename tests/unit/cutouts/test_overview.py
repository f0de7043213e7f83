"""A whole image as small as a screen, stretched as its windows are."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from elodin_spark.cutouts import overview as module
from elodin_spark.cutouts.overview import overview
from elodin_spark.cutouts.picture import open_picture
from elodin_spark.errors import ImageError
from elodin_spark.images.describe import describe
from elodin_spark.images.listing import list_files


def described(path):
    (file,) = list_files([str(path)])
    return describe(file)


@pytest.fixture
def image(tmp_path):
    pixels = np.random.default_rng(0).normal(size=(300, 500)).astype(np.float32)
    pixels[40:80, 100:200] += 50
    fits.writeto(tmp_path / "a.fits", pixels)
    return described(tmp_path / "a.fits")


def test_a_small_image_is_as_it_is_cut(image):
    seen = overview(image)
    with open_picture(image, "auto", None, {}, as_bytes=True) as (picture, _):
        assert (seen.pixels == picture.read(0, 0, 500, 300)).all()
    assert (seen.width, seen.height, seen.upwards) == (500, 300, True)


@pytest.mark.parametrize("strip", [2**24, 3000])
def test_a_larger_one_is_made_of_means_whatever_is_read_at_once(image, monkeypatch, strip):
    monkeypatch.setattr(module, "_STRIP_PIXELS", strip)
    seen = overview(image, longest_px=100)
    whole = overview(image).pixels.astype(float)
    means = whole.reshape(60, 5, 100, 5).mean(axis=(1, 3))
    assert seen.pixels.shape == (60, 100)
    assert np.abs(seen.pixels - means).max() <= 1
    assert (seen.width, seen.height) == (500, 300)


def test_sides_that_do_not_divide_are_covered(image):
    seen = overview(image, longest_px=333)
    assert seen.pixels.shape == (150, 250)
    assert overview(image, longest_px=70).pixels.shape == (38, 63)


def test_color_stays_color_and_the_top_row_first(tmp_path):
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:10] = (200, 10, 30)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    seen = overview(described(tmp_path / "a.png"), longest_px=30)
    assert not seen.upwards
    assert seen.pixels[0, 0].tolist() == [200, 10, 30]
    assert seen.pixels.shape == (20, 30, 3)


def test_a_file_that_is_gone_or_has_changed_is_an_error(image, tmp_path):
    fits.writeto(tmp_path / "a.fits", np.zeros((30, 50), np.float32), overwrite=True)
    with pytest.raises(ImageError, match="describe it again"):
        overview(image)
    (tmp_path / "a.fits").unlink()
    with pytest.raises(ImageError):
        overview(image)


def test_an_image_whose_windows_are_stretched_by_steps_of_their_own_is_stretched_here(image):
    seen = overview(image, ())
    assert seen.pixels[40:80, 100:200].mean() > 200
    assert seen.pixels[100:, :].mean() < 100
