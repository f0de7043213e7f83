"""Windows by every generator, from images held whole or read box by box, and their quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS

from elodin_spark import schema
from elodin_spark.config.load import parse_settings
from elodin_spark.cutouts import picture
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.stage import run_plain

SCALE_ARCSEC = 0.5
HEIGHT, WIDTH = 150, 180


def wcs() -> WCS:
    made = WCS(naxis=2)
    made.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    made.wcs.crpix = [90.5, 75.5]
    made.wcs.crval = [359.999, 20.0]
    made.wcs.cdelt = [-SCALE_ARCSEC / 3600, SCALE_ARCSEC / 3600]
    return made


SOURCES = ((40.0, 30.0), (120.3, 60.8), (90.0, 120.0))


def pixels() -> np.ndarray:
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = rng.normal(10, 1, (HEIGHT, WIDTH))
    for column, row in SOURCES:
        image += 200 * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 8)
    return image.astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One image with a mask: a block without data, one masked row, one saturated pixel."""
    image, mask = pixels(), np.zeros((HEIGHT, WIDTH), np.int16)
    image[0:20, 0:20] = np.nan
    mask[100] |= 1 << 4
    image[60, 150] = 60000
    header = wcs().to_header()
    header["SATURATE"] = 50000.0
    bits = fits.Header({"MP_CR": 4, "MP_BAD": 0})
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(image, header, "IMAGE"), fits.ImageHDU(mask, bits, "MASK")]
    fits.HDUList(hdus).writeto(tmp_path / "image.fits")
    return tmp_path


def cut(
    folder: Path, generator: dict[str, Any], targets: list[dict[str, Any]] | None = None, **cutouts: Any
) -> list[dict[str, Any]]:
    settings = parse_settings(
        {"images": {"paths": str(folder)}, "cutouts": {"generator": generator, **cutouts}}
    )
    images = run_plain(DescribeSpec("IMAGE"), files_to_batches(list_files([str(folder)])))
    column = pa.array([targets], schema.TARGETED.field("targets").type)
    images = images.append_column("targets", column)
    rows = run_plain(TileSpec.from_settings(settings), images.to_batches()).to_pylist()
    assert not [row["failure"] for row in rows if row["failure"]]
    return [row for row in rows if row["cutout_id"] is not None]


def boxes(rows: list[dict[str, Any]]) -> list[tuple[int, int, int, int]]:
    return [(row["x0"], row["y0"], row["x1"], row["y1"]) for row in rows]


def test_sizes_in_arcsec_and_several_at_once_are_windows_in_px(folder):
    rows = cut(folder, {"kind": "sliding_window", "size": ["20 arcsec", 60]})
    sides = {side: [row for row in rows if row["x1"] - row["x0"] == side] for side in (40, 60)}
    assert len(sides[40]) == 8 * 7  # every 20 px along 180 and 150 px, the last rows flush
    assert len(sides[60]) == 5 * 4
    assert len(rows) == len({row["cutout_id"] for row in rows}) == 76


def test_an_angle_needs_a_pixel_scale(tmp_path):
    fits.PrimaryHDU(pixels()).writeto(tmp_path / "image.fits")
    settings = parse_settings(
        {
            "images": {"paths": str(tmp_path)},
            "cutouts": {"generator": {"kind": "sliding_window", "size": "9 arcsec"}},
        }
    )
    images = run_plain(DescribeSpec(), files_to_batches(list_files([str(tmp_path)])))
    rows = run_plain(TileSpec.from_settings(settings), images.to_batches()).to_pylist()
    (failure,) = [row["failure"] for row in rows if row["failure"]]
    assert failure["kind"] == "no_scale"


def test_positions_are_cut_as_astropy_cuts_them(folder):
    places = [(30.2, 40.7), (90.0, 75.0), (150.5, 119.6)]
    sky = wcs().pixel_to_world(*np.array(places).T)
    targets = [
        {"position_id": f"p{i}", "ra": float(ra), "dec": float(dec)}
        for i, (ra, dec) in enumerate(zip(sky.ra.deg, sky.dec.deg, strict=True))
    ]
    targets.append({"position_id": "elsewhere", "ra": 100.0, "dec": -20.0})
    rows = cut(folder, {"kind": "positions", "catalog": "unused.csv", "size": 21}, targets)
    assert sorted(row["position_id"] for row in rows) == ["p0", "p1", "p2"]
    whole = cut(folder, {"kind": "full_image"})[0]
    stretched = np.frombuffer(whole["pixels"], np.uint8).reshape(HEIGHT, WIDTH)
    for row in rows:
        i = int(row["position_id"][1])
        expected = Cutout2D(stretched, places[i], 21)
        found = np.frombuffer(row["pixels"], np.uint8).reshape(row["pixel_shape"])
        np.testing.assert_array_equal(found, expected.data)
        separation = SkyCoord(row["ra"], row["dec"], unit="deg").separation(sky[i]).arcsec
        assert separation < SCALE_ARCSEC


def test_each_source_gets_a_window_with_what_was_measured_of_it(folder):
    rows = cut(folder, {"kind": "sources", "size": 32, "zero_point": 25.0})
    assert len(rows) == len(SOURCES) + 1  # and the saturated pixel is not one: it is a single pixel
    found = {(round(row["source"]["x"]), round(row["source"]["y"])) for row in rows}
    assert {(round(x), round(y)) for x, y in SOURCES} <= found
    for row in rows:
        assert row["source"]["flux"] > 0
        assert row["source"]["mag"] == pytest.approx(25 - 2.5 * np.log10(row["source"]["flux"]))


def test_quality_is_that_of_the_windows_own_pixels(folder):
    rows = cut(folder, {"kind": "sliding_window", "size": 50, "step": 50, "edge": "drop"})
    image, mask = fits.getdata(folder / "image.fits", "IMAGE"), fits.getdata(folder / "image.fits", "MASK")
    for row in rows:
        window = np.s_[row["y0"] : row["y1"], row["x0"] : row["x1"]]
        assert row["nodata_fraction"] == pytest.approx(np.isnan(image[window]).mean())
        assert row["saturated_fraction"] == pytest.approx((image[window] >= 50000).mean())
        hit = (mask[window] & (1 << 4) > 0).mean()
        assert dict(row["mask_fractions"]) == pytest.approx({"CR": hit} if hit else {})
        assert row["edge_px"] == min(row["x0"], row["y0"], WIDTH - row["x1"], HEIGHT - row["y1"])
        assert row["sky_sigma"] == pytest.approx(1, rel=0.25)
        assert row["sky"] == pytest.approx(10, abs=0.5)
    assert {row["rejected"] for row in rows} == {None}


def test_rules_reject_fill_or_keep(folder):
    generator = {"kind": "sliding_window", "size": 50, "step": 50, "edge": "drop"}
    rejected = cut(folder, generator, quality={"nodata": {"reject_above": 0.1}})
    (gone,) = [row for row in rejected if row["rejected"]]
    assert (gone["x0"], gone["y0"], gone["pixels"]) == (0, 0, None)
    assert "no data" in gone["rejected"]
    kept, filled = (
        cut(folder, generator)[0],
        cut(folder, generator, quality={"nodata": {"fill_above": 0.1}})[0],
    )
    before, after = (np.frombuffer(row["pixels"], np.uint8).reshape(50, 50) for row in (kept, filled))
    assert (before[:20, :20] == 0).all()
    assert (after[:20, :20] > 0).all()
    np.testing.assert_array_equal(before[20:], after[20:])


@pytest.mark.parametrize(
    "generator",
    [
        {"kind": "sliding_window", "size": 40, "step": 30},
        {"kind": "full_image"},
        {"kind": "sources", "size": 32},
    ],
    ids=lambda generator: generator["kind"],
)
def test_an_image_read_box_by_box_gives_the_windows_of_one_held_whole(folder, generator, monkeypatch):
    def by_id(rows: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
        return {row["cutout_id"]: row for row in rows}

    whole = by_id(cut(folder, generator))
    monkeypatch.setattr(picture, "WHOLE_PIXELS", 100)
    assert by_id(cut(folder, generator)) == whole


def test_a_step_that_needs_a_huge_image_whole_is_refused_by_name(folder, monkeypatch):
    monkeypatch.setattr(picture, "WHOLE_PIXELS", 100)
    settings = parse_settings(
        {"images": {"paths": str(folder), "steps": [{"type": "HistogramEqualization"}]}}
    )
    images = run_plain(DescribeSpec("IMAGE"), files_to_batches(list_files([str(folder)])))
    rows = run_plain(TileSpec.from_settings(settings), images.to_batches()).to_pylist()
    (failure,) = [row["failure"] for row in rows if row["failure"]]
    assert failure["kind"] == "too_large"
    assert "HistogramEqualization" in failure["message"]
