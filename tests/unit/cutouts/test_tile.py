"""The tile stage: images to windows."""

from __future__ import annotations

import io
import pickle
import tempfile
from itertools import product
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
from helpers.paths import DATA
from helpers.tiling import WINDOW, cutouts, failures, make_archive, pixels_of, run, stars, step
from hypothesis import given
from hypothesis import settings as cases
from hypothesis import strategies as st
from PIL import Image

from elodin_spark import ids, schema
from elodin_spark.config.load import parse_settings
from elodin_spark.config.settings import Blobs, FullImage, QualitySettings, SlidingWindow
from elodin_spark.cutouts import tile
from elodin_spark.cutouts.picture import LazyPicture
from elodin_spark.cutouts.pixels import to_uint8
from elodin_spark.cutouts.steps import apply_steps
from elodin_spark.cutouts.tile import ROWS, TileSpec, thumbnail
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.stage import Stage, StageSpec, fuse, run_plain


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return make_archive(tmp_path / "archive")


needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no test images at {DATA}")


# ---- windows -----------------------------------------------------------------------------


def test_rows_hold_an_image_then_its_windows_in_small_batches(archive: Path) -> None:
    stage = fuse(DescribeSpec(), TileSpec(SlidingWindow(size=8, step=3))).build(str)
    batches = list(stage(files_to_batches(list_files([str(archive)]))))
    assert max(batch.num_rows for batch in batches) == ROWS == 64
    assert all(batch.schema == schema.TILED for batch in batches)
    rows = pa.Table.from_batches(batches).to_pylist()
    kinds = ["image" if row["image"] else "window" for row in rows]
    assert [row["image"]["path"] for row in rows if row["image"]] == ["color.png", "gray.png", "sky.fits"]
    current = None
    for row, kind in zip(rows, kinds, strict=True):
        if kind == "image":
            current = row["image"]["image_id"]
            assert [row[name] for name in ("cutout_id", "pixels", "failure", "x0")] == [None] * 4
        else:
            assert row["image_id"] == current
            assert row["failure"] is None


@pytest.mark.parametrize("before", range(ROWS - 2, ROWS + 3))
def test_each_window_has_its_own_pixels_wherever_a_batch_ends(tmp_path: Path, before: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (8, 8 * before), np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")  # as many windows
    Image.fromarray(values[::-1, : 8 * 70]).save(tmp_path / "b.png")
    table = run(tmp_path, TileSpec(SlidingWindow(size=8, step=8)))
    table.validate(full=True)
    for path, pixels in (("a.png", values), ("b.png", values[::-1])):
        rows = cutouts(table, path)
        assert len(rows) == (before if path == "a.png" else min(70, before))
        for row in rows:
            np.testing.assert_array_equal(pixels_of(row), pixels[:, row["x0"] : row["x1"]])


@given(
    images=st.lists(
        st.tuples(st.integers(2, 4), st.integers(2, 12), st.sampled_from(["gray", "color", "damaged"])),
        max_size=5,
    ),
    rows=st.integers(1, 70),
    batch_bytes=st.integers(1, 8000),
    column_bytes=st.integers(8 * 8 * 3, 900),
    files=st.integers(1, 3),
    seed=st.integers(0, 99),
)
@cases(max_examples=40, deadline=None)
def test_rows_and_pixels_are_those_of_a_plain_loop_wherever_batches_end(
    images: list[tuple[int, int, str]], rows: int, batch_bytes: int, column_bytes: int, files: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    expected: dict[int, np.ndarray | str] = {}
    quality = QualitySettings.model_validate({"blank": 0, "nodata": {"reject_above": 0.5}})
    with tempfile.TemporaryDirectory() as made, pytest.MonkeyPatch.context() as patch:
        for number, (down, across, kind) in enumerate(images):
            file = Path(made) / f"{number}.png"
            pixels = rng.integers(1, 256, (8 * down, 8 * across) + (3,) * (kind == "color"), np.uint8)
            empty = rng.random((down, across)) < 0.2
            pixels[empty.repeat(8, axis=0).repeat(8, axis=1)] = 0
            Image.fromarray(pixels).save(file)
            if kind == "damaged":
                file.write_bytes(file.read_bytes()[:-40])
                continue
            for side in (1, 2):
                for y, x in product(range(down - side + 1), range(across - side + 1)):
                    x0, y0, x1, y1 = (8 * each for each in (x, y, x + side, y + side))
                    window = pixels[y0:y1, x0:x1]
                    cutout_id = ids.cutout_id(file.name, 0, x0, y0, x1, y1)
                    large = "refused" if window.size > column_bytes else window
                    expected[cutout_id] = large
                    if empty[y : y + side, x : x + side].mean() > 0.5:
                        expected[cutout_id] = "rejected"
        patch.setattr(tile, "ROWS", rows)
        patch.setattr(tile, "BATCH_BYTES", batch_bytes)
        patch.setattr(tile, "MAX_WINDOW_BYTES", column_bytes)
        spec = TileSpec(SlidingWindow(size=(8, 16), step=8), quality=quality, thumbnail_px=0)
        stage = fuse(DescribeSpec(), spec).build(str)
        batches = list(stage(files_to_batches(list_files([made]), files) if images else iter(())))
    found = 0
    for batch in batches:
        batch.validate(full=True)
        assert batch.num_rows <= rows
        held = sum(len(each) for each in batch.column("pixels").to_pylist() if each)
        assert held <= column_bytes
        for row in batch.to_pylist():
            failure = row["failure"]
            cutout_id = failure["cutout_id"] if failure else row["cutout_id"]
            if cutout_id is None:
                continue
            found += 1
            wanted = expected[cutout_id]
            if isinstance(wanted, str):
                assert (failure is not None) == (wanted == "refused")
                assert (row["rejected"] is not None) == (wanted == "rejected")
                assert row["pixels"] is None
            else:
                known = wanted != 0  # what has no data is filled
                assert row["pixel_shape"] == list(wanted.shape)
                np.testing.assert_array_equal(pixels_of(row)[known], wanted[known])
    assert found == len(expected)


def test_pixels_are_slices_of_the_processed_image(archive: Path) -> None:
    table = run(archive, TileSpec(WINDOW))
    processed = to_uint8(apply_steps(stars(), [step("AsinhStretch")])[0])
    found = cutouts(table, "sky.fits")
    assert len(found) == 4 * 6
    for row in found:
        np.testing.assert_array_equal(pixels_of(row), processed[row["y0"] : row["y1"], row["x0"] : row["x1"]])
    for name, source in (("color.png", "RGB"), ("gray.png", "L")):
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
        center = ((row["x0"] + row["x1"] - 1) / 2, (row["y0"] + row["y1"] - 1) / 2)
        cutout = Cutout2D(stars(), center, (16, 16), wcs=WCS(header))
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
    for path, mode in (("color.png", "RGB"), ("gray.png", "L"), ("sky.fits", "L")):
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


def test_thumbnails_keep_colors() -> None:
    red = np.zeros((30, 30, 3), np.uint8)
    red[..., 0] = 250
    shown = np.asarray(open_thumbnail(thumbnail(red, 16)))
    np.testing.assert_allclose(shown.mean(axis=(0, 1)), [250, 0, 0], atol=4)


def test_no_thumbnails_where_none_are_wanted(archive: Path) -> None:
    kept, none = (run(archive, TileSpec(WINDOW, thumbnail_px=side)) for side in (96, 0))
    assert none["thumbnail"].null_count == len(none)
    assert none.drop(["thumbnail"]).equals(kept.drop(["thumbnail"]))


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


def test_a_large_image_that_is_damaged_further_down_keeps_its_other_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elodin_spark.cutouts.picture.WHOLE_PIXELS", 100)  # read box by box
    fits.writeto(tmp_path / "sky.fits", stars(64, 48))
    expected = run(tmp_path, TileSpec(SlidingWindow(size=16, step=16))).to_pylist()
    read = LazyPicture.read

    def damaged(self: LazyPicture, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        if y0 == 32:
            raise OSError("bad tile")
        return read(self, x0, y0, x1, y1)

    monkeypatch.setattr(LazyPicture, "read", damaged)
    table = run(tmp_path, TileSpec(SlidingWindow(size=16, step=16)))
    lost = {row["cutout_id"] for row in expected if row["y0"] == 32}
    assert {failure["cutout_id"] for failure in failures(table)} == lost
    assert {failure["message"] for failure in failures(table)} == {"OSError: bad tile"}
    rest = [row for row in table.to_pylist() if row["failure"] is None]
    assert rest == [row for row in expected if row["y0"] != 32]


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
