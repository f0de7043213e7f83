"""Which files a run reads."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from helpers.pixels import read_pixels
from helpers.servers import refusal

from elodin_spark import schema
from elodin_spark.errors import InputError
from elodin_spark.images.describe import describe
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.images.planes import open_plane


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / "archive"
    names = [
        "b.fits",
        "a.JPG",
        "night1/c.fits.fz",
        "night1/deep/d.fit.gz",
        "night2/e.fts.bz2",
        "night2/f.tiff",
    ]
    passed_over = [".hidden.fits", "notes.txt", "night1/.thumbs/g.png", "night2/h.gz", "night2/fits"]
    for name in names + passed_over:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))
    return root


def paths_of(*args: object, **kwargs: object) -> list[str]:
    return [file.path for file in list_files(*args, **kwargs)]


ALL = ["a.JPG", "b.fits", "night1/c.fits.fz", "night1/deep/d.fit.gz", "night2/e.fts.bz2", "night2/f.tiff"]


def test_a_folder_is_searched_recursively_for_known_kinds(archive: Path) -> None:
    files = list_files([str(archive)])
    assert [file.path for file in files] == ALL
    assert [file.uri for file in files] == [str(archive / path) for path in ALL]
    assert [file.size_bytes for file in files] == [len(path) for path in ALL]


def test_a_relative_folder_and_a_file_uri_give_the_same_list(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(archive.parent)
    assert list_files(["archive"]) == list_files([str(archive)]) == list_files([archive.as_uri()])


def test_a_file_uri_is_unquoted(tmp_path: Path) -> None:
    name = tmp_path / "with space#1?.fits"
    name.write_bytes(b"x")
    assert paths_of([name.as_uri()]) == [name.name]


def test_paths_below_a_glob_start_at_its_longest_folder_without_wildcards(archive: Path) -> None:
    assert paths_of([str(archive / "night1" / "*.f*")]) == ["c.fits.fz"]
    assert paths_of([str(archive / "*" / "*.*f*")]) == [
        "night1/c.fits.fz",
        "night2/e.fts.bz2",
        "night2/f.tiff",
    ]
    assert paths_of([str(archive / "**" / "*")]) == ALL
    assert paths_of([str(archive / "night?")]) == ALL[2:], "a folder that matches is searched"


def test_paths_of_several_inputs_start_at_their_common_parent(archive: Path) -> None:
    found = paths_of([str(archive / "night2"), str(archive / "night1" / "deep" / "d.fit.gz")])
    assert found == ["night1/deep/d.fit.gz", "night2/e.fts.bz2", "night2/f.tiff"]


def test_a_single_file_is_listed_by_its_name(archive: Path) -> None:
    assert paths_of([str(archive / "night1" / "c.fits.fz")]) == ["c.fits.fz"]


def test_a_given_root_makes_paths_independent_of_what_was_selected(archive: Path) -> None:
    assert paths_of([str(archive / "night2")], root=str(archive)) == ALL[4:]


def test_a_root_that_does_not_hold_the_files_is_refused(archive: Path) -> None:
    with pytest.raises(InputError, match="not below the archive root"):
        list_files([str(archive / "b.fits")], root=str(archive / "night1"))
    with pytest.raises(InputError, match="is not a folder"):
        list_files([str(archive)], root=str(archive / "nowhere"))


def test_order_and_repetition_of_inputs_do_not_matter(archive: Path) -> None:
    inputs = [str(archive), str(archive / "*.fits"), str(archive / "b.fits"), str(archive / "night1")]
    expected = list_files(inputs)
    assert [file.path for file in expected] == ALL
    for seed in range(5):
        shuffled = random.Random(seed).sample(inputs * 2, 8)
        assert list_files(shuffled) == expected


def test_a_list_of_files_is_read_line_by_line(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = archive / "list.txt"
    listing.write_text(f"# chosen by eye\n\n{archive}/b.fits\nnight2\n")
    monkeypatch.chdir(archive)
    assert paths_of([f"@{listing}"]) == ["b.fits", "night2/e.fts.bz2", "night2/f.tiff"]


def test_links_are_followed_without_loops_and_without_listing_a_file_twice(
    archive: Path, tmp_path: Path
) -> None:
    (archive / "night1" / "up").symlink_to(archive, target_is_directory=True)
    (archive / "a_copy").symlink_to(archive / "night2", target_is_directory=True)
    (archive / "aa.fits").symlink_to(archive / "b.fits")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "z.png").write_bytes(b"x")
    (archive / "linked").symlink_to(elsewhere, target_is_directory=True)
    assert paths_of([str(archive)]) == sorted([*ALL, "linked/z.png"])


def test_links_that_lead_nowhere_and_pipes_are_listed_to_be_refused_when_opened(tmp_path: Path) -> None:
    (tmp_path / "a.fits").symlink_to("b.fits")
    (tmp_path / "b.fits").symlink_to("a.fits")
    (tmp_path / "nowhere.png").symlink_to("gone.png")
    (tmp_path / "zero.fits").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "notes.txt").symlink_to("gone.txt")
    names = ["a.fits", "b.fits", "nowhere.png", "pipe.jpg", "zero.fits"]
    for paths in ([str(tmp_path)], [str(tmp_path / "*")], [str(tmp_path / name) for name in names]):
        files = list_files(paths)
        assert [file.path for file in files] == names
        assert {file.size_bytes for file in files} == {0}


def test_a_name_with_glob_characters_that_exists_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].fits").write_bytes(b"x")
    (tmp_path / "a1.fits").write_bytes(b"x")
    assert paths_of([str(tmp_path / "a[1].fits")]) == ["a[1].fits"]


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("{0}/nowhere", "there is no file or folder"),
        ("{0}/*.png", "no image file .* matches"),
        ("{0}/notes.txt", "not a known kind of image"),
        ("{0}/night1/.thumbs/../../empty", "holds no image files"),
        ("@{0}/nowhere.txt", "cannot be read"),
        ("@{0}/empty.txt", "is empty"),
        ("file://host/archive", "names the host"),
        ("", "an empty path"),
    ],
)
def test_an_input_that_gives_nothing_is_refused_with_a_remedy(archive: Path, path: str, match: str) -> None:
    (archive / "empty").mkdir()
    (archive / "empty.txt").write_text("\n")
    with pytest.raises(InputError, match=match):
        list_files([path.format(archive)])


def test_no_inputs_at_all_are_refused() -> None:
    with pytest.raises(InputError, match="no paths"):
        list_files([])


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "caf\udce9.fits").write_bytes(b"x")
    with pytest.raises(InputError, match="not valid UTF-8"):
        list_files([str(tmp_path)])


def test_batches_hold_every_file_once_in_order(archive: Path) -> None:
    files = list_files([str(archive)])
    batches = list(files_to_batches(files, rows=4))
    assert [batch.num_rows for batch in batches] == [4, 2]
    assert all(batch.schema == schema.FILES for batch in batches)
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert rows == [file._asdict() for file in files]
    with pytest.raises(ValueError, match="at least one row"):
        next(files_to_batches(files, rows=0))


FITS_NAMES = [
    *("a.fits", "A.FITS", "a.fit", "a.fts", "a.ftz", "a.img", "a.fits.gz", "a.FITS.GZ", "a.fits.bz2"),
    *("a.fits.xz", "a.fits.fz", "a.img.gz", "a.fz.fits", "b.fits.fz.gz"),
]


@pytest.mark.parametrize("name", FITS_NAMES)
def test_every_spelling_of_a_fits_file_is_listed_and_read(tmp_path: Path, name: str) -> None:
    pixels = np.arange(48, dtype=np.float32).reshape(6, 8)
    content = io.BytesIO()
    fits.PrimaryHDU(pixels).writeto(content)
    packers = {"gz": gzip.compress, "ftz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    pack = packers.get(name.lower().rpartition(".")[2], bytes)
    (tmp_path / name).write_bytes(pack(content.getvalue()))
    (file,) = list_files([str(tmp_path)])
    assert describe(file)["width"] == 8
    np.testing.assert_array_equal(read_pixels(file.uri, 0), pixels)
    with open_plane(file.uri, 0) as plane:
        np.testing.assert_array_equal(plane.read(2, 5), pixels[2:5])


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_packed_file_that_is_damaged_says_so(tmp_path: Path, pack: Any, damage: str) -> None:
    content = io.BytesIO()
    fits.PrimaryHDU(np.random.default_rng(0).normal(size=(200, 200))).writeto(content)
    packed = bytearray(pack(content.getvalue()))
    if damage == "cut":
        del packed[-2000:]
    else:
        packed[len(packed) // 2 : len(packed) // 2 + 40] = bytes(40)
    path = tmp_path / "a.fits.gz"
    path.write_bytes(packed)
    refused = refusal(lambda: read_pixels(str(path), 0))
    assert "fetch it again" in str(refused)
    assert refused.kind == ("truncated" if damage == "cut" else "unreadable")


@pytest.mark.parametrize("magic", [b"\x1f\x9d\x90", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"])
def test_what_is_packed_in_a_way_that_is_not_read_names_what_unpacks_it(tmp_path: Path, magic: bytes) -> None:
    (tmp_path / "a.fits").write_bytes(magic + b"x" * 6000)
    refused = refusal(lambda: describe(list_files([str(tmp_path)])[0]))
    assert refused.kind == "not_fits"
    assert "unpack it first, by " in str(refused)


def test_files_of_other_kinds_are_counted_by_their_suffix(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "elodin_spark")
    for name in ("a.fits", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    list_files([str(tmp_path)])
    assert not caplog.records
    for name in ("c.fits.Z", "deep/d.fits.Z", "e.xisf", "README", ".hidden.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    for paths in ([str(tmp_path)], [str(tmp_path), str(tmp_path / "**" / "*")]):
        caplog.clear()
        assert [file.path for file in list_files(paths)] == ["a.fits", "b.png"]
        (line,) = [record.getMessage() for record in caplog.records]
        assert line.startswith("passed over 4 files of other kinds in images.paths: 2 .fits.Z, ")
        assert "1 .xisf" in line
        assert "1 without suffix" in line
        assert "unpack others first" in line
    caplog.clear()
    with pytest.raises(InputError, match="no image"):
        list_files([str(tmp_path / "deep")])
    assert "1 .fits.Z" in caplog.text
