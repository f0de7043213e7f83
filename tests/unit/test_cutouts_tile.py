"""The tile stage: images to windows."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS
from PIL import Image

from elodin_spark import ids, schema
from elodin_spark.config import parse_settings
from elodin_spark.cutouts import tile
from elodin_spark.cutouts.pixels import to_uint8
from elodin_spark.cutouts.steps import apply_steps
from elodin_spark.cutouts.tile import ROWS, TileSpec, thumbnail
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.settings import Blobs, FullImage, SlidingWindow, Step
from elodin_spark.stage import Stage, StageSpec, fuse, run_plain

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no test images at {DATA}")

WINDOW = SlidingWindow(size=16, step=12)


def step(kind: str, **parameters: object) -> Step:
    return Step(type=kind, parameters=parameters)


def stars(height: int = 50, width: int = 70) -> np.ndarray:
    rng = np.random.default_rng(5)
    image = rng.normal(100, 3, (height, width))
    image[rng.integers(0, height, 20), rng.integers(0, width, 20)] += 500
    return image.astype(np.float32)


def sip_wcs() -> fits.Header:
    header = fits.Header()
    header.update(
        CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", CRVAL1=359.99, CRVAL2=62.0, CRPIX1=30.0, CRPIX2=20.0,
        CD1_1=-5e-4, CD1_2=1e-4, CD2_1=1e-4, CD2_2=5e-4, RADESYS="ICRS",
        A_ORDER=2, B_ORDER=2, A_2_0=2e-4, B_1_1=-1e-4,
    )  # fmt: skip
    return header


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / "archive"
    root.mkdir()
    fits.PrimaryHDU(stars(), sip_wcs()).writeto(root / "sky.fits")
    colour = np.random.default_rng(2).integers(0, 256, (40, 33, 3), dtype=np.uint8)
    Image.fromarray(colour).save(root / "colour.png")
    Image.fromarray(colour[..., 0]).save(root / "grey.png")
    return root


def run(archive: Path, spec: TileSpec, batch: int = 100, **describe: Any) -> pa.Table:
    return run_plain(
        fuse(DescribeSpec(**describe), spec), files_to_batches(list_files([str(archive)]), batch)
    )


def cutouts(table: pa.Table, path: str) -> list[dict[str, Any]]:
    rows = table.to_pylist()
    image = next(row["image"]["image_id"] for row in rows if row["image"] and row["image"]["path"] == path)
    return [row for row in rows if row["cutout_id"] is not None and row["image_id"] == image]


def pixels_of(row: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(row["pixels"], np.uint8).reshape(row["pixel_shape"])


def failures(table: pa.Table) -> list[dict[str, Any]]:
    return [row["failure"] for row in table.to_pylist() if row["failure"]]


# ---- windows -----------------------------------------------------------------------------


def test_rows_hold_an_image_then_its_windows_in_small_batches(archive: Path) -> None:
    stage = fuse(DescribeSpec(), TileSpec(SlidingWindow(size=8, step=3))).build(str)
    batches = list(stage(files_to_batches(list_files([str(archive)]))))
    assert max(batch.num_rows for batch in batches) == ROWS == 64
    assert all(batch.schema == schema.TILED for batch in batches)
    rows = pa.Table.from_batches(batches).to_pylist()
    kinds = ["image" if row["image"] else "window" for row in rows]
    assert [row["image"]["path"] for row in rows if row["image"]] == ["colour.png", "grey.png", "sky.fits"]
    current = None
    for row, kind in zip(rows, kinds, strict=True):
        if kind == "image":
            current = row["image"]["image_id"]
            assert [row[name] for name in ("cutout_id", "pixels", "failure", "x0")] == [None] * 4
        else:
            assert row["image_id"] == current
            assert row["failure"] is None


def test_pixels_are_slices_of_the_processed_image(archive: Path) -> None:
    table = run(archive, TileSpec(WINDOW))
    processed = to_uint8(apply_steps(stars(), [step("AsinhStretch")])[0])
    found = cutouts(table, "sky.fits")
    assert len(found) == 4 * 6
    for row in found:
        np.testing.assert_array_equal(pixels_of(row), processed[row["y0"] : row["y1"], row["x0"] : row["x1"]])
    for name, source in (("colour.png", "RGB"), ("grey.png", "L")):
        with Image.open(archive / name) as picture:
            assert picture.mode == source
            whole = np.asarray(picture)
        for row in cutouts(table, name):
            np.testing.assert_array_equal(pixels_of(row), whole[row["y0"] : row["y1"], row["x0"] : row["x1"]])
            assert row["ra"] is None
            assert row["dec"] is None


def test_cutout_steps_are_done_on_each_window(archive: Path) -> None:
    steps = (step("RescaleIntensity"), step("Resize", output_size=10))
    found = cutouts(run(archive, TileSpec(WINDOW, (), steps)), "sky.fits")
    for row in found:
        window = stars()[row["y0"] : row["y1"], row["x0"] : row["x1"]]
        np.testing.assert_array_equal(pixels_of(row), to_uint8(apply_steps(window, steps)[0]))
        assert row["x1"] - row["x0"] == 16, "the place is that of the window"


def test_the_image_row_is_the_described_one_and_keeps_the_size_of_the_file(archive: Path) -> None:
    described = run_plain(DescribeSpec(), files_to_batches(list_files([str(archive)]))).to_pylist()
    table = run(archive, TileSpec(WINDOW, (step("AsinhStretch"), step("Resize", output_size=32))))
    assert [row["image"] for row in table.to_pylist() if row["image"]] == described


def test_ids_do_not_depend_on_order_batches_or_place(archive: Path, tmp_path: Path) -> None:
    def id_of_window(table: pa.Table) -> dict[tuple[Any, ...], int]:
        keys = ("image_id", "x0", "y0", "x1", "y1")
        return {
            tuple(r[k] for k in keys): r["cutout_id"] for r in table.to_pylist() if r["cutout_id"] is not None
        }

    expected = id_of_window(run(archive, TileSpec(WINDOW)))
    assert len(set(expected.values())) == len(expected) > 30
    backwards = list(files_to_batches(reversed(list_files([str(archive)])), 1))
    assert id_of_window(run_plain(fuse(DescribeSpec(), TileSpec(WINDOW)), backwards)) == expected
    moved = archive.rename(tmp_path / "elsewhere")
    assert id_of_window(run(moved, TileSpec(WINDOW), batch=2)) == expected
    (row,) = [
        row for row in cutouts(run(moved, TileSpec(WINDOW)), "sky.fits") if (row["x0"], row["y0"]) == (12, 24)
    ]
    assert row["cutout_id"] == ids.cutout_id("sky.fits", 0, 12, 24, 28, 40)


def test_the_same_input_gives_the_same_bytes(archive: Path) -> None:
    assert run(archive, TileSpec(WINDOW)).equals(run(archive, TileSpec(WINDOW)))


# ---- positions ---------------------------------------------------------------------------


def test_positions_agree_with_astropy_cutouts(archive: Path) -> None:
    header = fits.getheader(archive / "sky.fits")
    for row in cutouts(run(archive, TileSpec(WINDOW)), "sky.fits"):
        centre = ((row["x0"] + row["x1"] - 1) / 2, (row["y0"] + row["y1"] - 1) / 2)
        cutout = Cutout2D(stars(), centre, (16, 16), wcs=WCS(header))
        oracle = cutout.wcs.pixel_to_world(7.5, 7.5)
        found = SkyCoord(row["ra"] * u.deg, row["dec"] * u.deg)
        assert found.separation(oracle).arcsec < 0.01


def test_positions_stay_right_when_image_steps_move_pixels(archive: Path) -> None:
    wcs = WCS(fits.getheader(archive / "sky.fits"))
    steps = (step("AsinhStretch"), step("Crop", output_range=(4, -6, 10, -8)), step("FlipLR"))
    height, width = 40, 52
    for row in cutouts(run(archive, TileSpec(WINDOW, steps)), "sky.fits"):
        x, y = (row["x0"] + row["x1"] - 1) / 2, (row["y0"] + row["y1"] - 1) / 2
        assert row["x1"] <= width
        assert row["y1"] <= height
        oracle = wcs.pixel_to_world(width - 1 - x + 10, y + 4)
        assert SkyCoord(row["ra"] * u.deg, row["dec"] * u.deg).separation(oracle).arcsec < 0.01


def test_windows_off_the_sky_have_no_position(tmp_path: Path) -> None:
    header = fits.Header()
    header.update(
        CTYPE1="GLON-AIT",
        CTYPE2="GLAT-AIT",
        CRVAL1=0.0,
        CRVAL2=0.0,
        CRPIX1=35.5,
        CRPIX2=25.5,
        CDELT1=-5.0,
        CDELT2=5.0,
    )
    fits.PrimaryHDU(stars(), header).writeto(tmp_path / "allsky.fits")
    found = cutouts(run(tmp_path, TileSpec(SlidingWindow(size=8, step=8))), "allsky.fits")
    positions = {(row["x0"], row["y0"]): (row["ra"], row["dec"]) for row in found}
    assert positions[(0, 0)] == (None, None)
    assert None not in positions[(32, 24)]


# ---- thumbnails --------------------------------------------------------------------------


def open_thumbnail(content: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(content))
    assert picture.format == "JPEG"
    return picture


def test_thumbnails_are_small_square_jpegs_of_the_window(archive: Path) -> None:
    table = run(archive, TileSpec(FullImage(), thumbnail_px=20))
    for path, mode in (("colour.png", "RGB"), ("grey.png", "L"), ("sky.fits", "L")):
        (row,) = cutouts(table, path)
        picture = open_thumbnail(row["thumbnail"])
        assert (picture.size, picture.mode) == ((20, 20), mode)


def test_thumbnails_of_fits_show_y_upwards_and_those_of_pictures_downwards(tmp_path: Path) -> None:
    first_rows_bright = np.zeros((40, 40), np.uint8)
    first_rows_bright[:20] = 255
    fits.PrimaryHDU(first_rows_bright / np.float32(255)).writeto(tmp_path / "a.fits")
    Image.fromarray(first_rows_bright).save(tmp_path / "b.png")
    table = run(tmp_path, TileSpec(FullImage(), ()))
    for path, bright in (("a.fits", slice(60, None)), ("b.png", slice(None, 36))):
        (row,) = cutouts(table, path)
        shown = np.asarray(open_thumbnail(row["thumbnail"]))
        assert shown.shape == (96, 96)
        assert shown[bright].min() > 200
        assert pixels_of(row)[0, 0] == 255, "the pixels themselves are not turned"


def test_thumbnails_keep_colours() -> None:
    red = np.zeros((30, 30, 3), np.uint8)
    red[..., 0] = 250
    shown = np.asarray(open_thumbnail(thumbnail(red, 16)))
    np.testing.assert_allclose(shown.mean(axis=(0, 1)), [250, 0, 0], atol=4)


def test_no_thumbnails_where_none_are_wanted(archive: Path) -> None:
    kept, none = (run(archive, TileSpec(WINDOW, thumbnail_px=side)) for side in (96, 0))
    assert none["thumbnail"].null_count == len(none)
    assert none.drop(["thumbnail"]).equals(kept.drop(["thumbnail"]))


# ---- failures ----------------------------------------------------------------------------


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
    assert len(cutouts(table, "grey.png")) > 0


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
    described = run_plain(DescribeSpec(), files_to_batches(list_files([str(archive / "grey.png")])))
    Image.fromarray(np.zeros((99, 99), np.uint8)).save(archive / "grey.png")
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


# ---- memory and contract -----------------------------------------------------------------


def test_windows_are_cut_only_as_they_are_asked_for(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut: list[int] = []
    real = tile.thumbnail
    monkeypatch.setattr(tile, "thumbnail", lambda *args: cut.append(1) or real(*args))
    stage = TileSpec(SlidingWindow(size=8, step=1)).build(str)
    described = run_plain(DescribeSpec(), files_to_batches(list_files([str(archive / "sky.fits")])))
    batches = stage(iter(described.to_batches()))
    assert next(batches).num_rows == ROWS
    assert len(cut) == ROWS - 1
    next(batches)
    assert len(cut) == 2 * ROWS - 1


def test_large_windows_make_smaller_batches(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile, "BATCH_BYTES", 10 * 16 * 16)
    stage = fuse(DescribeSpec(), TileSpec(WINDOW)).build(str)
    batches = list(stage(files_to_batches(list_files([str(archive / "sky.fits")]))))
    assert [batch.num_rows for batch in batches] == [11, 10, 4]


def test_a_window_beyond_what_arrow_holds_is_refused(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile, "MAX_WINDOW_BYTES", 1500)
    table = run(archive, TileSpec(FullImage()))
    assert {failure["kind"] for failure in failures(table)} == {"too_large"}


def test_the_spec_is_picklable_and_made_from_settings() -> None:
    settings = parse_settings(
        {
            "images": {"paths": "x", "steps": [{"type": "FlipUD"}]},
            "cutouts": {
                "generator": {"kind": "sliding_window", "size": 16, "step": 12},
                "steps": [{"type": "GrayScale"}],
                "thumbnail_px": 40,
            },
        }
    )
    spec = TileSpec.from_settings(settings)
    assert spec == TileSpec(WINDOW, (step("FlipUD"),), (step("GrayScale"),), 40, settings.cutouts.quality)
    assert isinstance(spec, StageSpec)
    assert isinstance(spec.build(str), Stage)
    assert spec.files == ()
    assert pickle.loads(pickle.dumps(spec)) == spec


# ---- real images -------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize("generator", [SlidingWindow(size=48, step=48), Blobs(sigma=3, padding=10)])
def test_all_real_fits_files_are_cut_or_refused_with_a_reason(generator: SlidingWindow | Blobs) -> None:
    table = run(DATA / "fits", TileSpec(generator))
    images = [row["image"] for row in table.select(["image"]).to_pylist() if row["image"]]
    assert len(images) == len(list_files([str(DATA / "fits")]))
    failed = failures(table.select(["failure"]))
    kinds = {failure["kind"] for failure in failed}
    assert kinds <= {"no_image", "not_2d", "smaller_than_window"}
    assert sum(image["status"] == "ok" for image in images) == len(images) - len(failed) >= 25
    assert "unreadable" not in kinds
    found = table["cutout_id"].drop_null().to_pylist()
    assert len(set(found)) == len(found) > 200


@needs_data
def test_real_pictures_are_cut_at_full_coverage() -> None:
    table = run(DATA / "hubble", TileSpec(SlidingWindow(size=224, step=224)))
    assert failures(table.select(["failure"])) == []
    images = [row["image"] for row in table.select(["image"]).to_pylist() if row["image"]]
    expected = sum(-(-image["width"] // 224) * -(-image["height"] // 224) for image in images)
    assert len(table["cutout_id"].drop_null()) == expected
