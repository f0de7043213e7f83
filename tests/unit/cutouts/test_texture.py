"""Haralick and Zernike features of windows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from skimage.feature import graycomatrix, graycoprops

from elodin_spark import schema
from elodin_spark.config.settings import SlidingWindow
from elodin_spark.cutouts.texture import LENGTHS, texture
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.images.listing import list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.stage import fuse, run_plain

RNG = np.random.default_rng(5)
NOISE = RNG.integers(0, 256, (48, 48), np.uint8)
Y, X = np.mgrid[-24:24, -24:24] + 0.5
BLOB = (200 * np.exp(-(X**2 / 120 + Y**2 / 30))).astype(np.uint8)


@pytest.mark.parametrize("kind", LENGTHS)
def test_each_kind_has_its_length_in_gray_and_color(kind):
    gray = texture(BLOB, kind)
    assert gray is not None
    assert gray.shape == (LENGTHS[kind],)
    assert gray.dtype == np.float32
    np.testing.assert_allclose(texture(np.stack([BLOB] * 3, axis=2), kind), gray, rtol=1e-5)
    assert np.abs(texture(NOISE, kind) - gray).max() > 0.1


@pytest.mark.parametrize("kind", LENGTHS)
@pytest.mark.parametrize("pixels", [np.zeros((20, 20), np.uint8), np.full((9, 9), 7, np.uint8), BLOB[:1]])
def test_a_window_without_structure_has_none(kind, pixels):
    assert texture(pixels, kind) is None


def test_haralick_agrees_with_another_implementation():
    pairs = graycomatrix(NOISE, [1], [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4], symmetric=True, normed=True)
    found = texture(NOISE, "haralick")
    for place, name in ((0, "ASM"), (1, "contrast"), (2, "correlation")):
        assert found[place] == pytest.approx(graycoprops(pairs, name).mean(), rel=1e-3), name


def test_zernike_moments_do_not_turn_with_the_window():
    upright, turned = texture(BLOB, "zernike"), texture(np.ascontiguousarray(np.rot90(BLOB)), "zernike")
    np.testing.assert_allclose(turned, upright, atol=1e-4)


def test_they_become_columns_of_the_cutouts_only_when_asked_for(tmp_path):
    Image.fromarray(np.hstack([NOISE, np.zeros_like(NOISE)])).save(tmp_path / "a.png")
    files = pa.RecordBatch.from_pylist(
        [file._asdict() for file in list_files([str(tmp_path)])], schema=schema.FILES
    )
    window = SlidingWindow(size=48, step=48)
    both = TileSpec(window, thumbnail_px=16, texture=("haralick", "zernike"))
    rows = run_plain(fuse(DescribeSpec(), both), [files]).to_pylist()[1:]
    np.testing.assert_allclose(rows[0]["haralick"], texture(NOISE, "haralick"))
    assert len(rows[0]["zernike"]) == 25
    assert rows[1]["haralick"] is rows[1]["zernike"] is None
    plain = run_plain(fuse(DescribeSpec(), TileSpec(window, thumbnail_px=16)), [files])
    assert plain["haralick"].null_count == len(plain)
