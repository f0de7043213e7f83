"""What holds for all tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.limits import HANG_S

TESTS = Path(__file__).resolve().parents[1]
#: Waiting for a number of seconds, or a limit on those that passed.
CLOCK = re.compile(
    r"timeout(?:_s)?(?:: float)? ?= ?\d|\.wait\(\d|(?:monotonic|perf_counter)\(\) \+ (?!HANG_S|3600\b)"
    r"|assert (?:\w+\[\")?(?:seconds|elapsed|slowest)(?:\"\])? <"
)


@pytest.mark.parametrize(
    "file", sorted({*TESTS.rglob("*.py")} - {Path(__file__).resolve()}), ids=lambda file: file.name
)
def test_no_test_fails_for_a_clock(file: Path) -> None:
    assert CLOCK.findall(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    ["run(timeout=400)", "process.wait(30)", "time.monotonic() + 90", "assert elapsed < 5"],
)
def test_a_clock_is_seen(line: str) -> None:
    assert CLOCK.search(line)
    assert HANG_S >= 3600
