"""Two checkouts of the package side by side: this one and a peer, each in processes of its own."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: Names that an older checkout has for what this one calls otherwise.
OLDER = {
    # metrics
    "rank_fusion": "blend",
    "label_scores": "labels",
    # columns of cutouts and of answers
    "sky_sigma": "noise",
    "query_id": "cutout_id",
    "distance_over_repeat_median": "noise",
    "explain": "why",
    # settings
    "index_config": "recipe",
    # modules
    "elodin_spark.config.settings": "elodin_spark.settings",
    "elodin_spark.config.load": "elodin_spark.config",
    "elodin_spark.datasets": "elodin_spark.simulate",
    "elodin_spark.provenance": "elodin_spark.recipe",
    "elodin_spark.fingerprints.weights.types": "elodin_spark.fingerprints.weights",
    "elodin_spark.catalog.storage.store": "elodin_spark.catalog.store",
    "elodin_spark.catalog.filters.where": "elodin_spark.catalog.where",
}


@dataclass(frozen=True)
class Checkout:
    """A checkout and the interpreter that runs it."""

    name: str
    folder: Path
    python: str

    def run(self, *arguments: Any, cwd: Path) -> str:
        """Run Python on this checkout's package; return what it prints.

        Raises
        ------
        SystemExit
            It fails.
        """
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "PYSPARK_PYTHON": self.python}
        command = [self.python, *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=cwd)
        if done.returncode:
            raise SystemExit(f"{self.name}: {' '.join(command)} failed:\n{done.stderr[-4000:]}")
        return done.stdout


def add_peer_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that :func:`checkouts_of` reads."""
    parser.add_argument("peer", type=Path, metavar="PEER", help="folder of the other checkout")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that runs it")
    parser.add_argument("--python", default=sys.executable, help="interpreter that runs this checkout")


def checkouts_of(options: argparse.Namespace) -> tuple[Checkout, Checkout]:
    """That which this file is in, and the peer."""
    peer = options.peer.resolve()
    if not (peer / "elodin_spark" / "__init__.py").is_file():
        raise SystemExit(f"{peer} is no checkout of elodin_spark")
    return Checkout("this", ROOT, options.python), Checkout("peer", peer, options.peer_python)


def name_in(known: Any, name: str) -> str:
    """`name`, or what an older checkout calls it, whichever is among the known."""
    return name if name in known else OLDER.get(name, name)


def import_either(module: str) -> Any:
    """Import a module by its name here, or by that of an older checkout."""
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if module not in OLDER or not module.startswith(error.name or "."):
            raise
        return importlib.import_module(OLDER[module])
