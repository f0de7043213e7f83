"""What each precision keeps of the vectors and of the neighbors, and how fast it is.

Galaxies of the EFIGI catalog, whose classes are known, SDSS cutouts, and simulated ones, fingerprinted in
f32, bf16 and int8 as each method quantizes, calibrated with other cutouts of the same set; and windows of
an SDSS frame in dense mode against the same windows one by one. Networks take turns, one thread; rates are
by processor time. Prints a Markdown table, or JSON with --json.

    python benchmarks/train_small.py /tmp/simulated.weights.h5
    python benchmarks/precision.py --weights /tmp/simulated.weights.h5 --px 64 --data ../shared/data
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from machine import interleaved, machine, one_thread, report
from real_cutouts import Windows, efigi, sdss
from train_small import TYPES, simulated_cutouts

from elodin_spark.catalog.build.pipeline import fingerprinting
from elodin_spark.config.load import parse_settings
from elodin_spark.fingerprints.agreement import compare
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.runtimes import NetworkSpec, factory, get_runtime
from elodin_spark.fingerprints.runtimes.cpu import bf16_instructions
from elodin_spark.fingerprints.runtimes.modelfile import ModelFile
from elodin_spark.fingerprints.runtimes.openvino import convert_network
from elodin_spark.fingerprints.runtimes.quantize import quantize
from elodin_spark.fingerprints.weights.resolve import resolve_weights
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.stage import run_plain

#: How int8 is made: options of :func:`quantize`.
METHODS: dict[str, dict[str, Any]] = {
    "plain, fast bias correction": {"bias_correction": "fast"},
    "plain, no bias correction": {"bias_correction": "none"},
    "plain": {},
    "mixed, no bias correction": {"method": "mixed", "bias_correction": "none"},
    "mixed": {"method": "mixed"},
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="efigi/ and the others")
    parser.add_argument("--sets", nargs="+", default=["efigi", "sdss"], choices=sorted(READ))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), help="of int8")
    parser.add_argument("--weights", nargs="+", default=["random:0"], help="as fingerprints.weights")
    parser.add_argument("--px", type=int, default=64, help="side the network sees")
    parser.add_argument("--windows", type=int, default=512, help="measured on")
    parser.add_argument("--calibration", type=int, default=256, help="quantized with")
    parser.add_argument("--floor", type=float, default=0.9, help="of mixed")
    parser.add_argument("--repeats", type=int, default=3, help="turns for the rates")
    parser.add_argument("--dense-px", type=int, default=224, help="window of dense mode; 0: none")
    parser.add_argument("--json", action="store_true")
    values = parser.parse_args()
    one_thread()
    rows = [row for name in values.weights for row in of_weights(name, values)]
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(values).items()}
    result = {"machine": machine("openvino", "nncf", "keras", "tensorflow-cpu"), "settings": settings}
    report(result, rows, as_json=values.json)


def of_weights(name: str, values: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of one network."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        weights = resolve_weights(name, cache=folder / "weights")
        for archive in values.sets:
            windows, labels = READ[archive](values.data, values.px, values.windows + values.calibration)
            of_archive = sets(weights, archive, windows, labels, values, folder)
            rows += [{"network": weights.name, "cutouts": archive} | row for row in of_archive]
        if values.dense_px and (field := frame_of(values.data)) is not None:
            of_dense = dense(weights, field, values.dense_px, values.repeats)
            rows += [{"network": weights.name, "cutouts": "SDSS r frame"} | row for row in of_dense]
    return rows


def simulated(data: Path, px: int, count: int) -> tuple[Windows, list[str] | None]:
    """Objects drawn as those a small network is trained on, but others."""
    windows, types = simulated_cutouts(count, px, seed=7)
    order = np.random.default_rng(0).permutation(count)
    return windows[order], [TYPES[types[i]] for i in order]


READ: dict[str, Callable[[Path, int, int], tuple[Windows, list[str] | None]]] = {
    "efigi": efigi,
    "sdss": sdss,
    "simulated": simulated,
}


def sets(
    weights: Weights,
    archive: str,
    windows: Windows,
    labels: list[str] | None,
    values: argparse.Namespace,
    folder: Path,
) -> list[dict[str, Any]]:
    """f32, bf16 and each int8 on one set of cutouts."""
    factory._MOST_CACHED = 100  # all of them stay, to take turns
    sample, calibration = windows[: values.windows], list(windows[values.windows :])
    rest = "bf16" if bf16_instructions() else "f32"
    base = convert_network(weights, "resnet50", values.px, folder)
    models: dict[str, tuple[Any, ModelFile, float]] = {"f32": ("f32", base, 0.0)}
    if bf16_instructions():
        models["bf16"] = ("bf16", base, 0.0)
    for name in values.methods:
        started = time.perf_counter()
        model = quantize(
            weights,
            calibration,
            input_px=values.px,
            keep_precision=rest,  # type: ignore[arg-type]
            floor=values.floor,
            cache=folder,
            **METHODS[name],
        )
        models[f"int8, {name}"] = ("int8", model, time.perf_counter() - started)
        print(f"{archive}: int8, {name}: not quantized: {', '.join(model.kept) or 'none'}", file=sys.stderr)
    networks = {
        name: get_runtime(NetworkSpec(weights, "resnet50", values.px, 32, 1, "openvino", precision, model))
        for name, (precision, model, _) in models.items()
    }
    vectors = {name: network(sample)[0] for name, network in networks.items()}
    turn = sample[:128]
    seconds = interleaved(
        {name: partial(network, turn) for name, network in networks.items()}, values.repeats
    )
    judged = None if labels is None else labels[: values.windows]
    return [
        row(name, vectors["f32"], vectors[name], judged, len(turn) / seconds[name]["cpu"])
        | {"kept": len(model.kept), "made in, s": round(made)}
        for name, (_, model, made) in models.items()
    ]


def row(
    name: str, exact: Any, vectors: Any, labels: Sequence[str] | None, per_second: float
) -> dict[str, Any]:
    """One line of the table."""
    found = compare(exact, vectors, labels)
    return {
        "precision": name,
        "overlap of 10": round(found.overlap, 3),
        "centerd cosine": round(found.centerd_cosine, 4),
        "cosine": round(found.cosine, 5),
        "macro precision@10": "" if found.purity is None else round(found.purity, 3),
        "images/s of CPU": round(per_second),
    }


def frame_of(data: Path) -> Path | None:
    """The r frame of the SDSS field."""
    return next(iter(sorted((data / "sdss_field").glob("frame-r-*.fits.bz2"))), None)


def dense(weights: Weights, field: Path, px: int, repeats: int) -> list[dict[str, Any]]:
    """Windows of a frame one by one in f32, and from its features in f32 and bf16."""
    files = list_files([str(field)])
    step = max(32, px // 2 // 32 * 32)
    found = {}
    modes = [("f32, window by window", "f32", "window"), ("f32, dense", "f32", "dense")]
    if bf16_instructions():
        modes += [("bf16, window by window", "bf16", "window"), ("bf16, dense", "bf16", "dense")]
    work = {}
    for name, precision, mode in modes:
        settings = parse_settings(
            {
                "images": {"paths": str(field)},
                "cutouts": {
                    "generator": {"kind": "sliding_window", "size": px, "step": step, "edge": "drop"},
                    "thumbnail_px": 0,
                    "quality": {"measure": False},
                },
                "fingerprints": {"precision": precision, "mode": mode, "input_px": px, "runtime": "openvino"},
            }
        )
        spec = stages(settings, weights)
        work[name] = lambda spec=spec: run_plain(spec, files_to_batches(files))
        rows = work[name]()
        rows = rows.filter(rows.column("vector").is_valid()).sort_by("cutout_id")
        found[name] = np.array(rows.column("vector").to_pylist(), np.float32)
    seconds = interleaved(work, max(1, repeats - 2))
    first = found[modes[0][0]]
    return [
        row(name, first, vectors, None, len(first) / seconds[name]["cpu"]) | {"kept": 0, "made in, s": 0}
        for name, vectors in found.items()
    ]


def stages(settings: Any, weights: Weights) -> Any:
    """From files to vectors, in the mode of the settings."""
    return fingerprinting(settings, resolve_network(settings.fingerprints, weights), "benchmark")


if __name__ == "__main__":
    main()
