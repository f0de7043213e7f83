"""Pictures in a grid on one Axes, each with a caption.

All are pasted on one canvas, which is drawn as fast as one picture. A cell is 1 wide in data coordinates, and
the limits are such that cells and captions fill the axes, whatever their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from elodin_spark.display import style
from elodin_spark.display.thumbnails import square_thumbnail

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Between pictures, of a cell.
GAP = 0.08
_LARGEST_PX = 160  # of a picture on the canvas
_EMPTY = (241, 241, 239)
_SMALLEST_IN = 0.05

Caption = Sequence[str]


def draw_grid(
    ax: Axes,
    thumbnails: Sequence[bytes | None],
    captions: Sequence[Caption] = (),
    *,
    columns: int | None = None,
    framed: Sequence[int] = (),
) -> Axes:
    """Draw pictures in a grid, row by row from the upper left.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    thumbnails : sequence of bytes or None
        JPEG; at least one. None is an empty cell.
    captions : sequence of sequence of str, optional
        The lines below each picture; the first in ink, others lesser. They are shortened to fit.
    columns : int, optional
        By default so many that cells are largest.
    framed : sequence of int, optional
        Pictures that are framed in the accent color.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`, without its frame and ticks.

    Raises
    ------
    ImageError
        A thumbnail cannot be decoded.
    """
    ax.set_axis_off()
    count = len(thumbnails)
    lines = max((len(text) for text in captions if any(text)), default=0)
    box, dpi = ax.get_window_extent(), style.dpi_of(ax)
    wide, high = box.width / dpi, box.height / dpi
    line_in = style.line_height_in(style.SMALL_PT)
    columns = min(columns or _fitting(count, wide, high, lines * line_in), count)
    rows = -(-count // columns)
    side_in = max(min(wide / columns, high / rows - lines * line_in), _SMALLEST_IN)
    line = line_in / side_in
    pitch = 1.0 + lines * line
    ax.set_xlim(0.0, max(columns, wide / side_in))
    ax.set_ylim(max(rows * pitch, high / side_in), 0.0)
    ax.set_aspect("equal", adjustable="box", anchor="NW")
    _paste(ax, thumbnails, columns, rows, pitch, side_in * dpi)
    for at in framed:
        _frame(ax, at % columns, at // columns * pitch)
    for at, text in enumerate(captions):
        left, top = at % columns + GAP / 2, at // columns * pitch + 1.0 - GAP / 2
        for number, written in enumerate(text):
            if not written:
                continue
            style.write(
                ax.text,
                left,
                top + (number + 0.95) * line,
                style.shorten(written, (1.0 - GAP) * side_in, style.SMALL_PT),
                size_pt=style.SMALL_PT,
                color=style.MUTED if number else style.INK,
                va="baseline",
            )
    return ax


def _fitting(count: int, wide: float, high: float, captions_in: float) -> int:
    """Columns with which cells are largest."""

    def side(columns: int) -> float:
        rows = -(-count // columns)
        return min(wide / columns, high / rows - captions_in)

    return max(range(1, count + 1), key=side)


def _paste(
    ax: Axes, thumbnails: Sequence[bytes | None], columns: int, rows: int, pitch: float, cell_px: float
) -> None:
    # Twice the pixels of the figure, for its vector forms.
    cell = max(8, min(round(2 * cell_px), _LARGEST_PX))
    side = max(4, round(cell * (1.0 - GAP)))
    edge = (cell - side) // 2
    height = round((rows - 1) * pitch * cell) + cell
    canvas = np.full((height, columns * cell, 4), (255, 255, 255, 0), np.uint8)
    for at, data in enumerate(thumbnails):
        x, y = at % columns * cell + edge, round(at // columns * pitch * cell) + edge
        tile = canvas[y : y + side, x : x + side]
        tile[..., 3] = 255
        tile[..., :3] = _EMPTY if data is None else square_thumbnail(data, side)
    extent = (0.0, float(columns), height / cell, 0.0)
    ax.imshow(canvas, extent=extent, interpolation="antialiased", aspect="equal")


def _frame(ax: Axes, left: float, top: float) -> None:
    from matplotlib.patches import Rectangle

    inside = 1.0 - GAP
    place = (left + GAP / 2, top + GAP / 2)
    ax.add_patch(
        Rectangle(place, inside, inside, fill=False, edgecolor=style.ACCENT, linewidth=2.2, zorder=3)
    )
