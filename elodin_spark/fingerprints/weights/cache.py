"""The folder on this machine where weights are kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.backbones import Backbone
from elodin_spark.errors import WeightsError
from elodin_spark.fingerprints.backbones import HEAD_LAYER, build_model, named_weights
from elodin_spark.fingerprints.weights.types import Weights, digest_arrays


def default_cache() -> Path:
    """``$ELODIN_CACHE/weights``, else ``elodin_spark/weights`` below the user's cache folder.

    The user's cache folder is ``$XDG_CACHE_HOME`` or ``~/.cache``.
    """
    if own := os.environ.get("ELODIN_CACHE"):
        return Path(own) / "weights"
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "elodin_spark" / "weights"


def store_arrays(
    name: str,
    arrays: dict[str, NDArray[np.float32]],
    backbone: Backbone,
    folder: Path,
    label_names: tuple[str, ...] | None = None,
    replace: bool = False,
) -> Weights:
    """Keep arrays, in the order of the network, as a ``.weights.h5`` under the name of their hash.

    `label_names` of another number than the classes of the head are left out. What is there already is
    written anew where `replace`.

    Raises
    ------
    WeightsError
        A number is NaN or infinite, or the folder cannot be written.
    """
    for variable, array in arrays.items():
        if not np.isfinite(array).all():
            raise WeightsError(f"weights {name}: {variable} holds NaN or infinity; training went wrong")
    head = arrays.get(f"{HEAD_LAYER}/kernel")
    classes = None if head is None else int(head.shape[1])
    sha256 = digest_arrays(arrays)
    path = folder / f"{sha256}.weights.h5"
    if replace or not path.is_file():
        model = build_model(backbone.name, backbone.input_px, classes)
        for variable_path, variable in named_weights(model).items():
            variable.assign(arrays[variable_path])
        with new_file(path) as temporary:
            model.save_weights(str(temporary))
    if label_names is not None and len(label_names) != classes:
        label_names = None
    return Weights(name, str(path), sha256, backbone.name, classes, label_names)


@contextmanager
def new_file(path: Path, keep: bool = True) -> Iterator[Path]:
    """Yield a temporary path that, where `keep`, becomes `path` at once when it is complete."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent) as scratch:
            temporary = Path(scratch) / path.name
            yield temporary
            if keep:
                temporary.replace(path)
    except OSError as error:
        raise WeightsError(
            f"weights cannot be kept in {path.parent} ({error}): free space there, or set ELODIN_CACHE "
            "to a folder that can be written"
        ) from error
