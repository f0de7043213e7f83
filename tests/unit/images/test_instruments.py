"""FITS files of some twenty instruments: each is cut as astropy would, or refused in plain words."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import ICRS, SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame
from helpers.fitsforms import inherited
from helpers.paths import ROOT

from elodin_spark.cutouts.pixels import to_uint8
from elodin_spark.cutouts.steps import apply_steps, default_steps
from elodin_spark.images import sky
from elodin_spark.images.listing import list_files
from elodin_spark.images.planes import open_plane

#: All others are cut.
REFUSED = {
    "arange.fits": ("not_2d", "HDU 0 is 11 x 10 x 7 px"),
    "blank.fits": ("smaller_than_window", "1 x 1 px"),
    "history_header.fits": ("no_image", "HDU 0 has no data"),
    "random_groups.fits": ("no_image", "HDU 0 holds random groups"),
    "table.fits": ("no_image", "HDU 1 is a table"),
    "zerowidth.fits": ("no_image", "HDU 1 is a table (AIPS FQ)"),
}


@pytest.fixture(scope="module")
def page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("list_instruments", ROOT / "docs" / "list_instruments.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cut(shared_data: Path, page: ModuleType) -> dict[str, list[dict[str, Any]]]:
    return {file.path: page.cut(file) for file in list_files([str(shared_data / "fits")])}


def test_what_holds_no_image_is_refused_by_name(cut: dict[str, list[dict[str, Any]]]) -> None:
    refused = {
        path: [row["failure"] for row in rows if row["failure"]]
        for path, rows in cut.items()
        if not any(row["cutout_id"] for row in rows)
    }
    assert refused.keys() == REFUSED.keys()
    for path, (kind, words) in REFUSED.items():
        (failure,) = refused[path]
        assert failure["kind"] == kind
        assert words in failure["message"]
    assert len(cut) == 41
    assert not any(row["failure"] for path, rows in cut.items() for row in rows if path not in REFUSED)


def test_pixels_are_those_of_cutout2d(shared_data: Path, cut: dict[str, list[dict[str, Any]]]) -> None:
    compared = 0
    for path, rows in cut.items():
        for image, windows in images_of(rows):
            file = str(shared_data / "fits" / path)
            data = astropy_pixels(file, image["hdu"])
            stretched, _ = apply_steps(data.astype(np.float32), default_steps(data, "auto"))
            expected = to_uint8(stretched)
            with open_plane(file, image["hdu"]) as plane:
                for row in windows:
                    x0, y0, x1, y1 = (row[name] for name in ("x0", "y0", "x1", "y1"))
                    center, size = ((x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2), (y1 - y0, x1 - x0)
                    raw = Cutout2D(data, center, size, mode="strict").data
                    np.testing.assert_array_equal(plane.read(y0, y1, x0, x1), raw.astype(np.float32))
                    pixels = np.frombuffer(row["pixels"], np.uint8).reshape(size)
                    np.testing.assert_array_equal(pixels, Cutout2D(expected, center, size).data)
                    compared += 1
    assert compared > 5000


def test_centers_are_where_astropy_puts_them(shared_data: Path, cut: dict[str, list[dict[str, Any]]]) -> None:
    distorted = placed = 0
    for path, rows in cut.items():
        with sky.quiet(), fits.open(shared_data / "fits" / path, ignore_missing_end=True) as hdulist:
            for image, windows in images_of(rows):
                full = WCS(inherited(hdulist, image["hdu"]), hdulist, naxis=2)
                if not full.has_celestial:
                    assert {row["ra"] for row in windows} == {None}
                    continue
                x, y = (
                    np.array([(row[f"{axis}0"] + row[f"{axis}1"] - 1) / 2 for row in windows])
                    for axis in "xy"
                )
                world = full.all_pix2world(x, y, 0)
                frame = wcs_to_celestial_frame(full)
                oracle = SkyCoord(
                    world[full.wcs.lng] * units.deg,
                    np.clip(world[full.wcs.lat], -90, 90) * units.deg,
                    frame=frame,
                ).transform_to(ICRS())
                known = np.isfinite(world[0]) & np.isfinite(world[1])
                assert [row["ra"] is not None for row in windows] == known.tolist(), path
                found = SkyCoord(
                    [row["ra"] for row in windows if row["ra"] is not None] * units.deg,
                    [row["dec"] for row in windows if row["ra"] is not None] * units.deg,
                )
                assert found.separation(oracle[known]).arcsec.max(initial=0) < 0.01, path
                placed += known.sum()
                distorted += full.sip is not None or full.cpdis1 is not None
    assert placed > 5000
    assert distorted == 2


def test_the_page_says_what_happens(shared_data: Path, page: ModuleType) -> None:
    assert page.table(shared_data / "fits") == (ROOT / "docs" / "instruments.md").read_text("utf-8")


def images_of(rows: list[dict[str, Any]]) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The images of a file that were cut, each with its windows."""
    windows: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        if row["cutout_id"] is not None:
            windows.setdefault(row["image_id"], []).append(row)
    images = [row["image"] for row in rows if row["image"]]
    return [(image, windows[image["image_id"]]) for image in images if image["image_id"] in windows]


def astropy_pixels(path: str, index: int) -> np.ndarray:
    with sky.quiet(), fits.open(path, ignore_missing_end=True) as hdulist:
        hdu = hdulist[index]
        data = np.array(hdu.data)
        return data.reshape(data.shape[-2:])
