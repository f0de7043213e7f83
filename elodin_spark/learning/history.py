"""The history of a training: a line of JSON for each report, in the order of the steps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HISTORY = "history.jsonl"


def append_history(folder: Path, line: Mapping[str, Any]) -> None:
    """Add a line, which has its ``step``."""
    with (folder / HISTORY).open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(line)) + "\n")


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Lines of the history of a training, by step; one that was cut off by a kill is left out."""
    path = folder / HISTORY
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def cut_history(folder: Path, step: int) -> None:
    """Forget what comes after `step`: a training that goes on from there comes to it again."""
    lines = [line for line in read_history(folder) if line["step"] <= step]
    temporary = folder / f"{HISTORY}.tmp"
    temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    temporary.replace(folder / HISTORY)
