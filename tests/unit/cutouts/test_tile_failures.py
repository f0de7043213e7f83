"""What the tile stage makes of bad images and windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from helpers.tiling import WINDOW, cutouts, failures, make_archive, run, step
from PIL import Image

from elodin_spark.config.settings import Blobs
from elodin_spark.cutouts import tile
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.stage import run_plain


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return make_archive(tmp_path / "archive")


def test_every_bad_file_is_one_failed_image_and_one_failure(archive: Path) -> None:
    (archive / "text.fits").write_text("not found")
    (archive / "empty.jpg").touch()
    whole = (archive / "sky.fits").read_bytes()
    (archive / "short.fits").write_bytes(whole[:-5000])
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1])])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(archive / "table.fits")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(
        archive / "cut.jpg"
    )
    jpeg = (archive / "cut.jpg").read_bytes()
    (archive / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    Image.fromarray(np.zeros((15, 90), np.uint8)).save(archive / "small.png")

    found = run(archive, TileSpec(WINDOW))
    seen = {Path(row["uri"]).name: (row["stage"], row["kind"]) for row in failures(found)}
    assert seen == {
        "text.fits": ("images", "not_fits"),
        "empty.jpg": ("images", "empty_file"),
        "short.fits": ("images", "truncated"),
        "table.fits": ("images", "no_image"),
        "cut.jpg": ("images", "truncated"),
        "small.png": ("cutouts", "smaller_than_window"),
    }
    images = {row["image"]["path"]: row["image"] for row in found.to_pylist() if row["image"]}
    assert {path for path, image in images.items() if image["status"] == "failed"} == set(seen)
    for row in failures(found):
        image = images[Path(row["uri"]).name]
        assert image["error"] == f"{row['kind']}: {row['message']}"
        assert row["cutout_id"] is None
    assert len(cutouts(found, "sky.fits")) == 24, "the good ones are cut"


def test_an_image_that_was_not_stretched_is_refused_as_a_whole(archive: Path) -> None:
    table = run(archive, TileSpec(WINDOW, ()))
    (failure,) = failures(table)
    assert (failure["stage"], failure["kind"], failure["hdu"]) == ("cutouts", "needs_stretch", 0)
    assert cutouts(table, "sky.fits") == []
    assert len(cutouts(table, "gray.png")) > 0


def test_a_step_that_no_window_survives_fails_the_image(archive: Path) -> None:
    table = run(archive, TileSpec(WINDOW, "auto", (step("Crop", output_range=(9, -9, 9, -9)),)))
    assert [failure["kind"] for failure in failures(table)] == ["bad_crop"] * 3
    assert all(row["cutout_id"] is None for row in table.to_pylist())


def test_a_step_that_fails_on_one_window_fails_that_window(tmp_path: Path) -> None:
    image = np.zeros((100, 100), np.float32)
    image[20:60, 20:60] = 1  # one large and one small blob
    image[80:84, 80:84] = 1
    fits.PrimaryHDU(image).writeto(tmp_path / "a.fits")
    spec = TileSpec(
        Blobs(sigma=0.5, padding=0, min_size=8), (), (step("Crop", output_range=(10, -10, 10, -10)),)
    )
    table = run(tmp_path, spec)
    (failure,) = failures(table)
    assert (failure["stage"], failure["kind"]) == ("cutouts", "bad_crop")
    assert failure["cutout_id"] is not None
    assert len(cutouts(table, "a.fits")) == 1
    assert failure["cutout_id"] not in [row["cutout_id"] for row in cutouts(table, "a.fits")]
    (image_row,) = [row["image"] for row in table.to_pylist() if row["image"]]
    assert image_row["status"] == "ok"


def test_no_blobs_is_no_failure(tmp_path: Path) -> None:
    Image.fromarray(np.full((50, 50), 9, np.uint8)).save(tmp_path / "flat.png")
    (row,) = run(tmp_path, TileSpec(Blobs())).to_pylist()
    assert row["image"]["status"] == "ok"
    assert row["failure"] is None


def test_a_file_that_changed_since_it_was_described_is_refused(archive: Path) -> None:
    described = run_plain(DescribeSpec(), files_to_batches(list_files([str(archive / "gray.png")])))
    Image.fromarray(np.zeros((99, 99), np.uint8)).save(archive / "gray.png")
    (failure,) = failures(run_plain(TileSpec(WINDOW), described.to_batches()))
    assert (failure["stage"], failure["kind"]) == ("images", "unreadable")
    assert "has changed" in failure["message"]


@pytest.mark.parametrize(("name", "stage"), [("open_picture", "images"), ("lay_windows", "cutouts")])
def test_whatever_one_image_makes_a_library_raise_stays_with_it(
    archive: Path, monkeypatch: pytest.MonkeyPatch, name: str, stage: str
) -> None:
    real = getattr(tile, name)
    calls: list[int] = []

    def breaking(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise ZeroDivisionError("deep inside")
        return real(*args)

    monkeypatch.setattr(tile, name, breaking)
    table = run(archive, TileSpec(WINDOW))
    (failure,) = failures(table)
    assert (failure["stage"], failure["kind"]) == (stage, "unreadable")
    assert failure["message"] == "ZeroDivisionError: deep inside"
    assert [row["image"]["status"] for row in table.to_pylist() if row["image"]] == ["ok", "failed", "ok"]
