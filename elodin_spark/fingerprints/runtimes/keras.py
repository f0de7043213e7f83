"""The network in Keras on JAX or PyTorch, compiled by the backend, for GPU nodes without TensorFlow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elodin_spark.fingerprints.runtimes.base import Run, RunFeatures, RunHead, Runtime, Vectors
from elodin_spark.fingerprints.runtimes.cpu import gpu_visible, require_bf16
from elodin_spark.fingerprints.runtimes.framework import load_keras
from elodin_spark.fingerprints.runtimes.network import (
    as_list,
    load_folded,
    split_at_pooling,
    with_preprocessing,
)

#: JAX first: its programs are compiled as a whole.
KERAS_BACKENDS = ("jax", "torch", "tensorflow")


class KerasRuntime(Runtime):
    """``predict_on_batch`` of the folded network: a compiled program on JAX.

    ``KERAS_BACKEND`` chooses between the backends that are installed; without it JAX comes
    first. On a GPU the backend finds, the network runs there.
    """

    def _load(self) -> list[tuple[int, ...]]:
        load_keras(self.spec.threads, KERAS_BACKENDS)
        spec = self.spec
        assert spec.precision != "int8", "the settings refuse it"
        if spec.precision == "bf16" and not gpu_visible():
            require_bf16()
        self._model = load_folded(spec.weights, spec.backbone, spec.input_px, spec.precision, spec.layer)
        return [tuple(output.shape[1:]) for output in self._model.outputs]

    def _compile(self, channels: int) -> Run:
        model = with_preprocessing(self._model, self.preprocessing, channels)

        def run(batch: NDArray[np.uint8]) -> list[Vectors]:
            return [np.asarray(output, np.float32) for output in as_list(model.predict_on_batch(batch))]

        return run

    def _compile_features(self, channels: int) -> RunFeatures:
        model = with_preprocessing(split_at_pooling(self._model)[0], self.preprocessing, channels)
        return lambda pixels: np.asarray(model.predict_on_batch(pixels[None]), np.float32)[0]

    def _compile_head(self) -> RunHead:
        head = split_at_pooling(self._model)[1]
        assert head is not None, "asked for where there is one"
        return lambda vectors: np.asarray(head.predict_on_batch(vectors), np.float32)
