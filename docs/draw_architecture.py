"""Draw how data flow from images to neighbors, and what is a table and what a product.

python docs/draw_architecture.py docs/images
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

Kind = Literal["input", "stage", "table", "product"]

#: Face and edge of a box; blue is work, gray is what lies on disk.
COLORS: dict[Kind, tuple[str, str]] = {
    "input": ("#FFFFFF", "#1A1A1A"),
    "stage": ("#DCEBF5", "#0072B2"),
    "table": ("#F1F1EF", "#7A7A7A"),
    "product": ("#FBE9D0", "#E69F00"),
}
INK = "#1A1A1A"


@dataclass(frozen=True)
class Box:
    """One box: its center and size in inches from the lower left corner, and its text."""

    x: float
    y: float
    width: float
    height: float
    kind: Kind
    title: str
    note: str = ""

    def draw(self, ax: Axes) -> None:
        """Draw the box and its text."""
        face, edge = COLORS[self.kind]
        corner = (self.x - self.width / 2, self.y - self.height / 2)
        ax.add_patch(
            FancyBboxPatch(
                corner, self.width, self.height, boxstyle="round,pad=0,rounding_size=0.07", fc=face, ec=edge
            )
        )
        up = 0.12 if self.note else 0.0
        ax.text(self.x, self.y + up, self.title, ha="center", va="center", size=9.5, weight="bold", color=INK)
        if self.note:
            ax.text(self.x, self.y - 0.14, self.note, ha="center", va="center", size=7.5, color=INK)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.1})


def data_flow() -> Figure:
    """Draw the data flow on one page."""
    figure = Figure(figsize=(10.0, 5.0), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_xlim(0, 10)
    ax.set_ylim(0, 5)
    ax.axis("off")

    ax.add_patch(
        FancyBboxPatch(
            (2.0, 3.42), 5.62, 1.3, boxstyle="round,pad=0,rounding_size=0.1", fc="none", ec="#0072B2", ls="--"
        )
    )
    ax.text(
        2.1, 4.56, "one Spark task, one Python worker: pixels never leave it", size=8, va="center", color=INK
    )
    files = Box(1.0, 3.95, 1.5, 0.7, "input", "files", "FITS, JPEG, PNG, TIFF")
    describe = Box(2.95, 3.95, 1.5, 0.7, "stage", "describe", "headers, WCS")
    tile = Box(4.82, 3.95, 1.5, 0.7, "stage", "tile", "stretch, windows")
    network = Box(6.7, 3.95, 1.5, 0.7, "stage", "fingerprint", "ResNet50")
    work = [files, describe, tile, network]

    names = ("images", "cutouts", "fingerprints", "failures")
    notes = ("one row per plane", "one row per window", "vector and label set", "one row per refusal")
    tables = [
        Box(1.55 + 1.75 * i, 2.55, 1.6, 0.7, "table", name, note)
        for i, (name, note) in enumerate(zip(names, notes, strict=True))
    ]
    commit = Box(8.75, 2.55, 1.6, 0.7, "table", "commit", "written last: batch done")

    products = [
        Box(2.3, 1.15, 1.9, 0.7, "product", "index", "exact L2 and Jaccard"),
        Box(5.05, 1.15, 1.9, 0.7, "product", "projection", "t-SNE, UMAP: all cutouts"),
        Box(7.8, 1.15, 1.9, 0.7, "product", "figures", "maps, sky"),
    ]
    answer = Box(2.3, 0.3, 3.6, 0.36, "input", "neighbors of a cutout, by its ID")

    for left, right in pairwise(work):
        _arrow(ax, (left.x + left.width / 2, left.y), (right.x - right.width / 2, right.y))
    for table in tables:
        _arrow(ax, (table.x if table.x > 2.1 else 2.3, 3.42), (table.x, table.y + 0.36))
    _arrow(ax, (tables[-1].x + 0.8, 2.55), (commit.x - 0.8, 2.55))
    fingerprints = tables[2]
    for product in products[:2]:
        _arrow(ax, (fingerprints.x, fingerprints.y - 0.35), (product.x, product.y + 0.36))
    _arrow(ax, (products[1].x + 0.95, 1.15), (products[2].x - 0.95, 1.15))
    _arrow(ax, (products[0].x, 0.8), (answer.x, 0.48))
    for box in (*work, *tables, commit, *products, answer):
        box.draw(ax)
    for i, (kind, meaning) in enumerate(
        (
            ("stage", "a stage: Arrow in, Arrow out"),
            ("table", "a table, in batches"),
            ("product", "a product"),
        )
    ):
        face, edge = COLORS[kind]  # type: ignore[index]
        ax.add_patch(
            FancyBboxPatch((8.0, 4.45 - 0.27 * i), 0.16, 0.12, boxstyle="square,pad=0", fc=face, ec=edge)
        )
        ax.text(8.25, 4.51 - 0.27 * i, meaning, size=7.5, va="center", color=INK)
    return figure


def main(folder: Path) -> Path:
    """Write ``data_flow.png`` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "data_flow.png"
    data_flow().savefig(path, metadata={"Software": "elodin_spark"})
    return path


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
