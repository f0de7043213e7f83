"""The describe stage."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from PIL import Image

from elodin_spark import schema
from elodin_spark.images import stage as describing
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.stage import Stage, StageSpec, run_plain


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(tmp_path / "a.png")
    fits.HDUList(
        [fits.PrimaryHDU(np.zeros((4, 6), np.float32)), fits.ImageHDU(np.zeros((2, 3)), name="MASK")]
    ).writeto(tmp_path / "b.fits")
    (tmp_path / "c.fits").write_text("no FITS")
    (tmp_path / "d.fits").touch()
    (tmp_path / "e.jpg").write_text("no JPEG")
    return tmp_path


def run(archive: Path, rows: int = 2, hdu: int | str | None = None) -> pa.Table:
    return run_plain(DescribeSpec(hdu), files_to_batches(list_files([str(archive)]), rows))


def test_every_file_gives_one_row_good_or_bad(archive: Path) -> None:
    table = run(archive)
    assert table.schema == schema.IMAGES
    assert table["path"].to_pylist() == ["a.png", "b.fits", "c.fits", "d.fits", "e.jpg"]
    assert table["status"].to_pylist() == ["ok", "ok", "failed", "failed", "failed"]
    kinds = [error and error.split(": ")[0] for error in table["error"].to_pylist()]
    assert kinds == [None, None, "not_fits", "empty_file", "unreadable"]
    assert len(set(table["image_id"].to_pylist())) == 5
    assert table["width"].to_pylist() == [7, 6, None, None, None]


def test_the_answer_does_not_depend_on_the_batches(archive: Path) -> None:
    assert run(archive, 1).to_pylist() == run(archive, 100).to_pylist()


def test_the_hdu_is_passed_on_to_fits_files_only(archive: Path) -> None:
    table = run(archive, hdu="MASK")
    assert table["hdu"].to_pylist() == [0, 1, None, None, None]
    assert table["width"].to_pylist()[:2] == [7, 3]


def test_whatever_a_file_makes_a_library_raise_stays_with_that_file(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = describing.describe_planes

    def breaking(file, *options):
        if file.path == "b.fits":
            raise ZeroDivisionError("deep inside")
        return describe(file, *options)

    monkeypatch.setattr(describing, "describe_planes", breaking)
    table = run(archive)
    assert table["status"].to_pylist()[:2] == ["ok", "failed"]
    assert table["error"].to_pylist()[1] == "unreadable: ZeroDivisionError: deep inside"


def test_the_spec_is_small_picklable_and_keeps_the_contract() -> None:
    spec = DescribeSpec("SCI")
    assert isinstance(spec, StageSpec)
    assert isinstance(spec.build(lambda path: path), Stage)
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert spec.files == ()


def test_every_plane_is_described_but_masks_and_filters_choose_among_them(tmp_path: Path) -> None:
    import numpy as np
    from astropy.io import fits

    header = [fits.Header({"FILTER": band, "MJD-OBS": 60000.0 + day}) for day, band in enumerate("gr")]
    plane, mask = np.ones((20, 30), np.float32), np.zeros((20, 30), np.int16)
    hdus = [fits.PrimaryHDU()]
    for version, card in enumerate(header, 1):
        hdus.append(fits.ImageHDU(plane, card, "SCI", ver=version))
        hdus.append(fits.ImageHDU(mask, None, "DQ", ver=version))
    fits.HDUList(hdus).writeto(tmp_path / "two.fits")

    def found(**options: Any) -> list[tuple[int, str]]:
        table = run_plain(DescribeSpec(**options), files_to_batches(list_files([str(tmp_path)])))
        return [(row["hdu"], row["bands"]) for row in table.to_pylist() if row["status"] == "ok"]

    assert found() == [(1, "g")]
    assert found(hdu="all") == [(1, "g"), (3, "r")]
    assert found(hdu="all", bands="[r-z]*") == [(3, "r")]
    assert found(hdu="all", mjd=(59999.0, 60000.5)) == [(1, "g")]
