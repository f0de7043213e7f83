"""Some cutouts and the nearest neighbors of each, a row each, held against their types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elodin_spark.display import style
from elodin_spark.display.neighbors import Panel, draw_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Frame and mark of a neighbor of the type of its query, and of another type.
SAME, DIFFERENT = style.PALETTE[0], style.OTHER
SAME_MARK, DIFFERENT_MARK = "\N{CHECK MARK}", "\N{MULTIPLICATION SIGN}"

_QUERY_IN = 1.3
_SIDE_IN = 1.0
_GAP_IN = 0.11
_ROW_GAP_IN = 0.2
_AFTER_QUERY_IN = 0.3
_CAPTION_GAP_IN = 0.06
_HEAD_PT = style.TEXT_PT + 2.5
_NAME_PT = style.TEXT_PT + 1


@dataclass(frozen=True)
class TypedRow:
    """One query and its neighbors.

    Attributes
    ----------
    title : str
        What the row amounts to: ``8 of 10 are spirals``.
    note : str
        Written after it, lesser.
    query : Panel
    neighbors : sequence of Panel
        Nearest first.
    query_type : str
    types : sequence of str
        Of the neighbors, by the names that are written below them.
    """

    title: str
    note: str
    query: Panel
    neighbors: Sequence[Panel]
    query_type: str
    types: Sequence[str]


def typed_figure(rows: Sequence[TypedRow], *, title: str, note: str = "", footer: str = "") -> Figure:
    """Draw a row for each query: the query, then its neighbors, framed and marked by their type.

    Parameters
    ----------
    rows : sequence of TypedRow
        At least one.
    title, note, footer : str
        As of :func:`elodin_spark.display.style.new_page`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImageError
        A thumbnail cannot be decoded.
    """
    count = max(len(row.neighbors) for row in rows)
    left = _QUERY_IN + _AFTER_QUERY_IN
    pictures = count * _SIDE_IN + max(0, count - 1) * _GAP_IN
    width = left + max(pictures, *(_note_left(row) + style.text_width_in(row.note, _NAME_PT) for row in rows))
    height_of_row = _QUERY_IN + _CAPTION_GAP_IN + style.line_height_in(_NAME_PT)
    height = len(rows) * height_of_row + (len(rows) - 1) * _ROW_GAP_IN
    page = style.new_page(width, height, title=title, note=note, footer=footer)
    top = height
    for row in rows:
        _draw_row(page, row, left, top)
        top -= height_of_row + _ROW_GAP_IN
    return page.figure


def _draw_row(page: style.Page, row: TypedRow, left: float, top: float) -> None:
    # Pictures of query and neighbors end on one line, and the title fills what is left above the latter.
    bottom = top - _QUERY_IN
    draw_picture(page, row.query, 0.0, top, _QUERY_IN, label="query", color=style.ACCENT, width_pt=3.0)
    _name(page, row.query_type, 0.0, bottom, _QUERY_IN, style.ACCENT, "bold")
    page.write_below(left, top, row.title, size_pt=_HEAD_PT, weight="bold")
    beside = left + style.text_width_in(row.title, _HEAD_PT, "bold") + 0.15
    page.write_below(beside, top - (_HEAD_PT - _NAME_PT) / 72, row.note, size_pt=_NAME_PT, color=style.MUTED)
    for panel, kind in zip(row.neighbors, row.types, strict=True):
        same = kind == row.query_type
        draw_picture(
            page,
            panel,
            left,
            bottom + _SIDE_IN,
            _SIDE_IN,
            label="same" if same else "different",
            color=SAME if same else DIFFERENT,
            width_pt=3.0 if same else 0.8,
        )
        mark = SAME_MARK if same else DIFFERENT_MARK
        text = f"{mark} {kind}"
        if same:
            _name(page, text, left, bottom, _SIDE_IN, SAME, "bold")
        else:
            _name(page, text, left, bottom, _SIDE_IN, style.MUTED, "normal")
        left += _SIDE_IN + _GAP_IN


def _note_left(row: TypedRow) -> float:
    return style.text_width_in(row.title, _HEAD_PT, "bold") + 0.15


def _name(
    page: style.Page, text: str, left: float, bottom: float, width: float, color: str, weight: style.Weight
) -> None:
    # A long name is written smaller before it is cut.
    size = _NAME_PT
    while size > style.SMALL_PT and style.text_width_in(text, size, weight) > width:
        size -= 0.5
    short = style.shorten(text, width, size, weight)
    top = bottom - _CAPTION_GAP_IN - (_NAME_PT - size) / 72
    page.write_below(left, top, short, size_pt=size, weight=weight, color=color)
