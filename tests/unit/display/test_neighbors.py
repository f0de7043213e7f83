"""The figure of a cutout and its neighbors."""

from __future__ import annotations

import math
import warnings

import pytest
from helpers.figures import FOOTER, assert_readable, drawn_texts, neighbor_panels, overlap_px, panel
from hypothesis import given, settings
from hypothesis import strategies as st

from elodin_spark.display.neighbors import grid_columns, neighbors_figure, sky_position, write_distance


@pytest.mark.parametrize(
    ("count", "odd"),
    [(0, True), (1, False), (1, True), (2, True), (3, True), (9, False), (9, True), (50, True)],
)
def test_nothing_is_clipped_or_overlapping_among_the_neighbors(count: int, odd: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = neighbors_figure(
            panel(0, odd), neighbor_panels(count, odd), metric="jaccard", subtitle=FOOTER * (5 if odd else 1)
        )
        texts = drawn_texts(figure)
    assert_readable(figure, texts)
    pictures = [ax.get_window_extent() for ax in figure.axes if ax.get_label() in ("query", "neighbor")]
    assert len(pictures) == count + 1
    for at, picture in enumerate(pictures):
        assert figure.bbox.x1 >= picture.x1
        assert figure.bbox.y0 <= picture.y0
        assert all(overlap_px(picture, other) <= 0 for other in pictures[at + 1 :])
        for text, box in texts:
            assert overlap_px(picture, box) <= 0 or text == "no picture kept"


def test_each_picture_says_what_it_is() -> None:
    neighbor = panel(1, rank=1, distance=12.3412, ra=150.514167, dec=2.209444, labels=("a", "b", "c", "d"))
    texts = [
        text for text, _ in drawn_texts(neighbors_figure(panel(0), [neighbor], metric="l2", subtitle=FOOTER))
    ]
    for line in (
        "1 · L2 distance 12.34",
        "image_1.fits",
        "x 30001:30225, y 0:224 px",
        "10h02m03.4s +02°12′34″",
        "no sky position",
        "a",
        "c",
        f"ID {2**63 - 2}",
        "Query",
        FOOTER,
    ):
        assert line in texts
    assert "d" not in texts


def test_the_query_is_larger_and_framed_in_another_color() -> None:
    figure = neighbors_figure(panel(0), neighbor_panels(9), metric="l2")
    query, *others = [ax for ax in figure.axes if ax.get_label() in ("query", "neighbor")]
    assert query.get_window_extent().width > 1.2 * others[0].get_window_extent().width
    frames = {ax.spines["left"].get_edgecolor() for ax in others}
    assert len(frames) == 1
    assert query.spines["left"].get_edgecolor() not in frames


def test_neighbors_read_row_by_row() -> None:
    figure = neighbors_figure(panel(0), neighbor_panels(9), metric="l2")
    boxes = [ax.get_window_extent() for ax in figure.axes if ax.get_label() == "neighbor"]
    order = sorted(range(9), key=lambda at: (-round(boxes[at].y1), boxes[at].x0))
    assert order == list(range(9))


@pytest.mark.parametrize("count", range(1, 51))
def test_the_grid_holds_all_neighbors_with_less_than_a_row_to_spare(count: int) -> None:
    columns = grid_columns(count)
    assert 1 <= columns <= count
    assert columns <= 12
    assert -(-count // columns) <= 6


def test_distances_name_their_metric() -> None:
    assert write_distance(12.3412, "l2") == "L2 distance 12.34"
    assert write_distance(0.0, "l2") == "L2 distance 0"
    assert write_distance(0.41176, "jaccard") == "Jaccard distance 0.412"


@settings(deadline=None, max_examples=200)
@given(st.floats(-400, 800), st.floats(-90, 90))
def test_a_written_position_reads_back_as_the_same_place(ra: float, dec: float) -> None:
    from astropy.coordinates import Angle

    text = sky_position(ra, dec)
    assert "60" not in (text[3:5], text[6:8], text[-6:-4], text[-3:-1])
    longitude, latitude = text.replace("−", "-").replace("′", "m").replace("″", "s").replace("°", "d").split()
    off = (Angle(longitude).deg - ra + 180) % 360 - 180
    assert abs(off) * 3600 <= 0.75 + 1e-6  # 0.05 s of time
    assert abs(Angle(latitude).deg - dec) * 3600 <= 0.5 + 1e-6
    assert 0 <= Angle(longitude).deg < 360


@pytest.mark.parametrize(("ra", "dec"), [(None, 1.0), (1.0, None), (math.nan, 1.0), (1.0, math.inf)])
def test_a_missing_position_is_said_to_be_missing(ra: float | None, dec: float | None) -> None:
    assert sky_position(ra, dec) == "no sky position"


def test_a_position_just_below_a_full_turn_rounds_to_zero() -> None:
    assert sky_position(359.99999, -0.00001) == "00h00m00.0s +00°00′00″"
