"""Images without a position on the sky, and what was assumed of those with one, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_REASONS_SHOWN = 5

#: Columns of ``images`` that are counted.
SKY_COLUMNS = ["status", "no_sky_reason", "sky_note"]


class SkyCounts:
    """Sums over rows of the table ``images``.

    Attributes
    ----------
    images : int
        That can be used.
    reasons : Counter of str
        ``no_sky_reason`` to count.
    notes : Counter of str
        Each of ``sky_note`` to count.
    """

    def __init__(self) -> None:
        self.images = 0
        self.reasons: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()

    def add(self, rows: pa.Table) -> SkyCounts:
        """Add rows with :data:`SKY_COLUMNS`; returns itself."""
        # Not equal(): to make a scalar of a text, pyarrow imports pandas.
        used = rows.select(SKY_COLUMNS).filter(pc.match_like(rows.column("status"), "ok"))
        self.images += used.num_rows
        for pair in pc.value_counts(pc.drop_null(used.column("no_sky_reason"))).to_pylist():
            self.reasons[pair["values"]] += pair["counts"]
        for pair in pc.value_counts(pc.drop_null(used.column("sky_note"))).to_pylist():
            for note in pair["values"].split("; "):
                self.notes[note] += pair["counts"]
        return self

    def facts(self) -> dict[str, Any]:
        """Plain values: `images`, `reasons` and `notes`, the most common first."""
        return {
            "images": self.images,
            "reasons": dict(self.reasons.most_common()),
            "notes": dict(self.notes.most_common()),
        }


def sky_lines(facts: Mapping[str, Any]) -> list[str]:
    """The facts of :meth:`SkyCounts.facts` in at most two lines."""
    lines = []
    if missing := sum(facts["reasons"].values()):
        have = "has" if missing == 1 else "have"
        lines.append(
            f"{missing:,} of {_images(facts['images'])} {have} no position on the sky: "
            f"{_counted(facts['reasons'])}"
        )
    if facts["notes"]:
        lines.append(f"assumed of the WCS of images: {_counted(facts['notes'])}")
    return lines


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def _counted(counts: Mapping[str, int]) -> str:
    shown = [f"{count:,} x {text}" for text, count in list(counts.items())[:_REASONS_SHOWN]]
    more = len(counts) - len(shown)
    return "; ".join([*shown, *([f"and {more} more kinds, in the table 'images'"] if more > 0 else [])])
