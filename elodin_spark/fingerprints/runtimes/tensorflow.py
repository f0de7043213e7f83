"""The network in TensorFlow, on CPUs and on NVIDIA GPUs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.fingerprints.devices import chosen_device, on_device
from elodin_spark.fingerprints.runtimes.base import Run, RunFeatures, RunHead, Runtime, Vectors
from elodin_spark.fingerprints.runtimes.cpu import require_bf16
from elodin_spark.fingerprints.runtimes.framework import load_keras
from elodin_spark.fingerprints.runtimes.network import (
    as_list,
    load_folded,
    split_at_pooling,
    with_preprocessing,
)


class TensorFlowRuntime(Runtime):
    """A ``tf.function`` over the folded network.

    Measured against it on CPUs, freezing the variables into the graph gains nothing and costs
    their memory once more for each kind of window, and XLA is slower.
    """

    def _load(self) -> list[tuple[int, ...]]:
        load_keras(self.spec.threads, ("tensorflow",))
        import tensorflow as tf

        precision = self.spec.precision
        assert precision != "int8", "the settings refuse it"
        if precision == "bf16" and not tf.config.list_physical_devices("GPU"):
            require_bf16()
        spec = self.spec
        self._device = chosen_device()
        with on_device(tf, self._device):
            self._model = load_folded(spec.weights, spec.backbone, spec.input_px, precision, spec.layer)
        return [tuple(output.shape[1:]) for output in self._model.outputs]

    def _compile(self, channels: int) -> Run:
        import tensorflow as tf

        model = with_preprocessing(self._model, self.preprocessing, channels)
        side = self.spec.input_px
        signature = tf.TensorSpec((self.spec.batch_size, side, side, channels), tf.uint8)
        traced = tf.function(lambda pixels: as_list(model(pixels, training=False)), autograph=False)
        with on_device(tf, self._device):
            concrete = traced.get_concrete_function(signature)

        def run(batch: NDArray[np.uint8]) -> list[Vectors]:
            with on_device(tf, self._device):
                return [output.numpy() for output in concrete(tf.constant(batch))]

        return run

    def _compile_features(self, channels: int) -> RunFeatures:
        import tensorflow as tf

        model = with_preprocessing(split_at_pooling(self._model)[0], self.preprocessing, channels)
        traced = tf.function(lambda pixels: model(pixels, training=False), autograph=False)
        with on_device(tf, self._device):
            concrete = traced.get_concrete_function(tf.TensorSpec((1, None, None, channels), tf.uint8))

        def run(pixels: NDArray[np.uint8]) -> Vectors:
            with on_device(tf, self._device):
                return concrete(tf.constant(pixels[None])).numpy()[0]

        return run

    def _compile_head(self) -> RunHead:
        import tensorflow as tf

        head = split_at_pooling(self._model)[1]
        assert head is not None, "asked for where there is one"

        def run(vectors: Vectors) -> Vectors:
            with on_device(tf, self._device):
                return head(tf.constant(vectors), training=False).numpy()

        return run


def freeze(model: Any) -> bytes:
    """A network as a TensorFlow ``GraphDef`` with its variables as constants.

    Parameters
    ----------
    model : keras.Model
        On the TensorFlow backend, of one input, float32 (n, px, px, 3).

    Returns
    -------
    bytes
        Serialized, from ``windows``, float32 (any, px, px, 3), to the outputs of `model`.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    signature = tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.float32, name="windows")
    function = tf.function(lambda windows: model(windows, training=False), autograph=False)
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(signature))
    return frozen.graph.as_graph_def().SerializeToString()
