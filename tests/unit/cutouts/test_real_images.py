"""Real images, small ones that come with the libraries: cut, placed on the sky, and their objects found."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from helpers.realimages import FITS, PICTURE, copy_real_images
from helpers.tiling import cutouts, failures, pixels_of, run
from PIL import Image

from elodin_spark.config.settings import SlidingWindow, Sources
from elodin_spark.cutouts.tile import TileSpec

SIDE = 20


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_real_images(tmp_path_factory.mktemp("real") / "archive")


@pytest.fixture(scope="module")
def table(archive: Path):
    return run(archive, TileSpec(SlidingWindow(size=SIDE, step=SIDE)))


def test_all_are_cut(table) -> None:
    images = [row["image"] for row in table.select(["image"]).to_pylist() if row["image"]]
    assert {Path(image["path"]).name for image in images if image["status"] == "ok"} == {*FITS, PICTURE}
    assert failures(table.select(["failure"])) == []


def test_compressed_planes_give_the_windows_of_the_plain_one(table) -> None:
    plain = [pixels_of(row) for row in cutouts(table, "m13.fits")]
    assert len(plain) == 15 * 15
    assert len({pixels.tobytes() for pixels in plain}) > 200
    for name in ("m13_gzip.fits", "m13_rice.fits"):
        np.testing.assert_array_equal([pixels_of(row) for row in cutouts(table, name)], plain)


@pytest.mark.parametrize("name", ["m13.fits", "m13_rice.fits", "dss.14.29.56-62.41.05.fits.gz"])
def test_centers_are_where_astropy_puts_them(table, archive: Path, name: str) -> None:
    rows = cutouts(table, name)
    with warnings.catch_warnings(), fits.open(archive / name) as hdulist:
        warnings.simplefilter("ignore")  # what astropy says of cards of 1976
        header = next(hdu.header for hdu in hdulist if hdu.header.get("NAXIS") == 2)
        wcs = WCS(header)
    middles = np.array([((row["x0"] + row["x1"] - 1) / 2, (row["y0"] + row["y1"] - 1) / 2) for row in rows])
    expected = wcs.pixel_to_world(*middles.T).icrs
    found = SkyCoord([row["ra"] for row in rows], [row["dec"] for row in rows], unit="deg")
    assert found.separation(expected).arcsec.max() < 1e-3


def test_a_picture_keeps_its_pixels(table, archive: Path) -> None:
    with Image.open(archive / PICTURE) as picture:
        whole = np.asarray(picture)
    rows = cutouts(table, PICTURE)
    assert len(rows) == -(-whole.shape[0] // SIDE) * -(-whole.shape[1] // SIDE)
    for row in rows[::97]:
        np.testing.assert_array_equal(pixels_of(row), whole[row["y0"] : row["y1"], row["x0"] : row["x1"]])


def test_galaxies_of_the_deep_field_and_stars_of_m13_are_found(archive: Path) -> None:
    table = run(archive, TileSpec(Sources()))
    assert len(cutouts(table, PICTURE)) > 300
    m13 = cutouts(table, "m13.fits")
    assert len(m13) > 20
    middle = np.array([((row["x0"] + row["x1"]) / 2, (row["y0"] + row["y1"]) / 2) for row in m13])
    assert np.hypot(*(middle - 150).T).min() < 40, "nothing at the center of the cluster"
