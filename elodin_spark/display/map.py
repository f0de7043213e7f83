"""The 2-D projection as a map of points with cutouts drawn on it.

A picture stands on its point, which is drawn in the middle of its lower edge. A grid chooses them: at
most one per cell, the one nearest the middle of the cell that would not cover another. The map is as large
as its points need: a few that lie far from all others are marked at its border.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from elodin_spark.config.settings import Method
from elodin_spark.display import style
from elodin_spark.display.groups import color_groups, draw_legend
from elodin_spark.display.thumbnails import square_thumbnail
from elodin_spark.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

#: How a projection is named on its axes.
METHOD_NAMES: dict[Method, str] = {"tsne": "t-SNE", "umap": "UMAP", "pca": "PCA"}

# How a map is to be read.
_NEAR = "Cutouts that lie near each other have similar fingerprints. Distances across the map mean little."
_READ: dict[Method, str] = {
    "tsne": _NEAR,
    "umap": _NEAR,
    "pca": "The two directions in which fingerprints differ most; those that differ in others lie together.",
}

#: Side of a picture, of a cell's: some slack, so that neighboring cells can both have one.
PICTURE_SIDE = 0.85

_BORDER, _GROUP_BORDER = 0.02, 0.05  # of a picture's side; the wider one shows a color
_CANVAS_PX = 1800  # pictures are pasted on one canvas: one artist draws as fast as one picture
_FEWEST_CELLS, _MOST_CELLS = 9, 60
_MAP_IN = 8.0
_NARROWEST = 0.5  # of the longer side: a long thin map keeps some air
_TRIES = 32  # points of a cell tried before it is left without a picture
_LEGEND_COLUMNS = 4
_OUTSIDE = 0.02  # of the points, at each side, may be left outside the map
_GAP = 0.2  # of the width of the others: what lies beyond so much empty space is outside
_FEWEST_CUT = 10  # points; all of fewer are shown
_INSIDE = 0.02  # of the width: how far inside the border the marks stand
_DOT = 12.0  # pt^2, of the points of pictures
_OPEN = 10.0  # pt^2, of open circles, at least


def choose_thumbnails(xy: npt.ArrayLike, available: npt.ArrayLike, *, cells: int) -> npt.NDArray[np.intp]:
    """Choose points spread evenly over the map whose pictures do not cover one another.

    The square around all points is cut into `cells` x `cells` cells; a picture is 0.85
    of a cell wide and stands on its point. Points are taken nearest the middle of their cell first,
    at most one per cell, and passed over where they overlap one taken; the 32 nearest of a cell are tried.

    Parameters
    ----------
    xy : array_like of float, shape (n, 2)
        Places on the map.
    available : array_like of bool, shape (n,)
        Which points have a picture.
    cells : int
        On a side.

    Returns
    -------
    ndarray of int
        Chosen rows of `xy`, ascending; ties go to the lower row.
    """
    points = _checked(xy)
    rows = np.flatnonzero(np.asarray(available, dtype=bool))
    if not len(rows):
        return rows
    center, half = _square(points)
    unit = (points[rows] - (center - half)) / (2 * half) * cells
    cell = np.clip(np.floor(unit).astype(np.int64), 0, cells - 1)
    off_middle = ((unit - cell - 0.5) ** 2).sum(axis=1)
    order = np.lexsort((rows, off_middle))
    flat = cell[:, 1] * cells + cell[:, 0]
    taken: dict[tuple[int, int], int] = {}
    in_cell = pd.Series(order).groupby(flat[order]).cumcount().to_numpy()
    for at in order[in_cell < _TRIES]:
        column, row = int(cell[at, 0]), int(cell[at, 1])
        if (column, row) in taken:
            continue
        around = [taken.get((column + i, row + j)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        if all(other is None or np.abs(unit[at] - unit[other]).max() >= PICTURE_SIDE for other in around):
            taken[column, row] = int(at)
    return np.sort(rows[list(taken.values())])


def drawn_in(xy: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Bring points that lie far from all others to the border of the rest.

    Along each axis up to 2 % of the points at each end are far, where nothing lies between them and the
    others over a fifth of the width of the middle 96 %.

    Parameters
    ----------
    xy : array_like of float, shape (n, 2)

    Returns
    -------
    places : ndarray of float, shape (n, 2)
        Where to draw them.
    far : ndarray of bool, shape (n,)
        Which were moved; none of fewer than 10.
    """
    points = _checked(xy)
    places, few = points.copy(), max(1, int(_OUTSIDE * len(points)))
    if len(points) < _FEWEST_CUT:
        return places, np.zeros(len(points), bool)
    for axis in (0, 1):
        ordered = np.sort(points[:, axis])
        middle = ordered[few:-few]
        span = float(middle[-1] - middle[0])
        # The first gap on the way out from the middle, to either side.
        above = np.flatnonzero(np.diff(ordered[-few - 1 :]) > _GAP * span)
        below = np.flatnonzero(np.diff(ordered[: few + 1]) > _GAP * span)
        high = ordered[len(ordered) - few - 1 + above[0]] if above.size else np.inf
        low = ordered[below[-1] + 1] if below.size else -np.inf
        if span > 0:
            edge = _INSIDE * span
            places[:, axis] = np.clip(places[:, axis], low - edge, high + edge)
    return places, (places != points).any(axis=1)


def draw_map(
    ax: Axes,
    xy: npt.ArrayLike,
    thumbnails: Sequence[bytes | None],
    *,
    method: Method = "tsne",
    max_thumbnails: int = 300,
    size_px: int | None = None,
    title: str = "",
    labels: Sequence[str | None] | None = None,
    doubtful: npt.ArrayLike | None = None,
) -> Axes:
    """Draw a projection as points with some of the cutouts on it.

    Pictures are stretched for the size they are drawn at.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    xy : array_like of float, shape (n, 2)
        Places on the map; finite.
    thumbnails : sequence of bytes or None, length n
        JPEG of each cutout; None draws the point alone.
    method : {"tsne", "umap", "pca"}
        Names the axes.
    max_thumbnails : int
        Most pictures drawn; 0 draws points only.
    size_px : int, optional
        Side of a picture, px of the figure; else chosen from the number of points.
    title : str
    labels : sequence of str or None, length n, optional
        Group of each point, shown by color with a legend below the map.
    doubtful : array_like of bool, shape (n,), optional
        Points whose neighbors on the map are not theirs: open circles without a picture.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`.

    Raises
    ------
    InputError
        `xy` has another shape or holds a value that is not finite, or lengths differ.
    ImageError
        A thumbnail that is to be drawn cannot be decoded.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from elodin_spark.display import draw_map
    >>> xy = np.random.default_rng(0).normal(size=(200, 2))
    >>> ax = draw_map(Figure(figsize=(4, 4)).add_subplot(), xy, [None] * 200, method="umap")
    >>> ax.get_xlabel()
    'UMAP 1'
    """
    points = _checked(xy)
    count = len(points)
    _check_length("thumbnails", thumbnails, count)
    if labels is not None:
        _check_length("labels", labels, count)
    style.style_axes(ax)
    name = METHOD_NAMES[method]
    style.name_axes(ax, f"{name} 1", f"{name} 2")
    if title:
        style.title_axes(ax, title)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_aspect("equal", adjustable="box")
    if not count:
        return style.note_axes(ax, "no cutouts to show")
    groups = color_groups(labels, count)
    points, far = drawn_in(points)
    marked = _marks(doubtful, count)
    pictures = [None if mark else picture for picture, mark in zip(thumbnails, marked, strict=True)]
    chosen, side = _choose(ax, points, pictures, max_thumbnails, size_px)
    center, half = _square(points)
    shape = _shape(points)
    reach = shape * (half * 1.03 + (side / 2 / shape.min() if len(chosen) else 0.0))
    center[1] += side / 2 if len(chosen) else 0.0  # pictures stand on their points
    ax.set_xlim(center[0] - reach[0], center[0] + reach[0])
    ax.set_ylim(center[1] - reach[1], center[1] + reach[1])
    size = float(np.clip(3000.0 / count, 2.5, 22.0))
    plain = ~marked
    colors = np.array(groups.colors)
    ax.scatter(
        points[plain, 0],
        points[plain, 1],
        s=size,
        c=list(colors[plain]),
        alpha=0.6,
        linewidths=0,
        zorder=2,
        rasterized=count > 2000,
    )
    if marked.any():
        ax.scatter(
            points[marked, 0],
            points[marked, 1],
            s=max(size, _OPEN),
            facecolors="none",
            edgecolors=list(colors[marked]),
            linewidths=0.7,
            zorder=2,
            rasterized=count > 2000,
        )
    if far.any():
        ax.scatter(
            points[far, 0],
            points[far, 1],
            s=34,
            marker="D",
            facecolors="none",
            edgecolors=style.ACCENT,
            linewidths=1.2,
            zorder=5,
        )
    if len(chosen):
        frames = None if labels is None else [groups.colors[at] for at in chosen]
        canvas = _paste(points[chosen], [thumbnails[at] for at in chosen], frames, center, reach, side)
        extent = (*ax.get_xlim(), *ax.get_ylim())
        ax.imshow(
            canvas, extent=extent, origin="upper", interpolation="antialiased", zorder=3, aspect="equal"
        )
        ax.scatter(
            points[chosen, 0],
            points[chosen, 1],
            s=_DOT,
            c=[groups.colors[at] for at in chosen],
            edgecolors="white",
            linewidths=0.5,
            zorder=4,
        )
    if groups.legend:
        figure = ax.get_figure(root=True)
        dpi = figure.dpi if figure is not None else style.DPI
        box = ax.get_window_extent()
        draw_legend(
            ax,
            groups.legend,
            columns=_LEGEND_COLUMNS,
            width_in=box.width / dpi,
            loc="upper left",
            bbox_to_anchor=(0.0, -0.3 * dpi / box.height),
        )
    return ax


def map_figure(
    xy: npt.ArrayLike,
    thumbnails: Sequence[bytes | None],
    *,
    method: Method,
    subtitle: str = "",
    labels: Sequence[str | None] | None = None,
    max_thumbnails: int = 300,
    size_px: int | None = None,
    doubtful: npt.ArrayLike | None = None,
    quality: Mapping[str, float] | None = None,
    total: int | None = None,
    note: str = "",
) -> Figure:
    """Draw a projection as a whole figure.

    Parameters
    ----------
    xy, thumbnails, method, labels, max_thumbnails, size_px, doubtful
        As for :func:`draw_map`.
    subtitle : str
        Recipe and weights, written below the map.
    quality : mapping of str to float, optional
        `trustworthiness` and `neighbors_kept`, written above the map.
    total : int, optional
        Cutouts on the map, where these are some of them.
    note : str
        Written after what is said of the map.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from elodin_spark.display import map_figure
    >>> xy = np.random.default_rng(0).normal(size=(200, 2))
    >>> len(map_figure(xy, [None] * 200, method="tsne").axes)
    1
    """
    points = _checked(xy)
    count = len(points)
    if labels is not None:
        _check_length("labels", labels, count)
    places, far = drawn_in(points)
    rows = -(-len(color_groups(labels, count).legend) // _LEGEND_COLUMNS)
    below = 0.3 + rows * 0.16 + (0.1 if rows else 0.0)
    whole = count if total is None else total
    noun = "cutout" if whole == 1 else "cutouts"
    title = f"{METHOD_NAMES[method]} map of {whole:,} {noun}"
    said = [_READ[method]]
    if whole > count:
        said.append(f"{count:,} of them are drawn.")
    if far.any():
        lies = "lies" if far.sum() == 1 else "lie"
        said.append(f"{far.sum():,} that {lies} far from all others: diamonds, at the border.")
    if quality is not None:
        said.append(
            f"Trustworthiness {quality['trustworthiness']:.3f}; {quality['neighbors_kept']:.0%} of the 10 "
            "nearest by fingerprint are among the 10 nearest on the map."
        )
    if (marked := _marks(doubtful, count)).any():
        said.append(f"{marked.sum():,} whose neighbors on the map are not theirs: open circles.")
    note = " ".join([*said, note]).strip()
    width, height = _MAP_IN * (_shape(places) if count else np.ones(2))
    page = style.new_page(
        width + 0.3, height + below, title=title, note=note if count else "", footer=subtitle
    )
    ax = page.axes(0.3, below, width, height)
    draw_map(
        ax,
        points,
        thumbnails,
        method=method,
        labels=labels,
        max_thumbnails=max_thumbnails,
        size_px=size_px,
        doubtful=doubtful,
    )
    return page.figure


def _marks(doubtful: npt.ArrayLike | None, count: int) -> npt.NDArray[np.bool_]:
    if doubtful is None:
        return np.zeros(count, bool)
    marks = np.asarray(doubtful, bool)
    if marks.shape != (count,):
        raise InputError(f"{marks.shape} doubtful for {count} places; give one for each")
    return marks


def _choose(
    ax: Axes, points: Floats, thumbnails: Sequence[bytes | None], limit: int, size_px: int | None
) -> tuple[npt.NDArray[np.intp], float]:
    """Rows to draw as pictures, and the side of a picture in units of the map."""
    if limit < 0 or (size_px is not None and size_px < 1):
        raise InputError(f"max_thumbnails must be 0 or more and size_px 1 or more, got {limit} and {size_px}")
    available = np.array([picture is not None for picture in thumbnails], dtype=bool)
    _, half = _square(points)
    if limit == 0:
        return np.empty(0, np.intp), 0.0
    if size_px is None:
        cells = int(np.clip(np.ceil(1.2 * np.sqrt(min(available.sum(), limit))), _FEWEST_CELLS, _MOST_CELLS))
        side = None
    else:
        # The map reaches half a picture beyond the points: see `reach` in `draw_map`.
        share = min(size_px / _longest_px(ax), 0.5)
        side = 2.06 * half * share / max(1.0 - share / _shape(points).min(), 0.1)
        cells = max(1, int(2 * half * PICTURE_SIDE / side))
    chosen = choose_thumbnails(points, available, cells=cells)
    while len(chosen) > limit:
        cells -= 1
        chosen = choose_thumbnails(points, available, cells=cells)
    return chosen, 2 * half / cells * PICTURE_SIDE if side is None else side


def _paste(
    places: Floats,
    pictures: Sequence[bytes | None],
    frames: Sequence[str] | None,
    center: Floats,
    reach: Floats,
    side: float,
) -> npt.NDArray[np.uint8]:
    """All pictures in their frames, above their places, on one transparent canvas, rows from the top down."""
    from matplotlib.colors import to_rgb

    scale = _CANVAS_PX / (2 * float(reach.max()))
    width, height = (int(np.ceil(2 * edge * scale)) for edge in reach)
    canvas = np.full((height, width, 4), (255, 255, 255, 0), np.uint8)
    # A hair smaller than its room, so that neighbors do not touch.
    size = max(6, int(side * scale * 0.97))
    border = max(1, round(size * (_BORDER if frames is None else _GROUP_BORDER)))
    colors = [style.MUTED] * len(pictures) if frames is None else frames
    for (x, y), data, color in zip(places, pictures, colors, strict=True):
        if data is None:
            continue
        left = round((x - center[0] + reach[0]) * scale - size / 2)
        top = round((center[1] + reach[1] - y) * scale - size)
        left, top = min(max(left, 0), width - size), min(max(top, 0), height - size)
        tile = canvas[top : top + size, left : left + size]
        tile[..., :3] = np.round(np.array(to_rgb(color)) * 255)
        tile[..., 3] = 255
        tile[border:-border, border:-border, :3] = square_thumbnail(data, size - 2 * border, stretch=True)
    return canvas


def _square(points: Floats) -> tuple[Floats, float]:
    """Center and half side of the square around the points."""
    low, high = points.min(axis=0), points.max(axis=0)
    half = float((high - low).max()) / 2
    return (low + high) / 2, half if half > 0 else 0.5


def _shape(points: Floats) -> Floats:
    """Width and height of the map, of its longer side."""
    spans = points.max(axis=0) - points.min(axis=0)
    return np.clip(spans / spans.max(), _NARROWEST, 1.0) if spans.max() > 0 else np.ones(2)


def _longest_px(ax: Axes) -> float:
    box = ax.get_window_extent()
    return float(max(box.width, box.height))


def _checked(xy: npt.ArrayLike) -> Floats:
    points = np.asarray(xy, dtype=np.float64)
    if points.size == 0:
        return np.empty((0, 2))
    if points.ndim != 2 or points.shape[1] != 2:
        raise InputError(f"a map needs places of shape (n, 2), got {points.shape}; project the vectors first")
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise InputError(f"place {bad[0]} on the map is {points[bad[0]].tolist()}; leave such cutouts out")
    return points


def _check_length(name: str, values: Sequence[object], count: int) -> None:
    if len(values) != count:
        raise InputError(
            f"{len(values)} {name} for {count} places; give one for each, None where there is none"
        )
