"""A plan in words."""

from __future__ import annotations

from typing import Any

from elodin_spark.catalog.report import size_text, sky_lines
from elodin_spark.progress import counted

_HELD = (("batches", "batch"), ("images", "image"), ("cutouts", "cutout"))


def plan_text(facts: dict[str, Any]) -> str:
    """The plan of :func:`elodin_spark.planning.plan_config` for a terminal."""
    sections = (_archive, _windows, _tables, _time, _memory)
    lines = [line for section in sections for line in [*section(facts), ""]]
    lines += [f"note: {note}" for note in facts["notes"]]
    return "\n".join([*lines, "to run it:", f"  {facts['submit']}"])


def seconds_text(seconds: float) -> str:
    """A time for people."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _archive(facts: dict[str, Any]) -> list[str]:
    images = facts["images"]
    lines = [f"{'catalog':<14}{facts['catalog'] or 'none named'}"]
    if facts["held"]:
        held = facts["held"]
        counts = ", ".join(counted(held[name], noun) for name, noun in _HELD)
        lines.append(f"{'':<14}holds {counts}; what follows is what is left")
    left = facts["files_left"]
    of = f" of {facts['files']:,}" if left < facts["files"] else ""
    batches = "1 batch" if facts["batches"] == 1 else f"{facts['batches']:,} batches"
    lines.append(f"{'files':<14}{left:,}{of} in {batches}, {size_text(facts['bytes_to_read'])} to read")
    lines.append(f"{'images':<14}{images['usable']:,} to cut, {images['megapixels']:,.1f} Mpx")
    total = sum(images["refused"].values())
    lines.append(f"{'refused':<14}{total:,} by their headers" + (":" if total else ""))
    lines += [f"{'':<14}{count:,} x {kind}" for kind, count in images["refused"].items()]
    lines += [f"{'':<16}{message}" for message in images["messages"]]
    if total > len(images["messages"]):
        lines.append(f"{'':<16}... and {total - len(images['messages']):,} more")
    lines += [f"{'sky' if not at else '':<14}{line}" for at, line in enumerate(sky_lines(facts["sky"]))]
    return lines


def _windows(facts: dict[str, Any]) -> list[str]:
    windows = facts["windows"]
    return [
        f"{'windows':<14}{_count(windows['count'], windows['how'])}",
        f"{'fingerprints':<14}{_count(windows['fingerprinted'], windows['fingerprinted_how'])}",
    ]


def _count(count: int | None, how: str) -> str:
    return "not measured" if count is None else f"{count:,} ({how})"


def _tables(facts: dict[str, Any]) -> list[str]:
    lines = [f"{'table':<14}{'rows':>14}{'size':>14}"]
    rows = [(name, table["rows"], table["bytes"]) for name, table in facts["tables"].items()]
    if index := facts["index"]:
        made = [name for name in ("l2", "jaccard", "label_scores") if name in index]
        rows += [(f"index {name}", index["rows"], index[name]) for name in made]
    for name, count, size in rows:
        shown = "not measured" if count is None else f"{count:,}"
        lines.append(f"{name:<14}{shown:>14}{'not measured' if size is None else size_text(size):>14}")
    if index:
        lines.append(f"{'':<14}{index['index_config']}")
    if methods := facts["projection"]["methods"]:
        points, sample = facts["projection"]["points"], facts["projection"]["sample"]
        shown = "not measured" if points is None else f"{points:,}"
        lines.append(f"{'projection':<14}{shown:>14}  {', '.join(methods)}, laid out of {sample:,}")
    return lines


def _time(facts: dict[str, Any]) -> list[str]:
    seconds, rates, machines = facts["seconds"], facts["rates"], facts["machines"]
    if seconds is None or rates is None:
        return [f"{'time':<14}not measured"]
    where = f"{machines['slots']} cores"
    if machines["executors"]:
        where += f" ({machines['executors']} executors of {machines['cores']} cores)"
    lines = [
        f"{'wall time':<14}{seconds_text(seconds['wall_seconds'])} on {where}, without Spark's start, "
        "writing tables, indices, maps and figures",
        f"{'core-hours':<14}{seconds['core_hours']:.3g}, measured on {rates['images']} images by one core of "
        "this machine:",
    ]
    names = {
        "describe": "reading headers",
        "cut": "cutting",
        "network_start": "starting networks",
        "network": "fingerprinting",
    }
    if seconds["transform"]:
        names["transform"] = "fitting the transform"
    lines += [f"{'':<14}{what:<20}{seconds_text(seconds[name]):>10}" for name, what in names.items()]
    return lines + _offer(facts["dense"])


def _offer(dense: dict[str, Any] | None) -> list[str]:
    """What dense mode would cost, beside what windows do."""
    if dense is None or dense["seconds"] is None:
        return []
    seconds, sets = dense["seconds"], " ".join(f"--set {word}" for word in dense["overrides"])
    return [
        f"{'in dense mode':<14}{seconds['core_hours']:.3g} core-hours, fingerprinting "
        f"{seconds_text(seconds['network'])}, {dense['windows']:,} windows; another recipe:",
        f"{'':<14}{sets}",
    ]


def _memory(facts: dict[str, Any]) -> list[str]:
    memory = facts["memory"]
    worker, executor = (
        "not measured" if memory[name] is None else size_text(memory[name])
        for name in ("worker_bytes", "executor_bytes")
    )
    if facts["windows"]["fingerprinted"] is None:
        python = "not measured"
    else:
        python = f"{size_text(memory['driver_python_bytes'])} for the index and the projection"
    what = "executor" if facts["machines"]["executors"] else "workers"
    lines = [
        f"{'memory':<14}driver: heap {size_text(memory['driver_heap_bytes'])}, Python {python}",
        f"{'':<14}each core's Python worker: {worker}",
    ]
    if what == "executor":
        heap = size_text(memory["executor_heap_bytes"])
        lines.append(f"{'':<14}each executor: {executor}, of which heap {heap}")
    return lines
