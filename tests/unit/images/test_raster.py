"""Pictures to descriptions and pixels."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from helpers.paths import DATA
from helpers.pixels import read_pixels
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from elodin_spark.errors import ImageError
from elodin_spark.images.describe import describe
from elodin_spark.images.listing import ImageFile
from elodin_spark.images.raster import describe_raster, read_raster

FOLDER = DATA / "hubble"
needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no test images at {FOLDER}")


def noise(*shape: int, dtype: str = "uint8") -> np.ndarray:
    rng = np.random.default_rng(3)
    if dtype.startswith("float"):
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def refusal(path: Path, read: bool = True) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read_raster(str(path)) if read else describe_raster(str(path))
    assert len(str(caught.value)) > 15
    return caught.value


def check(path: Path, expected: np.ndarray) -> None:
    """Read and described alike, and equal to what was written."""
    pixels = read_raster(str(path))
    assert pixels.dtype == expected.dtype
    assert pixels.dtype.isnative
    assert pixels.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(pixels, expected)
    height, width = expected.shape[:2]
    assert describe_raster(str(path))[:3] == (width, height, expected.ndim == 3)


@pytest.mark.parametrize("shape", [(9, 13), (9, 13, 3)])
def test_an_8_bit_png_is_read_as_stored_with_row_0_at_the_top(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = noise(*shape)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    check(tmp_path / "a.png", pixels)


def test_a_16_bit_gray_png_stays_16_bit(tmp_path: Path) -> None:
    pixels = noise(9, 13, dtype="uint16")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    check(tmp_path / "a.png", pixels)


def test_palettes_and_bitmaps_and_transparency_are_resolved(tmp_path: Path) -> None:
    rgb = np.repeat(np.repeat(noise(3, 4, 3), 4, 0), 4, 1)
    palette = Image.fromarray(rgb).quantize(12)
    palette.save(tmp_path / "p.png")
    check(tmp_path / "p.png", np.asarray(palette.convert("RGB")))
    bits = noise(9, 13) > 127
    Image.fromarray(bits).save(tmp_path / "1.png")
    check(tmp_path / "1.png", bits.astype(np.uint8) * np.uint8(255))
    rgba = noise(9, 13, 4)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    check(tmp_path / "rgba.png", rgba[..., :3])
    gray_alpha = noise(9, 13, 2)
    Image.fromarray(gray_alpha).save(tmp_path / "la.png")
    check(tmp_path / "la.png", gray_alpha[..., 0])


def test_a_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    Image.fromarray(noise(16, 16, 3)).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    with Image.open(tmp_path / "a.jpg") as picture:
        assert picture.mode == "CMYK"
        check(tmp_path / "a.jpg", np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_tag_is_applied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    pixels = noise(9, 13, dtype="uint16")
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as picture:
        upright = np.asarray(ImageOps.exif_transpose(picture))
    check(tmp_path / "a.png", upright)
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=[(274, "H", 1, orientation, False)])
    check(tmp_path / "a.tif", upright)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiff_pixels_are_read_as_stored(
    tmp_path: Path, dtype: str, compression: str | None, byteorder: str
) -> None:
    pixels = noise(9, 13, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, compression=compression, byteorder=byteorder)
    check(tmp_path / "a.tif", pixels)


@pytest.mark.parametrize("dtype", ["float64", "int16", "int32", "uint32", "float16"])
def test_other_tiff_types_become_float32(tmp_path: Path, dtype: str) -> None:
    pixels = (
        noise(9, 13, dtype=dtype) if dtype != "float16" else noise(9, 13, dtype="float32").astype("float16")
    )
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    check(tmp_path / "a.tif", pixels.astype(np.float32))


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_color_tiff_has_its_channels_last(tmp_path: Path, planar: str, dtype: str) -> None:
    pixels = noise(9, 13, 3, dtype=dtype)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)
    check(tmp_path / "a.tif", pixels)


def test_tiff_variants_of_pillow_are_read(tmp_path: Path) -> None:
    pixels = noise(9, 13, 3)
    Image.fromarray(pixels).save(tmp_path / "lzw.tif", compression="tiff_lzw")
    check(tmp_path / "lzw.tif", pixels)
    Image.fromarray(noise(9, 13, 4)).save(tmp_path / "rgba.tif")
    check(tmp_path / "rgba.tif", noise(9, 13, 4)[..., :3])
    palette = Image.fromarray(pixels).quantize(8)
    palette.save(tmp_path / "p.tif")
    check(tmp_path / "p.tif", np.asarray(palette.convert("RGB")))
    Image.fromarray(noise(9, 13) > 99).save(tmp_path / "1.tif")
    check(tmp_path / "1.tif", (noise(9, 13) > 99).astype(np.uint8) * np.uint8(255))


def test_tiff_where_white_is_zero_is_turned_right(tmp_path: Path) -> None:
    pixels = noise(9, 13)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    check(tmp_path / "a.tif", 255 - pixels)


def test_tiff_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(9, 13, 5), photometric="minisblack", planarconfig="contig")
    assert refusal(tmp_path / "a.tif", read=False).kind == "not_2d"


def test_an_empty_or_foreign_file_is_refused(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.tif"):
        (tmp_path / name).touch()
        assert refusal(tmp_path / name).kind == "empty_file"
        (tmp_path / name).write_text("<html>404</html>" * 50)
        assert refusal(tmp_path / name, read=False).kind == "unreadable"
        assert refusal(tmp_path / name).kind == "unreadable"
    assert refusal(tmp_path / "nowhere.png").kind == "missing"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    picture = Image.fromarray(noise(64, 64, 3))
    picture.save(folder / "a.jpg", quality=90)
    picture.save(folder / "progressive.jpg", quality=90, progressive=True)
    picture.save(folder / "a.png")
    picture.save(folder / "a.tif")
    picture.save(folder / "lzw.tif", compression="tiff_lzw")
    return folder


@pytest.mark.parametrize("name", ["a.jpg", "progressive.jpg", "a.png", "a.tif", "lzw.tif"])
@settings(max_examples=25, deadline=None)
@given(part=st.floats(0.001, 0.99))
def test_a_picture_that_ends_early_is_refused_wherever_it_is_cut(whole: Path, name: str, part: float) -> None:
    content = (whole / name).read_bytes()
    cut = whole / f"cut-{name}"
    cut.write_bytes(content[: max(1, int(len(content) * part))])
    # Where the header itself is cut there may be nothing left to tell that it was one.
    assert refusal(cut).kind in (
        {"truncated"} if part > 0.3 and "tif" not in name else {"truncated", "unreadable"}
    )


def test_a_broken_orientation_tag_does_not_lose_the_picture(tmp_path: Path) -> None:
    Image.fromarray(noise(16, 16, 3)).save(tmp_path / "a.jpg", exif=b"Exif\0\0garbage that is no TIFF")
    with Image.open(tmp_path / "a.jpg") as picture:
        expected = np.asarray(picture)
    check(tmp_path / "a.jpg", expected)


def test_pillows_own_limit_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    Image.fromarray(noise(9, 13)).save(tmp_path / "a.png")
    check(tmp_path / "a.png", noise(9, 13))
    assert Image.MAX_IMAGE_PIXELS == 10


def test_a_picture_of_absurd_size_is_refused_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elodin_spark.images.raster.MAX_PIXELS", 100)
    Image.fromarray(noise(9, 13)).save(tmp_path / "a.png")
    assert refusal(tmp_path / "a.png", read=False).kind == "too_large"
    Image.fromarray(noise(90, 13)).save(tmp_path / "b.png")
    assert refusal(tmp_path / "b.png", read=False).kind == "too_large"


@pytest.mark.parametrize(("name", "mode"), [("a.png", "1"), ("a.jpg", "L"), ("a.tif", "1")])
def test_a_picture_of_one_shade_is_no_lie_however_small_its_file(
    tmp_path: Path, name: str, mode: str
) -> None:
    picture = Image.new(mode, (3000, 3000))
    picture.save(tmp_path / name, **({"compression": "tiff_lzw"} if name == "a.tif" else {"optimize": True}))
    assert read_raster(str(tmp_path / name)).shape == (3000, 3000)
    assert describe_raster(str(tmp_path / name))[:2] == (3000, 3000)


def test_the_first_of_several_pictures_in_a_jpeg_is_read(tmp_path: Path) -> None:
    pictures = [Image.fromarray(noise(24, 32)) for _ in range(2)]
    pictures[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=pictures[1:])
    assert describe_raster(str(tmp_path / "a.jpg"))[:2] == (32, 24)
    assert read_raster(str(tmp_path / "a.jpg")).shape == (24, 32)


def test_describe_says_rgb_of_color_and_has_no_position(tmp_path: Path) -> None:
    Image.fromarray(noise(9, 13, 3)).save(tmp_path / "a.png")
    Image.fromarray(noise(9, 13)).save(tmp_path / "b.png")
    color = describe(ImageFile(str(tmp_path / "a.png"), "a.png", 1), hdu=3)
    gray = describe(ImageFile((tmp_path / "b.png").as_uri(), "b.png", 1))
    assert (color["bands"], gray["bands"]) == ("RGB", None)
    assert (color["hdu"], color["width"], color["height"]) == (0, 13, 9)
    assert [color[name] for name in ("wcs", "ra", "dec", "pixel_scale", "mjd")] == [None] * 5
    np.testing.assert_array_equal(read_pixels(gray["uri"], 0), noise(9, 13))


@needs_data
def test_real_pictures_equal_what_pillow_reads() -> None:
    for path in sorted(FOLDER.glob("*_small.jpg")):
        with Image.open(path) as picture:
            check(path, np.asarray(picture))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(30, 41, 3), (30, 41)])
@pytest.mark.parametrize("code", [1, 5, 8, 32773, 32946])
def test_tiff_of_any_compression_is_read_bit_for_bit(
    tmp_path: Path, dtype: type, shape: tuple[int, ...], code: int
) -> None:
    import cv2

    pixels = (np.random.default_rng(1).random(shape) * 250).astype(dtype)
    pixels[:5] = 7  # something to compress
    written = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    assert cv2.imwrite(str(tmp_path / "a.tif"), written, [cv2.IMWRITE_TIFF_COMPRESSION, code])
    check(tmp_path / "a.tif", pixels)


@pytest.mark.parametrize("name", ["zstd", "lzma"])
@pytest.mark.parametrize("mode", ["RGB", "L", "I;16"])
def test_newer_compressions_are_read_too(tmp_path: Path, name: str, mode: str) -> None:
    shape = (30, 41, 3) if mode == "RGB" else (30, 41)
    pixels = (
        np.random.default_rng(1).integers(0, 250, shape).astype(np.uint16 if mode == "I;16" else np.uint8)
    )
    Image.fromarray(pixels).save(tmp_path / "a.tif", compression=name)
    check(tmp_path / "a.tif", pixels)


def test_a_compression_that_nothing_here_reads_names_the_package(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 2**16, (30, 41, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    at = content.index(struct.pack("<HHI", 259, 3, 1)) + 8
    content[at : at + 2] = struct.pack("<H", 50001)  # WebP
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ImageError, match="pip install imagecodecs"):
        read_raster(str(tmp_path / "a.tif"))


def test_of_several_pages_their_number_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pages = np.random.default_rng(1).integers(0, 2**8, (3, 30, 41)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page in pages:
            writer.write(page, photometric="minisblack")
        writer.write(pages[0, ::2, ::2], photometric="minisblack", subfiletype=1)  # a smaller copy
    check(tmp_path / "a.tif", pages[0])
    assert "a.tif has 3 pages, of which the first is read" in caplog.text
    caplog.clear()
    tifffile.imwrite(tmp_path / "one.tif", pages[0])
    check(tmp_path / "one.tif", pages[0])
    assert not caplog.records
