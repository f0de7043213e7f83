"""Speed of this checkout over that of another, by turns, each measurement in fresh processes.

    python benchmarks/against_checkout.py ../before --peer-python ../before/.venv/bin/python --rounds 5

Cutting, fingerprints and neighbors are timed by ``cutting.py``, ``fingerprint.py`` and ``neighbors.py`` of
each checkout, filters by ``filter.py`` of this one. Starting ``import elodin_spark`` and ``elodin-spark
neighbors``, from the shell to the answer, is timed from outside. Medians; a ratio above 1 means that this
checkout is the faster. By CPU time, a machine that also does other things matters less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from checkouts import Checkout, add_peer_arguments, checkouts_of
from machine import machine, report

#: Arguments of the programs, by size.
SIZES: dict[str, dict[str, list[str]]] = {
    "tiny": {
        "cutting": ["--side", "310", "--size", "100", "--step", "50", "--repeats", "1"],
        "fingerprint": ["--across", "2", "--batch", "4", "--cores", "1"],
        "neighbors": ["--count", "3000", "--dimension", "64", "--rounds", "1"],
        "filter": ["--cutouts", "9000"],
        "survey": ["--tiles", "1", "--size", "256"],
    },
    "small": {
        "cutting": ["--side", "2048", "--repeats", "5"],
        "fingerprint": ["--across", "8", "--cores", "1"],
        "neighbors": ["--count", "20000", "--rounds", "3"],
        "filter": ["--cutouts", "1000000"],
        "survey": ["--tiles", "4", "--size", "512"],
    },
}
#: Figures that are better when they are larger end so; all others are times.
_RATES = "/s"
Figures = dict[str, float]


class Turns:
    """What one checkout is timed by.

    Parameters
    ----------
    checkout : Checkout
    work : Path
        A folder of its own.
    arguments : dict
        One of `SIZES`.
    """

    def __init__(self, checkout: Checkout, work: Path, arguments: dict[str, list[str]]) -> None:
        self._checkout, self._work, self._arguments = checkout, work, arguments
        self._query = ""
        work.mkdir(parents=True)

    def cutting(self) -> Figures:
        """Windows a second of CPU, of each case."""
        rows = json.loads(self._program("cutting", "--json"))["rows"]
        return {f"cutting, {row['case']}, windows/s": row["ours, windows/s of CPU"] for row in rows}

    def fingerprint(self) -> Figures:
        """Windows a second of the bare runtime."""
        given = ["--ways", "c", "--precision", "f32", "--repeats", "1", "--json"]
        (row,) = json.loads(self._program("fingerprint", *given))["rows"]
        return {
            "fingerprints by CPU, windows/s": row["images/s of CPU"],
            "fingerprints by wall, windows/s": row["images/s, wall"],
            "fingerprints, start, s": row["start, s"],
        }

    def neighbors(self) -> Figures:
        """The approximate index: built and searched."""
        given = ["--threads", "1", "--without", "flat", "autofaiss", "--work", self._work / "vectors"]
        found, _ = json.JSONDecoder().raw_decode(self._program("neighbors", *given))
        row = found["results"]["elodin_spark"]
        return {
            "index built by CPU, s": row["build_cpu_seconds"],
            "index searched, queries/s": row["batch_per_second"],
            "index, one query, ms": row["single_ms_p50"],
        }

    def imported(self) -> Figures:
        """``import elodin_spark``."""
        return self._timed("import elodin_spark", "-c", "import elodin_spark")

    def shell(self) -> Figures:
        """``elodin-spark neighbors``, start to answer; the first turn makes the catalog."""
        catalog = self._work / "catalog"
        if not self._query:
            size = dict(zip(self._arguments["survey"][::2], self._arguments["survey"][1::2], strict=True))
            archive = self._work / "survey"
            self._checkout.run(
                __file__, self._checkout.folder, "--survey", archive, *size.values(), cwd=self._work
            )
            settings = {
                "catalog": str(catalog),
                "images": {"paths": str(archive / "tiles")},
                "cutouts": {"generator": {"kind": "sliding_window", "size": 64, "step": 32}},
                "fingerprints": {"weights": "random:0", "input_px": 64},
                "projection": {"methods": []},
                "run": {"figures": False},
                "spark": {"master": "local[1]"},
            }
            file = self._work / "settings.yaml"
            file.write_text(json.dumps(settings))  # which is YAML
            self._checkout.run("-m", "elodin_spark", "run", file, cwd=self._work)
            code = f"from elodin_spark import Catalog; print(Catalog.open({str(catalog)!r}).cutout_ids()[0])"
            self._query = self._checkout.run("-c", code, cwd=self._work).strip()
        given = ("-m", "elodin_spark", "neighbors", catalog, self._query, "-k", 5)
        return self._timed("elodin-spark neighbors", *given)

    def _program(self, name: str, *arguments: Any) -> str:
        program = self._checkout.folder / "benchmarks" / f"{name}.py"
        return self._checkout.run(program, *self._arguments[name], *arguments, cwd=self._work)

    def _timed(self, what: str, *arguments: Any) -> Figures:
        before, wall = _children_cpu(), time.perf_counter()
        self._checkout.run(*arguments, cwd=self._work)
        wall, cpu = time.perf_counter() - wall, _children_cpu() - before
        return {f"{what} by CPU, s": cpu, f"{what} by wall, s": wall}


def _children_cpu() -> float:
    """Seconds of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def filters(pair: Sequence[Checkout], arguments: list[str], rounds: int) -> list[dict[str, Any]]:
    """Rows of ``filter.py``, which runs both by turns itself."""
    this, peer = pair
    given = ["--before", peer.folder, "--before-python", peer.python, "--rounds", rounds, "--json"]
    program = this.folder / "benchmarks" / "filter.py"
    rows = json.loads(this.run(program, *arguments, *given, cwd=this.folder))["rows"]
    return [row_of(f"filter {row['condition']}, s", [row["after, s"]], [row["before, s"]]) for row in rows]


def row_of(name: str, this: Sequence[float], peer: Sequence[float]) -> dict[str, Any]:
    """One line of the table."""
    here, there = statistics.median(this), statistics.median(peer)
    faster, slower = (here, there) if name.endswith(_RATES) else (there, here)
    return {"what": name, "this": here, "peer": there, "ratio": faster / slower if slower else float("nan")}


def measure(options: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """All rows."""
    pair, arguments = checkouts_of(options), SIZES[options.size]
    turns = {checkout.name: Turns(checkout, work / checkout.name, arguments) for checkout in pair}
    rows: list[dict[str, Any]] = []
    for name in options.only:
        if name == "filter":
            rows += filters(pair, arguments["filter"], options.rounds)
            continue
        found: dict[str, list[Figures]] = {checkout.name: [] for checkout in pair}
        for turn in range(options.rounds):
            order = list(turns) if turn % 2 == 0 else list(turns)[::-1]
            for who in order:
                call: Callable[[], Figures] = getattr(turns[who], name)
                found[who].append(call())
                print(f"{name}, turn {turn + 1}, {who}", file=sys.stderr, flush=True)
        for what in found["this"][0]:
            if all(what in figures for figures in found["peer"]):
                rows.append(row_of(what, *([each[what] for each in found[who]] for who in ("this", "peer"))))
    return rows


def survey(out: Path, tiles: int, size_px: int) -> None:
    """A simulated survey, by the checkout's simulator."""
    from checkouts import import_either

    import_either("elodin_spark.datasets").simulate(out, tiles=tiles, size_px=size_px, seed=7)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    everything = ["cutting", "fingerprint", "neighbors", "filter", "imported", "shell"]
    add_peer_arguments(parser)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each measurement")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--only", nargs="+", choices=everything, default=everything, help="all by default")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument("--survey", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.survey:
        survey(Path(options.survey[0]), *map(int, options.survey[1:]))
        return
    with tempfile.TemporaryDirectory(prefix="elodin-against-") as work:
        rows = measure(options, Path(work))
    settings = {"size": options.size, "rounds": options.rounds, "load": os.getloadavg()}
    versions = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=options.peer, capture_output=True, text=True
    ).stdout.strip()
    settings |= {"peer": f"{options.peer.resolve()} {versions}".strip()}
    report(
        {"machine": machine("numpy", "pyarrow", "openvino"), "settings": settings}, rows, as_json=options.json
    )


if __name__ == "__main__":
    main()
