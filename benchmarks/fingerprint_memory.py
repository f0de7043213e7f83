"""Memory of a Python worker that cuts and fingerprints one image, ten, or fifty.

    python benchmarks/fingerprint_memory.py --tiles 1 10 50

Each amount is done by Spark started anew, on one core, as ``elodin-spark run`` does it: FITS files in, the
Parquet tables of a catalog out. The peak is that of the worker's resident memory (VmHWM, so Linux
alone), from its start, read when each of its tasks ends; networks are counted as they are built.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pyarrow as pa
from cutting import write_tiles
from fingerprint_ways import settings_of
from machine import machine, report

from elodin_spark import schema
from elodin_spark.config.settings import SparkSettings
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.runtimes.base import Runtime
from elodin_spark.fingerprints.runtimes.cpu import bf16_instructions
from elodin_spark.fingerprints.stage import FingerprintSpec
from elodin_spark.fingerprints.weights.resolve import resolve_weights
from elodin_spark.images.listing import list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.spark.batches import run_batch
from elodin_spark.spark.runner import files_frame
from elodin_spark.spark.session import session
from elodin_spark.stage import Locate, PrefetchSpec, Stage, fuse

_MEBIBYTE = 2**20


@dataclass(frozen=True)
class WatchSpec:
    """Passes rows on, and notes what the process has come to when they end."""

    note: str
    output_schema: pa.Schema
    files: tuple[str, ...] = ()

    def build(self, locate: Locate) -> Stage:
        """Build the stage."""
        return _Watch(self)


class _Watch:
    def __init__(self, spec: WatchSpec) -> None:
        self.output_schema, self._note = spec.output_schema, spec.note

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        before, windows = Runtime.builds, 0
        for batch in batches:
            windows += batch.num_rows - batch.column("vector").null_count
            yield batch
        status = Path("/proc/self/status").read_text(encoding="ascii")
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        said = {
            "process": os.getpid(),
            "peak_bytes": int(peak.split()[1]) * 1024,
            "built": Runtime.builds - before,
            "windows": windows,
        }
        with Path(self._note).open("a", encoding="utf-8") as file:
            file.write(json.dumps(said) + "\n")


def run(folder: Path, tiles: int, precision: Any, batch: int) -> dict[str, Any]:
    """Fingerprint the first tiles in a session of this process."""
    files = sorted((folder / "tiles").glob("*.fits"), key=lambda file: (len(file.name), file.name))[:tiles]
    settings = settings_of(files, precision, 1, batch, None)
    resolved = resolve_network(settings.fingerprints, resolve_weights("random:0"))
    network = FingerprintSpec.from_network(resolved)
    note = folder / f"{tiles}.jsonl"
    spec = fuse(
        DescribeSpec.from_settings(settings.images),
        TileSpec.from_settings(settings),
        PrefetchSpec(schema.TILED, settings.fingerprints.prefetch),
        network,
        WatchSpec(str(note), network.output_schema),
    )
    targets = {name: folder / f"catalog {tiles}" / name for name in ("images", "cutouts", "fingerprints")}
    with session(SparkSettings(master="local[1]")) as spark:
        listed = list_files([str(file) for file in files], str(folder / "tiles"))
        run_batch(files_frame(spark, listed), spec, targets, keep_pixels=False)
    tasks = [json.loads(line) for line in note.read_text(encoding="utf-8").splitlines()]
    return {
        "tiles": tiles,
        "windows": sum(task["windows"] for task in tasks),
        "tasks": len(tasks),
        "workers": len({task["process"] for task in tasks}),
        "networks built": sum(task["built"] for task in tasks),
        "peak of a worker, MiB": max(task["peak_bytes"] for task in tasks) / _MEBIBYTE,
    }


def measure(values: argparse.Namespace) -> dict[str, Any]:
    """One row for each number of tiles, each in a process of its own."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="elodin-memory-") as folder:
        write_tiles(Path(folder) / "tiles", "float32", values.side, max(values.tiles))
        for tiles in values.tiles:
            command = [sys.executable, __file__, "--folder", folder, "--tiles", str(tiles)]
            command += ["--precision", values.precision, "--batch", str(values.batch)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    settings = {"tile side, px": values.side, "precision": values.precision, "batch": values.batch}
    return {"machine": machine("pyspark", "openvino", "pyarrow"), "settings": settings, "rows": rows}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiles", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--side", type=int, default=1008, help="of a tile, px")
    parser.add_argument(
        "--precision", choices=("bf16", "f32"), default="bf16" if bf16_instructions() else "f32"
    )
    parser.add_argument("--batch", type=int, default=32, help="windows the network sees")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    values = parser.parse_args()
    if values.folder:
        print(json.dumps(run(values.folder, values.tiles[0], values.precision, values.batch)))
        return
    result = measure(values)
    report(result, result["rows"], as_json=values.json)


if __name__ == "__main__":
    main()
