"""Fingerprints a second of ResNet50 on a GPU, and how near that is to what its matrix units do.

    KERAS_BACKEND=jax python benchmarks/fingerprint_gpu.py --batches 64 128 256 512 1024

Needs Keras on JAX or PyTorch, and NumPy; neither Spark nor TensorFlow. Where the network of elodin_spark can
be imported (its settings need pydantic) it is taken, with its normalizations folded into the
convolutions; otherwise ``keras.applications.ResNet50`` as it is. Weights are random.

Windows come from the host's memory as uint8 and go back as pooled float32 vectors; scaling and the network
are on the device. The next batch is on its way while one is worked on, and each batch is given
back only after the next has been asked for. On JAX the program is compiled as a whole (``jit``); the memory
of its input is not donated, for no output has its shape. On PyTorch the host's memory is pinned and
the copies run in a stream of their own.

The share of the roofline is 7.7 GFLOP a window (two for each multiply-add) over the rate of a large matrix
product of the same precision, measured in the same run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
from machine import machine, report

PX = 224
GFLOP = 7.7
#: Mean of the channels blue, green, red that ResNet50 of Keras wants subtracted.
MEAN = (103.939, 116.779, 123.68)
TYPES = {"bf16": "bfloat16", "f32": "float32"}
#: Vectors of two sizes of batch may differ by this over the largest value.
CLOSE = {"bf16": 0.05, "f32": 1e-3}

#: From uint8 (n, px, px, 3) on the device to float32 (n, 2048).
Network = Callable[[Any], Any]


def build(precision: str, px: int) -> tuple[Any, bool]:
    """The network in Keras, from preprocessed pixels to vectors; whether normalizations are folded."""
    import keras

    base = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(px, px, 3), pooling="avg"
    )
    try:
        from elodin_spark.fingerprints.runtimes.network import fold_normalization
    except ImportError:
        policy = {"bf16": "mixed_bfloat16", "f32": "float32"}[precision]
        keras.config.set_dtype_policy(policy)
        again = keras.applications.ResNet50(
            include_top=False, weights=None, input_shape=(px, px, 3), pooling="avg"
        )
        keras.config.set_dtype_policy("float32")
        return again, False
    return fold_normalization(base, precision), True


class OnJax:
    """The network and a matrix product on JAX."""

    def __init__(self, device: str, precision: str, px: int) -> None:
        import jax

        self._jax, self._type = jax, TYPES[precision]
        self._device = jax.devices(device if device != "auto" else None)[0]
        self.name = f"{self._device.platform} {self._device.device_kind}"
        self.version = f"jax {jax.__version__}"
        with jax.default_device(self._device):
            model, self.folded = build(precision, px)
        values = [
            jax.device_put(variable.value, self._device)
            for variable in (*model.trainable_variables, *model.non_trainable_variables)
        ]
        trained = len(model.trainable_variables)
        mean = np.array(MEAN, np.float32)

        def run(values: list[Any], pixels: Any) -> Any:
            floats = pixels[..., ::-1].astype("float32") - mean
            found, _ = model.stateless_call(values[:trained], values[trained:], floats, training=False)
            return found.astype("float32")

        compiled = jax.jit(run)
        self._run: Network = lambda pixels: compiled(values, pixels)

    def rate_of_products(self, side: int, times: int) -> float:
        """FLOP a second of a product of two square matrices."""
        jax = self._jax
        left = jax.device_put(np.ones((side, side), np.float32), self._device).astype(self._type)
        product = jax.jit(lambda a: a @ a / side)
        product(left).block_until_ready()
        started = time.perf_counter()
        found = left
        for _ in range(times):
            found = product(found)
        found.block_until_ready()
        return 2.0 * side**3 * times / (time.perf_counter() - started)

    def vectors(self, batches: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Vectors of batches; two are on their way at a time."""
        put = self._jax.device_put
        waiting = None
        for batch in batches:
            found = self._run(put(batch, self._device))  # begun, not waited for
            found.copy_to_host_async()
            if waiting is not None:
                yield np.asarray(waiting)
            waiting = found
        if waiting is not None:
            yield np.asarray(waiting)


class OnTorch:
    """The network and a matrix product on PyTorch."""

    def __init__(self, device: str, precision: str, px: int) -> None:
        import torch

        self._torch, self._type = torch, getattr(torch, TYPES[precision])
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._device = torch.device({"gpu": "cuda"}.get(device, device))
        self._cuda = self._device.type == "cuda"
        self.name = torch.cuda.get_device_name() if self._cuda else "cpu"
        self.version = f"torch {torch.__version__}"
        with torch.device(self._device):
            model, self.folded = build(precision, px)
        mean = torch.tensor(MEAN, device=self._device)

        def run(pixels: Any) -> Any:
            with torch.no_grad():
                return model(pixels.flip(-1).float() - mean, training=False).float()

        self._run: Network = torch.compile(run) if self._cuda else run
        self._copies = torch.cuda.Stream() if self._cuda else None

    def rate_of_products(self, side: int, times: int) -> float:
        """FLOP a second of a product of two square matrices."""
        found = left = self._torch.ones((side, side), device=self._device, dtype=self._type)
        found = left @ left / side
        self._wait()
        started = time.perf_counter()
        for _ in range(times):
            found = found @ left / side
        self._wait()
        return 2.0 * side**3 * times / (time.perf_counter() - started)

    def _wait(self) -> None:
        if self._cuda:
            self._torch.cuda.synchronize()

    def _put(self, batch: np.ndarray) -> Any:
        tensor = self._torch.from_numpy(batch)
        if not self._cuda:
            return tensor
        with self._torch.cuda.stream(self._copies):
            there = tensor.pin_memory().to(self._device, non_blocking=True)
        self._torch.cuda.current_stream().wait_stream(self._copies)
        there.record_stream(self._torch.cuda.current_stream())
        return there

    def vectors(self, batches: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Vectors of batches; two are on their way at a time."""
        waiting = None
        for batch in batches:
            found = self._run(self._put(batch))
            if waiting is not None:
                yield waiting.cpu().numpy()
            waiting = found
        if waiting is not None:
            yield waiting.cpu().numpy()


def measure(values: argparse.Namespace) -> dict[str, Any]:
    """One row for each size of batch."""
    backend = os.environ["KERAS_BACKEND"]
    if backend not in ("jax", "torch"):
        raise SystemExit(f"KERAS_BACKEND is {backend}: set it to jax or torch")
    network: Any = (OnJax if backend == "jax" else OnTorch)(values.device, values.precision, values.px)
    rng = np.random.default_rng(0)
    windows = rng.integers(0, 256, (max(values.batches), values.px, values.px, 3), np.uint8)
    flop = GFLOP * 1e9 * (values.px / PX) ** 2
    (reference,) = network.vectors(iter([windows[: min(values.batches)]]))
    rows = []
    for size in values.batches:
        batch, rates, products = windows[:size], [], []
        count = max(2, -(-values.images // size))
        first = next(network.vectors(iter([batch])))  # compiles
        assert first.shape[0] == size
        assert np.isfinite(first).all()
        # Another size of batch may take other kernels, whose sums are ordered otherwise.
        error = np.abs(first[: len(reference)] - reference).max() / np.abs(reference).max()
        assert error < CLOSE[values.precision], f"batch {size}: vectors differ by {error}"
        for _ in range(values.repeats):
            started = time.perf_counter()
            done = sum(len(found) for found in network.vectors(batch for _ in range(count)))
            rates.append(done / (time.perf_counter() - started))
            products.append(network.rate_of_products(values.side, values.products))
        rate, peak = statistics.median(rates), statistics.median(products)
        rows.append(
            {
                "batch": size,
                "images/s": rate,
                "TFLOP/s": rate * flop / 1e12,
                "product, TFLOP/s": peak / 1e12,
                "share": rate * flop / peak,
            }
        )
    settings = {name: getattr(values, name) for name in ("px", "precision", "images", "repeats", "side")}
    settings |= {"backend": network.version, "device": network.name, "folded": network.folded}
    return {"machine": machine("keras", "jax", "torch", "numpy"), "settings": settings, "rows": rows}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 128, 256, 512, 1024])
    parser.add_argument("--images", type=int, default=8192, help="windows a repeat: two batches at least")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--px", type=int, default=PX, help="side of a window, px")
    parser.add_argument("--precision", choices=sorted(TYPES), default="bf16")
    parser.add_argument("--device", choices=("auto", "gpu", "cpu"), default="auto")
    parser.add_argument("--side", type=int, default=8192, help="of the matrices of the product")
    parser.add_argument("--products", type=int, default=20, help="of each repeat")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    values = parser.parse_args()
    result = measure(values)
    if not values.json:
        print(", ".join(f"{name} {value}" for name, value in result["settings"].items()))
    report(result, result["rows"], as_json=values.json)


if __name__ == "__main__":
    main()
