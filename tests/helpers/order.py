"""Which tests are for every day, and which test files are begun first, by durations that were recorded.

``python -m pytest --store-durations`` records those of the files it runs in ``tests/durations.json``.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / "durations.json"
#: Seconds of each test file, named from the folder ``tests``.
SECONDS: dict[str, float] = json.loads(FILE.read_text(encoding="utf-8"))
#: Beside the tests of ``tests/unit``: one of each kind, the first of which does what a user does first.
EVERY_DAY = (
    "e2e/test_first_day.py",
    "e2e/test_make.py",
    "spark/test_engines.py",
    "spark/test_verbs.py",
)
#: Of a file of ``tests/unit``: longer ones build many networks, or start many processes.
SLOW_S = 60.0


def is_slow(file: str) -> bool:
    """Whether ``make test`` leaves a file, named from the folder ``tests``, to ``make test-slow``."""
    if file.startswith("unit/"):
        return SECONDS.get(file, 0.0) > SLOW_S
    return file not in EVERY_DAY


def rank(file: str) -> float:
    """By which files are begun, longest first: the last ones to end are short.

    Each is dealt whole to a process (``--dist=loadfile``), in this order (``--no-loadscope-reorder``).
    """
    return -SECONDS.get(file, 0.0)


class Recorder:
    """Plugin that stores what each file took, beside those of files that did not run."""

    def __init__(self) -> None:
        self._found: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a set-up, a test or a tear-down to its file."""
        self._found[report.nodeid.partition("::")[0].removeprefix("tests/")] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Write the file, without tests that are gone."""
        found = SECONDS | {file: round(seconds, 1) for file, seconds in self._found.items()}
        there = {file: found[file] for file in sorted(found) if (FILE.parent / file).is_file()}
        FILE.write_text(json.dumps(there, indent=1) + "\n", encoding="utf-8")
