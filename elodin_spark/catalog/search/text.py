"""Neighbors as text: a table for a terminal, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from elodin_spark.catalog.build.typical import Typical
from elodin_spark.catalog.search.query import ResolvedQuery
from elodin_spark.config.settings import Metric
from elodin_spark.schema import ANSWERS, MEASURES, MORE_ANSWERS
from elodin_spark.terminal import plain


def neighbors_table(
    found: Sequence[dict[str, Any]],
    query: ResolvedQuery,
    metric: Metric,
    described: str,
    typical: Typical | None = None,
) -> str:
    """Neighbors for a terminal, of several cutouts one after the other.

    Below each the labels it shares with the query, where they were asked for; at the end of each answer what
    is to be said of it where nothing is near.
    """
    from elodin_spark.display.neighbors import DISTANCE_NAMES

    measures = [name for name in MEASURES.names if any(row[name] is not None for row in found)]
    several = len(query.cutout_ids) > 1
    tables = []
    for asked in dict.fromkeys(query.cutout_ids) or (None,):
        head = [
            f"nearest neighbors of {f'cutout {asked}' if several else query.name} ({DISTANCE_NAMES[metric]})",
            described,
            f"{'rank':>4}  {'neighbor_id':>19}  {'distance':>10}  {''.join(f'{name}  ' for name in measures)}"
            f"{'ra (deg)':>11}  {'dec (deg)':>11}  window [x, y] (px) and image",
        ]
        answer = [row for row in found if not several or row["query_id"] == asked]
        remark = typical.remark(answer[0]["distance"]) if typical is not None and answer else ""
        rows = [
            f"{row['rank']:>4}  {row['neighbor_id']:>19}  {row['distance']:>10.4f}  "
            f"{_measured(row, measures)}{_degrees(row['ra'])}  {_degrees(row['dec'])}  "
            f"[{row['x0']}:{row['x1']}, {row['y0']}:{row['y1']}] {plain(row['image'])}"
            f"{_of_source(row)}{_shared(row)}"
            for row in answer
        ]
        end = [f"      {remark}"] if remark else []
        told = [*head, *(rows or ["      no other cutout to compare with"]), *end]
        tables.append("\n".join(plain(text, lines=True) for text in told))
    return "\n\n".join(tables)


def _shared(row: dict[str, Any]) -> str:
    if "explain" not in row:
        return ""
    if not any(each.get("like") for each in row["explain"]):
        said = ", ".join(f"{each['label']} {each['weight']:.2f}" for each in row["explain"])
        return f"\n      shares: {said or 'no label'}"
    lines = [f"{each['label']}{_like(each)} {each['weight']:.2f}" for each in row["explain"]]
    return "\n      shares: " + "\n              ".join(lines)


def _like(shared: dict[str, Any]) -> str:
    """What a label without a name looks like."""
    cutouts = shared.get("like") or []
    return (
        f" (like cutout{'s' if len(cutouts) > 1 else ''} {', '.join(map(str, cutouts))})" if cutouts else ""
    )


def flat(name: str, value: Any) -> str:
    """A value of an answer as one text: those of lists are separated by semicolons, weights by colons."""
    if value is None:
        return ""
    if name == "explain":
        return ";".join(f"{each['label']}:{each['weight']:.4g}" for each in value)
    return ";".join(map(str, value)) if isinstance(value, list) else str(value)


def neighbors_csv(found: Sequence[dict[str, Any]]) -> str:
    """Neighbors as CSV with a header, values as :func:`flat` has them."""
    text = io.StringIO()
    columns = [*ANSWERS.names, *(name for name in MORE_ANSWERS.names if found and name in found[0])]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([flat(name, row[name]) for name in columns] for row in found)
    return text.getvalue()


def _measured(row: dict[str, Any], measures: Sequence[str]) -> str:
    texts = ("" if row[name] is None else f"{row[name]:.3g}" for name in measures)
    return "".join(f"{text:>{len(name)}}  " for name, text in zip(measures, texts, strict=True))


def _of_source(row: dict[str, Any]) -> str:
    counts = {name: len(row.get(name, ())) for name in ("repeats", "duplicates")}
    return "".join(
        f"  and {count} {name if count > 1 else name[:-1]}" for name, count in counts.items() if count
    )


def _degrees(value: float | None) -> str:
    return f"{value:>11.6f}" if value is not None else f"{'none':>11}"
