"""EfficientNet-Lite0, which ``keras.applications`` does not have.

It is EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946) made for small devices: ReLU6 in place of swish, no
squeeze-and-excitation, and a stem and a head whose widths stay those of B0. As published by Google:
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: Channels behind the first convolution, and behind the last.
_STEM, _HEAD = 32, 1280
#: Added to the variance that a normalization divides by.
_EPSILON = 1e-3
#: Of each stage: how many blocks, side of the kernel, stride of the first block, expansion, channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


@dataclass(frozen=True)
class _Block:
    """One inverted bottleneck: widened, seen by a depthwise kernel, narrowed.

    Attributes
    ----------
    name : str
        Of the stage and the place in it, such as ``block2b``.
    kernel, stride : int
        Of the depthwise convolution, px.
    expansion : int
        Factor of the widening; 1: none.
    entering, leaving : int
        Channels.
    """

    name: str
    kernel: int
    stride: int
    expansion: int
    entering: int
    leaving: int

    @property
    def residual(self) -> bool:
        """Whether what enters is added to what leaves."""
        return self.stride == 1 and self.entering == self.leaving

    @property
    def end(self) -> str:
        """Name of the last layer."""
        return f"{self.name}_{'add' if self.residual else 'project_bn'}"


def _blocks() -> Iterator[_Block]:
    entering = _STEM
    for stage, (count, kernel, stride, expansion, leaving) in enumerate(_STAGES, 1):
        for place in range(count):
            name = f"block{stage}{'abcd'[place]}"
            yield _Block(name, kernel, 1 if place else stride, expansion, entering, leaving)
            entering = leaving


#: Length of the averaged output of each block, and of the last features.
LAYER_LENGTHS = {**{block.end: block.leaving for block in _blocks()}, "avg_pool": _HEAD}


def efficientnet_lite0(keras: Any, shape: tuple[int | None, int | None, int]) -> Any:
    """Build the network with freshly initialized weights, without a head.

    Layers are named as those of EfficientNet-B0 in ``keras.applications``. Where a stride halves an image of
    even side, the padding is on the right and below alone, as in TensorFlow.

    Parameters
    ----------
    keras : module
    shape : tuple of int or None
        Of one image: height, width, 3 channels.

    Returns
    -------
    keras.Model
        From float32 (n, height, width, 3), less 127 and over 128, to the averaged features (n, 1280).
    """
    layers = keras.layers

    def normalized(values: Any, name: str, active: bool = True) -> Any:
        values = layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}bn")(values)
        return layers.ReLU(max_value=6.0, name=f"{name}activation")(values) if active else values

    def pointwise(values: Any, channels: int, name: str) -> Any:
        return layers.Conv2D(channels, 1, padding="same", use_bias=False, name=name)(values)

    pixels = keras.Input(shape)
    values = layers.Conv2D(_STEM, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(pixels)
    values = normalized(values, "stem_")
    for block in _blocks():
        name, entered = block.name, values
        if block.expansion > 1:
            values = pointwise(values, block.entering * block.expansion, f"{name}_expand_conv")
            values = normalized(values, f"{name}_expand_")
        depthwise = {"strides": block.stride, "padding": "same", "use_bias": False}
        values = layers.DepthwiseConv2D(block.kernel, **depthwise, name=f"{name}_dwconv")(values)
        values = normalized(values, f"{name}_")
        values = pointwise(values, block.leaving, f"{name}_project_conv")
        values = normalized(values, f"{name}_project_", active=False)
        if block.residual:
            values = layers.Add(name=block.end)([values, entered])
    values = normalized(pointwise(values, _HEAD, "top_conv"), "top_")
    return keras.Model(pixels, layers.GlobalAveragePooling2D(name="avg_pool")(values))
