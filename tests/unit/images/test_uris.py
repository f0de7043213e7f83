"""What the name of a file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from elodin_spark.images.uris import is_fits, is_raster, local_path, public


def test_kinds_are_told_by_extension() -> None:
    assert all(is_fits(name) for name in ("a.fits", "A.FIT", "a.fts.gz", "a.fits.fz", "a.fits.BZ2"))
    assert not any(is_fits(name) for name in ("a.gz", "fits", "a.fits.txt", "a.png"))
    assert all(is_raster(name) for name in ("a.jpg", "A.JPEG", "a.png", "a.tif", "a.TIFF"))
    assert not any(is_raster(name) for name in ("a.fits", "jpg", "a.png.gz"))


def test_a_file_uri_is_unquoted(tmp_path: Path) -> None:
    name = tmp_path / "with space#1?.fits"
    assert local_path(name.as_uri()) == local_path(str(name)) == str(name)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://me:s3cr3t@host/a.fits", "https://me@host/a.fits"),
        ("https://host/a.fits?token=s3cr3t", "https://host/a.fits?..."),
        ("sftp://me:s3cr3t@host/a.fits", "sftp://me@host/a.fits"),
        ("s3://bucket/a@b:c.fits", "s3://bucket/a@b:c.fits"),
        ("/data/a:b@c?.fits", "/data/a:b@c?.fits"),
    ],
)
def test_a_uri_is_shown_without_its_secrets(uri: str, shown: str) -> None:
    assert public(uri) == shown
