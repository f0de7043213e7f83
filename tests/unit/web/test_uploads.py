"""Pictures from outside, before the network sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from elodin_spark.catalog.search.query import ResolvedQuery
from elodin_spark.errors import ImageError, InputError
from elodin_spark.web import uploads


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("a.JPG", ".jpg"),
        ("../../x.fits", ".fits"),
        ("C:\\x\\y.tiff", ".tiff"),
        ("a.b c.png", ".png"),
        ("ü.fts", ".fts"),
    ],
)
def test_of_a_name_the_extension_counts_alone(name: str, extension: str) -> None:
    assert uploads.extension_of(name) == extension


@pytest.mark.parametrize(
    "name", [None, "", "jpg", ".jpg", "a.gz", "a.fits.gz", "a.fits.fz", "/etc/passwd", "a.png\0.py"]
)
def test_other_names_are_refused(name: str | None) -> None:
    with pytest.raises(InputError, match="X-File-Name, ends in none of"):
        uploads.extension_of(name)


def test_a_temporary_file_is_gone_whatever_happens() -> None:
    def use() -> None:
        with uploads.temporary_file(".png") as file:
            seen.append(file)
            assert file.name == "upload.png"
            file.write_bytes(b"x")
            assert (file.parent.stat().st_mode & 0o777) == 0o700
            raise KeyError

    seen: list[Path] = []
    with pytest.raises(KeyError):
        use()
    assert not seen[0].parent.exists()


def test_size_is_read_from_the_header(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(uploads, "MOST_PIXELS", 5000)
    Image.fromarray(np.zeros((50, 100), np.uint8)).save(tmp_path / "fits.png")
    uploads.require_small(tmp_path / "fits.png")
    Image.fromarray(np.zeros((50, 101), np.uint8)).save(tmp_path / "a.jpg")
    planes = [
        fits.PrimaryHDU(),
        fits.ImageHDU(np.zeros((9, 9), "f4")),
        fits.ImageHDU(np.zeros((71, 71), "f4")),
    ]
    fits.HDUList(planes).writeto(tmp_path / "a.fits")
    for name in ("a.jpg", "a.fits"):
        with pytest.raises(InputError, match="at most 5,000 px are taken"):
            uploads.require_small(tmp_path / name)
    (tmp_path / "b.jpg").touch()
    with pytest.raises(InputError, match="0 bytes"):
        uploads.require_small(tmp_path / "b.jpg")


def test_messages_and_the_query_hold_no_path(tmp_path: Path) -> None:
    class Catalog:
        def resolve(self, query: object) -> ResolvedQuery:
            if fail:
                raise ImageError(f"{file} is bad, and {file.name} too")
            return ResolvedQuery(f"the image {file}", picture={"thumbnail": b"jpeg", "labels": ["lens"]})

    file = tmp_path / "upload.png"
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(file)
    fail = False
    found = uploads.ask_with(Catalog(), file)  # type: ignore[arg-type]
    assert found.name == "the file"
    facts = uploads.query_facts(found)
    assert facts == {"picture": "data:image/jpeg;base64,anBlZw==", "labels": ["lens"], "scores": None}
    assert uploads.query_facts(ResolvedQuery("x")) == {"picture": None, "labels": [], "scores": None}
    fail = True
    with pytest.raises(InputError) as caught:
        uploads.ask_with(Catalog(), file)  # type: ignore[arg-type]
    assert str(caught.value) == "the file is bad, and the file too"
