"""The networks a fingerprint can be made with, as a table: all of ``keras.applications``, and one of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elodin_spark.config.base import near_miss
from elodin_spark.errors import ConfigError

#: What ``keras.applications.imagenet_utils.preprocess_input`` calls its modes; ``none`` is for
#: networks that hold their own, ``lite`` for EfficientNet-Lite.
PreprocessingMode = Literal["caffe", "tf", "torch", "lite", "none"]

#: In place of a module of ``keras.applications``: this package builds the network.
OURS = "elodin_spark"

_STORE = "https://storage.googleapis.com/tensorflow/keras-applications/"
_KERNELS = "_weights_tf_dim_ordering_tf_kernels"


@dataclass(frozen=True)
class Backbone:
    """One network of the table.

    Attributes
    ----------
    name : str
        As it is written in the settings: the title in small letters.
    title : str
        As it is written in figures, and the constructor in ``keras.applications``.
    module : str
        Of ``keras.applications``, where the constructor and ``preprocess_input`` stand; or :data:`OURS`.
    mode : str
        What is done to RGB pixels of 0 to 255 before they enter.
    input_px : int
        Side of the images the network was designed for, px.
    min_px : int
        Smallest side it can take, px.
    vector_length : int
        Length of the average-pooled features.
    imagenet_url : str
        Where Keras has its ImageNet weights; empty for a network that is ours.
    imagenet_file : str
        Their name in Keras's own cache; likewise.
    head : bool
        Whether the 1000 ImageNet classes are one dense layer on the pooled features. Where they
        are not, the weights are taken without a head, and labels are units of the vector.
    """

    name: str
    title: str
    module: str
    mode: PreprocessingMode
    input_px: int
    min_px: int
    vector_length: int
    imagenet_url: str
    imagenet_file: str
    head: bool

    @property
    def ours(self) -> bool:
        """Whether this package builds the network, and not ``keras.applications``."""
        return self.module == OURS


def _row(
    title: str,
    module: str,
    mode: PreprocessingMode,
    input_px: int,
    vector_length: int,
    url: str,
    *,
    file: str | None = None,
    min_px: int = 32,
    head: bool = True,
) -> Backbone:
    url = url if url.startswith("https:") else _STORE + url
    return Backbone(
        title.lower(), title, module, mode, input_px, min_px, vector_length, url,
        file or url.rsplit("/", 1)[-1], head,
    )  # fmt: skip


def _efficientnet(title: str, input_px: int, vector_length: int) -> Backbone:
    url = f"https://storage.googleapis.com/keras-applications/{title.lower()}.h5"
    return _row(title, "efficientnet", "none", input_px, vector_length, url)


def _efficientnet_v2(size: str, input_px: int, vector_length: int) -> Backbone:
    url = f"efficientnet_v2/efficientnetv2-{size.lower()}.h5"
    return _row(f"EfficientNetV2{size}", "efficientnet_v2", "none", input_px, vector_length, url)


def _convnext(size: str, vector_length: int) -> Backbone:
    url = f"convnext/convnext_{size.lower()}.h5"
    return _row(f"ConvNeXt{size}", "convnext", "none", 224, vector_length, url)


def _mobilenet_v3(size: str, vector_length: int) -> Backbone:
    url = f"mobilenet_v3/weights_mobilenet_v3_{size.lower()}_224_1.0_float_no_top_v2.h5"
    return _row(f"MobileNetV3{size}", "mobilenet_v3", "none", 224, vector_length, url, head=False)


# The heads of VGG stand on two dense layers of their own, those of MobileNetV3 on a convolution.
_ROWS = (
    *(
        _row(f"ResNet{n}", "resnet", "caffe", 224, 2048, f"resnet/resnet{n}{_KERNELS}.h5")
        for n in (50, 101, 152)
    ),
    *(
        _row(f"ResNet{n}V2", "resnet_v2", "tf", 224, 2048, f"resnet/resnet{n}v2{_KERNELS}.h5")
        for n in (50, 101, 152)
    ),
    *(
        _row(f"VGG{n}", f"vgg{n}", "caffe", 224, 512, f"vgg{n}/vgg{n}{_KERNELS}_notop.h5", head=False)
        for n in (16, 19)
    ),
    _row(
        "InceptionV3", "inception_v3", "tf", 299, 2048,
        f"inception_v3/inception_v3{_KERNELS}.h5", min_px=75,
    ),
    _row(
        "InceptionResNetV2", "inception_resnet_v2", "tf", 299, 1536,
        f"inception_resnet_v2/inception_resnet_v2{_KERNELS}.h5", min_px=75,
    ),
    _row("Xception", "xception", "tf", 299, 2048, f"xception/xception{_KERNELS}.h5", min_px=71),
    _row("MobileNet", "mobilenet", "tf", 224, 1024, "mobilenet/mobilenet_1_0_224_tf.h5"),
    _row("MobileNetV2", "mobilenet_v2", "tf", 224, 1280, f"mobilenet_v2/mobilenet_v2{_KERNELS}_1.0_224.h5"),
    _mobilenet_v3("Small", 576),
    _mobilenet_v3("Large", 960),
    *(
        _row(f"DenseNet{n}", "densenet", "torch", 224, length, f"densenet/densenet{n}{_KERNELS}.h5")
        for n, length in ((121, 1024), (169, 1664), (201, 1920))
    ),
    _row("NASNetMobile", "nasnet", "tf", 224, 1056, "nasnet/NASNet-mobile.h5", file="nasnet_mobile.h5"),
    _row("NASNetLarge", "nasnet", "tf", 331, 4032, "nasnet/NASNet-large.h5", file="nasnet_large.h5"),
    _efficientnet("EfficientNetB0", 224, 1280),
    _efficientnet("EfficientNetB1", 240, 1280),
    _efficientnet("EfficientNetB2", 260, 1408),
    _efficientnet("EfficientNetB3", 300, 1536),
    _efficientnet("EfficientNetB4", 380, 1792),
    _efficientnet("EfficientNetB5", 456, 2048),
    _efficientnet("EfficientNetB6", 528, 2304),
    _efficientnet("EfficientNetB7", 600, 2560),
    _efficientnet_v2("B0", 224, 1280),
    _efficientnet_v2("B1", 240, 1280),
    _efficientnet_v2("B2", 260, 1408),
    _efficientnet_v2("B3", 300, 1536),
    _efficientnet_v2("S", 384, 1280),
    _efficientnet_v2("M", 480, 1280),
    _efficientnet_v2("L", 480, 1280),
    _convnext("Tiny", 768),
    _convnext("Small", 768),
    _convnext("Base", 1024),
    _convnext("Large", 1536),
    _convnext("XLarge", 2048),
    Backbone("efficientnetlite0", "EfficientNetLite0", OURS, "lite", 224, 32, 1280, "", "", True),
)  # fmt: skip

BACKBONES: dict[str, Backbone] = {row.name: row for row in _ROWS}


def get_backbone(name: str) -> Backbone:
    """Look a backbone up by name: in any case, with or without ``_`` and ``-``.

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    plain = name.lower().replace("_", "").replace("-", "")
    if plain not in BACKBONES:
        raise ConfigError(f"unknown backbone {name!r}: {near_miss(plain, BACKBONES)}")
    return BACKBONES[plain]
