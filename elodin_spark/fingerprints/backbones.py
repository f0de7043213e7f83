"""The networks a fingerprint can be made with, as a table that another can be added to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elodin_spark.errors import ConfigError

#: Subtracted from blue, green and red by networks trained with Caffe's ImageNet
#: preprocessing (``keras.applications.imagenet_utils.preprocess_input(mode="caffe")``).
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)

#: Name of the layer that holds the classes, as in ``keras.applications``.
HEAD_LAYER = "predictions"


@dataclass(frozen=True)
class Backbone:
    """One network of the table.

    Attributes
    ----------
    name : str
        As it is written in the settings.
    title : str
        As it is written in figures.
    application : str
        Name of the constructor in ``keras.applications``.
    preprocessing : str
        ``"caffe"``: RGB to BGR, minus :data:`CAFFE_MEAN_BGR`, not scaled.
    input_px : int
        Side of the images the network was designed for, px.
    vector_length : int
        Length of the average-pooled features.
    imagenet_url : str
        Where Keras has its ImageNet weights with the head of 1000 classes.
    """

    name: str
    title: str
    application: str
    preprocessing: str
    input_px: int
    vector_length: int
    imagenet_url: str

    @property
    def imagenet_file(self) -> str:
        """Name of the ImageNet weights in Keras's own cache."""
        return self.imagenet_url.rsplit("/", 1)[-1]


BACKBONES: dict[str, Backbone] = {
    "resnet50": Backbone(
        name="resnet50",
        title="ResNet50",
        application="ResNet50",
        preprocessing="caffe",
        input_px=224,
        vector_length=2048,
        imagenet_url=(
            "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
            "resnet50_weights_tf_dim_ordering_tf_kernels.h5"
        ),
    ),
}


def get_backbone(name: str) -> Backbone:
    """Look a backbone up by name.

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    try:
        return BACKBONES[name]
    except KeyError:
        raise ConfigError(f"unknown backbone {name!r}; one of {', '.join(BACKBONES)}") from None


def build_model(backbone: str, input_px: int, classes: int | None = None) -> Any:
    """Build the network with freshly initialised weights.

    Layers stand in the order of ``keras.applications`` with its names, so files written by
    either fit the other.

    Parameters
    ----------
    backbone : str
        A name in :data:`BACKBONES`.
    input_px : int
        Side of the square input, px, at least 32.
    classes : int, optional
        Length of the softmax head; none without.

    Returns
    -------
    keras.Model
        From float32 (n, input_px, input_px, 3), already preprocessed, to the pooled
        features (n, vector_length) and, with a head, also the class probabilities
        (n, classes).

    Raises
    ------
    ConfigError
        The backbone is unknown, or Keras does not run on TensorFlow.
    """
    # Here, not above: importing this module must not start TensorFlow.
    from elodin_spark.fingerprints.runtime import load_keras

    entry = get_backbone(backbone)
    keras = load_keras()
    constructor = getattr(keras.applications, entry.application)
    base = constructor(include_top=False, weights=None, input_shape=(input_px, input_px, 3), pooling="avg")
    if classes is None:
        return keras.Model(base.inputs[0], base.outputs[0], name=backbone)
    scores = keras.layers.Dense(classes, activation="softmax", name=HEAD_LAYER)(base.outputs[0])
    return keras.Model(base.inputs[0], [base.outputs[0], scores], name=backbone)
