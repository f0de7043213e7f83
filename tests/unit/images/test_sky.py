"""Pixels to the sky, dates and filters."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from helpers.fitsforms import inherited
from helpers.paths import DATA

from elodin_spark.images import sky
from elodin_spark.images.fits import describe_fits

FOLDER = DATA / "fits"
needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no test images at {FOLDER}")

#: No image, or no celestial WCS.
WITHOUT_WCS = (
    "arange",
    "history_header",
    "random_groups",
    "table",
    "zerowidth",
    "blank",
    "ZTF",
    "rubin10",
    "test0",
)


def tan_header(**cards: object) -> fits.Header:
    values: dict[str, object] = {
        "SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": 400, "NAXIS2": 300,
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 0.01, "CRVAL2": 40.0,
        "CRPIX1": 200.5, "CRPIX2": 150.5, "CD1_1": -1e-4, "CD1_2": 2e-5, "CD2_1": 2e-5, "CD2_2": 1e-4,
    }  # fmt: skip
    return fits.Header(list((values | cards).items()))


def separation_arcsec(ra: np.ndarray, dec: np.ndarray, oracle: SkyCoord) -> float:
    return float(SkyCoord(ra * u.deg, dec * u.deg).separation(oracle.icrs).arcsec.max())


def test_the_center_of_the_reference_pixel_is_the_reference_value() -> None:
    text = sky.header_text(tan_header(RADESYS="ICRS"))
    assert text is not None
    ra, dec = sky.pixel_to_sky(sky.wcs_of(text), 199.5, 149.5)
    np.testing.assert_allclose([ra[0], dec[0]], [0.01, 40.0], atol=1e-10)


def test_right_ascension_stays_below_360_across_the_meridian() -> None:
    wcs = sky.wcs_of(sky.header_text(tan_header(RADESYS="ICRS")) or "")
    ra, _ = sky.pixel_to_sky(wcs, np.arange(400), np.full(400, 150))
    assert ((ra >= 0) & (ra < 360)).all()
    assert ra.min() < 1
    assert ra.max() > 359


@pytest.mark.parametrize(
    ("cards", "frame"),
    [
        ({"RADESYS": "FK5", "EQUINOX": 1975.0}, "fk5"),
        ({"RADESYS": "FK4", "EQUINOX": 1950.0}, "fk4"),
        ({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"}, "galactic"),
        (
            {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 40.0, "CRVAL2": 10.0, "RADESYS": "ICRS"},
            "icrs",
        ),
    ],
)
def test_other_frames_and_axis_orders_become_icrs(cards: dict[str, object], frame: str) -> None:
    header = tan_header(**cards)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle = WCS(header).pixel_to_world([0, 399, 120], [0, 10, 299])
    assert oracle.frame.name == frame
    ra, dec = sky.pixel_to_sky(sky.wcs_of(sky.header_text(header) or ""), [0, 399, 120], [0, 10, 299])
    assert separation_arcsec(ra, dec, oracle) < 1e-5


def test_pixels_off_the_sky_are_nan() -> None:
    header = tan_header(
        CTYPE1="GLON-AIT", CTYPE2="GLAT-AIT", CRVAL1=0.0, CRVAL2=0.0,
        CD1_1=-0.9, CD1_2=0.0, CD2_1=0.0, CD2_2=0.9,
    )  # fmt: skip
    wcs = sky.wcs_of(sky.header_text(header) or "")
    ra, dec = sky.pixel_to_sky(wcs, [0, 199.5], [0, 149.5])
    assert np.isnan([ra[0], dec[0]]).all()
    assert separation_arcsec(ra[1:], dec[1:], SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")) < 1e-5
    all_off, _ = sky.pixel_to_sky(wcs, 0, 0)
    assert np.isnan(all_off).all()


def test_header_text_holds_the_wcs_and_no_remarks() -> None:
    header = tan_header(OBJECT="M 13")
    header["LONGKEY"] = "x" * 200
    header["HIERARCH ESO DET ID"] = 7
    header.add_comment("a remark")
    header.add_history("a story")
    text = sky.header_text(header)
    assert text is not None
    assert "remark" not in text
    assert "story" not in text
    again = fits.Header.fromstring(text, sep="\n")
    assert again["OBJECT"] == "M 13"
    assert again["LONGKEY"] == "x" * 200
    assert again["ESO DET ID"] == 7
    assert sky.wcs_of(text) is sky.wcs_of(text), "built once"


@pytest.mark.parametrize(
    "cards",
    [
        {"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"},
        {"CTYPE1": "RA---TAN", "CTYPE2": "VELO"},
        {"CTYPE1": "RA---XYZ", "CTYPE2": "DEC--XYZ"},
        {"CD1_1": 0.0, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 0.0},
        {"CTYPE1": "MALN-TAN", "CTYPE2": "MALT-TAN"},
    ],
)
def test_without_a_usable_celestial_wcs_there_is_no_text(cards: dict[str, object]) -> None:
    assert sky.header_text(tan_header(**cards)) is None


def distorted_file(amplitude: float, side: int = 4) -> fits.HDUList:
    ramp = np.linspace(amplitude / 2, amplitude, side * side, dtype=np.float32).reshape(side, side)
    table = fits.ImageHDU(ramp, name="WCSDVARR")
    table.header.update(CRPIX1=1.0, CRPIX2=1.0, CRVAL1=1.0, CRVAL2=1.0, CDELT1=133.0, CDELT2=100.0)
    header = tan_header(RADESYS="ICRS")
    for axis in (1, 2):
        header[f"CPDIS{axis}"] = "LOOKUP"
        for record in ("EXTVER: 1.0", "NAXES: 2.0", "AXIS.1: 1.0", "AXIS.2: 2.0"):
            header.append(fits.Card.fromstring(f"DP{axis}     = '{record}'"))
    return fits.HDUList([fits.PrimaryHDU(np.zeros((300, 400), np.float32), header), table])


@pytest.mark.parametrize("amplitude", [0.1, 2.0])
def test_lookup_tables_travel_in_the_header_text(amplitude: float) -> None:
    file = distorted_file(amplitude)
    text = sky.header_text(file[0].header, file)
    assert text is not None
    assert all(len(line) <= 80 for line in text.split("\n"))
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(0, 399, 9), np.linspace(0, 299, 9)))
    ra, dec = sky.pixel_to_sky(sky.wcs_of(text), x, y)
    np.testing.assert_allclose([ra, dec], WCS(file[0].header, file).all_pix2world(x, y, 0), atol=1e-9)
    undistorted = WCS(tan_header(RADESYS="ICRS")).all_pix2world(x, y, 0)
    assert np.abs(np.array([ra, dec]) - undistorted).max() > 1e-4 * amplitude / 2
    # To another reader the tables are remarks.
    assert fits.Header.fromstring(text, sep="\n")["DP1.EXTVER"] == 1.0


def test_lookup_tables_that_are_missing_or_huge_leave_no_position() -> None:
    file = distorted_file(0.1)
    assert sky.header_text(file[0].header) is None
    large = distorted_file(0.1, side=600)
    assert sky.header_text(large[0].header, large) is None
    harmless = distorted_file(1e-4, side=600)
    assert sky.header_text(harmless[0].header, harmless) is not None


def test_damaged_lookup_tables_are_an_error() -> None:
    file = distorted_file(0.1)
    text = sky.header_text(file[0].header, file) or ""
    with pytest.raises(ValueError, match="damaged"):
        sky.wcs_of(text.replace("COMMENT LOOKUP e", "COMMENT LOOKUP *"))


def test_the_pixel_scale_is_the_side_of_the_pixel() -> None:
    wcs = sky.wcs_of(sky.header_text(tan_header()) or "")
    assert sky.pixel_scale_arcsec(wcs) == pytest.approx(3600 * np.sqrt(1e-4**2 + 2e-5**2))


@needs_data
@pytest.mark.parametrize(
    "path",
    [p for p in sorted(FOLDER.glob("*.f*")) if not p.name.startswith(WITHOUT_WCS)],
    ids=lambda path: path.name,
)
def test_positions_of_real_images_agree_with_astropy_on_the_whole_file(path: Path) -> None:
    image = describe_fits(str(path))
    assert image.wcs is not None
    x, y = np.meshgrid(np.linspace(0, image.width - 1, 7), np.linspace(0, image.height - 1, 7))
    ra, dec = sky.pixel_to_sky(sky.wcs_of(image.wcs), x.ravel(), y.ravel())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(path) as hdulist:
            oracle = WCS(inherited(hdulist, image.hdu), hdulist).pixel_to_world(x.ravel(), y.ravel()).icrs
    known = np.isfinite(oracle.ra.deg)
    np.testing.assert_array_equal(np.isfinite(ra), known)
    assert known.any()
    assert separation_arcsec(ra[known], dec[known], oracle[known]) < 0.01
