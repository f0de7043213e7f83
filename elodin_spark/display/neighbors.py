"""One cutout and its nearest neighbors, side by side."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elodin_spark.config.settings import Metric
from elodin_spark.display import style
from elodin_spark.display.grid import draw_grid
from elodin_spark.display.thumbnails import decode_thumbnail

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: How a distance is named under a picture.
DISTANCE_NAMES: dict[Metric, str] = {
    "l2": "L2 distance",
    "jaccard": "Jaccard distance",
    "cosine": "cosine distance",
    "label_scores": "label distance",
    "rank_fusion": "rank fusion distance",
}
_WHOLE_NAMES: dict[Metric, str] = {
    "l2": "Euclidean (L2) distance",
    "jaccard": "Jaccard distance of label sets",
    "cosine": "cosine distance (1 - cosine)",
    "label_scores": "distance of label scores",
    "rank_fusion": "L2 and Jaccard ranks",
}

_STRIP_NOTE = "Small pictures: what the labels look like; framed where it is a label of the query."
#: Labels of a cutout that are shown.
SHOWN_LABELS = 3
_SIDE_IN = 1.85  # of a neighbor's picture, inch
_QUERY_IN = 2.5  # of the query's picture, which grows beside many neighbors to
_LARGEST_QUERY_IN = 3.6
_PAD_IN = 0.16  # round the query, inch
_GAP_IN = 0.22  # between pictures, inch
_CAPTION_GAP_IN = 0.09  # from a picture to its caption, inch
_STRIP_GAP_IN, _STRIP_PAD_IN = 0.07, 0.07  # between pictures of labels, and below them, inch
_WIDE = 1.4  # width to height that the figure aims at


@dataclass(frozen=True)
class Panel:
    """One cutout and what is written under it.

    Attributes
    ----------
    cutout_id : int or None
        None of a picture that is no cutout of the catalog.
    image : str
        Name of the file it was cut from.
    x0, y0, x1, y1 : int
        Window, px, half-open; x is the column.
    ra, dec : float or None
        ICRS position of the center, deg.
    thumbnail : bytes or None
        JPEG.
    distance : float or None
        From the query, by the metric.
    rank : int or None
        1 is nearest.
    distance_percentile : float or None
        Percentage of pairs of cutouts that are nearer to each other than it is to the query.
    labels : sequence of str
        Best first; the first three are shown.
    label_pictures : sequence of bytes or None
        JPEG of what the first labels look like, drawn where labels have no names.

    Examples
    --------
    >>> from elodin_spark.display import Panel
    >>> Panel(7, "a.fits", 0, 0, 64, 64, ra=150.1, dec=2.2).x1
    64
    """

    cutout_id: int | None
    image: str
    x0: int
    y0: int
    x1: int
    y1: int
    ra: float | None = None
    dec: float | None = None
    thumbnail: bytes | None = None
    distance: float | None = None
    rank: int | None = None
    distance_percentile: float | None = None
    labels: Sequence[str] = ()
    label_pictures: Sequence[bytes | None] = ()


@dataclass(frozen=True)
class _Line:
    text: str
    size_pt: float
    weight: style.Weight = "normal"
    color: str = style.INK
    pictures: tuple[bytes | None, ...] = ()  # in place of text
    framed: tuple[bool, ...] = ()
    side_in: float = 0.0

    @property
    def height_in(self) -> float:
        return self.side_in + _STRIP_PAD_IN if self.pictures else style.line_height_in(self.size_pt)


def sky_position(ra: float | None, dec: float | None) -> str:
    """Write a position as ``10h02m03.4s +02°12′34″``.

    Parameters
    ----------
    ra, dec : float or None
        ICRS, deg; rounded to 0.1 s and 1 arcsec.

    Returns
    -------
    str
        ``no sky position`` where either is missing or not finite.
    """
    if ra is None or dec is None or not (math.isfinite(ra) and math.isfinite(dec)):
        return "no sky position"
    # Rounded as whole units first, so that no part ever reads 60.
    minutes, tenths = divmod(round(ra % 360.0 * 2400.0) % 864_000, 600)
    hours, minutes = divmod(minutes, 60)
    arcsecs = round(dec * 3600.0)
    arcmin, arcsec = divmod(abs(arcsecs), 60)
    degrees, arcmin = divmod(arcmin, 60)
    sign = "−" if arcsecs < 0 else "+"
    return f"{hours:02d}h{minutes:02d}m{tenths / 10:04.1f}s {sign}{degrees:02d}°{arcmin:02d}′{arcsec:02d}″"


def write_distance(distance: float, metric: Metric) -> str:
    """Write a distance with its name: ``L2 distance 12.34``, ``Jaccard distance 0.412``."""
    number = f"{distance:.3f}" if metric in ("jaccard", "rank_fusion") else f"{distance:.4g}"
    return f"{DISTANCE_NAMES[metric]} {number}"


def write_percentage(percentage: float) -> str:
    """Write a percentage with two digits where it is small: ``0.034 %``, ``3.4 %``, ``34 %``."""
    return f"{percentage:.2g} %" if percentage < 99.5 else f"{percentage:.0f} %"


def grid_columns(count: int) -> int:
    """Columns for `count` neighbors: few holes in the last row, somewhat wider than high.

    Parameters
    ----------
    count : int
        At least 1.

    Returns
    -------
    int
    """
    if count <= 3:
        return count

    def unfit(columns: int) -> float:
        rows = -(-count // columns)
        holes = (columns * rows - count) / columns
        # The query takes 3 inch of the width; a cell with its caption is about 2.1 by 3.1 inch.
        return abs(math.log((2.1 * columns + 3.0) / (3.1 * rows) / _WIDE)) + holes

    return min(range(2, count + 1), key=unfit)


def draw_neighbors(
    ax: Axes,
    query: Panel,
    neighbors: Sequence[Panel],
    *,
    metric: Metric = "l2",
    columns: int | None = None,
    title: str = "",
) -> Axes:
    """Draw a cutout, framed, and after it its neighbors with rank and distance.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    query : Panel
    neighbors : sequence of Panel
        In the order they are drawn: row by row.
    metric : {"l2", "jaccard", "cosine", "label_scores", "rank_fusion"}
        Tells how distances are written.
    columns : int, optional
        By default so many that pictures are largest.
    title : str

    Returns
    -------
    matplotlib.axes.Axes
        `ax`.

    Raises
    ------
    ImageError
        A thumbnail cannot be decoded.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from elodin_spark.display import Panel, draw_neighbors
    >>> query = Panel(7, "a.fits", 0, 0, 64, 64)
    >>> near = Panel(8, "a.fits", 99, 0, 163, 64, rank=1, distance=0.25)
    >>> ax = draw_neighbors(Figure(figsize=(4, 2)).add_subplot(), query, [near], metric="jaccard")
    >>> [text.get_text() for text in ax.texts]
    ['query', '1 · 0.250']
    """
    if title:
        style.title_axes(ax, title)
    captions = [("query",), *((_short_heading(panel, metric),) for panel in neighbors)]
    thumbnails = [panel.thumbnail for panel in (query, *neighbors)]
    return draw_grid(ax, thumbnails, captions, columns=columns, framed=(0,))


def _short_heading(panel: Panel, metric: Metric) -> str:
    number = "" if panel.distance is None else write_distance(panel.distance, metric).rsplit(" ", 1)[1]
    return " · ".join(part for part in ("" if panel.rank is None else str(panel.rank), number) if part)


def neighbors_figure(
    query: Panel, neighbors: Sequence[Panel], *, metric: Metric, note: str = "", subtitle: str = ""
) -> Figure:
    """Draw a cutout, set apart, and its neighbors, nearest first, in a grid, as a whole page.

    Parameters
    ----------
    query : Panel
    neighbors : sequence of Panel
        In the order they are drawn: row by row.
    metric : Metric
        Names the distances.
    note : str
        What is to be said of the answer, written below the title.
    subtitle : str
        Recipe and weights, written at the foot.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImageError
        A thumbnail cannot be decoded.

    Examples
    --------
    >>> from elodin_spark.display import Panel, neighbors_figure
    >>> query = Panel(7, "a.fits", 0, 0, 64, 64)
    >>> near = Panel(8, "a.fits", 99, 0, 163, 64, rank=1, distance=12.5)
    >>> [ax.get_label() for ax in neighbors_figure(query, [near], metric="l2").axes][1:]
    ['query', 'neighbor']
    """
    count = len(neighbors)
    side = _QUERY_IN if count <= 2 else _SIDE_IN
    columns = grid_columns(count) if count else 1
    rows = -(-count // columns)
    captions = [_caption(panel, metric, side, shared=query.labels) for panel in neighbors]
    tops = [captions[row * columns : (row + 1) * columns] for row in range(rows)]
    row_heights = [side + _CAPTION_GAP_IN + max(map(_height, line)) for line in tops]
    grid_height = sum(row_heights) + _GAP_IN * max(0, rows - 1)
    query_side = min(max(0.28 * grid_height, _QUERY_IN), _LARGEST_QUERY_IN)
    query_lines = _caption(query, metric, query_side, is_query=True)
    box_width = query_side + 2 * _PAD_IN
    box_height = query_side + _CAPTION_GAP_IN + _height(query_lines) + 2 * _PAD_IN
    height = max(box_height, grid_height + 2 * _PAD_IN)
    grid_left = box_width + _GAP_IN * 1.3
    width = grid_left + columns * side + (columns - 1) * _GAP_IN + 0.05

    noun = "nearest neighbor" if count == 1 else f"{count} nearest neighbors"
    by = _WHOLE_NAMES[metric]
    what = f"Image {query.image}" if query.cutout_id is None else f"Cutout {query.cutout_id}"
    title = f"{what} and its {noun} by {by}" if count else f"{what}: no neighbors"
    if count and any(panel.label_pictures for panel in neighbors):
        note = f"{note}. {_STRIP_NOTE}" if note else _STRIP_NOTE
    page = style.new_page(width, height, title=title, note=note, footer=subtitle)
    backdrop = page.axes(0.0, 0.0, box_width, height, facecolor=style.EMPTY, zorder=-1)
    backdrop.set_axis_off()
    backdrop.add_artist(backdrop.patch)
    top = height - _PAD_IN
    _draw(page, query, query_lines, _PAD_IN, top, query_side, is_query=True)
    for row, line in enumerate(tops):
        for column, caption in enumerate(line):
            left = grid_left + column * (side + _GAP_IN)
            _draw(page, neighbors[row * columns + column], caption, left, top, side)
        top -= row_heights[row] + _GAP_IN
    if not count:
        page.write(grid_left, height / 2, "No other cutout to compare with", color=style.MUTED, va="center")
    return page.figure


def _label_lines(panel: Panel, width_in: float, size_pt: float, shared: Collection[str]) -> list[_Line]:
    """The first labels by name, or where these say nothing, by number and picture."""
    shown = panel.labels[:SHOWN_LABELS]
    if not panel.label_pictures:
        return [_Line(style.shorten(label, width_in, size_pt), size_pt) for label in shown]
    word = shown[0].rsplit(" ", 1)[0]
    numbers = ", ".join(label.removeprefix(f"{word} ") for label in shown)
    text = f"{word}{'s' if len(shown) > 1 else ''} {numbers}, like"
    side = (width_in - (SHOWN_LABELS - 1) * _STRIP_GAP_IN) / SHOWN_LABELS
    framed = tuple(label in shared for label in shown)
    return [
        _Line(style.shorten(text, width_in, size_pt), size_pt),
        _Line("", size_pt, pictures=tuple(panel.label_pictures), framed=framed, side_in=side),
    ]


def _caption(
    panel: Panel,
    metric: Metric,
    width_in: float,
    is_query: bool = False,
    shared: Collection[str] = (),
) -> list[_Line]:
    """Lines under a picture, each fitting its width; `shared` are labels whose pictures are framed."""
    head_pt, small_pt = (
        (style.TEXT_PT + 1, style.SMALL_PT + 1.5) if is_query else (style.TEXT_PT - 0.5, style.SMALL_PT)
    )
    lines = []
    if is_query:
        lines.append(_Line("Query", head_pt, "bold", style.ACCENT))
    heading = [] if panel.rank is None else [f"{panel.rank}"]
    if panel.distance is not None:
        heading.append(write_distance(panel.distance, metric))
    if heading:
        lines.append(_Line(style.shorten(" · ".join(heading), width_in, head_pt, "bold"), head_pt, "bold"))
    if panel.distance_percentile is not None:
        nearer = f"{write_percentage(panel.distance_percentile)} of pairs are nearer"
        lines.append(_Line(style.shorten(nearer, width_in, small_pt), small_pt))
    lines.append(_Line(style.shorten(panel.image, width_in, small_pt), small_pt))
    window = f"x {panel.x0}:{panel.x1}, y {panel.y0}:{panel.y1} px"
    sky = sky_position(panel.ra, panel.dec)
    lines += [
        _Line(line, small_pt, color=style.MUTED)
        for text in (window, sky)
        for line in style.wrap(text, width_in, small_pt)
    ]
    lines += _label_lines(panel, width_in, small_pt, shared)
    if not is_query:  # whose ID is in the title
        lines.append(_Line(f"ID {panel.cutout_id}", small_pt, color=style.MUTED))
    return lines


def _height(lines: Sequence[_Line]) -> float:
    return sum(line.height_in for line in lines)


def _draw(
    page: style.Page,
    panel: Panel,
    lines: Sequence[_Line],
    left: float,
    top: float,
    side: float,
    is_query: bool = False,
) -> None:
    """Draw a picture whose upper left corner is at (left, top), inch, and its caption below."""
    draw_picture(
        page,
        panel,
        left,
        top,
        side,
        label="query" if is_query else "neighbor",
        color=style.ACCENT if is_query else style.LINE,
        width_pt=3.0 if is_query else 0.8,
    )
    y = top - side - _CAPTION_GAP_IN
    for line in lines:
        if line.pictures:
            _draw_strip(page, line, left, y - _STRIP_PAD_IN / 2)
        else:
            page.write_below(left, y, line.text, size_pt=line.size_pt, weight=line.weight, color=line.color)
        y -= line.height_in


def _draw_strip(page: style.Page, line: _Line, left: float, top: float) -> None:
    """What labels look like, side by side."""
    for at, (picture, framed) in enumerate(zip(line.pictures, line.framed, strict=True)):
        panel = Panel(None, "", 0, 0, 0, 0, thumbnail=picture)
        draw_picture(
            page,
            panel,
            left + at * (line.side_in + _STRIP_GAP_IN),
            top,
            line.side_in,
            label="label",
            color=style.ACCENT if framed else style.LINE,
            width_pt=1.6 if framed else 0.6,
        )


def draw_picture(
    page: style.Page,
    panel: Panel,
    left: float,
    top: float,
    side: float,
    *,
    label: str,
    color: str,
    width_pt: float,
) -> Axes:
    """Draw the picture of a cutout in a square frame.

    Parameters
    ----------
    page : Page
    panel : Panel
    left, top, side : float
        Upper left corner, and side of the frame, inch.
    label : str
        Of the axes.
    color : str
    width_pt : float
        Of the frame.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImageError
        The thumbnail cannot be decoded.
    """
    ax = page.axes(left, top - side, side, side, facecolor=style.EMPTY)
    ax.set_label(label)
    ax.set_xticks([])
    ax.set_yticks([])
    if panel.thumbnail is None:
        if side >= _SIDE_IN:
            style.note_axes(ax, "no picture kept")
    else:
        # An oblong window keeps its shape: the box stays square, its limits widen.
        pixels = decode_thumbnail(panel.thumbnail)
        ny, nx, _ = pixels.shape
        ax.imshow(pixels, interpolation="antialiased", aspect="equal")
        half = max(nx, ny) / 2
        ax.set_xlim((nx - 1) / 2 - half, (nx - 1) / 2 + half)
        ax.set_ylim((ny - 1) / 2 + half, (ny - 1) / 2 - half)
    for spine in ax.spines.values():
        spine.set_edgecolor(color)
        spine.set_linewidth(width_pt)
    return ax
