"""The Keras network that all runtimes are fed: loaded, checked, folded, preprocessing included."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.backbones import get_backbone
from elodin_spark.config.base import near_misses
from elodin_spark.config.mistakes import of_network
from elodin_spark.config.settings import FingerprintsSettings
from elodin_spark.errors import ConfigError, WeightsError
from elodin_spark.fingerprints.backbones import Preprocessing, build_model, named_weights
from elodin_spark.fingerprints.efficientnetlite import LAYER_LENGTHS
from elodin_spark.fingerprints.runtimes.framework import load_keras
from elodin_spark.fingerprints.weights.types import Weights, digest_arrays

#: Name of what joins the vectors of several layers.
_JOINED = "joined_layers"


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
    found = digest_arrays({path: variable.numpy() for path, variable in named_weights(model).items()})
    if found != weights.sha256:
        raise WeightsError(
            f"{weights.path} holds other weights than {weights.name} (content {found[:12]}, expected "
            f"{weights.sha256[:12]}): delete that file and resolve the weights again"
        )
    return model


def load_folded(
    weights: Weights,
    backbone: str,
    input_px: int,
    precision: Literal["f32", "bf16"] = "f32",
    layer: str | None = None,
) -> Any:
    """:func:`load_model` up to `layer`, normalizations folded, in the precision asked for."""
    return fold_normalization(take_layer(load_model(weights, backbone, input_px), layer), precision)


def take_layer(model: Any, layer: str | None) -> Any:
    """Let the output of one layer, or of several joined, be the vector of a network.

    Parameters
    ----------
    model : keras.Model
        Of :func:`~elodin_spark.fingerprints.backbones.build_model`.
    layer : str or None
        Name of a layer, or of several joined by +; None leaves the network as it is.

    Returns
    -------
    keras.Model
        With the output of each layer, averaged over rows and columns where it has them, in place
        of the vector. The class probabilities, where there is a head, remain; without one,
        what stands behind the layer is gone.

    Raises
    ------
    ConfigError
        There is no such layer, or its output is neither a map nor a vector.
    """
    if layer is None:
        return model
    keras = load_keras()
    found = {item.name: item for item in model.layers if not isinstance(item, keras.layers.InputLayer)}
    names = layer.split("+")
    if len(set(names)) < len(names):
        raise ConfigError(f"fingerprints.layer: {layer!r} names a layer twice")
    parts = []
    for name in names:
        if name not in found:
            raise ConfigError(
                f"fingerprints.layer: {model.name} has no layer {name!r}; {near_misses(name, found)}"
            )
        part = found[name].output
        if len(part.shape) == 4:
            part = keras.layers.GlobalAveragePooling2D(name=f"pooled_{name}")(part)
        elif len(part.shape) != 2:
            raise ConfigError(
                f"fingerprints.layer: the output of {name!r} has shape {part.shape}; choose a layer of shape "
                "(n, height, width, channels) or (n, length)"
            )
        parts.append(part)
    vector = keras.layers.Concatenate(name=_JOINED)(parts) if len(parts) > 1 else parts[0]
    return keras.Model(model.inputs[0], [vector, *model.outputs[1:]], name=model.name)


#: Length of the averaged output of each block of the networks that the package has weights of.
_BLOCK_ENDS = {
    "resnet50": {
        f"conv{stage}_block{block}_out": 64 * 2**stage
        for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3))
        for block in range(1, blocks + 1)
    },
    "efficientnetlite0": LAYER_LENGTHS,
}


@cache
def layer_lengths(backbone: str, layer: str | None = None) -> tuple[int, ...]:
    """Lengths of the parts of the vectors of a network: of each layer joined.

    That needs Keras, except for the ends of blocks of the networks that the package has weights of.

    Raises
    ------
    ConfigError
        As :func:`take_layer`.
    """
    entry = get_backbone(backbone)
    if layer is None:
        return (entry.vector_length,)
    names, known = layer.split("+"), _BLOCK_ENDS.get(entry.name, {})
    if known.keys() >= set(names) and len(set(names)) == len(names):
        return tuple(known[name] for name in names)
    model = take_layer(build_model(backbone, entry.min_px, 2 if entry.head else None), layer)
    joined = as_list(model.get_layer(_JOINED).input) if "+" in layer else [model.outputs[0]]
    return tuple(int(part.shape[-1]) for part in joined)


def vector_length(backbone: str, layer: str | None = None) -> int:
    """Length of the vectors of a network, or of the layers that are joined; see :func:`layer_lengths`."""
    return sum(layer_lengths(backbone, layer))


def settings_lengths(settings: FingerprintsSettings) -> list[tuple[int, ...]]:
    """:func:`layer_lengths` of each network of settings, the first's first."""
    found = []
    for number, part in enumerate(settings.parts):
        with of_network(number):
            found.append(layer_lengths(part.backbone, part.layer))
    return found


def settings_vector_length(settings: FingerprintsSettings) -> int:
    """Length of the vectors that the networks of settings give, joined."""
    return sum(map(sum, settings_lengths(settings)))


def with_preprocessing(model: Any, preprocessing: Preprocessing, channels: int) -> Any:
    """Put the preprocessing before a network.

    Parameters
    ----------
    model : keras.Model
        Of one input, float32 (n, px, px, 3).
    preprocessing : Preprocessing
    channels : int
        1 or 3; one channel becomes three equal ones.

    Returns
    -------
    keras.Model
        From uint8 (n, px, px, channels), red, green and blue, to the outputs of `model`.
    """
    keras = load_keras()
    height, width = model.inputs[0].shape[1:3]
    pixels = keras.Input((height, width, channels), dtype="uint8")
    values = keras.ops.cast(pixels, "float32")
    if preprocessing.bgr and channels == 3:
        values = keras.ops.flip(values, axis=-1)
    # One channel becomes three by broadcasting against the mean.
    values = values - np.array(preprocessing.mean, np.float32)
    if preprocessing.scale != (1.0, 1.0, 1.0):
        values = values * np.array(preprocessing.scale, np.float32)
    return keras.Model(pixels, model(values))


def split_at_pooling(model: Any) -> tuple[Any, Any | None]:
    """Cut a network in two at its global pooling; both share its weights.

    Parameters
    ----------
    model : keras.Model
        Of :func:`load_folded`.

    Returns
    -------
    features : keras.Model
        From float32 (n, h, w, 3), already preprocessed, of any h and w, to what is pooled, float32
        (n, h / 32, w / 32, vector_length).
    head : keras.Model or None
        From vectors (n, vector_length) to scores (n, classes), for a network that has it.
    """
    keras = load_keras()
    pooled = as_list(model.outputs)[0]
    pooling = next(layer for layer in model.layers if layer.output is pooled)
    body = keras.Model(model.inputs[0], pooling.input)
    pixels = keras.Input((None, None, 3), dtype="float32")
    # The layers themselves, called anew: only the model around them insists on its size.
    unbound = keras.models.clone_model(body, input_tensors=pixels, clone_function=lambda layer: layer)
    features = keras.Model(pixels, keras.ops.cast(unbound.outputs[0], "float32"))
    if len(model.outputs) == 1:
        return features, None
    return features, keras.Model(pooled, model.outputs[1])


def as_list(outputs: Any) -> list[Any]:
    """Outputs of a network that may have one or several."""
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def fold_normalization(model: Any, precision: Literal["f32", "bf16"] = "f32") -> Any:
    """Copy a network with each batch normalization folded into the layer before it.

    At inference a normalization is a fixed scale and shift per channel, which the kernel and
    the bias of a convolution, a depthwise convolution or a dense layer can carry.

    Parameters
    ----------
    model : keras.Model
        Functional.
    precision : str
        Of the layers of the copy. In bf16 global pooling and the dense layers behind it, and the
        scaling of pixels, stay in float32.

    Returns
    -------
    keras.Model
        With the same answers up to rounding (in float32 about 1e-6 of the largest).
    """
    keras = load_keras()
    uses = Counter(id(tensor) for layer in model.layers for tensor in _inputs(layer))
    uses.update(id(tensor) for tensor in model.outputs)
    carriers = {
        id(layer.output): layer
        for layer in model.layers
        # Where somebody else reads the layer too, it must stay as it is.
        if _can_carry(layer, keras) and uses[id(layer.output)] == 1
    }
    folded = {
        layer.name: carriers[id(layer.input)]
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        and _called_once(layer)
        and id(layer.input) in carriers
        and layer.axis in (-1, len(layer.input.shape) - 1)
    }
    norms = {carrier.name: model.get_layer(name) for name, carrier in folded.items()}

    def clone(layer: Any) -> Any:
        if layer.name in folded:
            return keras.layers.Identity(name=layer.name, dtype=_layer_type(layer, precision))
        config = layer.get_config()
        if layer.name in norms:
            config["use_bias"] = True
        # A sum written with + is an operation, not a layer, and has no type of its own.
        has_type = isinstance(layer, keras.layers.Layer) and not isinstance(layer, keras.layers.InputLayer)
        if precision == "bf16" and has_type:
            config["dtype"] = _layer_type(layer, precision)
        return type(layer).from_config(config)

    # Normalizations were called with arguments (training, mask) that Identity does not take.
    copy = keras.models.clone_model(
        model, clone_function=clone, call_function=lambda layer, *args, **_: layer(*args)
    )
    for layer in model.layers:
        if layer.name in norms:
            copy.get_layer(layer.name).set_weights(_fold(layer, norms[layer.name], keras))
        elif layer.weights and layer.name not in folded:
            twin = copy.get_layer(layer.name)
            twin.set_weights(layer.get_weights())
            if isinstance(twin, keras.layers.Normalization):
                twin.finalize_state()
    return copy


def _layer_type(layer: Any, precision: str) -> str:
    kind = type(layer).__name__
    # Pixels, of which bfloat16 has too few steps, and what stands behind the features.
    exact = kind in ("Rescaling", "Normalization") or kind.startswith("Global") or layer.name == _JOINED
    last = exact or (kind == "Dense" and len(layer.input.shape) == 2)
    return "bfloat16" if precision == "bf16" and not last else "float32"


def _can_carry(layer: Any, keras: Any) -> bool:
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
    # A normalization after an activation cannot move before it.
    return type(layer) in kinds and _called_once(layer) and layer.activation is keras.activations.linear


def _called_once(layer: Any) -> bool:
    return len(layer._inbound_nodes) == 1


def _inputs(layer: Any) -> list[Any]:
    return [tensor for node in layer._inbound_nodes for tensor in node.input_tensors]


def _fold(layer: Any, norm: Any, keras: Any) -> list[NDArray[np.float32]]:
    kernel = layer.kernel.numpy().astype(np.float64)
    bias = layer.bias.numpy().astype(np.float64) if layer.use_bias else 0.0
    scale = 1.0 / np.sqrt(norm.moving_variance.numpy().astype(np.float64) + norm.epsilon)
    if norm.scale:
        scale = scale * norm.gamma.numpy()
    shift = (bias - norm.moving_mean.numpy()) * scale
    if norm.center:
        shift = shift + norm.beta.numpy()
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        # Its kernel ends in (input channels, channels made of each).
        scale = scale.reshape(kernel.shape[2:])
    return [(kernel * scale).astype(np.float32), shift.astype(np.float32)]
