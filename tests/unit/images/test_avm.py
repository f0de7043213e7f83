"""Sky positions of press images, from the AVM in their XMP packets."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
import tifffile
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from helpers.pixels import read_pixels
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pyavm import AVM

from elodin_spark.config.settings import SlidingWindow
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.images import sky
from elodin_spark.images.avm import MAX_PACKET_BYTES, avm_header
from elodin_spark.images.describe import describe
from elodin_spark.images.listing import ImageFile, files_to_batches, list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.stage import fuse, run_plain

WIDTH, HEIGHT = 160, 120
SCALE_ARCSEC = 0.5
#: The star, as FITS counts: from the bottom left, y up.
STAR_X, STAR_Y = 122.0, 31.0


def fits_wcs(rotation_deg: float = 25.0, frame: str = "ICRS") -> WCS:
    """Of the picture as FITS would have it: row 0 at the bottom."""
    header = fits.Header({"NAXIS": 2, "NAXIS1": WIDTH, "NAXIS2": HEIGHT, "RADESYS": frame})
    header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 85.2, "CRVAL2": -69.1})
    header.update({"CRPIX1": 30.25, "CRPIX2": 100.75, "CDELT1": -SCALE_ARCSEC / 3600})
    header.update({"CDELT2": SCALE_ARCSEC / 3600, "CROTA2": rotation_deg})
    if frame == "FK4":
        header["EQUINOX"] = 1950.0
    return WCS(header)


def packet(wcs: WCS | None = None, **spatial: Any) -> bytes:
    """XMP of a WCS, with entries changed; None takes one away."""
    wcs = fits_wcs() if wcs is None else wcs
    avm = AVM.from_wcs(wcs, shape=(HEIGHT, WIDTH))
    avm.Spatial.ReferenceDimension = [float(WIDTH), float(HEIGHT)]
    for name, value in spatial.items():
        avm.Spatial._items[name] = value
    return bytes(avm.to_xmp())


def star_pixels() -> np.ndarray:
    """Row 0 at the top, as pictures are."""
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[round(HEIGHT - STAR_Y), round(STAR_X - 1)] = 255
    return pixels


def write_png(path: Path, xmp: bytes) -> None:
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    Image.fromarray(star_pixels()).save(path, pnginfo=text)


def write_png_by_pyavm(path: Path, xmp: bytes) -> None:
    plain = path.with_name("plain")
    Image.fromarray(star_pixels()).save(plain, format="PNG")
    AVM.from_xml(xmp[xmp.index(b"<x:xmpmeta") : xmp.index(b"<?xpacket end")]).embed(str(plain), str(path))
    plain.unlink()


def write_jpeg(path: Path, xmp: bytes) -> None:
    Image.fromarray(star_pixels()).save(path, quality=98, xmp=xmp)


def write_tiff(path: Path, xmp: bytes) -> None:
    tifffile.imwrite(path, star_pixels(), extratags=[(700, "B", len(xmp), xmp, True)])


WRITERS: dict[str, tuple[str, Callable[[Path, bytes], None]]] = {
    "png": ("a.png", write_png),
    "png by pyavm": ("a.png", write_png_by_pyavm),
    "jpeg": ("a.jpg", write_jpeg),
    "tiff": ("a.tif", write_tiff),
}


def described(path: Path) -> dict[str, Any]:
    return describe(ImageFile(str(path), path.name, path.stat().st_size))


def separation_arcsec(ra: Any, dec: Any, truth: SkyCoord) -> Any:
    return SkyCoord(ra, dec, unit="deg").separation(truth.icrs).arcsec


def check_everywhere(text: str | None, truth: WCS, scale: float = 1.0) -> None:
    """The corners and the middle of a picture that was resized by `scale`, row 0 at its top."""
    assert text is not None
    width, height = WIDTH * scale, HEIGHT * scale
    x, y = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width / 3, height / 2]]).T
    ra, dec = sky.pixel_to_sky(sky.wcs_of(text), x, y)
    # The same points of the picture, in px of the picture before, as FITS counts.
    fits_x, fits_y = (x + 0.5) / scale + 0.5, (height - (y + 0.5)) / scale + 0.5
    expected = truth.pixel_to_world(fits_x - 1, fits_y - 1)
    assert np.max(separation_arcsec(ra, dec, expected)) < 1e-4


@pytest.mark.parametrize("kind", WRITERS)
def test_a_star_is_in_the_cutout_that_says_so(kind: str, tmp_path: Path) -> None:
    name, write = WRITERS[kind]
    write(tmp_path / name, packet())
    star = fits_wcs().pixel_to_world(STAR_X - 1, STAR_Y - 1)
    spec = fuse(DescribeSpec(None), TileSpec(SlidingWindow(size=(15,), step=2), "auto", (), 15))
    rows = run_plain(spec, files_to_batches(list_files([str(tmp_path)]))).to_pylist()
    cutouts = [row for row in rows if row["cutout_id"] is not None]
    apart = separation_arcsec([c["ra"] for c in cutouts], [c["dec"] for c in cutouts], star)
    nearest = cutouts[int(np.argmin(apart))]
    assert apart.min() < 0.01
    shown = np.frombuffer(nearest["pixels"], np.uint8).reshape(nearest["pixel_shape"])
    assert np.unravel_index(shown.argmax(), shown.shape) == (7, 7)
    (image,) = (row["image"] for row in rows if row["image"])
    assert image["pixel_scale"] == pytest.approx(SCALE_ARCSEC)
    middle = fits_wcs().pixel_to_world((WIDTH - 1) / 2, (HEIGHT - 1) / 2)
    assert separation_arcsec(image["ra"], image["dec"], middle) < 1e-4


@settings(max_examples=30, deadline=None)
@given(st.floats(-180, 180), st.sampled_from([1, 2, 3]), st.sampled_from(["ICRS", "FK5", "FK4"]))
def test_rotation_resizing_and_equatorial_frames(rotation: float, scale: int, frame: str) -> None:
    wcs = fits_wcs(rotation, frame)
    by_pyavm, side = packet(wcs), SCALE_ARCSEC / 3600
    for xmp in (by_pyavm, *(packet(wcs, Scale=[s * side, side], Rotation=rotation) for s in (-1, 1))):
        check_everywhere(avm_header(xmp, WIDTH * scale, HEIGHT * scale), wcs, scale)


def test_a_smaller_copy_whose_sides_were_rounded_keeps_its_position() -> None:
    dimension = [WIDTH * 10.0 + 3, HEIGHT * 10.0 - 4]
    assert avm_header(packet(ReferenceDimension=dimension), WIDTH, HEIGHT) is not None


@pytest.mark.parametrize(("frame", "axes"), [("GAL", ("GLON", "GLAT")), ("ECL", ("ELON", "ELAT"))])
def test_other_frames_end_in_icrs(frame: str, axes: tuple[str, str]) -> None:
    wcs = fits_wcs()
    wcs.wcs.ctype = [f"{axes[0]}-TAN", f"{axes[1]}-TAN"]
    wcs.wcs.radesys = ""
    wcs.wcs.set()
    text = avm_header(packet(wcs, CoordinateFrame=frame, Equinox="J2000"), WIDTH, HEIGHT)
    assert text is not None
    x, y = np.array([0.0, 159.0, 70.0]), np.array([0.0, 10.0, 119.0])
    longitude, latitude = wcs.all_pix2world(x, HEIGHT - 1 - y, 0)
    name = {"GAL": "galactic", "ECL": "barycentricmeanecliptic"}[frame]
    truth = SkyCoord(longitude, latitude, unit="deg", frame=name)
    ra, dec = sky.pixel_to_sky(sky.wcs_of(text), x, y)
    assert np.max(separation_arcsec(ra, dec, truth)) < 1e-3


def test_a_cd_matrix_is_resized_too() -> None:
    wcs = fits_wcs()
    cd = list(wcs.pixel_scale_matrix.ravel())
    xmp = packet(wcs, Scale=None, Rotation=None, CDMatrix=cd)
    check_everywhere(avm_header(xmp, WIDTH * 2, HEIGHT * 2), wcs, 2)


def test_entries_that_say_nothing_of_the_sky_do_no_harm() -> None:
    wrong = b'<avm:Type>No such type</avm:Type><avm:Distance.Notes a="1"/></rdf:Description>'
    xmp = packet().replace(b"</rdf:Description>", wrong)
    check_everywhere(avm_header(xmp, WIDTH, HEIGHT), fits_wcs())


@pytest.mark.parametrize(
    "spatial",
    [
        {"Quality": "Position"},
        {"ReferencePixel": None},
        {"ReferenceValue": None},
        {"ReferenceValue": [10.0, float("nan")]},
        {"ReferenceValue": [10.0, 95.0]},
        {"ReferenceDimension": None},
        {"ReferenceDimension": [0.0, 0.0]},
        {"ReferenceDimension": [200.0, 200.0]},
        {"ReferenceDimension": [162.0, 120.0]},
        {"Scale": None},
        {"Scale": [0.0, 0.0]},
        {"Scale": [-1e-4, -1e-4]},
        {"CoordsystemProjection": None},
        {"CoordinateFrame": None, "Equinox": "B1950"},
        {"CoordinateFrame": "ECL", "CoordsystemProjection": "CAR"},
    ],
    ids=str,
)
def test_what_cannot_be_relied_on_gives_no_position(spatial: dict[str, Any]) -> None:
    assert avm_header(packet(), WIDTH, HEIGHT) is not None
    assert avm_header(packet(**spatial), WIDTH, HEIGHT) is None


BOMB = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><?xml version="1.0"?>
<!DOCTYPE x [<!ENTITY a "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa">%s]>"""
LAUGHS = b"".join(
    b'<!ENTITY %c "%s">' % (name, b"&%c;" % (name - 1) * 20) for name in range(ord("b"), ord("i"))
)


def damaged() -> dict[str, bytes]:
    whole = packet()
    body = whole[whole.index(b"<x:xmpmeta") :]
    rows = b"<rdf:li>%s" % f"{WIDTH:.16f}".encode()
    assert rows in body
    return {
        "nothing": b"",
        "no XML": b"\xff\x00" * 500,
        "cut short": whole[: len(whole) // 2],
        "cut within": whole[:700] + whole[900:],
        "UTF-16": whole.decode().encode("utf-16"),
        "entity bomb": BOMB % LAUGHS + body.replace(rows, b"<rdf:li>&h;"),
        "file of another": b'<!DOCTYPE x [<!ENTITY h SYSTEM "file:///etc/passwd">]>'
        + body.replace(rows, b"<rdf:li>&h;"),
        "words for numbers": body.replace(rows, b"<rdf:li>wide"),
        "deep": b"<x:xmpmeta xmlns:x='a'>" + b"<x:b>" * 20_000 + b"</x:b>" * 20_000 + b"</x:xmpmeta>",
        "huge": b"<x:xmpmeta>" + b" " * MAX_PACKET_BYTES + b"</x:xmpmeta>",
        "many openings": b"<x:xmpmeta " * 100_000,
    }


@pytest.mark.parametrize("case", damaged())
def test_a_damaged_or_hostile_packet_gives_no_position_and_does_no_harm(case: str, tmp_path: Path) -> None:
    xmp = damaged()[case]
    assert avm_header(xmp, WIDTH, HEIGHT) is None
    write_tiff(tmp_path / "a.tif", xmp or b" ")
    row = described(tmp_path / "a.tif")
    assert (row["status"], row["wcs"], row["ra"]) == ("ok", None, None)
    np.testing.assert_array_equal(read_pixels(str(tmp_path / "a.tif"), 0), star_pixels())


def test_a_document_type_before_the_packet_is_never_parsed() -> None:
    whole = packet()
    body = whole[whole.index(b"<x:xmpmeta") :]
    check_everywhere(avm_header(BOMB % LAUGHS + body, WIDTH, HEIGHT), fits_wcs())


def test_a_packet_that_unpacks_without_end_does_no_harm(tmp_path: Path) -> None:
    write_png(tmp_path / "plain.png", packet())
    png = (tmp_path / "plain.png").read_bytes()
    data = b"iTXtXML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(2**24))
    chunk = (len(data) - 4).to_bytes(4, "big") + data + zlib.crc32(data).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(png[:33] + chunk + png[33:])  # after the signature and IHDR
    np.testing.assert_array_equal(read_pixels(str(tmp_path / "a.png"), 0), star_pixels())
    assert described(tmp_path / "a.png")["status"] == "ok"


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_a_picture_that_its_tag_turns_has_no_position(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(star_pixels()).save(tmp_path / "a.jpg", xmp=packet(), exif=exif)
    assert described(tmp_path / "a.jpg")["wcs"] is None
    exif[274] = 1
    Image.fromarray(star_pixels()).save(tmp_path / "a.jpg", xmp=packet(), exif=exif)
    check_everywhere(described(tmp_path / "a.jpg")["wcs"], fits_wcs())


def test_hubble_pictures_that_were_cropped_have_no_position(shared_data: Path) -> None:
    """macs.jpg holds the AVM of a picture of 6000 x 6000 px and has 973 x 916 px."""
    for name in ("macs.jpg", "horsehead.jpg", "milky_way.jpg"):
        row = described(shared_data / "hubble" / name)
        assert (row["status"], row["wcs"]) == ("ok", None)


def test_the_avm_of_a_hubble_picture_is_read(shared_data: Path) -> None:
    """MACS J1206.2-0847, whose brightest galaxy is at 181.5506 -8.8009 deg, near the reference point."""
    with Image.open(shared_data / "hubble" / "macs.jpg") as picture:
        text = avm_header(picture.info["xmp"], 6000, 6000)
    assert text is not None
    ra, dec = sky.pixel_to_sky(sky.wcs_of(text), 2999.5, 2999.5)
    cluster = SkyCoord(181.5506 * u.deg, -8.8009 * u.deg)
    assert SkyCoord(ra[0], dec[0], unit="deg").separation(cluster).arcsec < 60
    assert sky.pixel_scale_arcsec(sky.wcs_of(text)) == pytest.approx(0.065, rel=1e-3)
