"""Masks, weights and uncertainties, as planes and as files of their own: found, read, never cut as sky."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from elodin_spark.errors import ImageError
from elodin_spark.images.describe import describe_planes
from elodin_spark.images.dqbits import COMMUNITY_BITS, COMMUNITY_CODES, DES, HST, JWST, ROMAN, BitTable
from elodin_spark.images.listing import list_files
from elodin_spark.images.planes import open_plane

NY, NX = 24, 31
SKY = np.random.default_rng(1).normal(100, 5, (NY, NX)).astype(np.float32)
#: In each row one column of value 1, 2, 4, 8 and 16.
FLAGS = np.zeros((NY, NX), np.int16)
FLAGS[:, :5] = 1 << np.arange(5)
#: Standard deviations, variances and inverse variances of the same noise.
SIGMA = np.random.default_rng(2).uniform(1, 4, (NY, NX)).astype(np.float32)
NOISE = {"sigma": SIGMA, "variance": SIGMA**2, "inverse": SIGMA**-2}


def hdu(name: str, pixels: np.ndarray, compressed: bool = False, **cards: Any) -> Any:
    kind: Any = fits.CompImageHDU if compressed else fits.ImageHDU
    options = (
        {"quantize_level": 0, "compression_type": "GZIP_2"} if compressed and pixels.dtype.kind == "f" else {}
    )
    made = kind(pixels, name=name, **options)
    made.header.update(cards)
    return made


def write(path: Path, *hdus: Any, **primary: Any) -> Path:
    fits.HDUList([fits.PrimaryHDU(header=fits.Header(primary)), *hdus]).writeto(path)
    return path


# ---- planes of one file ----------------------------------------------------------------------

#: Names of the planes of an archive: image, mask, uncertainty and what it is.
LAYOUTS: dict[str, tuple[str, str | None, str | None, str | None]] = {
    "Rubin": ("IMAGE", "MASK", "VARIANCE", "variance"),
    "HST flt, JWST, Roman": ("SCI", "DQ", "ERR", "sigma"),
    "HST drz": ("SCI", None, "WHT", "inverse"),
    "DES": ("SCI", "MSK", "WGT", "inverse"),
    "Euclid VIS": ("CCDID 1-1.SCI", "CCDID 1-1.FLG", "CCDID 1-1.RMS", "sigma"),
    "Euclid NISP": ("DET11.SCI", "DET11.DQ", "DET11.RMS", "sigma"),
    "TESS": ("CAMERA.CCD 1.1 cal", None, "CAMERA.CCD 1.1 uncert", "sigma"),
    "astropy": ("PRIMARY_DATA", "MASK", "UNCERT", "sigma"),
    "Legacy": ("IMAGE", "MASKBITS", "INVVAR", "inverse"),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("last", [False, True], ids=["image first", "image last"])
def test_planes_of_each_archive_belong_to_their_image(tmp_path: Path, name: str, last: bool) -> None:
    image, mask, noise, kind = LAYOUTS[name]
    hdus = [hdu(image, SKY)]
    hdus += [hdu(mask, FLAGS)] if mask else []
    hdus += [hdu(noise, NOISE[kind])] if noise and kind else []
    path = write(tmp_path / "a.fits", *(hdus[::-1] if last else hdus))
    (file,) = list_files([str(path)])
    index = len(hdus) if last else 1
    for wanted in (None, "all"):
        assert [row["hdu"] for row in describe_planes(file, wanted)] == [index]
    with open_plane(str(path), index) as plane:
        found, variance = plane.mask(0, NY), plane.variance(0, NY)
        np.testing.assert_array_equal(found, FLAGS if mask else None)
        np.testing.assert_allclose(variance, NOISE["variance"], rtol=1e-5)


def test_planes_of_several_detectors_belong_to_their_own(tmp_path: Path) -> None:
    names = [f"DET{n}" for n in (11, 12, 21)]
    groups = [[hdu(f"{n}.{end}", SKY) for n in names] for end in ("SCI",)]
    groups += [[hdu(f"{n}.DQ", FLAGS << i) for i, n in enumerate(names)]]
    groups += [[hdu(f"{n}.RMS", SIGMA * (i + 1)) for i, n in enumerate(names)]]
    path = write(tmp_path / "a.fits", *(h for group in groups for h in group))
    (file,) = list_files([str(path)])
    assert [row["hdu"] for row in describe_planes(file, "all")] == [1, 2, 3]
    for i in range(3):
        with open_plane(str(path), i + 1) as plane:
            np.testing.assert_array_equal(plane.mask(0, NY), FLAGS << i)
            np.testing.assert_allclose(plane.variance(0, NY), (SIGMA * (i + 1)) ** 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "cards", "words"),
    [
        ("WHT", {}, "EXTNAME WHT"),
        ("CCDID 1-1.FLG", {}, "EXTNAME CCDID 1-1.FLG"),
        ("S29", {"PRODTYPE": "dqmask"}, "PRODTYPE dqmask"),
        ("S29", {"PRODTYPE": "wtmap"}, "PRODTYPE wtmap"),
        ("ANY", {"DES_EXT": "WEIGHT"}, "DES_EXT WEIGHT"),
        ("PSF", {}, "EXTNAME PSF"),
    ],
)
def test_a_file_of_parts_alone_is_refused_unless_asked_for(
    tmp_path: Path, name: str, cards: dict[str, str], words: str
) -> None:
    (file,) = list_files([str(write(tmp_path / "a.fits", hdu(name, SKY, **cards)))])
    for wanted in (None, "all"):
        with pytest.raises(ImageError, match=words) as caught:
            describe_planes(file, wanted)
        assert caught.value.kind == "no_sky"
    assert [row["hdu"] for row in describe_planes(file, 1)] == [1]


# ---- what bits mean --------------------------------------------------------------------------

#: Dialects of headers, each with the names of bits 0, 1 and 2 of a mask, and which of them are bad.
NAMED: dict[str, tuple[dict[str, Any], list[str], set[str]]] = {
    "Rubin": ({"MP_BAD": 0, "MP_EDGE": 1, "MP_SAT": 2}, ["BAD", "EDGE", "SAT"], {"BAD", "SAT"}),
    "Rubin v2": (
        {
            "MSKN0000": "BAD", "MSKM0000": 1, "MSKN0007": "COSMIC_RAY", "MSKM0007": 2,
            "MSKN0002": "SUSPECT", "MSKM0002": 4,
        },
        ["BAD", "COSMIC_RAY", "SUSPECT"],
        {"BAD", "COSMIC_RAY"},
    ),
    "Pan-STARRS": (
        {
            "MSKNAM00": "DETECTOR", "MSKVAL00": 1, "MSKNAM01": "SUSPECT", "MSKVAL01": 2, "MSKNAM02": "SAT",
            "MSKVAL02": 4, "MSKNAM03": "MIXED", "MSKVAL03": 3,
        },
        ["DETECTOR", "SUSPECT", "SAT"],
        {"DETECTOR", "SAT"},
    ),
    "Legacy": (
        {"MBIT_0": "NPRIMARY", "MBIT_1": "BAILOUT", "MBIT_2": "SATUR_G"},
        ["NPRIMARY", "BAILOUT", "SATUR_G"],
        {"BAILOUT", "SATUR_G"},
    ),
    "ZTF": (
        {
            "BIT00": (0, "AIRCRAFT/SATELLITE TRACK"), "BIT01": (1, "OBJECT (by SExtractor)"),
            "BIT02": (2, "NOISY"),
        },
        ["AIRCRAFT_SATELLITE_TRACK", "OBJECT", "NOISY"],
        {"AIRCRAFT_SATELLITE_TRACK", "NOISY"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("dialect", NAMED)
@pytest.mark.parametrize("compressed", [False, True])
def test_headers_name_bits_and_the_bad_are_known(tmp_path: Path, dialect: str, compressed: bool) -> None:
    cards, names, bad = NAMED[dialect]
    path = write(tmp_path / "a.fits", hdu("IMAGE", SKY), hdu("MASK", FLAGS, compressed, **cards))
    with open_plane(str(path), 1) as plane:
        assert plane.mask_bits == {name: bit for bit, name in enumerate(names)}
        assert set(plane.bad_bits) == bad


#: Cards of a primary header that tell the instrument, with the table it has.
INSTRUMENTS: dict[str, tuple[dict[str, str], BitTable]] = {
    "ACS": ({"TELESCOP": "HST", "INSTRUME": "ACS", "DETECTOR": "WFC"}, HST["ACS"]),
    "WFC3 UVIS": ({"TELESCOP": "HST", "INSTRUME": "WFC3", "DETECTOR": "UVIS"}, HST["WFC3"]),
    "WFC3 IR": ({"TELESCOP": "HST", "INSTRUME": "WFC3", "DETECTOR": "IR"}, HST["WFC3/IR"]),
    "WFPC2": ({"TELESCOP": "HST", "INSTRUME": "WFPC2"}, HST["WFPC2"]),
    "STIS": ({"TELESCOP": "HST", "INSTRUME": "STIS", "DETECTOR": "CCD"}, HST["STIS"]),
    "NICMOS": ({"TELESCOP": "HST", "INSTRUME": "NICMOS"}, HST["NICMOS"]),
    "NIRCam": ({"TELESCOP": "JWST", "INSTRUME": "NIRCAM"}, JWST),
    "MIRI": ({"TELESCOP": "JWST", "INSTRUME": "MIRI"}, JWST),
    "Roman": ({"TELESCOP": "ROMAN", "INSTRUME": "WFI"}, ROMAN),
}


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_dq_bits_are_those_of_the_instrument(tmp_path: Path, instrument: str) -> None:
    cards, table = INSTRUMENTS[instrument]
    path = write(tmp_path / "a.fits", hdu("SCI", SKY), hdu("DQ", FLAGS.astype(np.int32)), **cards)
    with open_plane(str(path), 1) as plane:
        assert plane.mask_bits == table.bits
        assert plane.bad_bits == table.bad
        np.testing.assert_array_equal(plane.mask(0, NY), FLAGS)


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (HST["ACS"], {"HOT": 16, "SATURATED": 256, "CRDRIZ": 4096, "CRREJ": 8192}),
        (HST["WFC3/IR"], {"ZEROSIG": 2048, "BADPIX": 4}),
        (HST["WFPC2"], {"ATODSAT": 8, "MISSING": 16}),
        (HST["STIS"], {"HOT": 16, "SATURATED": 256, "CRREJ": 8192}),
        (JWST, {"DO_NOT_USE": 1, "SATURATED": 2, "JUMP_DET": 4, "OUTLIER": 16, "NON_SCIENCE": 512}),
        (ROMAN, {"DO_NOT_USE": 1, "GW_AFFECTED_DATA": 16, "OUTLIER": 128, "REFERENCE_PIXEL": 2**31}),
        (DES, {"BPM": 1, "SATURATE": 2, "CRAY": 16, "TRAIL": 64, "STREAK": 1024}),
        (COMMUNITY_BITS, {"BAD": 1, "SATURATED": 2, "CR": 16, "BLEED": 64}),
    ],
)
def test_values_of_flags_are_the_published_ones(table: BitTable, values: dict[str, int]) -> None:
    assert {name: 1 << table.bits[name] for name in values} == values
    assert set(table.bad) <= set(table.bits)
    assert table.source


def test_codes_of_the_community_pipeline_become_bits(tmp_path: Path) -> None:
    codes = np.arange(NY * NX, dtype=np.int32).reshape(NY, NX) % 9
    path = write(tmp_path / "a.fits", hdu("S1", SKY), hdu("S1", codes, True, PRODTYPE="dqmask"))
    names = {
        1: "BAD",
        2: "NO_VALUE",
        3: "SATURATED",
        4: "BLEED",
        5: "CR",
        6: "LOW_WEIGHT",
        7: "TRANSIENT",
        8: "STREAK",
    }
    with open_plane(str(path), 1) as plane:
        mask = plane.mask(0, NY)
        assert mask is not None
        for code, name in names.items():
            np.testing.assert_array_equal(mask >> plane.mask_bits[name] & 1, codes == code)
        assert plane.bad_bits == COMMUNITY_CODES.bad
    old = write(tmp_path / "b.fits", hdu("S1", SKY), hdu("S1", FLAGS, PRODTYPE="dqmask"), PLVER="V3.4.9")
    with open_plane(str(old), 1) as plane:
        np.testing.assert_array_equal(plane.mask(0, NY), FLAGS)
        assert plane.mask_bits == COMMUNITY_BITS.bits


# ---- files of their own ----------------------------------------------------------------------

#: Archives: the image, then what each file beside it holds.
FILES: dict[str, tuple[str, dict[str, str]]] = {
    "DECam": (
        "c4d_180301_040000_ooi_r_v1.fits.fz",
        {
            "c4d_180301_040000_ood_r_v1.fits.fz": "mask",
            "c4d_180301_040000_oow_r_v1.fits.fz": "inverse",
        },
    ),
    "unWISE": (
        "unwise-1866p257-w1-img-m.fits",
        {
            "unwise-1866p257-msk.fits.gz": "mask",
            "unwise-1866p257-w1-invvar-m.fits.gz": "inverse",
            "unwise-1866p257-w1-std-m.fits.gz": "other",
            "unwise-1866p257-w1-n-m.fits.gz": "other",
        },
    ),
    "Legacy": (
        "legacysurvey-0001m002-image-g.fits.fz",
        {
            "legacysurvey-0001m002-maskbits.fits.fz": "mask",
            "legacysurvey-0001m002-invvar-g.fits.fz": "inverse",
            "legacysurvey-0001m002-nexp-g.fits.fz": "other",
            "legacysurvey-0001m002-galdepth-g.fits.fz": "other",
            "legacysurvey-0001m002-model-g.fits.fz": "other",
        },
    ),
    "HST mosaics": (
        "m_f814w_drz_sci.fits",
        {"m_f814w_drz_wht.fits": "inverse", "m_f814w_drz_exp.fits": "other"},
    ),
    "WFPC2": ("u2ou5201t_c0m.fits", {"u2ou5201t_c1m.fits": "mask"}),
    "Pan-STARRS": (
        "rings.v3.skycell.1234.034.stk.r.unconv.fits",
        {
            "rings.v3.skycell.1234.034.stk.r.unconv.mask.fits": "mask",
            "rings.v3.skycell.1234.034.stk.r.unconv.wt.fits": "variance",
            "rings.v3.skycell.1234.034.stk.r.unconv.num.fits": "other",
        },
    ),
    "ZTF": ("ztf_x_zg_c01_o_q1_sciimg.fits", {"ztf_x_zg_c01_o_q1_mskimg.fits": "mask"}),
    "Spitzer": ("I1_s4g.maic.fits", {"I1_s4g.munc.fits": "sigma", "I1_s4g.mcov.fits": "other"}),
    "WISE": ("0001p000_ac51-w1-int-3.fits", {"0001p000_ac51-w1-unc-3.fits.gz": "sigma"}),
    "weight maps": ("field.fits", {"field.weight.fits": "inverse", "field.flag.fits": "mask"}),
}


def fill(folder: Path, image: str, parts: dict[str, str]) -> None:
    """Write the files; those that are compressed have their plane in HDU 1."""
    for name, kind in {image: "image", **parts}.items():
        pixels = {"image": SKY, "mask": FLAGS.astype(np.int32), "other": SKY, **NOISE}[kind]
        card = {"mask": "dqmask", "inverse": "wtmap"}.get(kind, kind) if name.startswith("c4d") else None
        cards = {"PRODTYPE": card, "PLVER": "V3.0"} if card else {}
        if name.endswith(".fz"):
            write(folder / name, hdu("S29" if card else "", pixels, True, **cards))
        else:
            fits.writeto(folder / name, pixels)


@pytest.mark.parametrize("archive", FILES)
def test_files_of_each_archive_belong_to_their_image(tmp_path: Path, archive: str) -> None:
    image, parts = FILES[archive]
    fill(tmp_path, image, parts)
    files = list_files([str(tmp_path)])
    assert [file.path for file in files] == [image]
    index = describe_planes(files[0])[0]["hdu"]
    with open_plane(files[0].uri, index) as plane:
        mask, variance = plane.mask(3, 9, 2, 20), plane.variance(3, 9, 2, 20)
        np.testing.assert_array_equal(mask, FLAGS[3:9, 2:20] if "mask" in parts.values() else None)
        if NOISE.keys() & set(parts.values()):
            np.testing.assert_allclose(variance, NOISE["variance"][3:9, 2:20], rtol=1e-5)
        else:
            assert variance is None


@pytest.mark.parametrize("archive", ["DECam", "unWISE", "Legacy"])
def test_parts_without_their_image_are_refused_and_others_are_images(tmp_path: Path, archive: str) -> None:
    image, parts = FILES[archive]
    fill(tmp_path, image, parts)
    (tmp_path / image).unlink()
    files = list_files([str(tmp_path)])
    assert {file.path for file in files} == parts.keys()
    for file in files:
        with pytest.raises(ImageError) as caught:
            describe_planes(file)
        assert caught.value.kind == "no_sky"


def test_a_name_that_only_looks_like_a_part_is_an_image(tmp_path: Path) -> None:
    for name in ("ngc1_var.fits", "flag.fits", "m31-weight.fits", "x_sci.fits", "sub/x_wht.fits"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        fits.writeto(tmp_path / name, SKY)
    assert len(list_files([str(tmp_path)])) == 5


def test_a_file_beside_of_another_shape_is_no_mask_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    fits.writeto(tmp_path / "a.fits", SKY)
    fits.writeto(tmp_path / "a_mask.fits", FLAGS[:-1])
    with open_plane(str(tmp_path / "a.fits"), 0) as plane:
        assert plane.mask(0, NY) is None
        assert plane.mask_bits == {}
    (tmp_path / "a_mask.fits").write_bytes(b"SIMPLE")
    with open_plane(str(tmp_path / "a.fits"), 0) as plane, pytest.raises(ImageError, match=r"a_mask\.fits"):
        plane.mask(0, NY)
