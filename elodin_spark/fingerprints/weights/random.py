"""Weights that were never trained: the same arrays for the same seed on any machine."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.backbones import Backbone
from elodin_spark.errors import WeightsError
from elodin_spark.fingerprints.backbones import build_model, named_weights
from elodin_spark.fingerprints.weights.cache import new_file, store_arrays
from elodin_spark.fingerprints.weights.types import Weights

#: Part of the cache key: raise it when :func:`random_arrays` changes.
RANDOM_VERSION = 1

#: Factor on the last normalization of each residual branch.
_BRANCH_SCALE = 0.3


def random_arrays(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, NDArray[np.float32]]:
    """Weights for a network that was never trained, equal to the bit on any machine.

    Kernels have the variance 2 / fan-in of He et al. (2015, arXiv:1502.01852), drawn
    uniformly, and the weights of each filter sum to zero: without that the mean brightness,
    which rectifiers pass on from layer to layer, drowns everything else and the vectors of
    all images become nearly parallel. Normalizations are the identity, except that the last
    one of each residual branch is scaled by 0.3, so that activations do not double at each
    block. Biases are zero.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        By name of the variable, ``layer/variable``.
    seed : int
        Not negative.

    Returns
    -------
    dict of str to ndarray of float32
        In the order of `shapes`.
    """
    return {name: _random_array(name, shape, seed) for name, shape in shapes.items()}


def _random_array(name: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    layer, variable = name.rsplit("/", 1)
    if variable.endswith("kernel"):
        # The filters of a depthwise convolution, (h, w, channels, 1), see one channel each.
        depthwise = len(shape) == 4 and shape[-1] == 1
        filters = shape[2] if depthwise else shape[-1]
        fan_in = int(np.prod(shape)) // filters
        # One stream per variable, and integers up to the last step: NumPy keeps the raw
        # stream of a bit generator stable, its distributions only within a version.
        stream = np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(name.encode())]))
        raw = (stream.random_raw(int(np.prod(shape))) >> np.uint64(41)).astype(np.int64)
        raw = raw.reshape(fan_in, filters)
        centerd = raw * fan_in - raw.sum(axis=0)
        limit = np.sqrt(6.0 / fan_in)  # a uniform of half-width a has variance a**2 / 3
        return (centerd * (limit / (2.0**22 * fan_in))).astype(np.float32).reshape(shape)
    if variable == "gamma":
        return np.full(shape, _BRANCH_SCALE if layer.endswith("_3_bn") else 1.0, np.float32)
    if variable.endswith("variance"):
        return np.ones(shape, np.float32)
    return np.zeros(shape, np.float32)


def resolve_random(weights: str, backbone: Backbone, folder: Path) -> Weights:
    """Find ``random:SEED`` in the cache, or make it.

    Raises
    ------
    WeightsError
        The seed is no whole number, or the folder cannot be written.
    """
    seed = weights.removeprefix("random").removeprefix(":")
    if not (seed.isascii() and seed.isdigit()):
        raise WeightsError(f"weights {weights!r}: write random:SEED with a whole number, such as random:0")
    name = f"random:{int(seed)}"
    # Random weights depend on the seed alone: a note of an earlier run spares the network.
    note = folder / f"random-{backbone.name}-{int(seed)}-v{RANDOM_VERSION}.json"
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        path = folder / f"{known['sha256']}.weights.h5"
        if path.stat().st_size == known["size_bytes"]:
            return Weights(name, str(path), known["sha256"], backbone.name)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no note, or a damaged one: it is written anew
    model = build_model(backbone.name, backbone.input_px)
    shapes = {path: tuple(variable.shape) for path, variable in named_weights(model).items()}
    found = store_arrays(name, random_arrays(shapes, int(seed)), backbone, folder, replace=True)
    content = {"sha256": found.sha256, "size_bytes": Path(found.path).stat().st_size}
    with new_file(note) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
    return found
