"""Which planes belong to an image, and what the bits of its mask mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from elodin_spark.images.dqbits import HST
from elodin_spark.images.masks import companions, mask_bits, saturation_level
from elodin_spark.images.planes import open_plane

NY, NX = 20, 30


def image(name: str | None, value: float = 0, dtype: str = "f4", **cards: Any) -> fits.ImageHDU:
    hdu = fits.ImageHDU(np.full((NY, NX), value, dtype), name=name)
    hdu.header.update(cards)
    return hdu


def file(path: Path, *hdus: Any, **primary: Any) -> str:
    first = fits.PrimaryHDU()
    first.header.update(primary)
    fits.HDUList([first, *hdus]).writeto(path)
    return str(path)


def flags(dtype: str) -> np.ndarray:
    """Every bit once, in column order."""
    bits = np.dtype(dtype).itemsize * 8
    values = np.zeros((NY, NX), np.uint64)
    values[3, :bits] = np.uint64(1) << np.arange(bits, dtype=np.uint64)[:NX]
    values[5, :] = values[3].sum()
    return values.astype(np.dtype(dtype))


# ---- which plane belongs to which image ----------------------------------------------------


def test_hst_planes_are_paired_by_extver(tmp_path: Path) -> None:
    hdus = [
        image(name, 10 * version + number, "i2" if name == "DQ" else "f4", EXTVER=version)
        for version in (1, 2)
        for number, name in enumerate(("SCI", "ERR", "DQ"))
    ]
    path = file(tmp_path / "a.fits", *hdus, INSTRUME="ACS", DETECTOR="WFC")
    for index, version in ((1, 1), (4, 2)):
        with open_plane(path, index) as plane:
            assert plane.read(0, 1)[0, 0] == 10 * version
            mask, variance = plane.mask(0, 1), plane.variance(0, 1)
            assert mask is not None
            assert mask[0, 0] == 10 * version + 2
            assert variance is not None
            assert variance[0, 0] == (10 * version + 1) ** 2
            assert plane.mask_bits == HST["ACS"].bits


def test_of_several_images_a_mask_belongs_to_the_one_before_it() -> None:
    names = ["N1", "MASK", "N2", "MASK", "WEIGHT", "N3"]
    hdulist = fits.HDUList([fits.PrimaryHDU(), *(image(name) for name in names)])
    found = {i: companions(hdulist, i) for i in range(1, 7)}
    assert (found[1].mask, found[3].mask, found[6].mask) == (2, 4, None)
    assert (found[1].variance, found[3].variance, found[3].variance_kind) == (None, 5, "inverse")
    assert all(found[i].mask is None for i in (2, 4, 5))  # planes of other kinds have no mask


def test_a_mask_before_its_image_is_found() -> None:
    hdulist = fits.HDUList([fits.PrimaryHDU(), image("DMASK", dtype="u1"), image(None)])
    assert companions(hdulist, 2).mask == 1


def test_a_mask_of_another_shape_belongs_to_no_image() -> None:
    other = fits.ImageHDU(np.zeros((NY + 1, NX), np.int16), name="MASK")
    assert companions(fits.HDUList([fits.PrimaryHDU(), image("IMAGE"), other]), 1).mask is None


def test_utype_says_what_an_uncertainty_is() -> None:
    for utype, kind in (
        ("VarianceUncertainty", "variance"),
        ("InverseVariance", "inverse"),
        ("StdDevUncertainty", "sigma"),
        ("", "sigma"),
    ):
        hdulist = fits.HDUList([fits.PrimaryHDU(), image(None), image("UNCERT", UTYPE=utype)])
        assert companions(hdulist, 1).variance_kind == kind


@pytest.mark.parametrize(
    ("name", "stored", "expected"),
    [
        ("VARIANCE", 9.0, 9.0),
        ("ERR", 3.0, 9.0),
        ("WEIGHT", 4.0, 0.25),
        ("IVAR", 0.0, np.inf),
        ("WHT", np.nan, np.nan),
    ],
)
def test_variance_is_a_variance_whatever_the_plane_holds(
    tmp_path: Path, name: str, stored: float, expected: float
) -> None:
    path = file(tmp_path / "a.fits", image("IMAGE"), image(name, stored))
    with open_plane(path, 1) as plane:
        np.testing.assert_array_equal(plane.variance(2, 5, 1, 4), np.full((3, 3), expected, np.float32))


def test_an_image_alone_has_neither_mask_nor_variance(tmp_path: Path) -> None:
    with open_plane(file(tmp_path / "a.fits", image("SCI")), 1) as plane:
        assert plane.mask(0, NY) is None
        assert plane.variance(0, NY) is None
        assert plane.mask_bits == {}


# ---- bits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4"])
def test_all_bits_of_a_mask_come_through(tmp_path: Path, dtype: str, compressed: bool) -> None:
    stored = flags(dtype)
    kind: Any = fits.CompImageHDU if compressed else fits.ImageHDU
    path = file(tmp_path / "a.fits", image("IMAGE"), kind(stored, name="MASK"))
    with open_plane(path, 1) as plane:
        mask = plane.mask(0, NY)
        assert mask is not None
        bits = np.dtype(dtype).itemsize * 8
        assert mask.dtype == np.dtype(f"u{bits // 8}")
        np.testing.assert_array_equal(mask, flags(f"u{bits // 8}"))
        np.testing.assert_array_equal(plane.mask(2, 6, 4, 9), mask[2:6, 4:9])
        assert plane.mask_bits == {f"BIT{bit}": bit for bit in range(bits)}
        for name, bit in list(plane.mask_bits.items())[:NX]:
            assert (mask[3] & (1 << bit) > 0).tolist() == [column == bit for column in range(NX)], name


def test_a_mask_of_floats_is_rounded_and_set_where_unknown(tmp_path: Path) -> None:
    values = np.zeros((NY, NX), np.float32)
    values[0, :3] = (4, np.nan, 2)
    path = file(tmp_path / "a.fits", image("IMAGE"), fits.ImageHDU(values, name="MASK"))
    with open_plane(path, 1) as plane:
        mask = plane.mask(0, 1)
        assert mask is not None
        assert mask[0, :4].tolist() == [4, 1, 2, 0]
        assert len(plane.mask_bits) == 32


@pytest.mark.parametrize(("dtype", "zero"), [("i2", 1e30), ("i4", -1e300), ("f4", 1e300), ("f4", 1e19)])
def test_a_mask_whose_numbers_no_integer_holds_is_set(tmp_path: Path, dtype: str, zero: float) -> None:
    mask = fits.ImageHDU(np.zeros((NY, NX), dtype), name="MASK")
    mask.header["BZERO"] = zero
    path = file(tmp_path / "a.fits", image("IMAGE"), mask)
    with open_plane(path, 1) as plane:
        found = plane.mask(0, NY)
        assert found is not None
        assert set(found.ravel().tolist()) == {1}


def test_rubin_names_its_bits_in_the_header() -> None:
    header = fits.Header(
        {"MP_BAD": 0, "MP_SAT": 1, "MP_INTRP": 2, "EXTNAME": "MASK", "MP_ODD": "x", "MP_HIGH": 40}
    )
    header["HIERARCH MP_DETECTED_NEGATIVE"] = 6
    assert mask_bits(header, [], 32) == {"BAD": 0, "SAT": 1, "INTRP": 2, "DETECTED_NEGATIVE": 6}


def test_pan_starrs_names_its_bits_by_value() -> None:
    header = fits.Header(
        {"MSKNUM": 3, "MSKNAM00": "DETECTOR", "MSKVAL00": 1, "MSKNAM05": "SAT", "MSKVAL05": 32}
    )
    header["MSKNAM06"], header["MSKVAL06"] = "MIXED", 3
    assert mask_bits(header, [], 16) == {"DETECTOR": 0, "SAT": 5}


@pytest.mark.parametrize(
    ("instrument", "detector", "name", "value"),
    [
        ("ACS", "WFC", "HOT", 16),
        ("ACS", "WFC", "SATURATED", 256),
        ("ACS", "HRC", "ATODSAT", 2048),
        ("WFC3", "UVIS", "CRDRIZ", 4096),
        ("WFC3", "IR", "ZEROSIG", 2048),
        ("WFPC2", "1", "ATODSAT", 8),
    ],
)
def test_hst_bits_have_the_meaning_of_the_instrument(
    instrument: str, detector: str, name: str, value: int
) -> None:
    primary = fits.Header({"INSTRUME": instrument, "DETECTOR": detector})
    assert 1 << mask_bits(fits.Header({"EXTNAME": "DQ"}), [primary], 16)[name] == value


def test_bits_of_an_unknown_instrument_are_numbered() -> None:
    primary = fits.Header({"INSTRUME": "NEWCAM"})
    assert mask_bits(fits.Header({"EXTNAME": "DQ"}), [primary], 8) == {f"BIT{bit}": bit for bit in range(8)}


def test_an_hst_plane_of_one_value_has_no_pixels_but_is_a_mask(tmp_path: Path) -> None:
    constant = fits.ImageHDU(name="DQ")
    constant.header.update({"EXTVER": 1, "BITPIX": 16, "NPIX1": NX, "NPIX2": NY, "PIXVALUE": 16})
    path = file(tmp_path / "a.fits", image("SCI", EXTVER=1), constant, INSTRUME="WFC3", DETECTOR="UVIS")
    with open_plane(path, 1) as plane:
        np.testing.assert_array_equal(plane.mask(2, 5, 0, 4), np.full((3, 4), 16))
        assert plane.mask_bits["HOT"] == 4


# ---- saturation ----------------------------------------------------------------------------


def test_the_saturation_level_is_that_of_the_image_before_that_of_the_file() -> None:
    image_header, primary = fits.Header({"SATURATE": 3000}), fits.Header({"SATURATE": 9, "SATLEVEL": 7})
    assert saturation_level([image_header, primary]) == 3000.0
    assert saturation_level([fits.Header(), primary]) == 9.0
    assert saturation_level([fits.Header({"SATLEVEL": 65000.0})]) == 65000.0
    assert saturation_level([fits.Header({"SATURATE": "high"}), fits.Header({"SATURATE": 0})]) is None


# ---- real files ----------------------------------------------------------------------------


def test_a_real_rubin_stamp_has_its_mask_and_variance(shared_data: Path) -> None:
    path = shared_data / "fits" / "stamp-54720.fits"
    with fits.open(path) as hdulist, open_plane(str(path), 0) as plane:
        np.testing.assert_array_equal(plane.mask(0, 43), hdulist["MASK"].data)
        np.testing.assert_array_equal(plane.variance(0, 43), hdulist["VARIANCE"].data)
        assert len(plane.mask_bits) == 16


def test_real_headers_give_their_saturation_level_and_uncertainty(shared_data: Path) -> None:
    with open_plane(str(shared_data / "fits" / "c4d_171113_060340_ooi_r_ls9.N6.fits"), 1) as plane:
        assert plane.saturation_level == pytest.approx(49912.809886117)
    with open_plane(str(shared_data / "fits" / "ksb_170430_055945_ooi_r_ls9.CCD4.fits"), 1) as plane:
        assert plane.saturation_level == 52250.0  # of the primary header
    with open_plane(str(shared_data / "fits" / "rubin10_169813006129561655.fits.gz"), 0) as plane:
        assert plane.variance(0, 30) is not None
        assert plane.mask(0, 30) is None
