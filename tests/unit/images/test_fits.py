"""FITS files to descriptions and pixels."""

from __future__ import annotations

import bz2
import gzip
import re
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from helpers.paths import DATA
from helpers.pixels import read_pixels

from elodin_spark import ids, schema
from elodin_spark.config.load import apply_override, parse_settings
from elodin_spark.errors import ImageError
from elodin_spark.images import sky
from elodin_spark.images.bands import group_bands
from elodin_spark.images.describe import describe, failed_row
from elodin_spark.images.fits import describe_fits
from elodin_spark.images.listing import ImageFile, list_files

FOLDER = DATA / "fits"
needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no test images at {FOLDER}")


#: What is wrong with those that hold no 2-D image.
WITHOUT_IMAGE = {
    "arange.fits": "not_2d",
    "history_header.fits": "no_image",
    "random_groups.fits": "no_image",
    "table.fits": "no_image",
    "zerowidth.fits": "no_image",
}


def ramp(height: int = 12, width: int = 20, dtype: str = "float32") -> np.ndarray:
    return np.arange(height * width, dtype=dtype).reshape(height, width)


def tan_header(**cards: object) -> fits.Header:
    values: dict[str, object] = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 20.0, "CRVAL2": -30.0, "RADESYS": "ICRS",
        "CRPIX1": 10.5, "CRPIX2": 6.5, "CDELT1": -1e-3, "CDELT2": 1e-3,
    }  # fmt: skip
    return fits.Header(list((values | cards).items()))


def write(path: Path, *hdus: fits.hdu.base._BaseHDU) -> Path:
    fits.HDUList(list(hdus)).writeto(path, output_verify="silentfix", overwrite=True)
    return path


def refusal(path: Path, hdu: int | str | None = None, read: bool = False) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read_pixels(str(path), hdu or 0) if read else describe_fits(str(path), hdu)
    assert len(str(caught.value)) > 20
    return caught.value


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "float32", "float64"])
def test_pixels_of_every_type_come_back_as_native_float32(tmp_path: Path, dtype: str) -> None:
    pixels = ramp(dtype=dtype)
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(pixels))
    read = read_pixels(str(path), 0)
    assert read.dtype == np.dtype("=f4")
    assert read.dtype.isnative
    assert read.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(read, pixels.astype(np.float32))


def test_scaling_and_blanks_are_applied(tmp_path: Path) -> None:
    hdu = fits.PrimaryHDU(ramp(2, 3, "int16"))
    path = write(tmp_path / "a.fits", hdu)
    with path.open("r+b") as stream:  # as an instrument writes it: stored integers and a linear scale
        content = stream.read()
        cards = b"".join(
            text.ljust(80).encode() for text in ("BLANK   = 4", "BSCALE  = 0.5", "BZERO   = 10.0", "END")
        )
        stream.seek(content.index(b"END" + b" " * 77))
        stream.write(cards)
    expected = np.array([[10, 10.5, 11], [11.5, np.nan, 12.5]], np.float32)
    np.testing.assert_array_equal(read_pixels(str(path), 0), expected)


def test_unsigned_integers_keep_their_values(tmp_path: Path) -> None:
    pixels = np.array([[0, 40000], [65535, 1]], np.uint16)
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(pixels))
    np.testing.assert_array_equal(read_pixels(str(path), 0), pixels.astype(np.float32))


def test_values_beyond_float32_become_infinite_without_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(np.array([[1e300, 1.0]])))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_pixels(str(path), 0), np.array([[np.inf, 1]], np.float32))


def test_the_first_hdu_with_a_2d_image_is_taken(tmp_path: Path) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])])
    cube = fits.ImageHDU(np.zeros((2, 3, 4), np.float32))
    path = write(
        tmp_path / "a.fits",
        fits.PrimaryHDU(),
        table,
        cube,
        fits.ImageHDU(ramp(), name="SCI"),
        fits.ImageHDU(ramp(3)),
    )
    found = describe_fits(str(path))
    assert (found.hdu, found.width, found.height) == (3, 20, 12)


def test_an_hdu_is_chosen_by_number_or_name(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.fits",
        fits.PrimaryHDU(ramp()),
        fits.ImageHDU(ramp(3, 4), name="MASK"),
        fits.ImageHDU(np.zeros((2, 3, 4))),
        fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])]),
    )
    assert describe_fits(str(path), 1) == describe_fits(str(path), "mask")
    assert (describe_fits(str(path), 1).hdu, describe_fits(str(path), 1).width) == (1, 4)
    assert describe_fits(str(path), 0).hdu == 0
    np.testing.assert_array_equal(read_pixels(str(path), 1), ramp(3, 4))
    assert refusal(path, 2).kind == "not_2d"
    assert refusal(path, 3).kind == "no_image"
    assert [refusal(path, hdu).kind for hdu in (9, -1, "SCI")] == ["no_such_hdu"] * 3
    assert "MASK" in str(refusal(path, "SCI")), "the message names what is there"


def test_of_several_hdus_of_one_name_the_version_is_chosen(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.fits",
        fits.PrimaryHDU(),
        *(fits.ImageHDU(ramp(3 + version, 4), name="SCI", ver=version) for version in (1, 2, 3)),
        fits.ImageHDU(ramp(9, 4), name="SCI,B"),
    )
    wanted = {"SCI": 4, "SCI,1": 4, "sci, 2": 5, "SCI,3": 6}
    assert {hdu: describe_fits(str(path), hdu).height for hdu in wanted} == wanted
    assert describe_fits(str(path), "SCI,B").height == 9, "a comma may be part of a name"
    for missing in ("SCI,4", "SCI,0", "SCI,", "SCI,-1", "SCI,x", "ERR,1"):
        error = refusal(path, missing)
        assert error.kind == "no_such_hdu"
        assert f"no HDU {missing!r}" in str(error)
        assert "1 SCI,1; 2 SCI,2; 3 SCI,3; 4 SCI,B: name one in images.hdu" in str(error)


CUBES = {
    "three bands": lambda header: [fits.PrimaryHDU(bands(3), header)],
    "many planes": lambda header: [fits.PrimaryHDU(bands(7), header)],
    "four axes": lambda header: [fits.PrimaryHDU(bands(3)[None], header)],
    "an extension": lambda header: [fits.PrimaryHDU(), fits.ImageHDU(bands(3), header)],
    "compressed": lambda header: [fits.PrimaryHDU(), fits.CompImageHDU(bands(3).astype(np.int16), header)],
}


def bands(number: int) -> np.ndarray:
    return np.arange(number * 40 * 50, dtype=np.float32).reshape(number, 40, 50)


@pytest.mark.parametrize("cube", CUBES)
def test_the_refusal_of_a_cube_says_what_to_paste(
    cube: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = tan_header(WCSAXES=3, CTYPE3="WAVE", CRVAL3=5e-7, CDELT3=1e-7, CRPIX3=1.0)
    hdus = CUBES[cube](header)
    path = write(tmp_path / "a cube.fits", *hdus)
    planes = hdus[-1].data.reshape(-1, 40, 50)
    messages = [str(refusal(path)), str(refusal(path, len(hdus) - 1))]
    assert {refusal(path).kind, refusal(path, len(hdus) - 1).kind} == {"not_2d"}
    for message in messages:
        assert f"each of its {len(planes)} planes" in message
        assert ("--set" in message) == (len(planes) == 3)
    (command,) = {re.search(r"python -c ('.*?' FILE)", message)[1] for message in messages}  # type: ignore[index]
    code, _ = shlex.split(command)
    monkeypatch.setattr(sys, "argv", ["-c", str(path)])
    exec(code, {})
    made = [f"{path}_{number}.fits" for number in range(len(planes))]
    for file, plane in zip(made, planes, strict=True):
        assert describe_fits(file).wcs is not None
        np.testing.assert_array_equal(read_pixels(file, 0), plane)
    if len(planes) == 3:
        pasted = shlex.split(re.search(r"--set ('.*')", messages[0])[1])  # type: ignore[index]
        values: dict[str, Any] = {"images": {"paths": str(tmp_path)}}
        apply_override(values, pasted[0])
        color = parse_settings(values).images.color
        assert color is not None
        rows = [describe(file) for file in list_files([f"{path}_*.fits"])]
        (group,) = group_bands(rows, color.grouping, color.bands)
        assert group.error is None
        assert [group.planes[band].uri for (band,) in color.channels] == made[::-1]


def test_a_cube_of_one_plane_is_an_image(tmp_path: Path) -> None:
    header = tan_header(CTYPE1="RA---SIN", CTYPE2="DEC--SIN", CTYPE3="FREQ", CRVAL3=1.4e9, CDELT3=1e6)
    header.update(CRPIX1=1.0, CRPIX2=1.0)
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(ramp()[None, None], header))
    found = describe_fits(str(path))
    assert (found.width, found.height) == (20, 12)
    np.testing.assert_array_equal(read_pixels(str(path), 0), ramp())
    assert found.wcs is not None
    ra, dec = sky.pixel_to_sky(sky.wcs_of(found.wcs), 0, 0)
    np.testing.assert_allclose([ra[0], dec[0]], [20.0, -30.0], atol=1e-9)


@pytest.mark.parametrize("compression", ["RICE_1", "GZIP_2", "HCOMPRESS_1"])
def test_tile_compressed_images_are_images(tmp_path: Path, compression: str) -> None:
    pixels = ramp(64, 64, "int16")
    path = write(
        tmp_path / "a.fits.fz", fits.PrimaryHDU(), fits.CompImageHDU(pixels, compression_type=compression)
    )
    assert describe_fits(str(path))[:3] == (1, 64, 64)
    np.testing.assert_array_equal(read_pixels(str(path), 1), pixels.astype(np.float32))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_compressed_files_are_read_whatever_their_extension(tmp_path: Path, compress) -> None:
    plain = write(tmp_path / "a.fits", fits.PrimaryHDU(), fits.ImageHDU(ramp()), fits.ImageHDU(ramp(3)))
    path = tmp_path / "b.fits"
    path.write_bytes(compress(plain.read_bytes()))
    assert describe_fits(str(path)) == describe_fits(str(plain))
    assert describe_fits(str(path), 2).height == 3
    np.testing.assert_array_equal(read_pixels(str(path), 1), ramp())


# ---- what is refused ---------------------------------------------------------------------


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    path.touch()
    assert refusal(path).kind == "empty_file"


def test_a_text_file_named_fits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    path.write_text("<html>404 not found</html>" * 200)
    assert refusal(path).kind == "not_fits"
    assert refusal(path, read=True).kind == "not_fits"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.fits").kind == "missing"


def test_files_without_an_image_are_refused(tmp_path: Path) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])])
    assert refusal(write(tmp_path / "table.fits", fits.PrimaryHDU(), table)).kind == "no_image"
    assert refusal(write(tmp_path / "bare.fits", fits.PrimaryHDU())).kind == "no_image"
    assert refusal(write(tmp_path / "line.fits", fits.PrimaryHDU(np.zeros(9)))).kind == "no_image"
    assert refusal(write(tmp_path / "cube.fits", fits.PrimaryHDU(np.zeros((2, 3, 4))))).kind == "not_2d"


@pytest.mark.parametrize("kept", [100, 2879, 2880 + 1, 2880 + 4 * 100 * 100 - 1])
def test_a_truncated_image_is_refused_and_not_filled_with_zeros(tmp_path: Path, kept: int) -> None:
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(ramp(100, 100)))
    path.write_bytes(path.read_bytes()[:kept])
    assert refusal(path).kind == "truncated"
    assert refusal(path, read=True).kind == "truncated"


def test_an_image_without_the_final_padding_is_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(ramp(100, 100)))
    path.write_bytes(path.read_bytes()[: 2880 + 4 * 100 * 100])
    np.testing.assert_array_equal(read_pixels(str(path), describe_fits(str(path)).hdu), ramp(100, 100))


def test_a_file_cut_in_a_later_header_or_table_is_truncated(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(), fits.ImageHDU(ramp(100, 100)))
    content = path.read_bytes()
    for kept in (2880 + 400, 2880 * 2 + 5):
        path.write_bytes(content[:kept])
        assert refusal(path).kind == "truncated"
        assert refusal(path, hdu=1).kind == "truncated"


def test_a_truncated_tile_compressed_image_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(size=(128, 128)).astype(np.float32)
    path = write(tmp_path / "a.fits.fz", fits.PrimaryHDU(), fits.CompImageHDU(noise))
    path.write_bytes(path.read_bytes()[:-2880])
    assert refusal(path).kind == "truncated"


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_truncated_compressed_files_are_refused_when_read(tmp_path: Path, compress) -> None:
    noise = np.random.default_rng(1).normal(size=(128, 128)).astype(np.float32)
    content = write(tmp_path / "a.fits", fits.PrimaryHDU(noise)).read_bytes()
    path = tmp_path / "b.fits.gz"
    path.write_bytes(compress(content)[:-5000])
    assert refusal(path, read=True).kind == "truncated"
    path.write_bytes(compress(content[:-9000]))
    assert refusal(path, read=True).kind == "truncated"


def test_damaged_tiles_are_refused_when_read(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)
    path = write(
        tmp_path / "a.fits.fz", fits.PrimaryHDU(), fits.CompImageHDU(noise, compression_type="GZIP_1")
    )
    content = bytearray(path.read_bytes())
    content[-5000:] = b"\xff" * 5000
    path.write_bytes(bytes(content))
    assert refusal(path, hdu=1, read=True).kind == "unreadable"


def test_an_absurd_size_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    values = {"SIMPLE": "T", "BITPIX": 8, "NAXIS": 2, "NAXIS1": 77777, "NAXIS2": 77777}
    cards = [f"{key:8}= {value:>20}" for key, value in values.items()] + ["END"]
    path.write_bytes("".join(card.ljust(80) for card in cards).ljust(2880).encode())
    assert refusal(path).kind == "too_large"


# ---- rows of the images table ------------------------------------------------------------


def test_describe_fills_every_column(tmp_path: Path) -> None:
    header = tan_header(FILTER="r")
    primary = fits.PrimaryHDU()
    primary.header["MJD-OBS"] = 55197.25
    path = write(tmp_path / "a.fits", primary, fits.ImageHDU(ramp(), header))
    size = path.stat().st_size
    row = describe(ImageFile(str(path), "night/a.fits", size))
    assert set(row) == set(schema.IMAGES.names)
    batch = schema.rows_to_batch([row], schema.IMAGES)
    assert [batch.column(name)[0].as_py() for name in ("hdu", "width", "height")] == [1, 20, 12]
    assert row["image_id"] == ids.image_id("night/a.fits", 1)
    assert (row["uri"], row["path"], row["size_bytes"]) == (str(path), "night/a.fits", size)
    assert (row["status"], row["error"], row["bands"], row["mjd"]) == ("ok", None, "r", 55197.25)
    assert (row["ra"], row["dec"]) == (pytest.approx(20.0), pytest.approx(-30.0))
    assert row["pixel_scale"] == pytest.approx(3.6)


def test_an_image_without_wcs_has_no_position(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(ramp()))
    row = describe(ImageFile(str(path), "a.fits", 1))
    assert [row[name] for name in ("wcs", "ra", "dec", "pixel_scale", "mjd", "bands")] == [None] * 6


def test_a_refused_file_still_makes_a_row() -> None:
    row = failed_row(ImageFile("/x/a.fits", "a.fits", 7), ImageError("it is empty", kind="empty_file"))
    batch = schema.rows_to_batch([row], schema.IMAGES)
    assert batch.column("status")[0].as_py() == "failed"
    assert batch.column("error")[0].as_py() == "empty_file: it is empty"
    assert batch.column("width")[0].as_py() is None


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("hello")
    for call in (lambda: describe(ImageFile(str(path), "a.txt", 5)), lambda: read_pixels(str(path), 0)):
        with pytest.raises(ImageError, match="known kind"):
            call()


@needs_data
def test_real_files_give_the_shapes_and_pixels_astropy_gives() -> None:
    described = 0
    for path in sorted(FOLDER.glob("*.f*")):
        if path.name in WITHOUT_IMAGE:
            assert refusal(path).kind == WITHOUT_IMAGE[path.name]
            continue
        row = describe(ImageFile(str(path), path.name, path.stat().st_size))
        described += 1
        pixels = read_pixels(row["uri"], row["hdu"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            oracle = fits.getdata(path, row["hdu"])
        assert pixels.shape == (row["height"], row["width"]) == oracle.shape
        np.testing.assert_array_equal(pixels, oracle.astype(np.float32))
    assert described > 0
