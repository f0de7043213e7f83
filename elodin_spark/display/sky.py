"""Where cutouts lie on the sky: a close view and an all-sky map.

Right ascension grows to the left. The close view has equal scales in both directions; where
right ascension would be too distorted for that (at a pole, over a large field far from the
equator) it shows offsets from its center instead, in the zenithal equidistant (ARC)
projection of Calabretta and Greisen (2002).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from elodin_spark.display import style
from elodin_spark.display.groups import color_groups, draw_legend
from elodin_spark.display.neighbors import sky_position
from elodin_spark.display.view import View, around, choose_view, project
from elodin_spark.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.projections.geo import GeoAxes

Floats = npt.NDArray[np.float64]

#: Angles, deg; None or NaN where a position is missing.
Degrees = Sequence[float | None] | npt.NDArray[np.floating]

_CLOSE_IN = 4.7
_SKY_IN = 6.9
_BETWEEN_IN = 0.75
_LEGEND_COLUMNS = 3


def draw_sky(
    ax: Axes,
    ra: Degrees,
    dec: Degrees,
    *,
    groups: Sequence[str | None] | None = None,
    highlight: Sequence[int] | None = None,
) -> Axes:
    """Draw the close view of positions.

    Positions spread over more than 25 deg from their center are shown around the
    highlighted ones, or else where most of them are.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Best square.
    ra, dec : sequence of float or None, length n
        ICRS, deg. A missing or NaN position is left out.
    groups : sequence of str or None, length n, optional
        Shown by color, for instance the name of the image.
    highlight : sequence of int, optional
        Rows drawn with a ring.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`.

    Raises
    ------
    InputError
        Lengths differ, a declination is out of range or a highlighted row does not exist.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from elodin_spark.display import draw_sky
    >>> ax = draw_sky(Figure(figsize=(4, 4)).add_subplot(), [150.1, 150.2], [2.2, 2.3], highlight=[0])
    >>> ax.get_xlabel()
    'Right ascension (deg)'
    """
    longitude, latitude, known = _positions(ra, dec)
    _check(len(longitude), groups, highlight)
    style.style_axes(ax)
    if not known.any():
        return _empty(ax)
    marked = _marked(highlight, known)
    view = choose_view(longitude, latitude, np.flatnonzero(known), marked)
    x, y = project(view, longitude, latitude)
    colors = _colors(groups, known)
    _scatter(ax, x[view.inside], y[view.inside], colors[view.inside])
    _rings(ax, x[np.intersect1d(marked, view.inside)], y[np.intersect1d(marked, view.inside)])
    _frame(ax, view)
    return ax


def draw_all_sky(
    ax: Axes,
    ra: Degrees,
    dec: Degrees,
    *,
    groups: Sequence[str | None] | None = None,
    highlight: Sequence[int] | None = None,
) -> Axes:
    """Draw positions on the whole sky, right ascension 0 in the middle and growing to the left.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Made with ``projection="aitoff"``.
    ra, dec, groups, highlight
        As for :func:`draw_sky`.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from elodin_spark.display import draw_all_sky
    >>> ax = Figure(figsize=(6, 3)).add_subplot(projection="aitoff")
    >>> draw_all_sky(ax, [150.1, 10.0], [2.2, -60.0]) is ax
    True
    """
    from matplotlib.projections.geo import GeoAxes

    longitude, latitude, known = _positions(ra, dec)
    _check(len(longitude), groups, highlight)
    if not isinstance(ax, GeoAxes):
        raise InputError('the all-sky map needs axes made with projection="aitoff"')
    style.style_axes(ax)
    ax.grid(True, color=style.LINE, linewidth=0.5)
    ax.set_axisbelow(True)
    _all_sky_ticks(ax)
    marked = _marked(highlight, known)
    rows = np.flatnonzero(known)
    x, y = np.radians(-around(longitude, 0.0)), np.radians(latitude)
    colors = _colors(groups, known)
    _scatter(ax, x[rows], y[rows], colors[rows])
    _rings(ax, x[marked], y[marked])
    return ax


def sky_figure(
    ra: Degrees,
    dec: Degrees,
    *,
    groups: Sequence[str | None] | None = None,
    subtitle: str = "",
    highlight: Sequence[int] | None = None,
    highlight_name: str = "highlighted",
) -> Figure:
    """Draw positions close up and on the whole sky.

    Parameters
    ----------
    ra, dec, groups, highlight
        As for :func:`draw_sky`.
    subtitle : str
        Recipe and weights, written at the foot.
    highlight_name : str
        What the rings are, for the legend.

    Returns
    -------
    matplotlib.figure.Figure
        Without any position: a figure that says so.

    Examples
    --------
    >>> from elodin_spark.display import sky_figure
    >>> len(sky_figure([150.1, 150.2], [2.2, 2.3], groups=["a.fits", "b.fits"]).axes)
    2
    """
    longitude, latitude, known = _positions(ra, dec)
    count, missing = len(longitude), int((~known).sum())
    _check(count, groups, highlight)
    noun = "cutout" if count == 1 else "cutouts"
    title = f"Sky position{'' if count == 1 else 's'} of {count:,} {noun}"
    width = _CLOSE_IN + _BETWEEN_IN + _SKY_IN + 0.65
    if missing == count:
        page = style.new_page(7.0, 0.7, title=title, footer=subtitle)
        text = "No sky positions: the images have no celestial WCS." if count else "No cutouts to show."
        page.write(0.0, 0.4, text, color=style.MUTED, va="center")
        return page.figure
    note = f"{missing:,} without a sky position left out" if missing else ""
    page = style.new_page(width, _CLOSE_IN + 0.85, title=title, note=note, footer=subtitle)
    close = page.axes(0.65, 0.55, _CLOSE_IN, _CLOSE_IN)
    draw_sky(close, ra, dec, groups=groups, highlight=highlight)
    left, height = 0.65 + _CLOSE_IN + _BETWEEN_IN, _SKY_IN / 2
    rows = np.flatnonzero(known)
    marked = _marked(highlight, known)
    shown = [groups[row] for row in rows.tolist()] if groups is not None else None
    entries = color_groups(shown, len(rows)).legend
    rings = [(highlight_name, style.ACCENT)] if len(marked) else []
    lines = -(-(len(entries) + len(rings)) // _LEGEND_COLUMNS)
    below = 0.15 + 0.17 * lines if lines else 0.0
    bottom = 0.55 + (_CLOSE_IN - height + below) / 2
    whole = page.axes(left, bottom, _SKY_IN, height, projection="aitoff")
    draw_all_sky(whole, ra, dec, groups=groups, highlight=highlight)
    style.title_axes(close, _describe(choose_view(longitude, latitude, rows, marked), len(rows)))
    # Set by hand: the title of an Aitoff map would stand at the left end of the equator.
    page.write(left, 0.55 + _CLOSE_IN + 0.085, "All sky", weight="bold")
    if lines:
        draw_legend(
            whole,
            entries,
            columns=_LEGEND_COLUMNS,
            width_in=_SKY_IN,
            rings=rings,
            loc="upper left",
            bbox_to_anchor=(0.0, -0.15 / height),
        )
    return page.figure


# ---- positions ---------------------------------------------------------------------------


def _positions(ra: Degrees, dec: Degrees) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Right ascension in [0, 360), declination, and which rows have both."""
    longitude, latitude = (np.array(values, dtype=np.float64) for values in (ra, dec))
    if longitude.shape != latitude.shape or longitude.ndim != 1:
        raise InputError(
            f"{len(longitude)} right ascensions for {len(latitude)} declinations; give one for each"
        )
    known = np.isfinite(longitude) & np.isfinite(latitude)
    bad = np.flatnonzero(known & (np.abs(np.where(known, latitude, 0.0)) > 90.0))
    if len(bad):
        raise InputError(
            f"declination {latitude[bad[0]]} of row {bad[0]} is not within -90 to 90 deg; "
            "are right ascension and declination exchanged, or in radians?"
        )
    return np.where(known, longitude, np.nan) % 360.0, np.where(known, latitude, np.nan), known


def _check(count: int, groups: Sequence[object] | None, highlight: Sequence[int] | None) -> None:
    if groups is not None and len(groups) != count:
        raise InputError(
            f"{len(groups)} groups for {count} positions; give one for each, None where there is none"
        )
    for row in () if highlight is None else highlight:
        if not 0 <= row < count:
            raise InputError(f"highlighted row {row} is not among the {count} positions (rows count from 0)")


def _marked(highlight: Sequence[int] | None, known: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    rows = np.unique(np.asarray([] if highlight is None else highlight, dtype=np.intp))
    return rows[known[rows]]


# ---- drawing -----------------------------------------------------------------------------


def _describe(view: View, known: int) -> str:
    if known == 1:
        return f"At {sky_position(view.ra, view.dec)}"
    part = f"All {known:,}" if len(view.inside) == known else f"{len(view.inside):,} of {known:,}"
    return f"{part} near {sky_position(view.ra, view.dec)}"


def _colors(groups: Sequence[str | None] | None, known: npt.NDArray[np.bool_]) -> npt.NDArray[np.object_]:
    """The color of each row; those without a position do not count, as in the legend."""
    rows = np.flatnonzero(known)
    shown = None if groups is None else [groups[row] for row in rows.tolist()]
    colors = np.full(len(known), style.OTHER, dtype=object)
    colors[rows] = color_groups(shown, len(rows)).colors
    return colors


def _scatter(ax: Axes, x: Floats, y: Floats, colors: npt.NDArray[np.object_]) -> None:
    size = float(np.clip(4000.0 / max(1, len(x)), 2.0, 16.0))
    ax.scatter(x, y, s=size, c=list(colors), alpha=0.7, linewidths=0, zorder=3, rasterized=len(x) > 2000)


def _rings(ax: Axes, x: Floats, y: Floats) -> None:
    if len(x):
        ax.scatter(x, y, s=60, facecolors="none", edgecolors=style.ACCENT, linewidths=1.3, zorder=6)


def _frame(ax: Axes, view: View) -> None:
    """Limits, scale, ticks and names of the close view."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    if view.offsets:
        ax.set_xlim(view.half, -view.half)
        ax.set_ylim(-view.half, view.half)
        center = sky_position(view.ra, view.dec)
        style.name_axes(ax, f"East of {center} (deg)", "North of it (deg)")
        aspect = 1.0
    else:
        cosine = float(np.cos(np.radians(view.dec)))
        ax.set_xlim(view.ra + view.half / cosine, view.ra - view.half / cosine)
        ax.set_ylim(view.dec - view.half, view.dec + view.half)
        style.name_axes(ax, "Right ascension (deg)", "Declination (deg)")
        aspect = 1.0 / cosine
    ax.set_aspect(aspect, adjustable="box")
    for axis, turning in ((ax.xaxis, not view.offsets), (ax.yaxis, False)):
        axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
        low, high = sorted(axis.get_view_interval())
        places = max(0, 1 - int(np.floor(np.log10((high - low) / 6))))

        def label(value: float, _: int | None, places: int = places, turning: bool = turning) -> str:
            shown = round(value % 360.0, places) % 360.0 if turning else round(value, places) + 0.0
            text = f"{shown:.{places}f}"
            text = text.rstrip("0").rstrip(".") if "." in text else text
            return text.replace("-", "−")

        axis.set_major_formatter(FuncFormatter(label))
    ax.grid(True, color=style.LINE, linewidth=0.5, alpha=0.7)
    ax.set_axisbelow(True)


def _all_sky_ticks(ax: GeoAxes) -> None:
    """Label the meridians by right ascension, which grows to the left."""
    from matplotlib.patheffects import withStroke

    turns = np.arange(-150, 151, 30)
    ax.set_longitude_grid_ends(90)
    ax.set_xticks(np.radians(turns))
    ax.set_xticklabels([])
    for turn in turns[turns % 60 == 0]:
        # Not as tick labels, which the points would cover.
        style.write(
            ax.text,
            float(np.radians(turn)),
            np.radians(-4.0),
            f"{-turn % 360}°",
            size_pt=style.SMALL_PT - 0.5,
            color=style.MUTED,
            ha="center",
            va="top",
            zorder=5,
            path_effects=[withStroke(linewidth=2.0, foreground="white")],
        )
    heights = np.arange(-60, 61, 30)
    ax.set_yticks(np.radians(heights))
    ax.set_yticklabels([f"{height:+d}°".replace("-", "−") if height else "0°" for height in heights])
    for text in ax.get_yticklabels():
        text.set_fontproperties(style.font(style.SMALL_PT - 0.5))
        text.set_color(style.MUTED)


def _empty(ax: Axes) -> Axes:
    ax.set_xticks([])
    ax.set_yticks([])
    return style.note_axes(ax, "no sky positions")
