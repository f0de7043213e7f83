"""A contact sheet: cutouts in a grid, each with a caption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from elodin_spark.display import style
from elodin_spark.display.grid import draw_grid
from elodin_spark.display.neighbors import Panel
from elodin_spark.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Most cutouts of a page.
MOST = 2500

_SIDE_IN, _SMALL_SIDE_IN = 1.45, 0.8  # of a cell of a page, inch; the small one of many cutouts
_MANY = 120
_WIDE = 1.35  # width to height that a page aims at
_CAPTION_LINES = 3


def sheet_columns(count: int, wide: float = _WIDE) -> int:
    """Columns of a sheet of `count` cells: about `wide` times as wide as high."""
    return max(1, min(count, math.ceil(math.sqrt(count * wide))))


def draw_contact_sheet(
    ax: Axes,
    thumbnails: Sequence[bytes | None],
    captions: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    title: str = "",
) -> Axes:
    """Draw cutouts in a grid, row by row from the upper left.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    thumbnails : sequence of bytes or None, length n
        JPEG of each cutout; None leaves an empty cell.
    captions : sequence of str, length n, optional
        Written below each picture, of up to three lines; a line that is too long loses its middle.
    columns : int, optional
        By default so many that cells fill the axes.
    title : str

    Returns
    -------
    matplotlib.axes.Axes
        `ax`.

    Raises
    ------
    InputError
        Lengths differ, or `columns` is below 1.
    ImageError
        A thumbnail cannot be decoded.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from elodin_spark.display import draw_contact_sheet
    >>> ax = Figure(figsize=(6, 4)).add_subplot()
    >>> draw_contact_sheet(ax, [None] * 6, ["a", "b", "c", "d", "e", "f"], columns=3).texts[0].get_text()
    'a'
    """
    count = len(thumbnails)
    if captions is not None and len(captions) != count:
        raise InputError(f"{len(captions)} captions for {count} cutouts; give one for each, '' for none")
    if columns is not None and columns < 1:
        raise InputError(f"a contact sheet has 1 column or more, got {columns}")
    if title:
        style.title_axes(ax, title)
    if not count:
        ax.set_axis_off()
        return style.note_axes(ax, "no cutouts to show")
    texts = [caption.split("\n")[:_CAPTION_LINES] for caption in captions or ()]
    return draw_grid(ax, thumbnails, texts, columns=columns)


def contact_sheet_figure(
    panels: Sequence[Panel],
    *,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    title: str = "",
    note: str = "",
    subtitle: str = "",
) -> Figure:
    """Draw cutouts in a grid as a whole page.

    Parameters
    ----------
    panels : sequence of Panel
        At most 2,500.
    captions : sequence of str, optional
        One for each cutout; by default its ID, image and window.
    columns : int, optional
        By default so many that the page is somewhat wider than high.
    title : str
        By default how many cutouts there are.
    note : str
        Written below the title.
    subtitle : str
        Recipe and weights, written at the foot.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        There are too many cutouts, or not as many captions.
    ImageError
        A thumbnail cannot be decoded.

    Examples
    --------
    >>> from elodin_spark.display import Panel, contact_sheet_figure
    >>> panels = [Panel(number, "a.fits", 0, 0, 64, 64) for number in range(12)]
    >>> len(contact_sheet_figure(panels, title="Twelve cutouts").axes)
    1
    """
    count = len(panels)
    if count > MOST:
        raise InputError(f"a contact sheet shows at most {MOST:,} cutouts, got {count:,}: choose fewer")
    if captions is None:
        captions = [panel_caption(panel) for panel in panels] if count <= _MANY else [""] * count
    if len(captions) != count:
        raise InputError(f"{len(captions)} captions for {count} cutouts; give one for each, '' for none")
    if not title:
        title = f"{count:,} cutout{'' if count == 1 else 's'}"
    side = _SIDE_IN if count <= _MANY else _SMALL_SIDE_IN
    columns = min(columns or sheet_columns(count), max(count, 1))
    rows = -(-count // columns)
    lines = max((len(text.split("\n")[:_CAPTION_LINES]) for text in captions if text), default=0)
    height = rows * (side + lines * style.line_height_in(style.SMALL_PT))
    page = style.new_page(max(columns * side, 4.0), max(height, 0.7), title=title, note=note, footer=subtitle)
    ax = page.axes(0.0, 0.0, max(columns * side, 4.0), max(height, 0.7))
    draw_contact_sheet(ax, [panel.thumbnail for panel in panels], captions, columns=columns)
    return page.figure


def panel_caption(panel: Panel) -> str:
    """ID, image and window of a cutout, a line each."""
    name = panel.image.rsplit("/", 1)[-1]
    return f"{panel.cutout_id}\n{name}\nx {panel.x0}:{panel.x1}, y {panel.y0}:{panel.y1}"
