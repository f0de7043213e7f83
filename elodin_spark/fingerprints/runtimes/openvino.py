"""The network in OpenVINO, on CPUs. The workers need neither TensorFlow nor Keras.

The driver converts the network once to OpenVINO's own format: Keras to a frozen TensorFlow graph
to an ``.xml`` and a ``.bin``, from preprocessed float32 windows to the outputs. The preprocessing
and the size of the batch are put to it when it is loaded.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.errors import WeightsError, import_extra
from elodin_spark.fingerprints.runtimes.base import Run, RunFeatures, RunHead, Runtime, Vectors
from elodin_spark.fingerprints.runtimes.cpu import require_bf16
from elodin_spark.fingerprints.runtimes.modelfile import ModelFile, digest_files
from elodin_spark.fingerprints.weights.cache import default_cache, new_file
from elodin_spark.fingerprints.weights.types import Weights

#: Part of the cache key of converted networks: raise it when :func:`_convert` changes.
CONVERSION_VERSION = 1

#: Where a model says what it was made from.
_NOTE = "elodin_spark"


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Import something of OpenVINO's without the package by which it reports its use to its makers.

    It does so when it is imported, unless it was told otherwise, and does without that package.
    """
    with _without("openvino_telemetry"):
        yield


@contextmanager
def _without(name: str) -> Iterator[None]:
    """Let a module that is not imported yet be none."""
    before = sys.modules.get(name, ...)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is ...:
            del sys.modules[name]
        else:
            sys.modules[name] = before  # type: ignore[assignment]


#: What OpenVINO converts models of others with: most of the time that importing it takes.
_CONVERTER = "openvino.tools.ovc"


@cache
def load_openvino() -> Any:
    """Import OpenVINO.

    Raises
    ------
    MissingDependencyError
        It is not installed.
    """
    with without_telemetry(), _without(_CONVERTER):
        openvino = import_extra(
            "openvino", "fingerprints.runtime openvino", instead="set fingerprints.runtime=tensorflow"
        )
    if not hasattr(openvino, "convert_model"):
        openvino.__getattr__ = _with_converter  # for whoever else uses it in this process
    return openvino


def _with_converter(name: str) -> Any:
    """What ``openvino`` has when it is imported with its converter, imported when it is asked for."""
    if name != "convert_model":
        raise AttributeError(f"module 'openvino' has no attribute {name!r}")
    with without_telemetry():
        return importlib.import_module(_CONVERTER).convert_model


class OpenVINORuntime(Runtime):
    """A compiled OpenVINO model on the CPU, one stream."""

    def _load(self) -> list[tuple[int, ...]]:
        openvino = load_openvino()
        spec = self.spec
        if spec.model is None:
            raise ValueError("runtime openvino needs the converted network: see convert_network")
        made_for = (spec.model.weights_sha256, spec.model.input_px, spec.model.layer)
        if made_for != (spec.weights.sha256, spec.input_px, spec.layer):
            raise WeightsError(
                f"{spec.model.path} was made from other weights than {spec.weights.name}, or is not for "
                f"windows of {spec.input_px} px and layer {spec.layer or 'last'}: convert the network again"
            )
        spec.model.check()
        self._precision = spec.model.float_precision if spec.model.quantized else spec.precision
        if self._precision == "bf16":
            require_bf16()
        self._core = openvino.Core()
        self._model = _read(self._core, spec.model.path)
        return [tuple(output.partial_shape.to_shape()[1:]) for output in fix_batch(self._model, 1).outputs]

    def _compile(self, channels: int) -> Run:
        model = _read(self._core, self.spec.model.path)  # type: ignore[union-attr]
        fix_batch(model, self.spec.batch_size)
        side = self.spec.input_px
        shape = [self.spec.batch_size, side, side, channels]
        request = self._request(self._with_preprocessing(model, shape))

        def run(batch: NDArray[np.uint8]) -> list[Vectors]:
            # Views of the memory of the request, which the caller copies before the next batch.
            request.infer([batch], share_inputs=True)
            return [tensor.data for tensor in request.output_tensors]

        return run

    def _compile_features(self, channels: int) -> RunFeatures:
        openvino = load_openvino()
        model = _read(self._core, self.spec.model.path)  # type: ignore[union-attr]
        pooling = _pooling(model)
        axes = pooling.input_value(1).get_node().data.ravel().tolist()
        body = openvino.Model([pooling.input_value(0)], model.get_parameters(), "features")
        body.reshape([1, -1, -1, 3])
        request = self._request(self._with_preprocessing(body, [1, -1, -1, channels]))

        def run(pixels: NDArray[np.uint8]) -> Vectors:
            request.infer([pixels[None]], share_inputs=True)
            found = request.output_tensors[0].data[0]
            # What is pooled are its rows and columns; behind the channels in OpenVINO's own layout.
            return np.array(found if axes == [1, 2] else np.moveaxis(found, 0, -1), np.float32, order="C")

        return run

    def _compile_head(self) -> RunHead:
        openvino = load_openvino()
        from openvino import opset13 as ops

        model = _read(self._core, self.spec.model.path)  # type: ignore[union-attr]
        vectors = ops.parameter([-1, self.output_shapes[0][0]], np.float32, name="vectors")
        _pooling(model).output(0).replace(vectors.output(0))
        head = openvino.Model([model.outputs[1].get_node()], [vectors], "head")
        request = self._request(head)

        def run(values: Vectors) -> Vectors:
            request.infer([values], share_inputs=True)
            return np.array(request.output_tensors[0].data)

        return run

    def _request(self, model: Any) -> Any:
        return compile_on_cpu(model, self._precision, self.spec.threads)

    def _with_preprocessing(self, model: Any, shape: list[int]) -> Any:
        openvino, preprocessing = load_openvino(), self.preprocessing
        from openvino import opset13 as ops

        channels = shape[-1]
        pixels = ops.parameter(shape, np.uint8, name="pixels")
        values = ops.convert(pixels, "f32")
        if preprocessing.bgr and channels == 3:
            values = ops.gather(values, np.array([2, 1, 0]), np.int64(3))
        values = ops.subtract(values, np.array(preprocessing.mean, np.float32).reshape(1, 1, 1, 3))
        if preprocessing.scale != (1.0, 1.0, 1.0):
            values = ops.multiply(values, np.array(preprocessing.scale, np.float32).reshape(1, 1, 1, 3))
        model.input(0).replace(values.output(0))
        return openvino.Model([result.get_node() for result in model.outputs], [pixels], "fingerprints")


def compile_on_cpu(model: Any, precision: str, threads: int) -> Any:
    """Request of a model for the CPU, one stream; `precision` is of what is not quantized."""
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        # Each of several workers would bind its thread to the same core.
        "ENABLE_CPU_PINNING": False,
    }
    return load_openvino().Core().compile_model(model, "CPU", settings).create_infer_request()


def convert_network(
    weights: Weights, backbone: str, input_px: int, cache: Path | None = None, *, layer: str | None = None
) -> ModelFile:
    """Convert a network for OpenVINO, or find what an earlier call converted.

    Parameters
    ----------
    weights : Weights
    backbone : str
        A name in :data:`~elodin_spark.config.backbones.BACKBONES`.
    input_px : int
        Side of its input, px.
    cache : Path, optional
        Folder to keep it in; by default ``models`` beside the weights'.
    layer : str, optional
        Whose output is the vector.

    Returns
    -------
    ModelFile
        In f32, from preprocessed float32 windows (n, input_px, input_px, 3).

    Raises
    ------
    MissingDependencyError
        OpenVINO, or TensorFlow where it has yet to be converted, is not installed.
    WeightsError
        The weights cannot be read, or the cache cannot be written.
    """
    openvino = load_openvino()
    folder = model_cache() if cache is None else cache
    version = openvino.__version__.split("-")[0]
    name = backbone if layer is None else f"{backbone}-{layer.replace('/', '_')}"
    note = folder / f"{weights.sha256[:16]}-{name}-{input_px}-{version}-v{CONVERSION_VERSION}.json"
    try:
        known = ModelFile(**json.loads(note.read_text(encoding="utf-8")))
        known.check()
        return known
    except (OSError, ValueError, TypeError, WeightsError):
        pass  # no note, or what it names is gone: converted anew
    content: dict[str, Any] = {"weights_sha256": weights.sha256, "backbone": backbone, "input_px": input_px}
    if layer is not None:
        content["layer"] = layer
    found = store_model(_convert(weights, backbone, input_px, layer), content, folder)
    with new_file(note) as temporary:
        temporary.write_text(json.dumps(vars(found)), encoding="utf-8")
    return found


def model_cache() -> Path:
    """Folder of converted networks, beside that of the weights."""
    return default_cache().parent / "models"


def _convert(weights: Weights, backbone: str, input_px: int, layer: str | None) -> Any:
    from elodin_spark.fingerprints.runtimes.framework import load_keras
    from elodin_spark.fingerprints.runtimes.network import load_folded
    from elodin_spark.fingerprints.runtimes.tensorflow import freeze

    openvino = load_openvino()
    load_keras(None, ("tensorflow",))
    network = load_folded(weights, backbone, input_px, layer=layer)
    with tempfile.TemporaryDirectory() as scratch:
        # From a file: OpenVINO reads a frozen graph, not a SavedModel of Keras 3.
        graph = Path(scratch) / "frozen.pb"
        graph.write_bytes(freeze(network))
        model = openvino.Core().read_model(graph)
        _name_layers(model, network)
        return model


#: Operations that carry a kernel, and the name of their Keras layer.
CARRIERS = ("Convolution", "GroupConvolution", "MatMul")


def _name_layers(model: Any, network: Any) -> None:
    """Name each convolution and product by its Keras layer."""
    kernels = {
        _digest(layer.kernel.numpy()): layer.name for layer in network.layers if hasattr(layer, "kernel")
    }
    for node in model.get_ordered_ops():
        if node.get_type_name() in CARRIERS:
            constant = node.input_value(1).get_node()
            if constant.get_type_name() == "Constant" and (name := kernels.get(_digest(constant.data))):
                node.set_friendly_name(name)


def _number_others(model: Any) -> None:
    """Name every other operation by its place.

    OpenVINO numbers what it makes through the process: the same network would have other names,
    and its file another hash, the next time.
    """
    for number, node in enumerate(model.get_ordered_ops()):
        kind = node.get_type_name()
        if kind not in CARRIERS:
            node.set_friendly_name(f"{kind}_{number}")


def _digest(kernel: NDArray[np.float32]) -> str:
    """Name a kernel whatever the order of its axes."""
    return hashlib.sha256(np.sort(np.asarray(kernel, np.float32), axis=None).data).hexdigest()


def store_model(model: Any, content: Mapping[str, Any], folder: Path) -> ModelFile:
    """Write a model under the name of its hash, with a note of what it was made from.

    Parameters
    ----------
    model : openvino.Model
    content : mapping
        Fields of :class:`ModelFile`, without `path` and `sha256`.
    folder : Path

    Returns
    -------
    ModelFile

    Raises
    ------
    WeightsError
        The folder cannot be written.
    """
    openvino = load_openvino()
    _number_others(model)
    model.set_rt_info(json.dumps(dict(content), sort_keys=True), [_NOTE])
    with new_file(folder / "model.xml", keep=False) as scratch:
        openvino.save_model(model, scratch, compress_to_fp16=False)
        files = scratch, scratch.with_suffix(".bin")
        sha256 = digest_files(tuple(str(file) for file in files))
        path = folder / f"{sha256}.xml"
        # The .xml last: where it is, its .bin is.
        files[1].replace(path.with_suffix(".bin"))
        files[0].replace(path)
    return ModelFile(str(path), sha256, **content)


def read_model_file(path: str | Path) -> ModelFile:
    """What a model that :func:`store_model` wrote says about itself.

    Raises
    ------
    WeightsError
        There is none, or it was written by something else.
    """
    openvino = load_openvino()
    files = str(Path(path).expanduser()), str(Path(path).expanduser().with_suffix(".bin"))
    try:
        digest = digest_files(files)
        note = _read(openvino.Core(), files[0]).get_rt_info([_NOTE]).astype(str)
        return ModelFile(files[0], digest, **json.loads(note))
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{path} is not a network that elodin_spark quantized ({str(error).splitlines()[0]}): give the "
            ".xml that quantize() wrote, with its .bin beside it"
        ) from error


def adopt_model(path: str | Path, cache: Path | None = None) -> ModelFile:
    """:func:`read_model_file`, copied to the cache under a name that no other file has.

    Spark ships files by their names alone.
    """
    model = read_model_file(path)
    target = (model_cache() if cache is None else cache) / f"{model.sha256}.xml"
    if not (target.is_file() and target.with_suffix(".bin").is_file()):
        for source, kept in zip(reversed(model.files), (target.with_suffix(".bin"), target), strict=True):
            with new_file(kept) as temporary:
                shutil.copyfile(source, temporary)
    return replace(model, path=str(target))


def _read(core: Any, path: str) -> Any:
    try:
        return core.read_model(path)
    except RuntimeError as error:
        raise WeightsError(f"the converted network {path} cannot be read: {error}") from error


def _pooling(model: Any) -> Any:
    """The operation whose output is the vector."""
    return [node for node in model.get_ordered_ops() if node.get_type_name() == "ReduceMean"][-1]


def fix_batch(model: Any, size: int) -> Any:
    """Give a model a fixed size of batch."""
    shape = model.input(0).partial_shape
    shape[0] = size
    model.reshape(shape)
    return model
