"""What weights are once they are found: a checked file in the cache, named by a hash of its arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.backbones import get_backbone


@dataclass(frozen=True)
class Weights:
    """Weights in the cache: small and picklable, the arrays stay in the file.

    Attributes
    ----------
    name : str
        ``survey``, ``imagenet-lite``, ``imagenet``, ``random:SEED``, or the name of the file they came from.
    path : str
        The ``.weights.h5`` on this machine.
    sha256 : str
        Of the arrays: name, shape, type and bytes of each, in the order of the network.
    backbone : str
        The network they fit.
    classes : int or None
        Length of the head; None without one.
    label_names : tuple of str or None
        Of each class, where they are known. Those of ImageNet are ``"n02119789 kit_fox"``: WordNet ID, then
        name. The ID is the key; two pairs of classes share a name.
    joined : tuple of Weights
        Of the further networks, whose vectors are joined to those of this one.
    """

    name: str
    path: str
    sha256: str
    backbone: str
    classes: int | None = None
    label_names: tuple[str, ...] | None = None
    joined: tuple[Weights, ...] = ()

    @property
    def parts(self) -> tuple[Weights, ...]:
        """Weights of each network alone, the first's first."""
        return (replace(self, joined=()), *self.joined)

    @property
    def labeled(self) -> Weights:
        """Those of the network whose classes are labels: the first that has classes, else the first."""
        return next((part for part in self.parts if part.classes is not None), self)

    def label_name(self, label: int) -> str:
        """What label number `label` is called, such as ``unit 12`` or ``n02119789 kit_fox``."""
        if self.classes is None:
            return f"unit {label}"
        return f"class {label}" if self.label_names is None else self.label_names[label]

    def describe(self) -> str:
        """One line for figures and reports, such as ``ResNet50, imagenet``."""
        if self.joined:
            return " + ".join(part.describe() for part in self.parts)
        title = get_backbone(self.backbone).title
        if self.name.startswith("random:"):
            return f"{title}, random weights (seed {self.name.removeprefix('random:')}): not trained"
        return f"{title}, {self.name}"


def digest_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over name, shape, type and little-endian bytes of each array, in order."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{name} {array.shape} {array.dtype.str}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()
