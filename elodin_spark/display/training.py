"""The course of a training: its losses, and what its neighbors are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elodin_spark.display.style import ACCENT, DPI, INK, LINE, MUTED, PALETTE, SMALL_PT, TEXT_PT, TITLE_PT

_TITLES = {
    "contrast": "views of a cutout found",
    "kind": "kinds of simulated objects",
    "shape": "their shapes",
}


def draw_training(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the losses of a training and the precision of its neighbors by step.

    Parameters
    ----------
    history : sequence of mapping
        Lines of its history: ``step``, losses by name and, of some, ``precision`` by set.
    path : Path
        File to write, PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 3.4), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    losses, checks = figure.subplots(1, 2)
    steps = [line["step"] for line in history]
    for color, (name, title) in zip(PALETTE, _TITLES.items(), strict=False):
        first = next((line[name] for line in history if line.get(name)), None)
        if first:
            losses.plot(steps, [line[name] / first for line in history], color=color, label=title, lw=1.2)
    losses.set_ylim(bottom=0)
    losses.set_title("Losses, of those at the beginning", fontsize=TITLE_PT, color=INK, loc="left")
    checked = [line for line in history if line.get("precision")]
    names = sorted({name for line in checked for name in line["precision"]})
    for color, name in zip((ACCENT, *PALETTE), names, strict=False):
        some = [(line["step"], line["precision"][name]) for line in checked if name in line["precision"]]
        checks.plot(*zip(*some, strict=True), color=color, label=name, marker="o", ms=3, lw=1.2)
    checks.set_ylim(0, 1)
    checks.set_title("Ten nearest of the same label", fontsize=TITLE_PT, color=INK, loc="left")
    for axes in (losses, checks):
        axes.set_xlabel("step", fontsize=TEXT_PT, color=MUTED)
        axes.tick_params(labelsize=SMALL_PT, colors=MUTED)
        axes.grid(color=LINE, lw=0.4)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        if axes.get_lines():
            axes.legend(fontsize=SMALL_PT, frameon=False)
    figure.savefig(path, metadata={"Software": None})
