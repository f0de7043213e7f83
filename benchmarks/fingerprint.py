"""Fingerprints a second, six ways, on the same cores and the same images by turns.

    python benchmarks/fingerprint.py --repeats 3

(a) ``predict`` of Keras in an iterator pandas UDF, as guides to inference on Spark show it;
(b) ``predict_batch_udf`` of Spark with a ``tf.function``;
(c) the runtime of this package in a loop without Spark, pixels in memory, one process a core;
(d) ``fingerprint_udf`` over the DataFrame that (a) and (b) have, which Spark holds in memory;
(e) ``elodin-spark run`` from FITS files to the Parquet tables of a catalog, without index and figures;
(f) the same in dense mode, whose vectors are others.

(c), (d) and (e) are run in each precision, and the program stops unless their vectors are the same to the
bit. The tiles are simulated: float32, one channel, windows of 224 px every 96 px, as many in each as fill
whole batches, or the ways would differ in how many are padded. Settings are the defaults, thumbnails and
quality columns among them. Making a catalog, which compares the precisions on a sample, comes before the
clock: it is done once, however large the archive.

Every turn begins with processes of its own, which first do N1 windows, then the same again, then N2
windows. The start is the difference of the first two: the network built and compiled. The rate is
(N2 - N1) / (t2 - t1) with the medians of the turns: what a job costs however small it is (planning,
tasks, commits, in (a) and (b) a network for each partition) is told apart as the time of no windows. Rates
by CPU time, of the JVM, the driver and all workers together, are those of a core that nobody else uses.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from cutting import write_tiles
from fingerprint_ways import (
    PX,
    STEP_PX,
    FusedRun,
    Loop,
    OverFrame,
    Sizes,
    Vectors,
    Way,
    batch_udf,
    cut,
    frames_of,
    our_udf,
    plain_keras,
    settings_of,
)
from machine import machine, report

from elodin_spark.config.settings import Precision, SparkSettings
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.runtimes.cpu import bf16_instructions
from elodin_spark.fingerprints.runtimes.quantize import quantize
from elodin_spark.fingerprints.stage import FingerprintSpec
from elodin_spark.fingerprints.weights.resolve import resolve_weights
from elodin_spark.spark.session import session

#: Tiles a core of N1 and N2: of the peers, of slow networks, and of fast ones. A run deals its files to
#: three slices a core, so that N1 and N2 of ours are as many tasks of equal size.
TILES = {"peers": (1, 2), "f32": (3, 6), "bf16": (3, 9), "int8": (3, 9)}
CALIBRATION = 32
#: Vectors of the peers may differ by this from ours in f32, over the largest value.
CLOSE = 1e-3
PEERS = ("a", "b")
NETWORKS: tuple[Precision, ...] = get_args(Precision)


def measure(values: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run all ways by turns."""
    tiles = {kind: (n1 * values.cores, n2 * values.cores) for kind, (n1, n2) in TILES.items()}
    most = max(n2 for _, n2 in tiles.values())
    side = PX + STEP_PX * (values.across - 1)
    files = write_tiles(folder / "tiles", "float32", side, most).files
    sizes = Sizes(files, cut(files), values.cores, values.batch)
    turns: dict[tuple[str, str], list[dict[str, float]]] = {}
    answers: dict[tuple[str, str], Vectors] = {}
    with session(SparkSettings(master=f"local[{values.cores}]")) as spark:
        frames = frames_of(spark, sizes, folder, sorted(set(sum(tiles.values(), ()))))
        ways = make_ways(spark, sizes, frames, values, folder)
        for turn in range(values.repeats):
            for (precision, letter), way in ways.items():
                taken, answers[precision, letter] = take_turn(way, *amounts(letter, precision, tiles))
                way.stop()
                turns.setdefault((precision, letter), []).append(taken)
                print_turn(turn, precision, letter, taken, quiet=values.json or values.markdown)
            compare(answers)
    tile = sizes.windows.num_rows // len(files)
    rows = []
    for (precision, letter), found in turns.items():
        n1, n2 = (tile * count for count in amounts(letter, precision, tiles))
        rows.append(row(precision, letter, n1, n2, found))
    add_ratios(rows)
    settings = {name: getattr(values, name) for name in ("cores", "batch", "repeats")}
    settings |= {"tile side, px": side, "load": os.getloadavg()}
    settings |= {f"N1 and N2, {kind}": [tile * count for count in pair] for kind, pair in tiles.items()}
    packages = ("pyspark", "openvino", "tensorflow", "keras", "pyarrow", "pandas", "numpy")
    return {"machine": machine(*packages), "settings": settings, "rows": rows}


def amounts(letter: str, precision: str, tiles: dict[str, tuple[int, int]]) -> tuple[int, int]:
    """Tiles of N1 and N2."""
    return tiles["peers" if letter in PEERS else precision]


def make_ways(
    spark: Any, sizes: Sizes, frames: dict[int, Any], values: argparse.Namespace, folder: Path
) -> dict[tuple[str, str], Way]:
    """The ways, by precision and letter, in the order they take turns."""
    pixels = np.frombuffer(b"".join(sizes.windows.column("pixels").to_pylist()), np.uint8)
    pixels = pixels.reshape(-1, PX, PX)
    np.save(folder / "pixels.npy", pixels)
    weights, batch, int8 = resolve_weights("random:0"), values.batch, None
    if "int8" in values.precision:
        chosen = pixels[:: max(1, len(pixels) // CALIBRATION)][:CALIBRATION]
        others = "bf16" if bf16_instructions() else "f32"
        int8 = quantize(weights, list(chosen), keep_precision=others, cache=folder / "models").path
    ways: dict[tuple[str, str], Way] = {
        ("f32", "a"): OverFrame(spark, sizes, "a", frames, lambda: plain_keras(weights, batch)),
        ("f32", "b"): OverFrame(spark, sizes, "b", frames, lambda: batch_udf(weights, batch)),
    }
    for precision in values.precision:
        settings = settings_of(sizes.files, precision, values.cores, batch, int8)
        spec = FingerprintSpec.from_network(resolve_network(settings.fingerprints, weights))
        udf = functools.partial(our_udf, spark, precision, batch, int8)
        ways |= {
            (precision, "c"): Loop(sizes, spec, folder / "pixels.npy"),
            (precision, "d"): OverFrame(spark, sizes, f"d {precision}", frames, udf),
            (precision, "e"): FusedRun(spark, sizes, f"e {precision}", precision, int8, folder),
        }
        if precision != "int8":  # which dense mode has not
            dense = FusedRun(spark, sizes, f"f {precision}", precision, int8, folder, "dense")
            ways[precision, "f"] = dense
    return {(precision, letter): way for (precision, letter), way in ways.items() if letter in values.ways}


def take_turn(way: Way, small: int, large: int) -> tuple[dict[str, float], Vectors]:
    """Seconds of the start with a small amount of work, of that again, and of a large one; the vectors."""
    way.start()
    began = time.perf_counter()
    vectors = way.answers(small)
    taken = {"start": time.perf_counter() - began}
    for name, tiles in (("small", small), ("large", large)):
        taken[f"{name} cpu"], taken[name] = way.work(tiles)
    return taken, vectors


def compare(answers: dict[tuple[str, str], Vectors]) -> None:
    """Stop where ways have not the same vectors: ours of one precision to the bit, peers nearly."""
    for precision in {precision for precision, _ in answers}:
        found = {letter: way for (has, letter), way in answers.items() if has == precision}
        found.pop("f", None)  # another recipe
        first = next((letter for letter in found if letter not in PEERS), next(iter(found), ""))
        for letter, vectors in found.items():
            ids = sorted(vectors)  # of the first tiles: peers do fewer of them
            missing = set(found[first]) ^ set(ids) if letter not in PEERS else set(ids) - set(found[first])
            assert not missing, f"{NAMES[letter]} has other windows than {NAMES[first]}"
            truth = np.stack([found[first][i] for i in ids])
            error = np.abs(np.stack([vectors[i] for i in ids]) - truth).max()
            allowed = CLOSE * np.abs(truth).max() if letter in PEERS else 0.0
            assert error <= allowed, f"{NAMES[letter]}, {precision}: vectors differ by up to {error}"


def print_turn(turn: int, precision: str, letter: str, taken: dict[str, Any], *, quiet: bool) -> None:
    """One line for whoever waits."""
    if not quiet:
        times = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in taken.items())
        print(f"turn {turn + 1}, ({letter}) {precision}: {times}", flush=True)


NAMES = {
    "a": "(a) keras predict, pandas UDF",
    "b": "(b) tf.function, predict_batch_udf",
    "c": "(c) bare runtime, loop",
    "d": "(d) fingerprint_udf",
    "e": "(e) elodin-spark run, FITS to Parquet",
    "f": "(f) the same, dense mode",
}


def row(precision: str, letter: str, n1: int, n2: int, turns: list[dict[str, float]]) -> dict[str, Any]:
    """One line of the table."""
    median = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
    cpu = (median["large cpu"] - median["small cpu"]) / (n2 - n1)
    wall = (median["large"] - median["small"]) / (n2 - n1)
    return {
        "way": NAMES[letter],
        "precision": precision,
        # Too few images show no slope.
        "images/s of CPU": 1 / cpu if cpu > 0 else math.nan,
        "images/s, wall": 1 / wall if wall > 0 else math.nan,
        "no windows, s of CPU": median["large cpu"] - cpu * n2,
        "start, s": median["start"] - median["small"],
    }


def add_ratios(rows: list[dict[str, Any]]) -> None:
    """How many times as fast as (c) and (e) of the same precision and as (a), by CPU time."""
    rates = {(row["precision"], row["way"]): row["images/s of CPU"] for row in rows}
    for row in rows:
        loop = rates.get((row["precision"], NAMES["c"]))
        row["over (c)"] = row["images/s of CPU"] / loop if loop else math.nan
        keras = rates.get(("f32", NAMES["a"]))
        row["over (a)"] = row["images/s of CPU"] / keras if keras else math.nan
        fused = rates.get((row["precision"], NAMES["e"]))
        row["over (e)"] = row["images/s of CPU"] / fused if fused else math.nan


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    precisions = [p for p in ("int8", "bf16", "f32") if p != "bf16" or bf16_instructions()]
    parser.add_argument("--precision", nargs="+", default=precisions, choices=NETWORKS)
    parser.add_argument("--across", type=int, default=16, help="windows of a tile along a side")
    parser.add_argument("--repeats", type=int, default=3, help="turns of all ways")
    parser.add_argument("--cores", type=int, default=2, help="of Spark, and processes of the loop")
    parser.add_argument("--batch", type=int, default=32, help="windows the network sees")
    parser.add_argument("--ways", nargs="+", default=list(NAMES), choices=list(NAMES))
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument("--markdown", action="store_true", help="no line for each turn")
    values = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="elodin-fingerprint-") as folder:
        result = measure(values, Path(folder))
    report(result, result["rows"], as_json=values.json)


if __name__ == "__main__":
    main()
