"""The networks of :mod:`elodin_spark.config.backbones` built, and what they want done to pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.backbones import PreprocessingMode, get_backbone
from elodin_spark.errors import ConfigError


@dataclass(frozen=True)
class Preprocessing:
    """What a network wants done to RGB pixels of 0 to 255: ``(pixels - mean) * scale``.

    Attributes
    ----------
    mean, scale : tuple of float
        Per channel, in the order the network reads them.
    bgr : bool
        Whether that order is blue, green, red.
    """

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    bgr: bool = False

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Preprocess outside of a network.

        Parameters
        ----------
        pixels : ndarray of uint8, shape (n, height, width) or (n, height, width, 3)
            Gray, which becomes three equal channels, or red, green and blue.

        Returns
        -------
        ndarray of float32, shape (n, height, width, 3)
        """
        if pixels.ndim == 3:
            pixels = pixels[..., None]
        values = pixels[..., ::-1] if self.bgr else pixels
        mean, scale = np.array(self.mean, np.float32), np.array(self.scale, np.float32)
        return (values.astype(np.float32) - mean) * scale


#: By mode; see :data:`~elodin_spark.config.backbones.PreprocessingMode`.
PREPROCESSING: dict[PreprocessingMode, Preprocessing] = {
    "caffe": Preprocessing(mean=(103.939, 116.779, 123.68), bgr=True),
    "tf": Preprocessing(mean=(127.5,) * 3, scale=(1 / 127.5,) * 3),
    "torch": Preprocessing(
        mean=(255 * 0.485, 255 * 0.456, 255 * 0.406),
        scale=(1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)),
    ),
    # MEAN_RGB and STDDEV_RGB of Google's efficientnet_lite_builder.py.
    "lite": Preprocessing(mean=(127.0,) * 3, scale=(1 / 128,) * 3),
    "none": Preprocessing(),
}

#: Name of the layer that holds the classes, as in ``keras.applications``.
HEAD_LAYER = "predictions"


def preprocessing_of(backbone: str) -> Preprocessing:
    """What the network `backbone` wants done to pixels before they enter it."""
    return PREPROCESSING[get_backbone(backbone).mode]


def build_model(backbone: str, input_px: int | None, classes: int | None = None) -> Any:
    """Build the network with freshly initialized weights.

    Layers stand in the order of ``keras.applications`` with its names, so files written by
    either fit the other; what that does not have is built by
    :mod:`~elodin_spark.fingerprints.efficientnetlite`.

    Parameters
    ----------
    backbone : str
        A name in :data:`~elodin_spark.config.backbones.BACKBONES`.
    input_px : int or None
        Side of the square input, px, not below the network's ``min_px``; None leaves it open.
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
        The backbone is unknown, the input too small for it, or Keras is set up otherwise.
    """
    # Here, not above: importing this module must not start TensorFlow.
    from elodin_spark.fingerprints.efficientnetlite import efficientnet_lite0
    from elodin_spark.fingerprints.runtimes.framework import fresh_names, load_keras

    entry = get_backbone(backbone)
    if input_px is not None and input_px < entry.min_px:
        raise ConfigError(f"{entry.title} takes images of {entry.min_px} px or more, not of {input_px} px")
    keras = load_keras()
    shape = (input_px, input_px, 3)
    with fresh_names():
        if entry.ours:
            base = efficientnet_lite0(keras, shape)
        else:
            constructor = getattr(keras.applications, entry.title)
            base = constructor(include_top=False, weights=None, input_shape=shape, pooling="avg")
    if classes is None:
        return keras.Model(base.inputs[0], base.outputs[0], name=entry.name)
    scores = keras.layers.Dense(classes, activation="softmax", name=HEAD_LAYER)(base.outputs[0])
    return keras.Model(base.inputs[0], [base.outputs[0], scores], name=entry.name)


def named_weights(model: Any) -> dict[str, Any]:
    """Variables that make the answers of a network, by path, ``layer/variable``, in its order.

    Not the states of random generators nor the count of a ``Normalization``, which are integers.
    """
    return {item.path: item for item in model.weights if "float" in str(item.dtype)}
