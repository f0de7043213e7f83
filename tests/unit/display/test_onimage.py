"""Windows of a query and its neighbors on their images."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.figures import FOOTER, assert_readable, drawn_texts, empty_figure

from elodin_spark.display import ImageWindow, SourceImage, draw_on_image, on_image_figure, style
from elodin_spark.display.onimage import NEIGHBOR
from elodin_spark.errors import InputError

WINDOWS = (
    ImageWindow(0, 0, 64, 64),
    ImageWindow(200, 100, 264, 164, rank=1),
    ImageWindow(436, 236, 500, 300, rank=2),
)


def source(windows=WINDOWS, upwards: bool = True, **values) -> SourceImage:
    pixels = np.zeros((60, 100), np.uint8)
    pixels[:6, :10] = 255  # the corner of row and column 0
    return SourceImage(**{
        "name": "a.fits", "pixels": pixels, "width": 500, "height": 300, "windows": windows,
        "upwards": upwards, **values,
    })  # fmt: skip


def boxes(ax):
    return [patch for patch in ax.patches if not patch.get_fill()]


def test_windows_are_where_they_are_and_the_query_is_set_apart() -> None:
    ax = draw_on_image(empty_figure().add_subplot(), source())
    drawn = {
        (patch.get_x(), patch.get_y(), patch.get_width(), patch.get_height()): patch for patch in boxes(ax)
    }
    from matplotlib.colors import to_rgba

    assert drawn[-0.5, -0.5, 64, 64].get_edgecolor() == to_rgba(style.ACCENT)
    assert drawn[199.5, 99.5, 64, 64].get_edgecolor() == to_rgba(NEIGHBOR)
    assert len(drawn) == 3
    assert boxes(ax)[-1].get_xy() == (-0.5, -0.5), "the query is drawn last"
    assert [text.get_text() for text in ax.texts] == ["2", "1", "query"]


@pytest.mark.parametrize("upwards", [True, False])
def test_row_0_is_where_the_file_has_it(upwards: bool) -> None:
    figure = empty_figure()
    ax = draw_on_image(figure.add_axes((0, 0, 1, 0.6)), source((), upwards))
    figure.canvas.draw()
    rendered = np.asarray(figure.canvas.buffer_rgba())[..., 0]  # type: ignore[attr-defined]
    x, y = ax.transData.transform((20, 12))
    assert rendered[round(rendered.shape[0] - y), round(x)] == 255
    lower = ax.transData.transform((0, 0))[1] < ax.transData.transform((0, 299))[1]
    assert lower == upwards


@pytest.mark.parametrize("upwards", [True, False])
def test_ranks_stand_on_the_image_wherever_their_windows_are(upwards: bool) -> None:
    corners = [(0, 0), (436, 0), (0, 236), (436, 236), (200, 100)]
    windows = [ImageWindow(x, y, x + 64, y + 64, rank=at + 1) for at, (x, y) in enumerate(corners)]
    figure = empty_figure()
    ax = draw_on_image(figure.add_subplot(), source(windows, upwards))
    figure.canvas.draw()
    frame = ax.get_window_extent()
    for text in ax.texts:
        box = text.get_window_extent()
        assert frame.x0 - 1 <= box.x0
        assert box.x1 <= frame.x1 + 1
        assert frame.y0 - 1 <= box.y0
        assert box.y1 <= frame.y1 + 1


def test_a_window_too_small_to_see_has_a_ring() -> None:
    tiny = draw_on_image(empty_figure().add_subplot(), source([ImageWindow(10, 10, 12, 12, rank=1)]))
    assert len(tiny.collections) == 1
    assert not draw_on_image(empty_figure().add_subplot(), source()).collections


def test_an_image_that_cannot_be_read_is_its_outline() -> None:
    ax = draw_on_image(empty_figure().add_subplot(), source(pixels=None))
    assert not ax.images
    assert "cannot be read" in [text.get_text() for text in ax.texts]
    assert len(boxes(ax)) == 3


def test_color_is_drawn_as_it_is() -> None:
    pixels = np.full((6, 10, 3), (10, 200, 30), np.uint8)
    ax = draw_on_image(empty_figure().add_subplot(), source(pixels=pixels))
    assert (np.asarray(ax.images[0].get_array()) == pixels).all()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 12])
def test_nothing_is_clipped_or_overlapping_on_a_page(count: int) -> None:
    images = [
        source(
            WINDOWS[at % 3 : at % 3 + 1],
            name="W" * 80 if at % 2 else f"image_{at}.fits",
            width=500 if at % 3 else 120,
        )
        for at in range(count)
    ]
    figure = on_image_figure(images, title="Where", note="A note.", subtitle=FOOTER)
    assert len(figure.axes) == count
    texts = [(text, box) for text, box in drawn_texts(figure) if text not in ("query", "1", "2")]
    assert_readable(figure, texts)


def test_an_image_without_a_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"a\.fits has 0 x 300 px"):
        draw_on_image(empty_figure().add_subplot(), source(width=0))
    with pytest.raises(InputError, match="no image"):
        on_image_figure([])
