"""Images per second of each runtime and precision, against the plain Keras model.

Prints a table and one line of JSON. Each network runs on one thread, in turn, so that what else
the machine does hits all alike; rates are medians, of wall time and of processor time.

    python benchmarks/runtimes.py --batches 16 32 --rounds 5
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from elodin_spark.fingerprints.runtimes import NetworkSpec, factory, get_runtime
from elodin_spark.fingerprints.runtimes.cpu import bf16_instructions
from elodin_spark.fingerprints.runtimes.framework import load_keras
from elodin_spark.fingerprints.runtimes.network import load_model
from elodin_spark.fingerprints.runtimes.openvino import convert_network
from elodin_spark.fingerprints.runtimes.quantize import quantize
from elodin_spark.fingerprints.weights.resolve import resolve_weights

REFERENCE = "keras predict_on_batch f32, nothing folded"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--px", type=int, default=224, help="side of a window, px")
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 32], help="windows the network sees")
    parser.add_argument("--rounds", type=int, default=5, help="batches of each network")
    parser.add_argument("--calibration", type=int, default=16, help="windows to quantize with")
    values = parser.parse_args()
    print(json.dumps({"machine": machine(), "rows": measure(values)}))


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "bf16": bf16_instructions(),
        "load": os.getloadavg(),
        "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE"),
    }


def measure(values: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each network and size of batch."""
    factory._MOST_CACHED = 100  # all of them stay, to take turns
    weights = resolve_weights("random:0")
    windows = np.random.default_rng(0).integers(
        0, 256, (max(values.batches), values.px, values.px, 3), np.uint8
    )
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        converted = convert_network(weights, "resnet50", values.px)
        calibration = list(windows[: values.calibration])
        options = {"bias_correction": "none", "cache": Path(scratch)}  # of no matter for speed
        eight = quantize(weights, calibration, input_px=values.px, **options)
        kinds: list[tuple[Any, Any, Any]] = [("tensorflow", "f32", None), ("openvino", "f32", converted)]
        if bf16_instructions():
            kinds += [("tensorflow", "bf16", None), ("openvino", "bf16", converted)]
        kinds += [("openvino", "int8", eight)]
        for batch in values.batches:
            networks: dict[str, Callable[[], Any]] = {REFERENCE: plain(weights, windows[:batch])}
            for name, precision, model in kinds:
                spec = NetworkSpec(weights, "resnet50", values.px, batch, 1, name, precision, model)
                networks[f"{name} {precision}"] = lambda spec=spec, n=batch: get_runtime(spec)(windows[:n])
            rows += take_turns(networks, batch, values.rounds)
    return rows


def plain(weights: Any, windows: np.ndarray) -> Callable[[], Any]:
    """The peer: keras.applications as it is, on one thread."""
    keras = load_keras(1, ("tensorflow",))
    model = load_model(weights, "resnet50", windows.shape[1])
    preprocess = keras.applications.imagenet_utils.preprocess_input
    return lambda: model.predict_on_batch(preprocess(windows.astype(np.float32), mode="caffe"))


def take_turns(networks: dict[str, Callable[[], Any]], batch: int, rounds: int) -> list[dict[str, Any]]:
    """Rates of each network, one batch of each in turn."""
    wall: dict[str, list[float]] = {name: [] for name in networks}
    processor: dict[str, list[float]] = {name: [] for name in networks}
    for turn in range(rounds + 1):
        for name, run in networks.items():
            started, used = time.perf_counter(), time.process_time()
            run()
            if turn:  # the first one compiles
                wall[name].append(batch / (time.perf_counter() - started))
                processor[name].append(batch / (time.process_time() - used))
    rows = [
        {
            "network": name,
            "batch": batch,
            "per_second": round(statistics.median(wall[name]), 1),
            "per_processor_second": round(statistics.median(processor[name]), 1),
        }
        for name in networks
    ]
    for row in rows:
        ratio = row["per_processor_second"] / rows[0]["per_processor_second"]
        print(
            f"batch {batch:>3}  {row['network']:<44}{row['per_second']:>7.1f}/s wall"
            f"{row['per_processor_second']:>8.1f}/s processor  x{ratio:.2f}"
        )
    return rows


if __name__ == "__main__":
    main()
