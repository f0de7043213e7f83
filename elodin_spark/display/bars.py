"""Horizontal bars, each with its name on the left and its number on the right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from elodin_spark.display import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAME_IN = 1.65  # most room for a name, inch
_LEAST_NAME_IN = 0.5


def draw_bars(
    ax: Axes,
    names: Sequence[str],
    values: Sequence[float],
    texts: Sequence[str],
    *,
    color: str = style.PALETTE[0],
    empty: str = "nothing to show",
    name_in: float = _NAME_IN,
) -> Axes:
    """Draw a bar for each value, the first on top.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    names : sequence of str
        Shortened to `name_in` inch, and to what is left of the figure.
    values : sequence of float
        From 0 up.
    texts : sequence of str
        Written at the end of each bar.
    color : str
    empty : str
        Written where there are no values.
    name_in : float

    Returns
    -------
    matplotlib.axes.Axes
        `ax`.
    """
    style.style_axes(ax)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    if not names:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines["bottom"].set_visible(False)
        style.write(ax.text, 0.0, 0.5, empty, color=style.MUTED, va="center", transform=ax.transAxes)
        return ax
    rows = np.arange(len(names))
    ax.barh(rows, values, height=0.62, color=color, linewidth=0)
    longest = max(values) or 1.0
    width_in = ax.get_window_extent().width / style.dpi_of(ax)
    text_in = max(style.text_width_in(text, style.SMALL_PT) for text in texts) + 0.1
    ax.set_xlim(0.0, longest / max(1.0 - text_in / width_in, 0.25))
    ax.set_ylim(len(names) - 0.4, -0.6)
    name_rows(ax, names, name_in)
    for row, value, text in zip(rows.tolist(), values, texts, strict=True):
        style.write(
            ax.text, value + longest * 0.012, row, text, size_pt=style.SMALL_PT, color=style.INK, va="center"
        )
    ax.grid(True, axis="x", color=style.LINE, linewidth=0.5, alpha=0.7)
    ax.set_axisbelow(True)
    return ax


def name_rows(ax: Axes, names: Sequence[str], name_in: float = _NAME_IN) -> None:
    """Write a name beside each row of `ax`, the first at 0."""
    left_in = ax.get_window_extent().x0 / style.dpi_of(ax) - 0.08
    name_in = max(min(name_in, left_in), _LEAST_NAME_IN)
    ax.set_yticks(np.arange(len(names)))
    ax.set_yticklabels([style.shorten(name, name_in, style.SMALL_PT) for name in names])
    ax.tick_params(axis="y", length=0.0)
    for text in ax.get_yticklabels():
        text.set_fontproperties(style.font(style.SMALL_PT))
        text.set_color(style.INK)
        text.set_parse_math(False)
