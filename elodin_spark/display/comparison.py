"""The same queries with their nearest neighbors by several networks: a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elodin_spark.display import style
from elodin_spark.display.neighbors import Panel, draw_picture, sky_position
from elodin_spark.display.typed import DIFFERENT, SAME

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_QUERY_IN = 2.0
_SIDE_IN = 0.82
_GAP_IN = 0.08
_AFTER_QUERY_IN = 0.35
_STRIP_GAP_IN = 0.12
_ROW_GAP_IN = 0.34
_CAPTION_GAP_IN = 0.07
_HEAD_PT = style.TEXT_PT + 0.5
_SMALL_PT = style.SMALL_PT + 0.5
_SAME_PT = 2.6
_FEWEST = 3


@dataclass(frozen=True)
class Strip:
    """The neighbors of a query by one network.

    Attributes
    ----------
    name : str
        Of the network.
    neighbors : sequence of Panel
        Nearest first.
    """

    name: str
    neighbors: Sequence[Panel]


@dataclass(frozen=True)
class ComparedQuery:
    """One query and its neighbors by each network.

    Attributes
    ----------
    query : Panel
        The first of its labels is its class, if it has one.
    strips : sequence of Strip
        At least one.
    """

    query: Panel
    strips: Sequence[Strip]


def comparison_figure(
    queries: Sequence[ComparedQuery], *, title: str, note: str = "", footer: str = ""
) -> Figure:
    """Draw each query, large, and beside it a strip of its neighbors for each network.

    Where queries have a class, neighbors of the same class are framed, and each strip says how many they are.

    Parameters
    ----------
    queries : sequence of ComparedQuery
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
    # Never so narrow that what is written above a strip does not fit.
    count = max(_FEWEST, *(len(strip.neighbors) for query in queries for strip in query.strips))
    left = _QUERY_IN + _AFTER_QUERY_IN
    strip_width = count * _SIDE_IN + (count - 1) * _GAP_IN
    heights = [_height(query) for query in queries]
    height = sum(heights) + (len(queries) - 1) * _ROW_GAP_IN
    if any(query.query.labels for query in queries):
        framed = "Framed: of the class of the query"
        note = f"{note}. {framed}" if note else framed
    page = style.new_page(left + strip_width, height, title=title, note=note, footer=footer)
    top = height
    for query, row_height in zip(queries, heights, strict=True):
        _draw_query(page, query.query, top)
        y = top
        for strip in query.strips:
            _draw_strip(page, query.query, strip, left, y, strip_width)
            y -= _strip_height() + _STRIP_GAP_IN
        top -= row_height + _ROW_GAP_IN
    return page.figure


def _strip_height() -> float:
    return style.line_height_in(_HEAD_PT) + _SIDE_IN


def _height(query: ComparedQuery) -> float:
    strips = len(query.strips) * _strip_height() + (len(query.strips) - 1) * _STRIP_GAP_IN
    lines = _caption(query.query)
    return max(
        strips, _QUERY_IN + _CAPTION_GAP_IN + sum(style.line_height_in(size) for _, size, _, _ in lines)
    )


def _caption(query: Panel) -> list[tuple[str, float, style.Weight, str]]:
    lines: list[tuple[str, float, style.Weight, str]] = []
    if query.labels:
        text = style.shorten(query.labels[0], _QUERY_IN, _HEAD_PT, "bold")
        lines.append((text, _HEAD_PT, "bold", style.ACCENT))
    lines.append((style.shorten(query.image, _QUERY_IN, _SMALL_PT), _SMALL_PT, "normal", style.INK))
    window = f"x {query.x0}:{query.x1}, y {query.y0}:{query.y1} px"
    others = [window] if query.ra is None else [window, sky_position(query.ra, query.dec)]
    lines += [
        (line, _SMALL_PT, "normal", style.MUTED)
        for text in others
        for line in style.wrap(text, _QUERY_IN, _SMALL_PT)
    ]
    return lines


def _draw_query(page: style.Page, query: Panel, top: float) -> None:
    draw_picture(page, query, 0.0, top, _QUERY_IN, label="query", color=style.ACCENT, width_pt=3.0)
    y = top - _QUERY_IN - _CAPTION_GAP_IN
    for text, size_pt, weight, color in _caption(query):
        page.write_below(0.0, y, text, size_pt=size_pt, weight=weight, color=color)
        y -= style.line_height_in(size_pt)


def _draw_strip(page: style.Page, query: Panel, strip: Strip, left: float, top: float, width: float) -> None:
    same = [bool(query.labels) and panel.labels[:1] == query.labels[:1] for panel in strip.neighbors]
    beside = f"{sum(same)} of {len(same)} are of its class" if query.labels else ""
    room = width - (style.text_width_in(beside, _SMALL_PT) + 0.15 if beside else 0.0)
    name = style.shorten(strip.name, room, _HEAD_PT, "bold")
    page.write_below(left, top, name, size_pt=_HEAD_PT, weight="bold")
    if beside:
        right = left + style.text_width_in(name, _HEAD_PT, "bold") + 0.12
        page.write_below(
            right, top - (_HEAD_PT - _SMALL_PT) / 72, beside, size_pt=_SMALL_PT, color=style.MUTED
        )
    y = top - style.line_height_in(_HEAD_PT)
    for panel, framed in zip(strip.neighbors, same, strict=True):
        draw_picture(
            page,
            panel,
            left,
            y,
            _SIDE_IN,
            label="same" if framed else "neighbor",
            color=SAME if framed else (DIFFERENT if query.labels else style.LINE),
            width_pt=_SAME_PT if framed else 0.6,
        )
        left += _SIDE_IN + _GAP_IN
