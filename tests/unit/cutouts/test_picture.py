"""Images read in strips, whole or box by box: the same pixels."""

from __future__ import annotations

import numpy as np
import pytest

from elodin_spark.config.settings import Step
from elodin_spark.cutouts import picture
from elodin_spark.cutouts.picture import HeldRows, LazyPicture, WholePicture
from elodin_spark.cutouts.pixels import to_uint8
from elodin_spark.cutouts.steps import apply_steps

ASINH, GRAY, RGB = (Step(type=kind) for kind in ("AsinhStretch", "GrayScale", "GrayToRGB"))


def sky(*shape: int) -> np.ndarray:
    values = np.random.default_rng(3).normal(50, 4, shape).astype(np.float32)
    values[3, 5], values[7, 1], values[8, 8] = np.nan, np.inf, -np.inf
    values[20:23, 20:23] += 900
    return values


@pytest.mark.parametrize(
    ("shape", "steps"),
    [
        ((61, 40), (ASINH,)),
        ((61, 40), (ASINH, RGB)),
        ((61, 40), (RGB, ASINH)),
        ((61, 40), (ASINH, RGB, GRAY)),
        ((61, 40, 3), (GRAY, ASINH, RGB)),
        ((61, 40, 3), (ASINH, GRAY)),
        ((61, 40), (ASINH, ASINH)),
    ],
)
def test_strips_and_boxes_hold_what_the_whole_image_does(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], steps: tuple[Step, ...]
) -> None:
    monkeypatch.setattr(picture, "STRIP_PIXELS", 7 * 40)  # strips of 7 rows, and a last one of 5
    pixels = sky(*shape)
    expected = to_uint8(apply_steps(pixels, steps)[0])
    before = pixels.copy()
    whole = WholePicture(HeldRows(pixels), steps, as_bytes=True)
    assert whole.shape == expected.shape
    np.testing.assert_array_equal(whole.read(0, 0, 40, 61), expected)
    lazy = LazyPicture(HeldRows(pixels), steps)
    assert lazy.shape == expected.shape
    np.testing.assert_array_equal(to_uint8(lazy.read(4, 2, 30, 50)), expected[2:50, 4:30])
    np.testing.assert_array_equal(pixels, before)


def test_bytes_without_a_stretch_become_color() -> None:
    gray = np.random.default_rng(0).integers(0, 256, (30, 20), dtype=np.uint8)
    whole = WholePicture(HeldRows(gray), (RGB,), as_bytes=True)
    np.testing.assert_array_equal(whole.read(0, 0, 20, 30), np.repeat(gray[..., None], 3, axis=2))


def test_an_image_that_is_all_alike_is_black_color() -> None:
    whole = WholePicture(HeldRows(np.full((30, 20), 7, np.float32)), (ASINH, RGB), as_bytes=True)
    np.testing.assert_array_equal(whole.read(0, 0, 20, 30), np.zeros((30, 20, 3), np.uint8))


def test_what_is_read_from_an_array_cannot_be_written_to() -> None:
    pixels = sky(30, 20)
    with pytest.raises(ValueError, match="read-only"):
        HeldRows(pixels).read(0, 5)[0, 0] = 1
    HeldRows(pixels).read_rows([1, 2])[0, 0] = 1  # a copy
    np.testing.assert_array_equal(pixels, sky(30, 20))
    pixels[0, 0] = 1  # the caller still may
