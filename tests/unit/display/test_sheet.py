"""Contact sheets, and pictures in a grid on axes of one's own."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.figures import FOOTER, assert_readable, drawn_texts, empty_figure, jpeg, neighbor_panels, panel

from elodin_spark.display import contact_sheet_figure, draw_contact_sheet, draw_neighbors, figure_bytes
from elodin_spark.display.sheet import MOST, panel_caption, sheet_columns
from elodin_spark.errors import InputError


@pytest.mark.parametrize(("count", "odd"), [(0, False), (1, True), (7, True), (40, False), (130, False)])
def test_nothing_is_clipped_or_overlapping_on_a_sheet(count: int, odd: bool) -> None:
    panels = [panel(number, odd) for number in range(count)]
    figure = contact_sheet_figure(panels, title="W" * 60 if odd else "", note="A note.", subtitle=FOOTER)
    assert_readable(figure, drawn_texts(figure))


def test_an_id_of_any_length_is_written_whole() -> None:
    figure = contact_sheet_figure([panel(number) for number in range(40)])
    texts = {text for text, _ in drawn_texts(figure)}
    assert {str(2**63 - 1 - number) for number in range(40)} <= texts


def test_cells_show_their_pictures_row_by_row() -> None:
    colors = [(250, 20, 20), (20, 250, 20), (20, 20, 250), (240, 240, 20)]
    ax = empty_figure().add_subplot()
    draw_contact_sheet(ax, [jpeg(color) for color in colors], columns=2)
    canvas = np.asarray(ax.images[0].get_array()).astype(int)
    ny, nx, _ = canvas.shape
    for at, color in enumerate(colors):
        middle = canvas[(at // 2 * 2 + 1) * ny // 4, (at % 2 * 2 + 1) * nx // 4, :3]
        assert np.abs(middle - color).max() < 20
    assert ax.images[0].get_extent() == [0.0, 2.0, 2.0, 0.0]


def test_captions_stand_below_their_pictures_and_fit_their_cells() -> None:
    figure = empty_figure(6.0)
    ax = figure.add_subplot()
    draw_contact_sheet(ax, [jpeg()] * 6, [f"cutout {at}\n{'W' * 90}" for at in range(6)], columns=3)
    texts = dict(drawn_texts(figure))
    assert_readable(figure, list(texts.items()))
    for at in range(6):
        box = texts[f"cutout {at}"].transformed(ax.transData.inverted())
        left, right = at % 3, at % 3 + 1
        assert left <= box.x0
        assert box.x1 <= right
    cell = ax.transData.transform((1.0, 0.0))[0] - ax.transData.transform((0.0, 0.0))[0]
    assert all(box.width <= cell for text, box in texts.items() if text.startswith("W"))


@pytest.mark.parametrize("size", [(3.0, 9.0), (9.0, 3.0), (5.0, 5.0)])
def test_a_sheet_fills_axes_of_any_shape_and_stays_within(size: tuple[float, float]) -> None:
    figure = empty_figure()
    figure.set_size_inches(*size)
    ax = figure.add_subplot()
    before = ax.get_window_extent().frozen()
    draw_contact_sheet(ax, [jpeg()] * 12, ["a\nb"] * 12)
    figure.canvas.draw()
    drawn = ax.images[0].get_window_extent()
    assert drawn.x1 <= before.x1 + 1
    assert drawn.y0 >= before.y0 - 1
    assert max(drawn.width / before.width, drawn.height / before.height) > 0.8


def test_a_missing_picture_is_an_empty_cell() -> None:
    ax = empty_figure().add_subplot()
    canvas = np.asarray(draw_contact_sheet(ax, [None, jpeg()], columns=2).images[0].get_array())
    assert (canvas[canvas.shape[0] // 2, canvas.shape[1] // 4, :3] == (241, 241, 239)).all()


def test_wrong_lengths_and_too_many_cutouts_are_refused() -> None:
    ax = empty_figure().add_subplot()
    with pytest.raises(InputError, match="1 captions for 2 cutouts"):
        draw_contact_sheet(ax, [None, None], ["a"])
    with pytest.raises(InputError, match="1 column or more"):
        draw_contact_sheet(ax, [None], columns=0)
    with pytest.raises(InputError, match="at most 2,500"):
        contact_sheet_figure([panel(0)] * (MOST + 1))
    with pytest.raises(InputError, match="2 captions for 1"):
        contact_sheet_figure([panel(0)], captions=["a", "b"])


def test_many_cutouts_have_no_captions_unless_they_are_given() -> None:
    many = [panel(number) for number in range(121)]
    assert not contact_sheet_figure(many).axes[0].texts
    assert len(contact_sheet_figure(many, captions=["x"] * 121).axes[0].texts) == 121


def test_columns_are_few_or_many_as_is_asked() -> None:
    assert sheet_columns(1) == 1
    assert sheet_columns(40) == 8
    wide = contact_sheet_figure([panel(0)] * 6, columns=6).get_size_inches()
    high = contact_sheet_figure([panel(0)] * 6, columns=1).get_size_inches()
    assert wide[0] > wide[1]
    assert high[1] > high[0]


def test_a_caption_names_the_file_without_its_folder() -> None:
    assert panel_caption(panel(1, image="deep/er/a.fits")).split("\n")[1] == "a.fits"


def test_neighbors_on_axes_have_rank_and_distance_and_the_query_a_frame() -> None:
    figure = empty_figure()
    ax = draw_neighbors(figure.add_subplot(), panel(0), neighbor_panels(5), title="Near")
    texts = [text for text, _ in drawn_texts(figure)]
    assert texts[0:1] == ["Near"] or "Near" in texts
    assert "query" in texts
    assert "3 · 3704" in texts
    assert len(ax.patches) == 1
    assert ax.patches[0].get_xy() == pytest.approx((0.04, 0.04))


def test_the_same_sheet_is_the_same_bytes() -> None:
    panels = [panel(number) for number in range(9)]
    assert figure_bytes(contact_sheet_figure(panels)) == figure_bytes(contact_sheet_figure(panels))
