"""Archives on an S3 server and on web servers, all real ones on this machine."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from helpers.pixels import read_pixels
from helpers.servers import NAMES, WIDE, Served, wide_image

from elodin_spark.errors import InputError
from elodin_spark.images import remote
from elodin_spark.images.describe import describe
from elodin_spark.images.listing import ImageFile
from elodin_spark.images.planes import open_plane
from elodin_spark.images.remote import list_uri, open_remote

# ---- reading -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_files_are_read_whatever_their_names(served: Served, name: str) -> None:
    uri = f"{served.uri}/{name}"
    with open_plane(uri, 0, served.options) as plane:
        np.testing.assert_array_equal(plane.read(5, 30, 8, 40), served.oracle[name][5:30, 8:40])
    row = describe(ImageFile(uri, name, 1), None, served.options)
    assert (row["hdu"], row["width"], row["height"], row["status"]) == (0, 70, 60, "ok")
    np.testing.assert_array_equal(read_pixels(uri, 0, served.options), served.oracle[name])


@pytest.mark.parametrize(("name", "hdu"), [("tiled.fits.fz", 1), ("packed.fits.gz", 0)])
def test_compressed_files_and_their_headers_are_read(served: Served, name: str, hdu: int) -> None:
    uri = f"{served.uri}/{name}"
    assert describe(ImageFile(uri, name, 1), None, served.options)["hdu"] == hdu
    with open_plane(uri, hdu, served.options) as plane:
        np.testing.assert_array_equal(plane.read(0, 60), served.oracle["plain.fits"])


def test_pictures_are_read(served: Served) -> None:
    with open_plane(f"{served.uri}/picture.png", 0, served.options) as plane:
        np.testing.assert_array_equal(plane.read(0, 40), served.oracle["picture.png"])


def test_an_open_file_is_seekable_and_outlives_the_call(served: Served) -> None:
    with open_remote(f"{served.uri}/plain.fits", served.options).file as file:
        file.seek(80)
        assert file.read(6) == b"BITPIX"
        file.seek(0)
        assert file.read(6) == b"SIMPLE"


# ---- bytes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["s3", "web"])
def test_a_window_of_a_large_image_fetches_its_rows_and_no_more(
    request: pytest.FixtureRequest, where: str
) -> None:
    served = request.getfixturevalue("web")(True) if where == "web" else request.getfixturevalue("s3")
    served.traffic.reset()
    with open_plane(f"{served.uri}/wide.fits", 0, served.options) as plane:
        assert plane.shape == (600, WIDE)
        opened = served.traffic.bytes
        assert opened <= 40_000
        window = plane.read(200, 424, WIDE // 2 - 112, WIDE // 2 + 112)
    expected = np.zeros((224, 224), np.float32)
    for row in range(200, 424, 50):
        expected[row - 200, 112:120] = np.arange(row, row + 8)
    np.testing.assert_array_equal(window, expected)
    rows = 224 * WIDE * 4
    assert served.traffic.bytes - opened <= 1.01 * rows  # of a file of 24 MB
    assert served.traffic.requests <= 6


def test_of_very_wide_rows_only_the_columns_are_fetched(
    web: Callable[[bool], Served], remote_archive: tuple[Path, Any]
) -> None:
    width = 120_000
    wide_image(remote_archive[0] / "strip.fits", 300, width)
    served = web(True)
    with open_plane(f"{served.uri}/strip.fits", 0) as plane:
        served.traffic.reset()
        window = plane.read(30, 130, width // 2 - 112, width // 2 + 112)
    assert window[20, 112:120].tolist() == list(range(50, 58))
    assert served.traffic.bytes == 100 * 224 * 4  # of 48 MB of rows


def test_bands_of_a_compressed_image_fetch_the_file_once(
    web: Callable[[bool], Served], remote_archive: tuple[Path, Any]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**15, (2000, 2000)).astype(np.int16)
    path = remote_archive[0] / "large.fits.fz"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pixels, compression_type="RICE_1")]).writeto(path)
    served = web(True)
    with open_plane(f"{served.uri}/large.fits.fz", 1) as plane:
        for y in range(0, 1800, 100):
            np.testing.assert_array_equal(plane.read(y, y + 224), pixels[y : y + 224])
    assert served.traffic.bytes < 1.1 * path.stat().st_size
    assert served.traffic.requests < 10


def test_the_head_of_a_remote_gz_file_describes_it(
    web: Callable[[bool], Served], remote_archive: tuple[Path, Any]
) -> None:
    noise = np.random.default_rng(0).normal(size=(1500, 1500)).astype(np.float32)
    fits.writeto(remote_archive[0] / "noise.fits", noise)
    content = gzip.compress((remote_archive[0] / "noise.fits").read_bytes(), 1)
    (remote_archive[0] / "noise.fits.gz").write_bytes(content)
    served = web(True)
    row = describe(ImageFile(f"{served.uri}/noise.fits.gz", "noise.fits.gz", 1))
    assert (row["width"], row["height"]) == (1500, 1500)
    assert served.traffic.bytes < len(content) / 20


def test_without_ranges_a_file_is_fetched_once_however_many_windows_are_read(
    web: Callable[[bool], Served], remote_archive: tuple[Path, Any]
) -> None:
    served = web(False)
    with open_plane(f"{served.uri}/wide.fits", 0) as plane:
        for y in (0, 100, 300):
            plane.read(y, y + 100, 0, 100)
    size = (remote_archive[0] / "wide.fits").stat().st_size
    assert (served.traffic.bytes, served.traffic.requests) == (size, 1)


# ---- listing -------------------------------------------------------------------------------


def test_folders_globs_and_files_are_listed_with_their_sizes(
    s3: Served, web: Callable[[bool], Served], remote_archive: tuple[Path, Any]
) -> None:
    deep = {f"night 1/{name}" for name in ("a b.fits", "x@y=z&1.fits", "deep/c.fits")}
    for served in (s3, web(True)):
        found = {
            end: list_uri(f"{served.uri}/{end}", served.options)
            for end in ("night 1/", "night 1/*.fits", "**/*.fits", "plain.fits")
        }
        assert all(uri.startswith(served.uri) for files in found.values() for uri, _ in files)
        assert len(found["night 1/"]) == len(deep)
        assert len(found["night 1/*.fits"]) == 2
        assert len(found["**/*.fits"]) >= len(NAMES)
        assert found["plain.fits"] == [
            (f"{served.uri}/plain.fits", (remote_archive[0] / "plain.fits").stat().st_size)
        ]
        for uri, size in found["night 1/"]:
            assert size == (remote_archive[0] / "plain.fits").stat().st_size
            with open_plane(uri, 0, served.options) as plane:
                assert plane.shape == (60, 70)
    names = {uri.removeprefix(s3.uri + "/") for uri, _ in list_uri(f"{s3.uri}/night 1", s3.options)}
    assert names == deep


def test_a_bucket_is_listed_from_its_root(s3: Served) -> None:
    assert any(uri == "s3://survey/dr1/plain.fits" for uri, _ in list_uri("s3://survey", s3.options))
    assert list_uri("s3a://survey/dr1/plain.fits", s3.options)[0].uri == "s3a://survey/dr1/plain.fits"


def test_a_folder_that_has_changed_is_listed_anew(s3: Served) -> None:
    fs, _ = remote.filesystem(s3.uri, s3.options)
    fs.pipe_file("survey/new/a.fits", b"x")
    assert len(list_uri("s3://survey/new/", s3.options)) == 1
    other = type(fs)(**s3.options, skip_instance_cache=True)
    other.pipe_file("survey/new/b.fits", b"xy")
    assert [size for _, size in list_uri("s3://survey/new/", s3.options)] == [1, 2]


# ---- stages --------------------------------------------------------------------------------


def test_a_remote_folder_is_listed_described_and_cut_like_a_local_one(s3: Served) -> None:
    from elodin_spark.config.settings import SlidingWindow
    from elodin_spark.cutouts.tile import TileSpec
    from elodin_spark.images.listing import files_to_batches, list_archive
    from elodin_spark.images.stage import DescribeSpec
    from elodin_spark.stage import fuse, run_plain

    paths = [f"{s3.uri}/plain.fits"]
    root, files = list_archive(paths, None, s3.options)
    assert root == s3.uri
    assert [(file.uri, file.path) for file in files] == [(f"{s3.uri}/plain.fits", "plain.fits")]
    assert files[0].size_bytes > 0
    storage = tuple(s3.options.items())
    generator = SlidingWindow(size=(30,), step=30, edge="drop")
    spec = fuse(DescribeSpec(storage=storage), TileSpec(generator, storage=storage))
    rows = run_plain(spec, files_to_batches(files)).to_pylist()
    assert not [row["failure"] for row in rows if row["failure"]]
    assert sum(row["cutout_id"] is not None for row in rows) == 2 * 2


def test_local_and_remote_places_are_not_mixed(s3: Served, tmp_path: Path) -> None:
    from elodin_spark.images.listing import list_files

    fits.writeto(tmp_path / "here.fits", np.zeros((4, 4), np.float32))
    with pytest.raises(InputError, match="local and remote"):
        list_files([str(tmp_path), f"{s3.uri}/plain.fits"], None, s3.options)
