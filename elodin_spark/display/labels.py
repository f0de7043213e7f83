"""A contact sheet of labels: each with the pictures that show it best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from elodin_spark.display import style
from elodin_spark.display.thumbnails import square_thumbnail

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH_IN = 13.0
_GAP_IN = 0.14
_HEAD_IN = 0.15
_LINE_PX = 2  # between pictures
_KEPT_BITS = 0xF8  # of a channel: noise in the others would fill most of the file
#: Most labels, pictures of each, and side of a picture, inch: the more labels, the smaller.
_LAYOUTS = ((60, 5, 0.6), (250, 4, 0.45), (math.inf, 3, 0.34))


@dataclass(frozen=True)
class LabelPictures:
    """A label and what it looks like.

    Attributes
    ----------
    name : str
    pictures : sequence of bytes
        JPEG, best first.
    """

    name: str
    pictures: Sequence[bytes]


def labels_figure(
    labels: Sequence[LabelPictures], *, title: str, note: str = "", subtitle: str = ""
) -> Figure:
    """Draw labels, each with its pictures in a row, in columns that are read from left to right.

    Parameters
    ----------
    labels : sequence of LabelPictures
        In the order they are drawn; at least one.
    title, note : str
    subtitle : str
        Recipe and weights, written at the foot.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImageError
        A picture cannot be decoded.
    """
    each, side = next((each, side) for most, each, side in _LAYOUTS if len(labels) <= most)
    cell_width, cell_height = each * side + _GAP_IN, side + _HEAD_IN + _GAP_IN
    columns = min(len(labels), int(_WIDTH_IN / cell_width))
    rows = -(-len(labels) // columns)
    page = style.new_page(
        max(columns * cell_width, 7.0), rows * cell_height, title=title, note=note, footer=subtitle
    )
    # All pictures on one canvas: one artist draws as fast as one picture.
    side_px = round(side * style.DPI)
    canvas = np.full((round(page.height * style.DPI), round(page.width * style.DPI), 3), 255, np.uint8)
    for at, label in enumerate(labels):
        left, down = at % columns * cell_width, at // columns * cell_height
        name = style.shorten(label.name, each * side, style.SMALL_PT)
        page.write_below(left, page.height - down, name, size_pt=style.SMALL_PT)
        x, y = round(left * style.DPI), round((down + _HEAD_IN) * style.DPI)
        for number, picture in enumerate(label.pictures[:each]):
            tile = canvas[y : y + side_px - _LINE_PX, x + number * side_px :][:, : side_px - _LINE_PX]
            drawn = square_thumbnail(picture, side_px - _LINE_PX)[: tile.shape[0], : tile.shape[1]]
            tile[:] = drawn & _KEPT_BITS
    ax = page.axes(0.0, 0.0, page.width, page.height, zorder=-1)
    ax.set_axis_off()
    ax.imshow(canvas, interpolation="antialiased", aspect="auto")
    return page.figure
