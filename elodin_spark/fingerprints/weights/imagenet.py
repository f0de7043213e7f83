"""The ImageNet weights and class names that Keras downloads and keeps."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.backbones import Backbone
from elodin_spark.config.shipped import LITE
from elodin_spark.errors import WeightsError
from elodin_spark.fingerprints.backbones import build_model, named_weights
from elodin_spark.fingerprints.runtimes.framework import load_keras

log = logging.getLogger(__name__)

_CLASS_INDEX_URL = "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"
_CLASS_INDEX_MD5 = "c2c37ea517e94d9795004a39431a14cb"
_DOWNLOAD_TIMEOUT_S = 30.0
_CLASSES = 1000


def imagenet_arrays(backbone: Backbone) -> dict[str, NDArray[np.float32]]:
    """The weights that ``keras.applications`` downloads, as our network has them.

    Returns
    -------
    dict of str to ndarray of float32
        By ``layer/variable``, in the order of the network, with its head where it has one.

    Raises
    ------
    WeightsError
        They are not on this machine and cannot be downloaded, or Keras has none of the network.
    """
    if backbone.ours:
        raise WeightsError(
            f"weights imagenet are those of keras.applications, which does not have {backbone.title}: set "
            f"fingerprints.weights to {LITE}, which come with the package, to random:0 (not trained) or to a "
            "weights file"
        )
    keras = load_keras()
    constructor = getattr(keras.applications, backbone.title)
    pooled = {} if backbone.head else {"pooling": "avg"}
    try:
        with _download_timeout():
            model = constructor(weights="imagenet", include_top=backbone.head, **pooled)
    except Exception as error:  # Keras raises plain Exception where a download fails
        home = os.environ.get("KERAS_HOME", "~/.keras")
        raise WeightsError(
            f"the ImageNet weights of {backbone.title} could not be had: {error}. On a machine with "
            f"internet download {backbone.imagenet_url}, put it as {backbone.imagenet_file} into "
            f"{home}/models here and run again; or set fingerprints.weights to random:0 (not trained) "
            "or to a weights file"
        ) from error
    ours = build_model(backbone.name, backbone.input_px, _CLASSES if backbone.head else None)
    # By their order, not by name: Keras calls the head of each network otherwise, and that of
    # MobileNet is a dense layer written as a convolution of one pixel.
    arrays = {
        path: theirs.numpy().reshape(variable.shape)
        for (path, variable), theirs in zip(
            named_weights(ours).items(), named_weights(model).values(), strict=True
        )
    }
    # With these weights alone, EfficientNet has a second scaling behind its normalization, which
    # its variance can carry: (x - mean) / sqrt(variance) * scale.
    if backbone.module == "efficientnet":
        scale = [layer.scale for layer in model.layers if isinstance(layer, keras.layers.Rescaling)][-1]
        variance = next(path for path in arrays if path.endswith("/variance"))
        arrays[variance] = (arrays[variance] / np.square(scale)).astype(np.float32)
    return arrays


def imagenet_labels() -> tuple[str, ...] | None:
    """``"n02119789 kit_fox"`` of each class; None, with a warning, where the list cannot be had."""
    keras = load_keras()
    try:
        with _download_timeout():
            path = keras.utils.get_file(
                "imagenet_class_index.json",
                _CLASS_INDEX_URL,
                cache_subdir="models",
                file_hash=_CLASS_INDEX_MD5,
            )
        index = json.loads(Path(path).read_text(encoding="utf-8"))
        return tuple(" ".join(index[str(i)]) for i in range(len(index)))
    except Exception as error:
        log.warning(
            "the names of the ImageNet classes could not be had (%s): labels are shown by number. On a "
            "machine with internet download %s, put it into %s/models here and run again",
            error,
            _CLASS_INDEX_URL,
            os.environ.get("KERAS_HOME", "~/.keras"),
        )
        # Names only decorate: fingerprints are complete without them, and Keras raises plain
        # Exception where a download fails.
        return None


@contextmanager
def _download_timeout() -> Iterator[None]:
    """Let a network that swallows packets fail in seconds; urlretrieve takes no time limit."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
