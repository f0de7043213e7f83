"""Where windows are laid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elodin_spark.cutouts.generators import blob_windows, full_image, sliding_windows
from elodin_spark.errors import ImageError

lengths = st.integers(1, 70)


def discs(shape: tuple[int, int], *centers_radii: tuple[int, int, int], value: float = 1.0) -> np.ndarray:
    """Discs given as (x, y, radius) on black."""
    y, x = np.indices(shape)
    image = np.zeros(shape, np.float32)
    for cx, cy, radius in centers_radii:
        image[(x - cx) ** 2 + (y - cy) ** 2 <= radius**2] = value
    return image


def slow_windows(height: int, width: int, size: int, step: int, edge: str) -> list[tuple[int, int, int, int]]:
    """Every place tried in turn."""
    found = []
    for y in range(height):
        for x in range(width):
            on_row = y % step == 0 or (edge == "shift" and y + size == height)
            on_column = x % step == 0 or (edge == "shift" and x + size == width)
            if on_row and on_column and y + size <= height and x + size <= width:
                found.append((x, y, x + size, y + size))
    return found


@settings(max_examples=150, deadline=None)
@given(lengths, lengths, st.integers(1, 40), st.integers(1, 40), st.sampled_from(["shift", "drop"]))
def test_sliding_windows_are_those_of_a_search_over_every_place(
    height: int, width: int, size: int, step: int, edge: str
) -> None:
    size = min(size, height, width)
    step = min(step, size)
    found = sliding_windows(height, width, size, step, edge)
    assert found.dtype == np.int32
    assert [tuple(row) for row in found.tolist()] == slow_windows(height, width, size, step, edge)


@settings(max_examples=150, deadline=None)
@given(lengths, lengths, st.integers(1, 40), st.integers(1, 40))
def test_shifted_windows_cover_every_pixel_without_repetition(
    height: int, width: int, size: int, step: int
) -> None:
    size = min(size, height, width)
    step = min(step, size)
    found = sliding_windows(height, width, size, step, "shift")
    covered = np.zeros((height, width), int)
    for x0, y0, x1, y1 in found:
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert x1 - x0 == y1 - y0 == size
        covered[y0:y1, x0:x1] += 1
    assert covered.min() >= 1
    assert len({tuple(row) for row in found.tolist()}) == len(found)
    assert len(found) == (1 - (size - height) // step) * (1 - (size - width) // step)


def test_the_window_flush_with_the_far_edge_is_there() -> None:
    assert sliding_windows(8, 20, 8, 4)[-1].tolist() == [12, 0, 20, 8], "on the grid"
    assert sliding_windows(8, 21, 8, 4)[-1].tolist() == [13, 0, 21, 8], "shifted"
    assert sliding_windows(8, 21, 8, 4, "drop")[-1].tolist() == [12, 0, 20, 8]


def test_an_image_of_exactly_the_window_gives_one() -> None:
    assert sliding_windows(9, 9, 9, 4).tolist() == [[0, 0, 9, 9]]


@pytest.mark.parametrize("shape", [(7, 30), (30, 7), (7, 7)])
def test_an_image_smaller_than_the_window_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="does not hold one window of 8 px") as caught:
        sliding_windows(*shape, 8, 4)
    assert caught.value.kind == "smaller_than_window"


def test_the_full_image_is_one_window() -> None:
    assert full_image(5, 9).tolist() == [[0, 0, 9, 5]]


# ---- blobs -------------------------------------------------------------------------------


def test_every_disc_gives_a_window_and_the_last_one_too() -> None:
    places = [(20, 20, 5), (70, 25, 5), (30, 70, 5), (80, 80, 5)]
    image = discs((100, 100), *places)
    # Hardly smoothed and half of the peak as threshold: the extent of a disc is its diameter.
    found = blob_windows(image, 0.3, 0.5 / image.mean(), 3, 8)
    expected = [[x - 8, y - 8, x + 9, y + 9] for x, y, _ in places]
    assert found.tolist() == sorted(expected, key=lambda w: (w[1], w[0]))
    assert found.dtype == np.int32


def test_the_short_axis_grows_around_the_center() -> None:
    image = np.zeros((80, 120), np.float32)
    image[38:42, 30:70] = 1
    found = blob_windows(image, 0.2, 0.5 / image.mean(), 2, 8)
    assert found.tolist() == [[28, 18, 72, 62]]


def test_a_window_that_leaves_the_image_is_shifted_inside() -> None:
    image = discs((100, 120), (2, 50, 5), (117, 3, 5))
    found = blob_windows(image, 0.3, 0.5 / image.mean(), 10, 8)
    sides = found[:, 2:] - found[:, :2]
    assert len(found) == 2
    assert (sides[:, 0] == sides[:, 1]).all()
    assert found[0].tolist()[1:3] == [0, 120], "in the upper right corner"
    assert found[1][0] == 0
    assert ((found >= 0).all(), (found[:, 2] <= 120).all(), (found[:, 3] <= 100).all()) == (True, True, True)


def test_a_window_larger_than_the_image_is_clipped_to_a_square() -> None:
    image = discs((40, 90), (60, 20, 10))
    found = blob_windows(image, 0.3, 0.5 / image.mean(), 80, 8)
    assert found.tolist() == [[40, 0, 80, 40]]


def test_small_blobs_are_widened_to_the_smallest_size() -> None:
    image = discs((100, 100), (50, 40, 2))
    (window,) = blob_windows(image, 0.3, 0.5 / image.mean(), 0, 30).tolist()
    assert window == [35, 25, 65, 55]


def test_discs_that_touch_after_smoothing_are_one_blob() -> None:
    image = discs((100, 100), (40, 50, 5), (52, 50, 5))
    assert len(blob_windows(image, 0.3, 0.5 / image.mean(), 0, 8)) == 2
    assert len(blob_windows(image, 4.0, 2.0, 0, 8)) == 1


def test_blobs_with_the_same_window_give_it_once() -> None:
    image = discs((20, 90), (10, 10, 2), (80, 10, 2), (45, 4, 1), (45, 14, 1))
    found = blob_windows(image, 0.3, 0.5 / image.mean(), 60, 8)
    assert len({tuple(row) for row in found.tolist()}) == len(found) == 3


def test_nothing_bright_gives_no_windows() -> None:
    for image in (
        np.zeros((30, 30), np.float32),
        np.ones((30, 30), np.uint8),
        np.full((30, 30), np.nan, np.float32),
    ):
        found = blob_windows(image, 2.0, 2.0, 5, 8)
        assert found.shape == (0, 4)
        assert found.dtype == np.int32


def test_the_scale_and_type_of_the_values_do_not_matter() -> None:
    image = discs((100, 100), (30, 40, 6), (70, 60, 9))
    expected = blob_windows(image, 3.0, 2.0, 4, 8)
    assert len(expected) == 2
    np.testing.assert_array_equal(blob_windows((image * 200).astype(np.uint8), 3.0, 2.0, 4, 8), expected)
    np.testing.assert_array_equal(blob_windows(image * 1e-3, 3.0, 2.0, 4, 8), expected)
    color = np.stack([(image * 200).astype(np.uint8)] * 3, axis=-1)
    np.testing.assert_array_equal(blob_windows(color, 3.0, 2.0, 4, 8), expected)


def test_missing_pixels_neither_hide_blobs_nor_make_them() -> None:
    image = discs((100, 100), (30, 40, 6), (70, 60, 9))
    expected = blob_windows(image, 2.0, 2.0, 4, 8)
    image[:10] = np.nan
    image[85:, 85:] = np.inf
    found = blob_windows(image, 2.0, 2.0, 4, 8)
    assert len(found) == len(expected) == 2
    assert np.abs(found - expected).max() <= 2, "only the mean, so the threshold, changed"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(9, 60), st.integers(9, 60), st.integers(0, 40), st.integers(1, 40))
def test_blob_windows_are_distinct_squares_inside_the_image(
    seed: int, height: int, width: int, padding: int, min_size: int
) -> None:
    image = np.random.default_rng(seed).random((height, width)).astype(np.float32) ** 8
    found = blob_windows(image, 1.0, 1.5, padding, min_size)
    sides = found[:, 2:] - found[:, :2]
    assert (sides[:, 0] == sides[:, 1]).all()
    assert (sides >= min(min_size, height, width)).all()
    assert (found[:, :2] >= 0).all()
    assert (found[:, 2] <= width).all()
    assert (found[:, 3] <= height).all()
    rows = found.tolist()
    assert len({tuple(row) for row in rows}) == len(rows)
    assert rows == sorted(rows, key=lambda w: (w[1], w[0]))
