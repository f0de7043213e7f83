"""The network at work: uint8 windows to vectors. The only file that imports TensorFlow."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from elodin_spark.errors import ConfigError, MissingDependencyError, WeightsError
from elodin_spark.fingerprints.backbones import CAFFE_MEAN_BGR, build_model, get_backbone
from elodin_spark.fingerprints.weights import Weights, digest_arrays

Vectors = NDArray[np.float32]


def load_keras(threads: int | None = None) -> Any:
    """Import Keras on TensorFlow.

    Parameters
    ----------
    threads : int, optional
        Threads of one operation. It is a setting of the process that TensorFlow fixes on
        first use: where TensorFlow is already running, it stays as it was.

    Returns
    -------
    module
        ``keras``.

    Raises
    ------
    MissingDependencyError
        TensorFlow or Keras is not installed.
    ConfigError
        Keras is set to another backend, image layout or precision.
    """
    chosen = os.environ.get("KERAS_BACKEND", "tensorflow")
    if chosen != "tensorflow":
        raise ConfigError(
            f"KERAS_BACKEND is {chosen!r}, but fingerprints need TensorFlow: "
            "unset it, or set KERAS_BACKEND=tensorflow, before Python starts"
        )
    # The environment outranks ~/.keras/keras.json; neither is read again once Keras is imported.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with _quiet_start():
            import keras
            import tensorflow as tf

            tf.config.list_physical_devices()
    except ImportError as error:
        raise MissingDependencyError(
            f"fingerprints need TensorFlow and Keras ({error}): install elodin_spark with its requirements"
        ) from error
    if keras.config.backend() != "tensorflow":
        raise ConfigError(
            f"Keras was imported with backend {keras.config.backend()!r}: set KERAS_BACKEND=tensorflow"
        )
    state = (keras.config.image_data_format(), keras.config.floatx(), keras.config.dtype_policy().name)
    if state != ("channels_last", "float32", "float32"):
        raise ConfigError(
            f"Keras is set to {', '.join(state)}, but fingerprints need channels_last and float32: "
            "correct keras.json in its home folder (~/.keras) or the calls that changed it"
        )
    _configure(tf, threads)
    return keras


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Hold back what TensorFlow writes to standard error while it starts, unless it fails.

    Its C++ side announces itself there whatever TF_CPP_MIN_LOG_LEVEL says, once per worker.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # no standard error to hold back
        yield
        return
    with tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _configure(tf: Any, threads: int | None) -> None:
    try:
        if threads is not None and tf.config.threading.get_intra_op_parallelism_threads() != threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        for gpu in tf.config.list_physical_devices("GPU"):
            # Several workers may share a device: none may take all of its memory at once.
            if not tf.config.experimental.get_memory_growth(gpu):
                tf.config.experimental.set_memory_growth(gpu, True)
    except (RuntimeError, ValueError):
        # TensorFlow runs already, with the settings of whoever started it: slower or faster,
        # never another answer.
        pass
    # Same vector on a GPU as on a CPU: TF32 keeps 10 of the 23 bits of a float32.
    tf.config.experimental.enable_tensor_float_32_execution(False)


def resize_window(pixels: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Resize one window to a square, whatever its aspect ratio.

    Axes that shrink are averaged over areas, axes that grow are interpolated linearly.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width) or (height, width, 3)
    size_px : int
        Side of the result, px.

    Returns
    -------
    ndarray of uint8, shape (size_px, size_px) or (size_px, size_px, 3)
        `pixels` itself where it has that size already.
    """
    import cv2

    height, width = pixels.shape[:2]
    small = (min(height, size_px), min(width, size_px))
    resized: Any = pixels
    if small != (height, width):
        resized = cv2.resize(resized, small[::-1], interpolation=cv2.INTER_AREA)
    if small != (size_px, size_px):
        resized = cv2.resize(resized, (size_px, size_px), interpolation=cv2.INTER_LINEAR)
    return resized


class Runtime:
    """A network ready to run, with its weights.

    Normalisations are folded into the convolutions before them, which is faster and takes less
    memory than TensorFlow's own freezing of the graph, and equals the plain network to about
    1e-6. The batch size is fixed and shorter batches are padded, so a vector depends on its
    window only, not on its company. Grey and colour batches each have a graph over the same
    variables. Vectors of windows without structure (all zero, say) are ordinary ones: what the
    network gives for a flat image.

    Parameters
    ----------
    weights : Weights
        ``weights.path`` is a file on this machine.
    backbone : str
        A name in :data:`~elodin_spark.fingerprints.backbones.BACKBONES`.
    input_px : int
        Windows are resized to this side, px.
    batch_size : int
        Windows the network sees at once. Another batch size may change the last bits.
    threads : int
        Of one operation on the CPU; see :func:`load_keras`.

    Raises
    ------
    WeightsError
        The weights file is missing, damaged or not the one `weights` describes.
    ConfigError, MissingDependencyError
        As :func:`load_keras`.
    """

    #: How many were built in this process.
    builds: ClassVar[int] = 0

    def __init__(self, weights: Weights, backbone: str, input_px: int, batch_size: int, threads: int) -> None:
        self.weights = weights
        self.backbone = get_backbone(backbone)
        self.input_px = input_px
        self.batch_size = batch_size
        load_keras(threads)
        self._model = fold_normalization(load_model(weights, backbone, input_px))
        self._graphs: dict[int, Any] = {}
        Runtime.builds += 1

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[Vectors, Vectors | None]:
        """Fingerprint windows of one kind.

        Parameters
        ----------
        pixels : ndarray of uint8, shape (n, height, width) or (n, height, width, 3)
            Rows from y0 upwards; colours in the order red, green, blue.

        Returns
        -------
        vectors : ndarray of float32, shape (n, vector_length)
        scores : ndarray of float32, shape (n, classes), or None
            Class probabilities; None for weights without a head.

        Raises
        ------
        ValueError
            The array has another shape or type.
        """
        pixels = np.asarray(pixels)
        if (
            pixels.dtype != np.uint8
            or pixels.ndim not in (3, 4)
            or (pixels.ndim == 4 and pixels.shape[3] != 3)
        ):
            raise ValueError(
                f"pixels must be uint8 of shape (n, h, w) or (n, h, w, 3), got {pixels.dtype} {pixels.shape}"
            )
        count, channels, side = len(pixels), 1 if pixels.ndim == 3 else 3, self.input_px
        vectors = np.empty((count, self.backbone.vector_length), np.float32)
        classes = self.weights.classes
        scores = None if classes is None else np.empty((count, classes), np.float32)
        if count == 0:
            return vectors, scores
        if channels not in self._graphs:
            self._graphs[channels] = self._trace(channels)
        graph = self._graphs[channels]
        for start in range(0, count, self.batch_size):
            chunk = pixels[start : start + self.batch_size]
            batch = np.zeros((self.batch_size, side, side, channels), np.uint8)
            for i, window in enumerate(chunk):
                batch[i] = resize_window(window, side).reshape(side, side, channels)
            outputs = graph(batch)
            vectors[start : start + len(chunk)] = outputs[0].numpy()[: len(chunk)]
            if scores is not None:
                scores[start : start + len(chunk)] = outputs[1].numpy()[: len(chunk)]
        return vectors, scores

    def _trace(self, channels: int) -> Any:
        """Graph from uint8 (batch_size, px, px, channels) to the list of outputs."""
        import tensorflow as tf

        mean = tf.constant(CAFFE_MEAN_BGR, tf.float32)

        def forward(pixels: Any) -> list[Any]:
            # One channel becomes three by broadcasting against the mean.
            outputs = self._model(tf.cast(pixels[..., ::-1], tf.float32) - mean, training=False)
            return outputs if isinstance(outputs, list) else [outputs]

        shape = (self.batch_size, self.input_px, self.input_px, channels)
        concrete = tf.function(forward, autograph=False).get_concrete_function(tf.TensorSpec(shape, tf.uint8))
        return lambda batch: concrete(tf.constant(batch))


def load_model(weights: Weights, backbone: str, input_px: int) -> Any:
    """Build the network and load its weights, checked against their hash.

    Returns
    -------
    keras.Model
        As :func:`~elodin_spark.fingerprints.backbones.build_model`.

    Raises
    ------
    WeightsError
        The file is missing, damaged, or holds other weights.
    """
    model = build_model(backbone, input_px, weights.classes)
    try:
        model.load_weights(weights.path)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(
            f"weights {weights.name} cannot be read from {weights.path} ({reason}): "
            "delete that file and resolve the weights again"
        ) from error
    found = digest_arrays({variable.path: variable.numpy() for variable in model.variables})
    if found != weights.sha256:
        raise WeightsError(
            f"{weights.path} holds other weights than {weights.name} (content {found[:12]}, expected "
            f"{weights.sha256[:12]}): delete that file and resolve the weights again"
        )
    return model


def fold_normalization(model: Any) -> Any:
    """Copy a network with each batch normalisation folded into the convolution before it.

    At inference a normalisation is a fixed scale and shift per channel, which the kernel and
    the bias of the convolution can carry.

    Parameters
    ----------
    model : keras.Model
        Functional.

    Returns
    -------
    keras.Model
        With the same answers up to rounding (in float32 about 1e-6 of the largest).
    """
    keras = load_keras()
    uses = Counter(id(tensor) for layer in model.layers for tensor in _inputs(layer))
    convolutions = {
        id(layer.output): layer
        for layer in model.layers
        # Where somebody else reads the convolution too, it must stay as it is.
        if isinstance(layer, keras.layers.Conv2D) and uses[id(layer.output)] == 1
    }
    folded = {
        layer.name: convolutions[id(layer.input)]
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization) and id(layer.input) in convolutions
    }
    norms = {convolution.name: model.get_layer(name) for name, convolution in folded.items()}

    def clone(layer: Any) -> Any:
        if layer.name in folded:
            return keras.layers.Identity(name=layer.name)
        config = layer.get_config()
        if layer.name in norms:
            config["use_bias"] = True
        return type(layer).from_config(config)

    # Normalisations were called with arguments (training, mask) that Identity does not take.
    copy = keras.models.clone_model(
        model, clone_function=clone, call_function=lambda layer, *args, **_: layer(*args)
    )
    for layer in model.layers:
        if layer.name in norms:
            copy.get_layer(layer.name).set_weights(_fold(layer, norms[layer.name]))
        elif layer.weights and layer.name not in folded:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    return copy


def _inputs(layer: Any) -> list[Any]:
    return layer.input if isinstance(layer.input, list) else [layer.input]


def _fold(convolution: Any, norm: Any) -> list[NDArray[np.float32]]:
    kernel = convolution.kernel.numpy().astype(np.float64)
    bias = convolution.bias.numpy().astype(np.float64) if convolution.use_bias else 0.0
    scale = 1.0 / np.sqrt(norm.moving_variance.numpy().astype(np.float64) + norm.epsilon)
    if norm.scale:
        scale = scale * norm.gamma.numpy()
    shift = (bias - norm.moving_mean.numpy()) * scale
    if norm.center:
        shift = shift + norm.beta.numpy()
    return [(kernel * scale).astype(np.float32), shift.astype(np.float32)]


_MOST_CACHED = 2
_cache: OrderedDict[tuple[str, str, int, int, int], Runtime] = OrderedDict()
_cache_lock = threading.Lock()


def get_runtime(weights: Weights, backbone: str, input_px: int, batch_size: int, threads: int) -> Runtime:
    """:class:`Runtime` of this process, built when first asked for.

    It outlives the caller: a Python worker that serves many Spark tasks builds its network
    once. The two used last are kept. Parameters and errors are those of :class:`Runtime`.
    """
    key = (weights.sha256, backbone, input_px, batch_size, threads)
    with _cache_lock:
        if key not in _cache:
            _cache[key] = Runtime(weights, backbone, input_px, batch_size, threads)
            while len(_cache) > _MOST_CACHED:
                _cache.popitem(last=False)
        _cache.move_to_end(key)
        return _cache[key]
