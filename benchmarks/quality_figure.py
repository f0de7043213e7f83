"""Scores with their intervals, a panel each, a line for each recipe, a color for each set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elodin_spark.display import style

_LINE_IN, _PANEL_IN, _GAP_IN, _PANELS_ACROSS = 0.3, 2.1, 0.25, 4


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the figure of the rows of :mod:`fingerprint_quality`."""
    sets = list(dict.fromkeys(row["set"] for row in rows))
    recipes = list(dict.fromkeys(_title(row) for row in rows))
    scores = list(dict.fromkeys(name for row in rows for name in row["scores"] if name != "over the first"))
    across = min(_PANELS_ACROSS, len(scores))
    down = -(-len(scores) // across)
    panel = _LINE_IN * (len(recipes) + 0.5)
    names = max(style.text_width_in(name, style.SMALL_PT) for name in recipes) + 0.15
    width = names + across * (_PANEL_IN + _GAP_IN)
    page = style.new_page(
        width,
        down * (panel + 0.7),
        title="Quality of fingerprints, with 95 % intervals",
    )
    for number, score in enumerate(scores):
        left = names + (number % across) * (_PANEL_IN + _GAP_IN)
        bottom = (down - 1 - number // across) * (panel + 0.7) + 0.3
        ax = style.style_axes(page.axes(left, bottom, _PANEL_IN, panel))
        style.title_axes(ax, score)
        for row in rows:
            if (found := row["scores"].get(score)) is None:
                continue
            which = sets.index(row["set"])
            y = recipes.index(_title(row)) + 0.25 * (which - (len(sets) - 1) / 2)
            color = style.PALETTE[which % len(style.PALETTE)]
            ax.plot([found["low"], found["high"]], [y, y], color=color, linewidth=1.2)
            ax.plot([found["value"]], [y], "o", color=color, markersize=3)
        ax.set_xlim(0, 1)
        ax.set_ylim(len(recipes) - 0.5, -0.5)
        ax.set_yticks(range(len(recipes)), recipes if number % across == 0 else [""] * len(recipes))
        ax.xaxis.grid(True, color=style.LINE, linewidth=0.5)
        ax.set_axisbelow(True)
    for which, name in enumerate(sets):
        color = style.PALETTE[which % len(style.PALETTE)]
        page.write_below(which * 1.2, 0.1, f"● {name}", size_pt=style.TEXT_PT, color=color)
    style.save_figure(page.figure, path)


def _title(row: dict[str, Any]) -> str:
    transform = "" if row["transform"] == "none" else f", {row['transform']}"
    metric = "" if row["metric"] == "l2" else f", {row['metric']}"
    return f"{row['recipe']}, {row['px']} px{transform}{metric}"
