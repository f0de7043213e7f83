"""The contact sheet of queries and their neighbors by several networks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.figures import FOOTER, assert_readable, drawn_texts, neighbor_panels, overlap_px, panel
from matplotlib.colors import to_hex

from elodin_spark.display.comparison import ComparedQuery, Strip, comparison_figure
from elodin_spark.display.typed import SAME

LONG = "survey + imagenet-lite + a file of weights with a name that no strip of pictures is wide enough for"


def compared(count: int, names: list[str], odd: bool = False, labels: tuple[str, ...] = ()) -> ComparedQuery:
    strips = [
        Strip(name, [replace(one, labels=labels) for one in neighbor_panels(count, odd)]) for name in names
    ]
    return ComparedQuery(replace(panel(1, odd), labels=labels), strips)


@pytest.mark.parametrize(
    ("count", "odd", "names", "labels"),
    [
        (0, False, ["survey"], ("spiral",)),
        (1, True, ["survey", LONG], (LONG,)),
        (8, False, ["survey", "imagenet-lite", LONG, "x"], ()),
        (8, True, ["survey", LONG], ("spiral",)),
    ],
)
def test_nothing_is_clipped_or_overlapping(count: int, odd: bool, labels, names) -> None:
    queries = [compared(count, names, odd, labels), compared(count, names, not odd, labels)]
    figure = comparison_figure(queries, title="Which network?", note=FOOTER, footer="seed 0")
    texts = drawn_texts(figure)
    assert_readable(figure, texts)
    pictures = [ax.get_window_extent() for ax in figure.axes]
    assert len(pictures) == 2 * (count * len(names) + 1)
    for at, picture in enumerate(pictures):
        assert figure.bbox.x1 >= picture.x1
        assert picture.y0 >= figure.bbox.y0
        assert all(overlap_px(picture, other) <= 0 for other in pictures[at + 1 :])
        assert all(overlap_px(picture, box) <= 0 or text == "no picture kept" for text, box in texts)


def test_neighbors_of_the_class_of_the_query_are_framed_and_counted() -> None:
    near = [replace(one, labels=(label,)) for one, label in zip(neighbor_panels(3), "aba", strict=True)]
    query = ComparedQuery(replace(panel(1), labels=("a",)), [Strip("survey", near)])
    figure = comparison_figure([query], title="x")
    frames = [to_hex(ax.spines["left"].get_edgecolor()).upper() == SAME for ax in figure.axes]
    assert frames == [False, True, False, True]
    written = [text for text, _ in drawn_texts(figure)]
    assert "2 of 3 are of its class" in written
    assert "a" in written
    plain = comparison_figure([compared(3, ["survey"])], title="x")
    assert not any(ax.get_label() == "same" for ax in plain.axes)
    assert not any("class" in text for text, _ in drawn_texts(plain))
