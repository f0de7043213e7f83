"""What a benchmark ran on, how it takes times, and the table it prints."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def machine(*packages: str) -> dict[str, Any]:
    """Processor, cores, and versions; figures of two machines are not to be compared."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE"),
        "versions": {package: _version(package) for package in packages},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def one_thread() -> None:
    """Keep OpenCV and Arrow to one core, as a Spark task has."""
    import cv2
    import pyarrow as pa

    cv2.setNumThreads(1)
    pa.set_cpu_count(1)


def interleaved(work: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, dict[str, float]]:
    """Median seconds of several ways to do one thing, run by turns after one warm-up.

    Parameters
    ----------
    work : mapping of str to callable
    repeats : int

    Returns
    -------
    dict of str to dict
        ``cpu`` and ``wall``, s: the first is of this process alone, the second also counts what
        else the machine did.
    """
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for turn in range(repeats + 1):
        for name, call in work.items():
            cpu, wall = time.process_time(), time.perf_counter()
            call()
            if turn:
                taken[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return {
        name: {
            "cpu": statistics.median(cpu for cpu, _ in times),
            "wall": statistics.median(wall for _, wall in times),
        }
        for name, times in taken.items()
    }


@contextmanager
def tree_cpu() -> Iterator[dict[str, float]]:
    """CPU seconds of this process and of all that it started and that live at the end.

    Yields
    ------
    dict of str to float
        ``cpu`` and ``wall``, s, filled in at the end. Spark's daemon does not account for workers that
        ended, so each process counts for itself.
    """
    taken: dict[str, float] = {}
    started, before = time.perf_counter(), _cpu_by_process()
    yield taken
    taken["wall"] = time.perf_counter() - started
    after = _cpu_by_process()
    taken["cpu"] = sum(seconds - before.get(process, 0.0) for process, seconds in after.items())


def _cpu_by_process() -> dict[Any, float]:
    import psutil  # here: the programs for GPUs do without

    own = psutil.Process()
    found: dict[Any, float] = {}
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.Error):  # it ended
            times = process.cpu_times()
            found[process] = times.user + times.system
    return found


def report(result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print a result as JSON, or its rows as a Markdown table below the machine."""
    if as_json:
        print(json.dumps({**result, "rows": list(rows)}, indent=1))
        return
    facts = result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items() if number)
    print(f"{facts['cpu']}, {facts['cores']} cores; Python {facts['python']}, {versions}")
    if facts["OPENBLAS_CORETYPE"]:
        print(f"OPENBLAS_CORETYPE={facts['OPENBLAS_CORETYPE']}")
    names = list(rows[0])
    print("\n| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join(_cell(row[name]) for name in names) + " |")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
