"""Steps of a self-supervised training by one backend of Keras: views per second.

Views are made before the clock; what remains is the network, its losses and its optimizer. Run it once
for each backend, on a machine that does nothing else:

    for backend in tensorflow jax torch; do KERAS_BACKEND=$backend python benchmarks/pretrain.py --px 64; done
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from machine import machine, report

from elodin_spark.config.pretrain import PretrainSettings
from elodin_spark.datasets.stamps import SHAPES, draw_stamps
from elodin_spark.learning.batches import view_batches
from elodin_spark.learning.pretrain import learning_rate
from elodin_spark.learning.pretrainmodel import PretrainModel
from elodin_spark.learning.stamppool import KINDS


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--px", type=int, nargs="+", default=[64], help="sides of the views")
    parser.add_argument("--precision", choices=("bf16", "f32"), nargs="+", default=["bf16", "f32"])
    parser.add_argument("--stamps", type=int, default=64, help="cutouts of a step, of two views each")
    parser.add_argument("--steps", type=int, default=5, help="measured, after two that are not")
    parser.add_argument("--frozen", type=int, default=0, help="first stages that stay as they are")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true")
    values = parser.parse_args()
    rows = [measure(values, px, precision) for px in values.px for precision in values.precision]
    versions = machine("keras", "tensorflow", "tensorflow-cpu", "jax", "torch")
    report({"machine": versions}, rows, as_json=values.json)


def measure(values: argparse.Namespace, px: int, precision: str) -> dict[str, object]:
    """Median views per second of one size and precision."""
    settings = PretrainSettings.model_validate(
        {
            "stretches": [{"px": px, "steps": values.steps + 2}],
            "cutouts": 0,
            "stamps": values.stamps,
            "precision": precision,
            "frozen": values.frozen,
            "start": "survey" if values.frozen else None,
        }
    )
    model = PretrainModel(settings, len(KINDS), len(SHAPES), learning_rate(settings), threads=values.threads)
    taken = []
    for batch in list(view_batches(None, draw_stamps(0, values.stamps, 96, 0), settings)):
        started = time.perf_counter()
        losses = model.step(batch)
        taken.append(time.perf_counter() - started)
        assert np.isfinite(losses["loss"])
    speed = 2 * values.stamps / statistics.median(taken[2:])
    return {"backend": model.backend, "px": px, "precision": precision, "views/s": round(speed, 1)}


if __name__ == "__main__":
    main()
