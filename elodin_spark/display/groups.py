"""Points told apart by color, and the legend that names the colors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elodin_spark.display.style import INK, OTHER, PALETTE, SMALL_PT, font, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend


@dataclass(frozen=True)
class Groups:
    """Points told apart by color.

    Attributes
    ----------
    colors : tuple of str
        One per point.
    legend : tuple of (str, str)
        Name and color of each group, the most frequent first; empty where there is no choice.
    """

    colors: tuple[str, ...]
    legend: tuple[tuple[str, str], ...]


def color_groups(names: Sequence[str | None] | None, count: int) -> Groups:
    """Give the most frequent names a color each and the rest one gray.

    Parameters
    ----------
    names : sequence of str or None, or None
        Group of each of `count` points; None is no group.
    count : int

    Returns
    -------
    Groups
        Equal counts in alphabetical order, so that the same input has the same colors.
    """
    if names is None:
        return Groups((PALETTE[0],) * count, ())
    sizes: dict[str, int] = {}
    for name in names:
        if name is not None:
            sizes[name] = sizes.get(name, 0) + 1
    ordered = sorted(sizes, key=lambda name: (-sizes[name], name))
    kept = dict(zip(ordered, PALETTE, strict=False))
    legend = list(kept.items())
    if len(ordered) > len(kept):
        legend.append((f"{len(ordered) - len(kept):,} more groups", OTHER))
    if any(name is None for name in names):
        legend.append(("none", OTHER))
    return Groups(
        tuple(kept.get(name, OTHER) if name is not None else OTHER for name in names), tuple(legend)
    )


def draw_legend(
    ax: Axes,
    entries: Sequence[tuple[str, str]],
    *,
    columns: int,
    width_in: float,
    rings: Sequence[tuple[str, str]] = (),
    **options: Any,
) -> Legend:
    """Draw a legend of dots, then of open rings, each name shortened to its column.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    entries, rings : sequence of (str, str)
        Name and color.
    columns : int
    width_in : float
        Of the whole legend, inch.
    **options
        Of ``Axes.legend``: where it stands.
    """
    from matplotlib.lines import Line2D

    dots = [Line2D([], [], ls="", marker="o", ms=5, color=color, mec="none") for _, color in entries]
    open_dots = [
        Line2D([], [], ls="", marker="o", ms=7, mfc="none", mec=color, mew=1.3) for _, color in rings
    ]
    handles = [*dots, *open_dots]
    names = [name for name, _ in (*entries, *rings)]
    legend = ax.legend(
        handles,
        [str(number) for number in range(len(handles))],
        ncols=columns,
        prop=font(SMALL_PT),
        labelcolor=INK,
        frameon=False,
        borderaxespad=0.0,
        borderpad=0.0,
        handletextpad=0.2,
        handlelength=1.4,
        columnspacing=1.2,
        **options,
    )
    room = width_in / columns - 0.35
    for text, name in zip(legend.get_texts(), names, strict=True):
        # Set afterwards: a legend leaves out names that begin with an underscore.
        text.set_text(shorten(name, room, SMALL_PT))
        text.set_parse_math(False)
    return legend
