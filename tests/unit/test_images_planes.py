"""Windows of images that are not held in memory."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from elodin_spark.errors import ImageError
from elodin_spark.images import tiles
from elodin_spark.images.planes import open_plane
from elodin_spark.images.raster import read_raster
from elodin_spark.images.streams import LocalStream
from elodin_spark.images.tiles import TiledWindows
from elodin_spark.images.windows import ConstantWindows

ROOT = Path(__file__).parents[2]
NY, NX = 65, 86

#: One way of storing an image each: pixels, header cards, how they are compressed, how the file is.
FORMS: dict[str, dict[str, Any]] = {
    "uint8": {"dtype": "u1"},
    "int16": {"dtype": "i2"},
    "int32": {"dtype": "i4", "cards": {"BLANK": 7}},
    "int64": {"dtype": "i8"},
    "float32": {"dtype": "f4"},
    "float64": {"dtype": "f8"},
    "uint16": {"dtype": "u2"},
    "scaled": {"dtype": "i2", "cards": {"BSCALE": 0.25, "BZERO": 1500.0, "BLANK": 9}},
    "scaled int32": {"dtype": "i4", "cards": {"BSCALE": 0.3, "BZERO": -2.5}},
    "rice": {"dtype": "i2", "tiles": "RICE_1"},
    "rice floats": {"dtype": "f4", "tiles": "RICE_1"},
    "rice blank": {"dtype": "i4", "tiles": "RICE_1", "cards": {"BLANK": 11}},
    "rice uint16": {"dtype": "u2", "tiles": "RICE_1"},
    "gzip 1": {"dtype": "i4", "tiles": "GZIP_1", "tile_shape": (20, 30)},
    "gzip 2 floats": {"dtype": "f4", "tiles": "GZIP_2", "tile_shape": (16, 16), "quantize_level": 0},
    "hcompress": {"dtype": "i2", "tiles": "HCOMPRESS_1", "tile_shape": (20, 20)},
    "hcompress whole": {"dtype": "f4", "tiles": "HCOMPRESS_1", "tile_shape": (NY, NX)},
    "plio": {"dtype": "i2", "tiles": "PLIO_1", "tile_shape": (7, NX)},
    "no compression": {"dtype": "i2", "tiles": "NOCOMPRESS"},
    "whole gz": {"dtype": "f4", "pack": gzip.compress},
    "whole bz2": {"dtype": "i2", "pack": bz2.compress},
}


def pixels_of(dtype: str) -> np.ndarray:
    rng = np.random.default_rng(5)
    values = rng.normal(120, 30, (NY, NX)).clip(0, 250)
    values[10, 5:9] = (7, 9, 11, 7)
    pixels = values.astype(dtype)
    if pixels.dtype.kind == "f":
        pixels[20:22, 30:50] = np.nan
    return pixels


def write(path: Path, form: dict[str, Any], pixels: np.ndarray | None = None) -> int:
    """Write an image; returns the index of its HDU."""
    pixels = pixels_of(form["dtype"]) if pixels is None else pixels
    header = fits.Header({"BLANK": form["cards"]["BLANK"]} if "BLANK" in form.get("cards", {}) else {})
    hdus: list[Any] = [fits.PrimaryHDU()]
    if "tiles" in form:
        options = {key: form[key] for key in ("tile_shape", "quantize_level") if key in form}
        hdus.append(fits.CompImageHDU(pixels, header, compression_type=form["tiles"], **options))
    else:
        hdus.append(fits.ImageHDU(pixels, header))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList(hdus).writeto(path, overwrite=True)
    for key, value in form.get("cards", {}).items():  # of stored values that stay as they are
        if key != "BLANK":
            fits.setval(path, key, value=value, ext=1)
    if "pack" in form:
        path.write_bytes(form["pack"](path.read_bytes()))
    return 1


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, np.ndarray]]:
    """Every form on disk, and what astropy reads from it."""
    folder = tmp_path_factory.mktemp("forms")
    files = {}
    for name, form in FORMS.items():
        path = folder / f"{name}.fits"
        write(path, form)
        with warnings.catch_warnings(), fits.open(path, uint=False) as hdulist:
            warnings.simplefilter("ignore")
            files[name] = (path, hdulist[1].data.astype(np.float32))
    return files


windows = st.tuples(
    st.integers(0, NY - 1), st.integers(1, NY), st.integers(0, NX - 1), st.integers(1, NX)
).map(lambda w: (w[0], min(w[0] + w[1], NY), w[2], min(w[2] + w[3], NX)))


@pytest.mark.parametrize("name", FORMS)
@given(wanted=st.lists(windows, min_size=1, max_size=6))
@settings(max_examples=12, deadline=None, derandomize=True)
def test_any_windows_in_any_order_are_those_of_the_whole_image(
    written: dict[str, tuple[Path, np.ndarray]], name: str, wanted: list[tuple[int, int, int, int]]
) -> None:
    path, oracle = written[name]
    with open_plane(str(path), 1) as plane:
        assert plane.shape == oracle.shape
        for y0, y1, x0, x1 in wanted:
            window = plane.read(y0, y1, x0, x1)
            assert window.dtype == np.float32
            assert window.dtype.isnative
            np.testing.assert_array_equal(window, oracle[y0:y1, x0:x1])
        rows = [y for window in wanted for y in window[:2] if y < NY]
        found = plane.read_rows(rows)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, oracle[rows])
        np.testing.assert_array_equal(plane.read(0, NY), oracle)


def test_rows_are_asked_for_in_groups_and_a_file_that_became_shorter_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.fits"
    write(path, FORMS["float32"])
    pixels, rows = pixels_of("f4"), [3, 40, 41, 0, 64]
    monkeypatch.setattr(LocalStream, "group_bytes", 2 * 4 * NX)
    asked: list[int] = []
    read = LocalStream.read_ranges
    monkeypatch.setattr(
        LocalStream, "read_ranges", lambda self, ranges: asked.append(len(ranges)) or read(self, ranges)
    )
    with open_plane(str(path), 1) as plane:
        asked.clear()
        np.testing.assert_array_equal(plane.read_rows(rows), pixels[rows])
        assert asked == [2, 2, 1]
        os.truncate(path, path.stat().st_size - 2880 - 10)
        with pytest.raises(ImageError, match="became shorter") as caught:
            plane.read_rows(rows)
    assert caught.value.kind == "truncated"


def test_large_compressed_images_are_read_in_bands_and_others_at_once(
    written: dict[str, tuple[Path, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, oracle = written["gzip 1"]  # tiles of 20 rows
    monkeypatch.setattr(tiles, "BAND_PIXELS", 45 * NX)
    for at_once, expected in ((NY * NX, [0]), (NY * NX - 1, [0, 40])):
        monkeypatch.setattr(tiles, "AT_ONCE_PIXELS", at_once)
        with fits.open(path, do_not_scale_image_data=True) as hdulist:
            assert [top for top, _ in TiledWindows(hdulist[1]).chunks(0, NY, 0, NX)] == expected
        with open_plane(str(path), 1) as plane:
            np.testing.assert_array_equal(plane.read(0, NY), oracle)


def test_rows_of_an_image_of_one_value() -> None:
    (rows,) = ConstantWindows((5, 4), 3).rows([4, 0])
    np.testing.assert_array_equal(rows, np.full((2, 4), 3))


def test_blank_is_nan_even_where_it_is_zero(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    pixels = np.array([[0, 1], [2, 0]], np.int16)
    fits.writeto(path, pixels, fits.Header({"BLANK": 0}))
    with open_plane(str(path), 0) as plane:
        np.testing.assert_array_equal(plane.read(0, 2), [[np.nan, 1], [2, np.nan]])


def test_axes_of_length_one_are_left_out(tmp_path: Path) -> None:
    pixels = np.arange(600, dtype=np.int32).reshape(1, 1, 20, 30)
    plain, tiled = tmp_path / "a.fits", tmp_path / "b.fits"
    fits.writeto(plain, pixels)
    compressed = fits.CompImageHDU(pixels, compression_type="RICE_1", tile_shape=(1, 1, 5, 30))
    fits.HDUList([fits.PrimaryHDU(), compressed]).writeto(tiled)
    for path, hdu in ((plain, 0), (tiled, 1)):
        with open_plane(str(path), hdu) as plane:
            assert plane.shape == (20, 30)
            np.testing.assert_array_equal(plane.read(3, 12, 4, 9), pixels[0, 0, 3:12, 4:9])


def test_a_window_that_leaves_the_image_or_is_empty_is_an_error_of_the_caller(
    written: dict[str, tuple[Path, np.ndarray]],
) -> None:
    with open_plane(str(written["int16"][0]), 1) as plane:
        for window in ((0, NY + 1, 0, NX), (-1, 5, 0, NX), (5, 5, 0, NX), (0, 5, 3, 3), (0, 5, 0, NX + 1)):
            for method in (plane.read, plane.mask, plane.variance):
                with pytest.raises(ValueError, match="leaves"):
                    method(*window)


def test_what_the_caller_raises_in_the_block_is_not_called_a_damaged_file(
    written: dict[str, tuple[Path, np.ndarray]],
) -> None:
    with pytest.raises(KeyError, match="mine"), open_plane(str(written["int16"][0]), 1):
        raise KeyError("mine")


# ---- tiles are decompressed once -----------------------------------------------------------


class Recorder:
    """Remembers which pixels were asked of a section."""

    def __init__(self, section: Any, shape: tuple[int, int]) -> None:
        self._section = section
        self.times = np.zeros(shape, int)

    def __getitem__(self, key: Any) -> Any:
        self.times[key] += 1
        return self._section[key]


@pytest.mark.parametrize("tile_shape", [(1, NX), (8, NX), (16, 16), (NY, NX)])
@pytest.mark.parametrize("by_window", [False, True])
def test_bands_and_rows_of_windows_decompress_each_tile_once_though_they_overlap(
    tmp_path: Path, tile_shape: tuple[int, int], by_window: bool
) -> None:
    path = tmp_path / "a.fits"
    write(path, {"dtype": "i4", "tiles": "RICE_1", "tile_shape": tile_shape})
    oracle = pixels_of("i4")
    with fits.open(path) as hdulist:
        hdu = hdulist[1]
        recorder = Recorder(hdu.section, hdu.shape)
        tiled = TiledWindows(SimpleNamespace(shape=hdu.shape, tile_shape=hdu.tile_shape, section=recorder))
        columns = [(x, min(x + 20, NX)) for x in range(0, NX - 5, 7)] if by_window else [(0, NX)]
        for y0 in range(0, NY - 4, 6):
            for x0, x1 in columns:
                y1 = min(y0 + 17, NY)
                ((top, window),) = tiled.chunks(y0, y1, x0, x1)
                assert top == y0
                np.testing.assert_array_equal(window, oracle[y0:y1, x0:x1])
        assert (recorder.times == 1).all()


# ---- memory --------------------------------------------------------------------------------


def measured(code: str, **files: Path) -> Any:
    """Run code in a process of its own that prints JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, files.values())],
        capture_output=True, text=True, cwd=ROOT, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(("bitpix", "itemsize"), [(-32, 4), (16, 2)])
def test_a_20000_px_square_image_is_cut_in_less_than_100_mb(
    tmp_path: Path, bitpix: int, itemsize: int
) -> None:
    side = 20_000
    header = fits.PrimaryHDU().header
    header["BITPIX"], header["NAXIS"] = bitpix, 2
    header["NAXIS1"] = header["NAXIS2"] = side
    if bitpix == 16:
        header["BZERO"] = 32768
    path = tmp_path / "large.fits"
    start = len(header.tostring())
    at = start + (12_345 * side + 6_789) * itemsize
    with path.open("wb") as file:  # a sparse file: no blocks but these
        file.write(header.tostring().encode())
        file.seek(at)
        file.write(np.array([42], ">f4" if bitpix < 0 else ">i2").tobytes())
        file.truncate(start + -(-side * side * itemsize // 2880) * 2880)
    found = measured(
        """
import json, resource, sys
from elodin_spark.images.planes import open_plane
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
with open_plane(sys.argv[1], 0) as plane:
    plane.read(0, 8)
    before = peak()
    values = [float(plane.read(12_345, 12_346, 6_789, 6_790)[0, 0])]
    for y in range(0, 20_000 - 224, 2_222):
        for x in range(0, 20_000 - 224, 2_222):
            plane.read(y, y + 224, x, x + 224)
    for y in range(0, 20_000, 250):
        plane.read(y, y + 250)
print(json.dumps({"more_mb": peak() - before, "values": values}))
""",
        path=path,
    )
    assert found["values"] == [42.0 + (32768 if bitpix == 16 else 0)]
    assert found["more_mb"] < 100


def test_memory_is_returned_after_each_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).normal(100, 5, (1000, 1000)).astype(np.float32)
    plain, tiled, packed = tmp_path / "a.fits", tmp_path / "a.fits.fz", tmp_path / "a.fits.gz"
    fits.writeto(plain, pixels)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pixels)]).writeto(tiled)
    packed.write_bytes(gzip.compress(plain.read_bytes(), 1))
    found = measured(
        """
import json, os, sys, psutil
from elodin_spark.images.planes import open_plane
sizes = []
for number in range(51):
    path = sys.argv[1 + number % 3]
    with open_plane(path, int(path.endswith("fz"))) as plane:
        for y in range(0, 900, 100):
            plane.read(y, y + 200 if y < 800 else 1000)
    sizes.append(psutil.Process().memory_info().rss / 2**20)
files = len(os.listdir("/proc/self/fd"))
print(json.dumps({"early": max(sizes[6:12]), "late": max(sizes[-6:]), "files": files}))
""",
        plain=plain, tiled=tiled, packed=packed,
    )  # fmt: skip
    assert found["late"] < found["early"] + 10
    assert found["files"] < 12


def test_unpacking_leaves_no_file_behind(
    written: dict[str, tuple[Path, np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with open_plane(str(written["whole gz"][0]), 1) as plane:
        assert list(tmp_path.iterdir()) == []  # not even while it is open
        assert plane.read(0, 1).shape == (1, NX)


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from elodin_spark.images import streams

    path = tmp_path / "a.fits.gz"
    path.write_bytes(gzip.compress(bytes(2880)))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(streams, "_unpack", full)
    with pytest.raises(ImageError, match="TMPDIR") as caught, open_plane(str(path), 0):
        pass
    assert caught.value.kind == "no_space"


def test_a_file_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from elodin_spark.images import streams

    monkeypatch.setattr(streams, "MAX_UNPACKED_BYTES", 2**21)
    path = tmp_path / "a.fits.gz"
    path.write_bytes(gzip.compress(bytes(2**22)))
    with pytest.raises(ImageError) as caught, open_plane(str(path), 0):
        pass
    assert caught.value.kind == "too_large"


# ---- pictures ------------------------------------------------------------------------------


def test_pictures_are_planes_too(tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 255, (40, 50, 3), np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    with open_plane(str(path), 0) as plane:
        assert plane.shape == (40, 50, 3)
        np.testing.assert_array_equal(plane.read(3, 9, 10, 20), read_raster(str(path))[3:9, 10:20])
        np.testing.assert_array_equal(plane.read_rows([7, 2]), read_raster(str(path))[[7, 2]])
        assert plane.read(0, 1).dtype == np.uint8
        assert not plane.read(0, 1).flags.writeable
        assert plane.mask(0, 1) is None
        assert plane.variance(0, 1) is None
        assert plane.mask_bits == {}
        assert plane.saturation_level is None


def test_other_files_pipes_and_missing_ones_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.fits")
    (tmp_path / "folder.fits").mkdir()
    for name, words in (
        ("a.txt", "known kind"),
        ("pipe.fits", "pipe"),
        ("folder.fits", "folder"),
        ("none.fits", "no such file"),
    ):
        with pytest.raises(ImageError, match=words), open_plane(str(tmp_path / name), 0):
            pass


# ---- damage --------------------------------------------------------------------------------


def lying_header(cards: dict[str, Any]) -> bytes:
    lines = [f"{key:8}= {value!s:>20}" for key, value in cards.items()] + ["END"]
    return "".join(line.ljust(80) for line in lines).ljust(2880).encode()


def test_a_header_of_a_billion_pixels_over_3_kb_is_refused_without_allocating(tmp_path: Path) -> None:
    side = 31_623
    primary = {"SIMPLE": "T", "BITPIX": -64, "NAXIS": 2, "NAXIS1": side, "NAXIS2": side}
    plain = tmp_path / "a.fits"
    plain.write_bytes(lying_header(primary) + bytes(3000))
    packed = tmp_path / "b.fits.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    table = {
        "XTENSION": "'BINTABLE'", "BITPIX": 8, "NAXIS": 2, "NAXIS1": 8, "NAXIS2": 1, "PCOUNT": 3000,
        "GCOUNT": 1, "TFIELDS": 1, "TTYPE1": "'COMPRESSED_DATA'", "TFORM1": "'1PB(3000)'", "ZIMAGE": "T",
        "ZBITPIX": 16, "ZNAXIS": 2, "ZNAXIS1": side, "ZNAXIS2": side, "ZTILE1": side, "ZTILE2": side,
        "ZCMPTYPE": "'RICE_1  '",
    }  # fmt: skip
    tiled = tmp_path / "c.fits.fz"
    empty = lying_header({"SIMPLE": "T", "BITPIX": 8, "NAXIS": 0})
    content = np.array([3000, 0], ">i4").tobytes() + bytes(3000)
    tiled.write_bytes(empty + lying_header(table) + content.ljust(5760, b"\0"))
    found = measured(
        """
import json, resource, sys, time
from elodin_spark.errors import ImageError
from elodin_spark.images.planes import open_plane
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
try:
    with open_plane("/none.fits", 0): pass
except ImageError: pass
before, start, kinds = peak(), time.monotonic(), []
for path in sys.argv[1:]:
    try:
        with open_plane(path, int(path.endswith("fz"))) as plane:
            plane.read(0, 1)
    except ImageError as error:
        kinds.append(error.kind)
print(json.dumps({"kinds": kinds, "more_mb": peak() - before, "seconds": time.monotonic() - start}))
""",
        plain=plain, packed=packed, tiled=tiled,
    )  # fmt: skip
    assert found["kinds"] == ["truncated", "truncated", "unreadable"]
    assert found["more_mb"] < 20
    assert found["seconds"] < 5


@pytest.mark.parametrize(
    "cards",
    [
        {"NAXIS": 2**31 - 1},
        {"NAXIS": -2},
        {"NAXIS1": -5},
        {"PCOUNT": -2880},
        {"GCOUNT": -1},
        {"TFIELDS": 2**31 - 1},
    ],
)
def test_counts_that_cannot_be_are_refused_at_once(tmp_path: Path, cards: dict[str, int]) -> None:
    good = {
        "XTENSION": "'IMAGE   '",
        "BITPIX": 8,
        "NAXIS": 2,
        "NAXIS1": 5,
        "NAXIS2": 5,
        "PCOUNT": 0,
        "GCOUNT": 1,
    }
    path = tmp_path / "a.fits"
    empty = lying_header({"SIMPLE": "T", "BITPIX": 8, "NAXIS": 0})
    path.write_bytes(empty + lying_header(good | cards) + bytes(2880))
    with pytest.raises(ImageError, match=next(iter(cards))), open_plane(str(path), 1):
        pass


def test_a_header_without_end_is_refused_before_the_file_is_read_through(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    header = lying_header({"SIMPLE": "T", "BITPIX": 8, "NAXIS": 0})
    with path.open("wb") as file:
        file.write(header.replace(b"END", b"EMD"))
        file.truncate(2**34)
    with pytest.raises(ImageError) as caught, open_plane(str(path), 0):
        pass
    assert caught.value.kind == "truncated"


def mutated(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    heads = [o for o in range(0, len(content), 2880) if content[o : o + 8] in (b"SIMPLE  ", b"XTENSION")]
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = min(rng.choice(heads) + rng.randrange(2880), len(content) - 1)
        kind = rng.random()
        if kind < 0.3:
            damaged[at] ^= 1 << rng.randrange(8)
        elif kind < 0.5:
            damaged[at] = rng.choice(b"0123456789-+.E TF'/")
        elif kind < 0.6:
            damaged[at : at + rng.randrange(400)] = bytes(min(400, len(content) - at))[: rng.randrange(400)]
        elif kind < 0.7:
            del damaged[at:]
            return bytes(damaged)
        else:  # another number in a card that is one
            start = at - at % 80
            if damaged[start + 8 : start + 10] == b"= ":
                number = rng.choice((0, -1, 1, 3, 299, 65536, 2**31 - 1, 2**32, 2**62, -(2**31), 10**30))
                damaged[start + 10 : start + 30] = f"{number:>20}".encode()[:20]
    return bytes(damaged)


def test_damaged_files_are_refused_or_read_but_never_hang_or_crash(
    written: dict[str, tuple[Path, np.ndarray]], tmp_path: Path
) -> None:
    rng = random.Random(3)
    names = ["int16", "float32", "rice", "rice floats", "gzip 1", "hcompress", "plio"]
    for number in range(350):
        content = mutated(written[names[number % len(names)]][0].read_bytes(), rng)
        (tmp_path / f"{number:03}.fits").write_bytes(content)
    found = measured(
        """
import collections, json, pathlib, signal, sys, time
from elodin_spark.errors import ImageError
from elodin_spark.images.planes import open_plane
kinds, slowest = collections.Counter(), 0
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    signal.alarm(20)  # ends the process
    start = time.monotonic()
    try:
        with open_plane(str(path), 1) as plane:
            plane.read(0, min(plane.shape[0], 64), 0, min(plane.shape[1], 512))
            plane.mask(0, 1)
        kinds["ok"] += 1
    except ImageError as error:
        kinds[error.kind] += 1
        assert len(str(error)) > 20
    slowest = max(slowest, time.monotonic() - start)
print(json.dumps({"kinds": kinds, "slowest": slowest}))
""",
        folder=tmp_path,
    )
    assert sum(found["kinds"].values()) == 350
    assert found["kinds"]["ok"] > 20
    assert found["kinds"]["unreadable"] > 20
    assert found["slowest"] < 5


# ---- real files ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")
def test_bands_of_real_files_are_those_astropy_reads(shared_data: Path) -> None:
    read = 0
    for path in sorted((shared_data / "fits").glob("*.f*")):
        with fits.open(path, uint=False) as hdulist:
            images = [(i, hdu) for i, hdu in enumerate(hdulist) if hdu.is_image and len(hdu.shape) == 2]
            planes = [(i, hdu.data.astype(np.float32)) for i, hdu in images if 0 not in hdu.shape]
        for index, oracle in planes:
            with open_plane(str(path), index) as plane:
                step = max(1, plane.shape[0] // 7)
                for y0 in range(0, plane.shape[0], step):
                    y1 = min(y0 + step + 5, plane.shape[0])
                    np.testing.assert_array_equal(plane.read(y0, y1), oracle[y0:y1])
                x0 = plane.shape[1] // 3
                np.testing.assert_array_equal(plane.read(0, 1, x0, x0 + 1), oracle[:1, x0 : x0 + 1])
            read += 1
    assert read > 40
