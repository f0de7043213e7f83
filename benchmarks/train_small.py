"""A network trained for minutes on simulated cutouts, for benchmarks that random weights would mislead.

Draws objects of the simulated survey one by one, with its seeing and noise, stretches them as cutouts
are, and trains ResNet50 to tell their types apart. The same arguments give the same cutouts; the
training repeats itself as far as TensorFlow does. Writes Keras weights that ``fingerprints.weights`` takes.

    python benchmarks/train_small.py /tmp/simulated.weights.h5 --steps 150
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import galsim
import numpy as np
from numpy.typing import NDArray

from elodin_spark.cutouts.stretch import fit_asinh
from elodin_spark.datasets.layout import FAINT_TYPES, PIXEL_SCALE_ARCSEC, SKY_TYPES
from elodin_spark.datasets.sky import Conditions
from elodin_spark.datasets.sources import draw_source
from elodin_spark.fingerprints.backbones import build_model, preprocessing_of
from elodin_spark.fingerprints.runtimes.framework import load_keras

#: Classes of the network.
TYPES = (*SKY_TYPES, *FAINT_TYPES)


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path, help="file to write, .weights.h5")
    parser.add_argument("--px", type=int, default=64, help="side of a cutout")
    parser.add_argument("--cutouts", type=int, default=1800, help="drawn; shown again, flipped and turned")
    parser.add_argument("--steps", type=int, default=150, help="of the training")
    parser.add_argument("--batch", type=int, default=32, help="cutouts of a step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    values = parser.parse_args()
    train(values)


def simulated_cutouts(count: int, px: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw `count` cutouts, shape (count, px, px), of each type in turn, and their types."""
    windows = np.empty((count, px, px), np.uint8)
    types = np.arange(count) % len(TYPES)
    for i, kind in enumerate(types):
        rng = np.random.default_rng([seed, i])
        conditions = Conditions.draw(rng)
        light = galsim.Convolve(draw_source(TYPES[kind], rng).profile, conditions.psf())
        # About the middle, where a window on a detected source has it.
        dx, dy = rng.uniform(-2, 2, 2)
        stamp = light.drawImage(nx=px, ny=px, scale=PIXEL_SCALE_ARCSEC, offset=(dx, dy), dtype=np.float32)
        pixels = stamp.array
        conditions.add_noise(pixels, rng)
        levels = fit_asinh(pixels)
        windows[i] = 0 if levels is None else np.rint(levels.apply(pixels) * 255)
    return windows, types


def train(values: argparse.Namespace) -> None:
    """Train on cutouts that are flipped and turned at random, and say how well it does on others."""
    started = time.perf_counter()
    windows, types = simulated_cutouts(values.cutouts, values.px, values.seed)
    others, expected = simulated_cutouts(values.cutouts // 6, values.px, values.seed + 1)
    print(f"{len(windows)} cutouts drawn in {time.perf_counter() - started:.0f} s", flush=True)
    keras = load_keras(values.threads, ("tensorflow",))
    keras.utils.set_random_seed(values.seed)
    model = build_model("resnet50", values.px, len(TYPES))
    learner = keras.Model(model.inputs[0], model.outputs[1])
    rates = keras.optimizers.schedules.CosineDecay(0.0, values.steps, warmup_target=1e-3, warmup_steps=15)
    loss = "sparse_categorical_crossentropy"
    learner.compile(keras.optimizers.AdamW(rates), loss, metrics=["accuracy"])
    # So few steps leave the running means of the normalizations behind.
    for layer in learner.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
    preprocess = preprocessing_of("resnet50")
    rng = np.random.default_rng(values.seed)
    for step in range(1, values.steps + 1):
        chosen = rng.choice(len(windows), values.batch, replace=False)
        batch = np.stack([np.rot90(windows[i], rng.integers(4)) for i in chosen])
        if rng.random() < 0.5:
            batch = batch[:, :, ::-1]
        loss, right = learner.train_on_batch(preprocess(np.ascontiguousarray(batch)), types[chosen])
        if step % 25 == 0:
            print(f"step {step}: loss {loss:.3f}, accuracy {right:.2f} (running)", flush=True)
    guessed = learner.predict(preprocess(others), batch_size=64, verbose=0).argmax(axis=1)
    model.save_weights(values.out)
    print(
        f"accuracy on other cutouts {(guessed == expected).mean():.2f}, of {len(TYPES)} types; "
        f"{values.out}, {time.perf_counter() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
