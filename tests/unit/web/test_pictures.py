"""Pictures of cutouts and images."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from elodin_spark.catalog.cutout import Cutout
from elodin_spark.config.load import parse_settings
from elodin_spark.errors import InputError
from elodin_spark.schema import IMAGES
from elodin_spark.web import pictures

SETTINGS = parse_settings({"images": {"paths": "x"}, "cutouts": {"generator": {"kind": "full_image"}}})


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture
def sky(tmp_path: Path) -> dict[str, Any]:
    """A FITS image that is bright at the lower left, as a row of the images table."""
    y, x = np.mgrid[:90, :120]
    values = np.exp(-((x - 15) ** 2 + (y - 10) ** 2) / 50).astype(np.float32)
    values += np.random.default_rng(0).normal(0, 0.01, values.shape).astype(np.float32)
    values[80:] = np.nan
    fits.writeto(tmp_path / "sky.fits", values)
    return row_of(tmp_path / "sky.fits", 120, 90)


def row_of(file: Path, width: int, height: int) -> dict[str, Any]:
    known = {"uri": str(file), "path": file.name, "hdu": 0, "width": width, "height": height, "status": "ok"}
    return dict.fromkeys(IMAGES.names) | known


def cutout_of(image: dict[str, Any], *box: int) -> Cutout:
    return Cutout(1, image, *box, None, None, [])


def test_a_cutout_is_drawn_with_its_first_row_at_the_bottom(sky) -> None:
    cutout = cutout_of(sky, 0, 0, 40, 40)
    for stretch in pictures.STRETCHES:
        drawn = opened(pictures.cutout_png(cutout, stretch, 99.5, "gray", 80))
        assert (drawn.shape, drawn.dtype) == ((80, 80), np.uint8)
        bright = np.unravel_index(drawn.argmax(), drawn.shape)
        assert bright[0] > 50, stretch
        assert bright[1] < 45, stretch
    levels = {s: opened(pictures.cutout_png(cutout, s, 100, "gray", 40)).mean() for s in pictures.STRETCHES}
    assert levels["square"] < levels["linear"] < levels["sqrt"] < levels["log"]
    higher = opened(pictures.cutout_png(cutout, "linear", 60, "gray", 40))
    assert (higher == 255).mean() > 0.3


def test_colors_are_those_of_the_map_and_pictures_in_color_keep_theirs(sky, tmp_path) -> None:
    from matplotlib import colormaps

    cutout = cutout_of(sky, 0, 0, 40, 40)
    gray = opened(pictures.cutout_png(cutout, "asinh", 99.5, "gray", 40))
    for name in pictures.COLORMAPS[1:]:
        drawn = opened(pictures.cutout_png(cutout, "asinh", 99.5, name, 40))
        np.testing.assert_allclose(drawn, colormaps[name](gray)[..., :3] * 255, rtol=0, atol=0.51)
    rgb = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(tmp_path / "c.png")
    image = {"uri": str(tmp_path / "c.png"), "path": "c.png", "hdu": 0, "width": 20, "height": 30}
    drawn = opened(pictures.cutout_png(cutout_of(image, 0, 0, 20, 30), "linear", 100, "viridis", 30))
    np.testing.assert_array_equal(drawn, rgb)  # the first row at the top


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stretch": "x"}, "stretch is one of asinh"),
        ({"colormap": "jet"}, "colormap is one of gray"),
        ({"cut": 49}, "from 50 to 100"),
        ({"cut": float("nan")}, "from 50 to 100"),
        ({"size": 15}, "size is from 16 to 2048"),
        ({"size": 2049}, "size is from 16 to 2048"),
    ],
)
def test_what_is_no_picture_is_refused(sky, change, said) -> None:
    asked = {"stretch": "asinh", "cut": 99.5, "colormap": "gray", "size": 100} | change
    with pytest.raises(InputError, match=said):
        pictures.cutout_png(cutout_of(sky, 0, 0, 40, 40), **asked)


def test_an_image_that_is_gone_and_one_too_large_are_said(sky, monkeypatch) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        pictures.cutout_png(cutout_of({**sky, "uri": "/nowhere.fits"}, 0, 0, 40, 40), "asinh", 99, "gray", 40)
    with pytest.raises(InputError, match=r"sky\.fits cannot be read"):
        pictures.preview_jpeg({**sky, "uri": "/nowhere.fits"}, SETTINGS, 100)
    with pytest.raises(InputError, match="at most"):
        pictures.cutout_png(cutout_of(sky, 0, 0, 5000, 5000), "asinh", 99, "gray", 40)
    monkeypatch.setattr(pictures, "_LARGEST_PICTURE", 100)
    with pytest.raises(InputError, match="is decoded whole"):
        pictures.preview_jpeg({**sky, "uri": "/a/b.png"}, SETTINGS, 100)


def test_a_preview_of_fits_has_its_first_row_at_the_bottom(sky) -> None:
    drawn = opened(pictures.preview_jpeg(sky, SETTINGS, 40))
    assert drawn.shape == (30, 40)
    bright = np.unravel_index(drawn.astype(int).argmax(), drawn.shape)
    assert bright[0] >= 30 - 7
    assert bright[1] < 9
    assert opened(pictures.preview_jpeg(sky, SETTINGS, 2048)).shape == (90, 120)
    assert pictures.grid_of(sky, SETTINGS) == (120, 90)


def test_the_grid_of_windows_is_that_after_the_steps_of_images(sky) -> None:
    settings = parse_settings(
        {
            "images": {
                "paths": "x",
                "steps": [{"type": "Crop", "parameters": {"output_range": [0, 30, 0, 60]}}],
            },
            "cutouts": {"generator": {"kind": "full_image"}},
        }
    )
    assert pictures.grid_of(sky, settings) == (60, 30)
    assert pictures.grid_of({**sky, "uri": "/gone.fits"}, settings) == (60, 30)
    assert opened(pictures.preview_jpeg(sky, settings, 100)).shape == (30, 60)


def test_previews_of_pictures_keep_their_levels(tmp_path) -> None:
    rgb = np.zeros((60, 40, 3), np.uint8)
    rgb[:30] = (200, 100, 50)
    Image.fromarray(rgb).save(tmp_path / "c.png")
    image = row_of(tmp_path / "c.png", 40, 60)
    drawn = opened(pictures.preview_jpeg(image, SETTINGS, 30))
    assert drawn.shape == (30, 20, 3)
    np.testing.assert_allclose(drawn[2, 2], (200, 100, 50), atol=6)
    assert drawn[27, 2].max() < 6
