"""Files opened by path and by URI; remote ones are in ``test_remote.py``."""

from __future__ import annotations

from pathlib import Path

from helpers.servers import refusal

from elodin_spark.images.opening import local_copy, open_stream


def test_local_files_and_file_uris_are_opened(tmp_path: Path) -> None:
    path = tmp_path / "a b.fits"
    path.write_bytes(b"SIMPLE")
    for uri in (str(path), f"file://{tmp_path}/a%20b.fits"):
        with open_stream(uri) as stream:
            assert (stream.size, stream.file.read()) == (6, b"SIMPLE")
            assert stream.read_ranges([(1, 3), (4, 9)]) == [b"IM", b"LE"]
        with local_copy(uri) as found:
            assert found == str(path)


def test_what_is_absent_or_no_file_is_refused(tmp_path: Path) -> None:
    for path, kind in ((tmp_path / "none.fits", "missing"), (tmp_path, "unreadable")):
        assert refusal(lambda path=path: open_stream(str(path)).__enter__()).kind == kind
