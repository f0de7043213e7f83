"""Windows of images that are not held in memory."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from helpers.fitsforms import FORMS, NX, NY, pixels_of, write
from hypothesis import given, settings
from hypothesis import strategies as st

from elodin_spark.errors import ImageError
from elodin_spark.images import tiles
from elodin_spark.images.planes import open_plane
from elodin_spark.images.raster import read_raster
from elodin_spark.images.streams import LocalStream
from elodin_spark.images.tiles import TiledWindows
from elodin_spark.images.windows import ConstantWindows

windows = st.tuples(
    st.integers(0, NY - 1), st.integers(1, NY), st.integers(0, NX - 1), st.integers(1, NX)
).map(lambda w: (w[0], min(w[0] + w[1], NY), w[2], min(w[2] + w[3], NX)))


@pytest.mark.parametrize("name", FORMS)
@given(wanted=st.lists(windows, min_size=1, max_size=6))
@settings(max_examples=12, deadline=None, derandomize=True)
def test_any_windows_in_any_order_are_those_of_the_whole_image(
    image_forms: dict[str, tuple[Path, np.ndarray]], name: str, wanted: list[tuple[int, int, int, int]]
) -> None:
    path, oracle = image_forms[name]
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
    image_forms: dict[str, tuple[Path, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, oracle = image_forms["gzip 1"]  # tiles of 20 rows
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
    image_forms: dict[str, tuple[Path, np.ndarray]],
) -> None:
    with open_plane(str(image_forms["int16"][0]), 1) as plane:
        for window in ((0, NY + 1, 0, NX), (-1, 5, 0, NX), (5, 5, 0, NX), (0, 5, 3, 3), (0, 5, 0, NX + 1)):
            for method in (plane.read, plane.mask, plane.variance):
                with pytest.raises(ValueError, match="leaves"):
                    method(*window)


def test_what_the_caller_raises_in_the_block_is_not_called_a_damaged_file(
    image_forms: dict[str, tuple[Path, np.ndarray]],
) -> None:
    with pytest.raises(KeyError, match="mine"), open_plane(str(image_forms["int16"][0]), 1):
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


@pytest.mark.parametrize("tile_shape", [(0, 10), (10, -1)])
def test_tiles_without_extent_are_refused(tile_shape):
    damaged = SimpleNamespace(shape=(10, 10), tile_shape=tile_shape)
    with pytest.raises(ImageError, match="the tiles have no extent"):
        tiles.refuse_impossible_tiles(damaged, None)
