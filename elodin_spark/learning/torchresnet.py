"""ResNet50 in PyTorch, which trains about twice as fast there as Keras' own, and its weights by Keras' names.

The layers and their arithmetic are those of ``keras.applications.ResNet50``. The memory of images is
laid out channels last, 1 x 1 convolutions are matrix products, and biases, which the normalizations
behind them cancel, stay at zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import nn

#: Of each stage: channels within its blocks, blocks, stride of the first one.
_STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
_EPSILON = 1.001e-5


class ResNet50(nn.Module):
    """From float32 (n, height, width, 3), preprocessed, to the pooled features (n, 2048).

    Parameters
    ----------
    bf16 : bool
        Convolutions in bfloat16; normalizations and what is pooled are in float32.
    frozen : int
        First stages that stay as they are: weights, and statistics of the normalizations.
    """

    def __init__(self, bf16: bool, frozen: int = 0) -> None:
        super().__init__()
        self.bf16 = bf16
        self.conv1_conv = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.conv1_bn = _normalization(64)
        blocks: dict[str, nn.Module] = {}
        channels = 64
        for stage, (inner, count, stride) in enumerate(_STAGES, 2):
            for number in range(1, count + 1):
                blocks[f"conv{stage}_block{number}"] = _Block(channels, inner, stride if number == 1 else 1)
                channels = 4 * inner
        self.blocks = nn.ModuleDict(blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        self.to(memory_format=torch.channels_last)
        stages = tuple(f"conv{stage}_" for stage in range(1, frozen + 1))
        held = [block for name, block in blocks.items() if name.startswith(stages)]
        self._still = [self.conv1_conv, self.conv1_bn, *held] if frozen else []
        for module in self._still:
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> ResNet50:
        """As of any module; frozen stages do not train."""
        super().train(mode)
        for module in self._still:
            module.eval()
        return self

    def forward(self, images: Any) -> Any:
        """Features of images."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            values = images.permute(0, 3, 1, 2)  # in memory as it was
            values = functional.relu(self.conv1_bn(self.conv1_conv(values)), inplace=True)
            values = functional.max_pool2d(values, 3, 2, 1)
            for block in self.blocks.values():
                values = block(values)
            return values.float().mean((2, 3))

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Weights by the paths and in the shapes that Keras gives them."""
        found: dict[str, NDArray[np.float32]] = {}
        for path, parts in self._layers():
            kernel = parts[0].weight.detach().float().cpu().numpy()
            if kernel.ndim == 2:
                kernel = kernel[:, :, None, None]
            found[f"{path}_conv/kernel"] = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0))
            found[f"{path}_conv/bias"] = np.zeros(kernel.shape[0], np.float32)
            for name, held in _norm_parts(parts[1]).items():
                found[f"{path}_bn/{name}"] = held.detach().float().cpu().numpy().copy()
        return found

    def load(self, weights: dict[str, NDArray[np.float32]]) -> None:
        """Take weights such as :meth:`weights` gives; those of Keras with biases are folded in."""
        with torch.no_grad():
            for path, parts in self._layers():
                kernel = torch.from_numpy(weights[f"{path}_conv/kernel"].transpose(3, 2, 0, 1).copy())
                parts[0].weight.copy_(kernel.reshape(parts[0].weight.shape))
                for name, held in _norm_parts(parts[1]).items():
                    value = weights[f"{path}_bn/{name}"]
                    if name == "moving_mean":
                        value = value - weights[f"{path}_conv/bias"]
                    held.copy_(torch.from_numpy(np.ascontiguousarray(value)))

    def _layers(self) -> list[tuple[str, tuple[Any, Any]]]:
        found: list[tuple[str, tuple[Any, Any]]] = [("conv1", (self.conv1_conv, self.conv1_bn))]
        for name, block in self.blocks.items():
            parts = {"1": block.first, "2": block.second, "3": block.third}
            if block.shortcut is not None:
                parts["0"] = block.shortcut
            found += [(f"{name}_{number}", (pair[0], pair[1])) for number, pair in sorted(parts.items())]
        return found


class _Pointwise(nn.Linear):
    """Convolution of 1 x 1 as a matrix product, whose gradients are the faster ones on CPUs."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__(channels, out, bias=False)
        self.stride = stride

    def forward(self, images: Any) -> Any:
        if self.stride > 1:
            images = images[:, :, :: self.stride, :: self.stride]
        rows = images.permute(0, 2, 3, 1)
        # As one matrix: where no gradient is wanted, PyTorch multiplies strided ones image by image.
        found = super().forward(rows.reshape(-1, rows.shape[3]))
        return found.view(*rows.shape[:3], -1).permute(0, 3, 1, 2)


class _Block(nn.Module):
    def __init__(self, channels: int, inner: int, stride: int) -> None:
        super().__init__()
        self.first = nn.ModuleList([_Pointwise(channels, inner, stride), _normalization(inner)])
        self.second = nn.ModuleList([nn.Conv2d(inner, inner, 3, 1, 1, bias=False), _normalization(inner)])
        self.third = nn.ModuleList([_Pointwise(inner, 4 * inner, 1), _normalization(4 * inner)])
        self.shortcut: nn.ModuleList | None = None
        if stride > 1 or channels != 4 * inner:
            self.shortcut = nn.ModuleList(
                [_Pointwise(channels, 4 * inner, stride), _normalization(4 * inner)]
            )

    def forward(self, images: Any) -> Any:
        values = functional.relu(_applied(self.first, images), inplace=True)
        values = functional.relu(_applied(self.second, values), inplace=True)
        passed = images if self.shortcut is None else _applied(self.shortcut, images)
        return functional.relu(_applied(self.third, values) + passed, inplace=True)


def _applied(pair: nn.ModuleList, images: Any) -> Any:
    return pair[1](pair[0](images))


def _normalization(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON, momentum=0.05)


def _norm_parts(layer: nn.BatchNorm2d) -> dict[str, Any]:
    return {
        "gamma": layer.weight,
        "beta": layer.bias,
        "moving_mean": layer.running_mean,
        "moving_variance": layer.running_var,
    }
