"""Cards by which stored pixels become physical ones: followed, passed over, or refused by name."""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from helpers.pixels import read_pixels
from helpers.servers import refusal

from elodin_spark.images.fits import describe_fits, describe_fits_planes
from elodin_spark.images.planes import open_plane

PIXELS = np.arange(64 * 64).reshape(64, 64)

#: Cards that say nothing that can be followed.
REFUSED = [
    *("BSCALE  =", "BSCALE  = 'abc'", "BSCALE  = '0.5'", "BSCALE  = 0.0", "BSCALE  = NaN", "BSCALE  = T"),
    *("BSCALE  = 1E999", "BSCALE  = 1,5 / comma", "BSCALE  = INF", "BZERO   =", "BZERO   = 'x'"),
    *("BZERO   = nan", "BZERO   = -1D999", "BLANK   = 'x'", "BLANK   = 7.5", "BLANK   = NaN", "BLANK   = T"),
    *("BSOFTEN =", "BSOFTEN = 0.0", "BSOFTEN = -3.0", "BSOFTEN = NaN"),
]


def write(path: Path, cards: list[str], dtype: str = "i2", tiles: bool = False) -> int:
    """Write PIXELS with cards as they are, which astropy itself would not write; the index of the HDU."""
    pixels = PIXELS.astype(dtype)
    hdus = [fits.PrimaryHDU(), fits.CompImageHDU(pixels)] if tiles else [fits.PrimaryHDU(pixels)]
    content = io.BytesIO()
    fits.HDUList(hdus).writeto(content)
    raw = bytearray(content.getvalue())
    end = raw.rindex(b"END" + b" " * 77)
    lines = b"".join(card.encode().ljust(80) for card in [*cards, "END"])
    assert end % 2880 + len(lines) <= 2880
    raw[end : end + len(lines)] = lines
    path.write_bytes(raw)
    return len(hdus) - 1


@pytest.mark.parametrize("tiles", [False, True], ids=["plain", "tiles"])
@pytest.mark.parametrize("card", REFUSED)
def test_a_card_that_cannot_be_followed_is_refused_by_name_when_it_is_listed(
    tmp_path: Path, card: str, tiles: bool
) -> None:
    write(tmp_path / "a.fits", [card], tiles=tiles)
    for listed in (describe_fits, describe_fits_planes):
        refused = refusal(lambda: listed(str(tmp_path / "a.fits")))  # noqa: B023
        assert refused.kind == "bad_card"
        assert f"the card {card[:8].strip()} " in str(refused)


def test_of_an_offset_without_a_value_the_name_is_said(tmp_path: Path) -> None:
    write(tmp_path / "a.fits", ["BSOFTEN = 60.0", "BOFFSET ="])
    assert "the card BOFFSET has no value" in str(refusal(lambda: describe_fits(str(tmp_path / "a.fits"))))


@pytest.mark.parametrize(
    ("card", "dtype"),
    [
        ("BLANK   =", "i2"),
        ("BLANK   = 70000", "i2"),
        ("BLANK   =", "f4"),
        ("BLANK   = 'x'", "f4"),
        ("BLANK   = NaN", "f4"),
        ("BLANK   = 7.5", "f4"),
        ("BLANK   = 7", "f4"),
        ("BSCALE  = 1.D0", "i2"),
        ("BZERO   = 0", "f4"),
        ("BOFFSET = 5.0", "f4"),  # without BSOFTEN it says nothing
    ],
)
def test_a_card_that_does_no_harm_is_passed_over(tmp_path: Path, card: str, dtype: str) -> None:
    write(tmp_path / "a.fits", [card], dtype)
    assert describe_fits(str(tmp_path / "a.fits")).width == 64
    np.testing.assert_array_equal(read_pixels(str(tmp_path / "a.fits"), 0), PIXELS)


@pytest.mark.parametrize("card", ["BLANK   = 7", "BLANK   = 7.0"])
@pytest.mark.parametrize("tiles", [False, True])
def test_blank_pixels_of_integers_are_nan(tmp_path: Path, card: str, tiles: bool) -> None:
    hdu = write(tmp_path / "a.fits", [card], tiles=tiles)
    expected = np.where(PIXELS == 7, np.nan, PIXELS)
    np.testing.assert_array_equal(read_pixels(str(tmp_path / "a.fits"), hdu), expected)


def test_a_bad_card_elsewhere_leaves_the_image_alone(tmp_path: Path) -> None:
    write(tmp_path / "bad.fits", ["BSCALE  = NaN"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.writeto(tmp_path / "a.fits", PIXELS.astype(np.float32))
    primary, bad = (tmp_path / "a.fits").read_bytes(), (tmp_path / "bad.fits").read_bytes()
    extension = b"XTENSION= 'IMAGE   '".ljust(80) + bad[80:]
    (tmp_path / "a.fits").write_bytes(primary + extension)
    assert describe_fits(str(tmp_path / "a.fits")).hdu == 0
    assert refusal(lambda: describe_fits(str(tmp_path / "a.fits"), 1)).kind == "bad_card"


# Tiles of floats have scales of their own.
@pytest.mark.parametrize(("dtype", "tiles"), [("i2", False), ("i2", True), ("f4", False), ("f8", False)])
def test_asinh_magnitudes_become_flux(tmp_path: Path, dtype: str, tiles: bool) -> None:
    cards = ["BSCALE  = 0.0025", "BZERO   = -3.0", "BSOFTEN = 12.5", "BOFFSET = 4.5"]
    hdu = write(tmp_path / "a.fits", [*cards, "BLANK   = 7"], dtype, tiles)
    v = PIXELS * 0.0025 - 3.0
    scale = 2.5 / math.log(10)
    expected = 4.5 + 12.5 * (np.exp(v / scale) - np.exp(-v / scale))
    if dtype == "i2":
        expected[PIXELS == 7] = np.nan
    np.testing.assert_allclose(read_pixels(str(tmp_path / "a.fits"), hdu), expected, rtol=1e-6, atol=1e-5)
    with open_plane(str(tmp_path / "a.fits"), hdu) as plane:
        np.testing.assert_allclose(plane.read(3, 9, 5, 20), expected[3:9, 5:20], rtol=1e-6, atol=1e-5)
        np.testing.assert_allclose(plane.read_rows([60, 1]), expected[[60, 1]], rtol=1e-6, atol=1e-5)
