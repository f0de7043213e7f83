"""The figure of queries and their neighbors, held against their types."""

from __future__ import annotations

import pytest
from helpers.figures import FOOTER, assert_readable, drawn_texts, neighbor_panels, overlap_px, panel
from matplotlib.colors import to_hex

from elodin_spark.display.typed import DIFFERENT, DIFFERENT_MARK, SAME, SAME_MARK, TypedRow, typed_figure

LONG = "a type with a name that no picture is wide enough for"


def row(types: list[str], query_type: str = "spiral", odd: bool = False) -> TypedRow:
    title = f"{types.count(query_type)} of {len(types)} are spirals"
    return TypedRow(
        title, "7% of all cutouts are", panel(0), neighbor_panels(len(types), odd), query_type, types
    )


@pytest.mark.parametrize(("count", "odd"), [(0, False), (1, False), (10, False), (10, True), (3, True)])
def test_nothing_is_clipped_or_overlapping(count: int, odd: bool) -> None:
    types = ["spiral", "satellite trail", "edge-on disk", LONG if odd else "saturated star"] * 3
    rows = [row(types[:count], odd=odd), row(types[1 : count + 1], "satellite trail", odd)]
    figure = typed_figure(rows, title="What is near", note=FOOTER, footer="Framed and marked")
    texts = drawn_texts(figure)
    assert_readable(figure, texts)
    pictures = [ax.get_window_extent() for ax in figure.axes]
    assert len(pictures) == 2 * count + 2
    for at, picture in enumerate(pictures):
        assert figure.bbox.x1 >= picture.x1
        assert all(overlap_px(picture, other) <= 0 for other in pictures[at + 1 :])
        assert all(overlap_px(picture, box) <= 0 or text == "no picture kept" for text, box in texts)
    written = [text for text, _ in texts]
    for line in (rows[0].title, rows[1].title, "What is near", "Framed and marked"):
        assert line in written


def test_frames_and_marks_say_which_are_of_the_type_of_the_query() -> None:
    figure = typed_figure([row(["spiral", "lens", "spiral"])], title="x")
    frames = [to_hex(ax.spines["left"].get_edgecolor()).upper() for ax in figure.axes]
    assert frames[1:] == [SAME, DIFFERENT, SAME]
    assert frames[0] not in frames[1:]
    widths = [ax.spines["left"].get_linewidth() for ax in figure.axes]
    assert widths[1] > 2 * widths[2]
    below = [text for text, _ in drawn_texts(figure)]
    assert below.count(f"{SAME_MARK} spiral") == 2
    assert below.count(f"{DIFFERENT_MARK} lens") == 1
    assert "spiral" in below
