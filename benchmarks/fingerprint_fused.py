"""The stages of a run in one process, beside the bare loop of the runtime, by turns on one core.

    python benchmarks/fingerprint_fused.py --precision int8 f32 --isa default AVX2

For each set of instructions a process of its own, to which oneDNN's ONEDNN_MAX_CPU_ISA is given: convolutions
and products are then made of these at most; few small operations are OpenVINO's own, which look at the CPU.

(loop) batches of windows in memory through the network; (run) FITS files to the Parquet files of a catalog:
cut, thumbnails and quality columns included, prefetched, fingerprinted, transformed and labeled as a new
catalog does it; (rest) the same with a network that answers at once: all that a window costs besides.
Milliseconds of CPU a window, of this process, medians of the turns; ResNet50 at 224 px, simulated tiles,
windows every 96 px.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
from cutting import write_tiles
from fingerprint_ways import PX, STEP_PX, settings_of
from machine import machine, one_thread, report

from elodin_spark.catalog.build.pipeline import cutting, fingerprinting
from elodin_spark.config.transform import AUTO_COPIES, AUTO_POWER, AUTO_TRANSFORM, TransformSettings
from elodin_spark.fingerprints import stage
from elodin_spark.fingerprints.prototypes import Prototypes
from elodin_spark.fingerprints.resolve import ResolvedNetwork, resolve_network
from elodin_spark.fingerprints.runtimes.base import Runtime
from elodin_spark.fingerprints.runtimes.quantize import quantize
from elodin_spark.fingerprints.stage import FingerprintSpec
from elodin_spark.fingerprints.transform import Copied, TransformFile, VectorTransform
from elodin_spark.fingerprints.weights.resolve import resolve_weights
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.spark.tablefiles import WriteTablesSpec
from elodin_spark.stage import StageSpec, fuse, run_plain

_ISA = "ONEDNN_MAX_CPU_ISA"
_TABLES = ("images", "cutouts", "fingerprints", "failures")
_PROTOTYPES = 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precision", nargs="+", default=["int8", "f32"], choices=("int8", "bf16", "f32"))
    parser.add_argument(
        "--isa", nargs="+", default=["default", "AVX2"], help="default, or as oneDNN names it"
    )
    parser.add_argument("--across", type=int, default=16, help="windows of the tile along a side")
    parser.add_argument("--repeats", type=int, default=3, help="turns of all")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of one turn
    values = parser.parse_args()
    if values.folder is not None:
        print(json.dumps(take_turn(values)))
        return
    turns: dict[tuple[str, str], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="elodin-fused-") as name:
        folder = Path(name)
        write_tiles(folder / "tiles", "float32", PX + STEP_PX * (values.across - 1), 1)
        for _ in range(values.repeats):
            for isa in values.isa:
                for precision, taken in _in_process(values, isa, folder).items():
                    turns.setdefault((isa, precision), []).append(taken)
    rows = []
    for (isa, precision), found in turns.items():
        median = {way: statistics.median(turn[way] for turn in found) for way in found[0]}
        ratio = statistics.median(turn["loop"] / turn["run"] for turn in found)
        named = {f"{way}, ms": taken for way, taken in median.items()}
        rows.append({"instructions": isa, "precision": precision, **named, "loop over run": ratio})
    facts = {
        "machine": machine("openvino", "pyarrow", "numpy"),
        "settings": {"windows": values.across**2, "repeats": values.repeats, "load": os.getloadavg()},
    }
    report(facts, rows, as_json=values.json)


def _in_process(values: argparse.Namespace, isa: str, folder: Path) -> dict[str, dict[str, float]]:
    """One turn of all, with these instructions."""
    environment = {name: value for name, value in os.environ.items() if name != _ISA}
    if isa != "default":
        environment[_ISA] = isa
    arguments = ["--folder", str(folder), "--precision", *values.precision]
    done = subprocess.run(
        [sys.executable, __file__, *arguments], env=environment, stdout=subprocess.PIPE, check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def take_turn(values: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Milliseconds of CPU a window, by precision and way, in this process."""
    one_thread()
    folder, weights = values.folder, resolve_weights("random:0")
    files = sorted((folder / "tiles").glob("*.fits"))

    def listed() -> Iterator[pa.RecordBatch]:
        return files_to_batches(list_files([str(file) for file in files], str(files[0].parent)))

    rows = run_plain(cutting(settings_of(files, "f32", 1, 32, None)), listed())
    kept = rows.filter(rows.column("cutout_id").is_valid()).column("pixels").to_pylist()
    pixels = np.frombuffer(b"".join(kept), np.uint8).reshape(-1, PX, PX)
    transform = _transform(folder)
    found = {}
    for precision in values.precision:
        int8 = _int8(folder, weights, pixels) if precision == "int8" else None
        settings = settings_of(files, precision, 1, 32, int8)
        network = resolve_network(settings.fingerprints, weights)
        (runtime,) = FingerprintSpec.from_network(network).load(str)
        ways = {
            "loop": lambda runtime=runtime: _loop(runtime, pixels),
            "run": lambda settings=settings, network=network: _run(settings, network, transform, listed),
            "rest": lambda settings=settings, network=network: _rest(settings, network, transform, listed),
        }
        for name in ("loop", "rest"):  # what is built once
            ways[name]()
        found[precision] = {name: _cpu(way) * 1e3 / len(pixels) for name, way in ways.items()}
    return found


def _cpu(way: Callable[[], None]) -> float:
    started = time.process_time()
    way()
    return time.process_time() - started


def _loop(runtime: Runtime, pixels: np.ndarray) -> None:
    for start in range(0, len(pixels), 32):
        runtime(pixels[start : start + 32])


def _run(
    settings: Any,
    network: ResolvedNetwork,
    transform: TransformFile,
    listed: Callable[[], Iterator[pa.RecordBatch]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        targets = tuple((table, str(Path(name) / table)) for table in _TABLES)
        for _, folder in targets:
            Path(folder).mkdir()
        stages: StageSpec = fingerprinting(settings, network, "", transform=transform)
        for _ in fuse(stages, WriteTablesSpec(targets)).build(str)(listed()):
            pass


def _rest(settings: Any, network: ResolvedNetwork, *others: Any) -> None:
    answers = np.random.default_rng(0).random((32, 2048), np.float32)
    kept = stage.get_runtime
    stage.get_runtime = lambda _: lambda windows: (answers[: len(windows)].copy(), None)  # type: ignore[assignment,misc]
    try:
        _run(settings, network, *others)
    finally:
        stage.get_runtime = kept


def _transform(folder: Path) -> TransformFile:
    """A transform of the size of a new catalog's, whatever it is fitted to: it costs the same."""
    rng = np.random.default_rng(0)
    vectors = rng.random((_PROTOTYPES, 2048), np.float32)
    copied = Copied(
        np.arange(AUTO_COPIES), vectors[:AUTO_COPIES] + rng.random((AUTO_COPIES, 2048), np.float32)
    )
    settings = TransformSettings(
        transform=AUTO_TRANSFORM, power=AUTO_POWER, copies=AUTO_COPIES, labels="units"
    )
    fitted = VectorTransform.fit(vectors, settings, copies=copied)
    return replace(fitted, prototypes=Prototypes(fitted.apply(vectors), 1.0)).save(folder)


def _int8(folder: Path, weights: Any, pixels: np.ndarray) -> str:
    """The network quantized for the first process, which all have: plain, whose speed is that of any."""
    note = folder / "int8.txt"
    if not note.exists():
        some = list(pixels[:: max(1, len(pixels) // 32)][:32])
        made = quantize(
            weights,
            some,
            method="plain",
            bias_correction="none",
            keep_precision="f32",
            cache=folder / "models",
        )
        note.write_text(made.path, encoding="utf-8")
    return note.read_text(encoding="utf-8")


if __name__ == "__main__":
    main()
