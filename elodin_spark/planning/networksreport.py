"""A comparison of networks in words, as JSON and as a contact sheet."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elodin_spark import __version__
from elodin_spark.diskfiles import replacing
from elodin_spark.errors import InputError
from elodin_spark.planning.networks import COPIED, KINDS, Comparison
from elodin_spark.progress import counted, step
from elodin_spark.terminal import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What a table calls the copies.
_KIND_NAMES = {
    "all": "copies found",
    "rotation": "turned",
    "noise": "noisy",
    "blur": "blurred",
    "shift": "shifted",
}


def comparison_facts(comparison: Comparison) -> dict[str, Any]:
    """Plain values, for a JSON file."""
    return {
        "seed": comparison.seed,
        "windows": len(comparison.cutouts),
        "images": len({cutout.path for cutout in comparison.cutouts}),
        "labels": None if comparison.labels is None else dict(sorted(Counter(comparison.labels).items())),
        "copied": min(COPIED, len(comparison.cutouts)),
        "rows": [
            {
                "choice": row.choice.name,
                "configured": row.choice.configured,
                "precision_at_10": row.precision and row.precision.to_dict(),
                "copies_found": {kind: found.to_dict() for kind, found in row.found.items()},
                "windows_per_s": round(row.windows_per_s, 2),
                "vector_length": row.length,
                "settings": row.settings,
            }
            for row in comparison.rows
        ],
        "skipped": list(comparison.skipped),
        "notes": list(comparison.notes),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "system": platform.system(),
            "elodin_spark": __version__,
        },
    }


def comparison_text(comparison: Comparison) -> str:
    """The table, what is to be known of it, and the settings of each choice."""
    images = len({cutout.path for cutout in comparison.cutouts})
    lines = [
        f"{counted(len(comparison.cutouts), 'window')} of {counted(images, 'image')}, seed {comparison.seed}",
        "",
    ]
    header = ["network", "precision at 10", *(_KIND_NAMES[kind] for kind in KINDS), "windows/s", "length"]
    table = [
        [
            row.choice.name + (" *" if row.choice.configured else ""),
            "-" if row.precision is None else str(row.precision),
            *(f"{row.found[kind].value:.2f}" for kind in KINDS),
            f"{row.windows_per_s:.3g}",
            f"{row.length:,}",
        ]
        for row in comparison.rows
    ]
    if comparison.labels is None:
        header, table = [header[0], *header[2:]], [[row[0], *row[2:]] for row in table]
    widths = [max(map(len, column)) for column in zip(header, *table, strict=True)]
    for first, *others in (header, *table):
        cells = [first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]
        lines.append("  ".join(cells).rstrip())
    lines.append("")
    if any(row.choice.configured for row in comparison.rows):
        lines.append("* what the configuration names")
    if comparison.labels is not None:
        lines.append(
            "precision at 10: share of the 10 nearest windows that have the label of the query, mean by "
            "class, and its 95 % interval"
        )
    lines.append(
        f"copies found: share of {min(COPIED, len(comparison.cutouts))} cutouts whose copies (turned, noisy, "
        "blurred, shifted) are nearer than all else; then by kind"
    )
    lines.append("windows/s: of processor time in one thread; length: of the vector")
    lines += [f"note: {note}" for note in comparison.notes]
    lines += comparison.skipped
    for row in comparison.rows:
        if row.settings:
            lines += [
                "",
                f"to take {row.choice.name}:",
                "",
                *(f"    {line}" for line in row.settings.splitlines()),
            ]
    return plain("\n".join(lines), lines=True)


def comparison_sheet(comparison: Comparison) -> Figure:
    """The same queries with their nearest neighbors by each choice."""
    from elodin_spark.display.comparison import ComparedQuery, Strip, comparison_figure
    from elodin_spark.display.neighbors import Panel

    labels = comparison.labels

    def panel(row: int) -> Panel:
        cutout = comparison.cutouts[row]
        return Panel(
            cutout.cutout_id,
            cutout.path.rpartition("/")[2],
            cutout.x0,
            cutout.y0,
            cutout.x1,
            cutout.y1,
            cutout.ra,
            cutout.dec,
            cutout.thumbnail,
            labels=() if labels is None else (labels[row],),
        )

    queries = [
        ComparedQuery(
            panel(query),
            [
                Strip(row.choice.name, [panel(near) for near in row.near[number].tolist()])
                for row in comparison.rows
            ],
        )
        for number, query in enumerate(comparison.queries)
    ]
    images = len({cutout.path for cutout in comparison.cutouts})
    of = f"{counted(len(comparison.cutouts), 'window')} of {counted(images, 'image')}"
    others = ", windows of the same image left out" if images > 1 else ""
    return comparison_figure(
        queries,
        title="Which network?",
        note=f"The nearest of {of} by each network, nearest first{others}",
        footer=f"Euclidean (L2) distance of transformed vectors · seed {comparison.seed}",
    )


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write ``comparison.json`` and ``comparison.png`` into a folder, which is made.

    Raises
    ------
    InputError
        It cannot be written to.
    """
    from elodin_spark.display.style import save_figure

    table = folder / "comparison.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(table) as temporary:
            temporary.write_text(json.dumps(comparison_facts(comparison), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{table} cannot be written: {error}; choose another folder with --out") from None
    with step("drawing"):
        return [table, save_figure(comparison_sheet(comparison), folder / "comparison.png")]


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
    return next(names, platform.processor())
