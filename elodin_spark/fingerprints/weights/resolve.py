"""Network weights: from what the settings name to one checked file in a local cache.

Whatever the source, the result is a Keras ``.weights.h5`` of our own architecture, named by
a hash of its arrays, which is what every worker loads. Reading the sources themselves is
:mod:`elodin_spark.fingerprints.weights.keras_files`, fetching them
:mod:`elodin_spark.fingerprints.weights.download`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.backbones import Backbone, get_backbone
from elodin_spark.config.settings import FingerprintsSettings
from elodin_spark.config.shipped import SURVEY
from elodin_spark.errors import ConfigError, WeightsError
from elodin_spark.fingerprints.backbones import build_model, named_weights
from elodin_spark.images.uris import is_remote

log = logging.getLogger(__name__)

#: Part of the cache key of random weights: raise it when :func:`random_arrays` changes.
RANDOM_VERSION = 1

#: Factor on the last normalization of each residual branch of random weights.
_BRANCH_SCALE = 0.3

_CLASS_INDEX_URL = "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"
_CLASS_INDEX_MD5 = "c2c37ea517e94d9795004a39431a14cb"
_DOWNLOAD_TIMEOUT_S = 30.0

_IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class Weights:
    """Weights in the cache: small and picklable, the arrays stay in the file.

    Attributes
    ----------
    name : str
        ``survey``, ``imagenet``, ``random:SEED``, or the name of the file they came from.
    path : str
        The ``.weights.h5`` on this machine.
    sha256 : str
        Of the arrays: name, shape, type and bytes of each, in the order of the network.
    backbone : str
        The network they fit.
    classes : int or None
        Length of the head; None without one.
    label_names : tuple of str or None
        ``"n02119789 kit_fox"``: WordNet ID, then name, of each class of ImageNet, where the
        list could be had. The ID is the key; two pairs of classes share a name.
    """

    name: str
    path: str
    sha256: str
    backbone: str
    classes: int | None = None
    label_names: tuple[str, ...] | None = None

    def label_name(self, label: int) -> str:
        """What label number `label` is called, such as ``unit 12`` or ``n02119789 kit_fox``."""
        if self.classes is None:
            return f"unit {label}"
        return f"class {label}" if self.label_names is None else self.label_names[label]

    def describe(self) -> str:
        """One line for figures and reports, such as ``ResNet50, imagenet``."""
        title = get_backbone(self.backbone).title
        if self.name.startswith("random:"):
            return f"{title}, random weights (seed {self.name.removeprefix('random:')}): not trained"
        return f"{title}, {self.name}"


def resolve_settings(settings: FingerprintsSettings) -> Weights:
    """Weights of the settings; see :func:`resolve_weights`."""
    return resolve_weights(
        settings.weights,
        settings.backbone,
        sha256=settings.weights_sha256,
        storage=settings.weights_storage,
    )


def resolve_weights(
    weights: str,
    backbone: str = "resnet50",
    cache: Path | None = None,
    *,
    sha256: str | None = None,
    storage: Mapping[str, Any] | None = None,
) -> Weights:
    """Find, check and cache the weights the settings name.

    Parameters
    ----------
    weights : str
        ``survey``: those of the package. ``imagenet``: downloaded and kept by Keras.
        ``random:SEED``: not trained, the same arrays on any machine. Else a file (a path or a URI:
        ``s3://``, ``https://``, ...): ``.keras``, ``.h5`` / ``.weights.h5`` with or without a head, or
        the ``.npz`` of :mod:`~elodin_spark.fingerprints.weights.packed`. A remote one is fetched again only
        when the server has another.
    backbone : str
        A name in :data:`~elodin_spark.config.backbones.BACKBONES`.
    cache : Path, optional
        Folder to keep the result in; by default :func:`default_cache`.
    sha256 : str, optional
        Of the file; one of other content is refused.
    storage : mapping, optional
        Options of the remote store, such as ``{"anon": True}``.

    Returns
    -------
    Weights

    Raises
    ------
    WeightsError
        They cannot be had, are damaged, or do not fit the backbone.
    ConfigError
        The backbone is unknown, or `sha256` is given for what is not a file.
    """
    from elodin_spark.fingerprints.weights import download, keras_files, shipped

    entry = get_backbone(backbone)
    folder = default_cache() if cache is None else Path(cache)
    is_random = weights == "random" or weights.startswith("random:")
    if sha256 is not None and (is_random or weights in ("imagenet", SURVEY)):
        raise ConfigError(
            f"fingerprints.weights_sha256 is that of a file, and the weights are {weights}, which are "
            "checked without it; leave it out, or name a file or URI"
        )
    if is_random:
        return _resolve_random(weights, entry, folder)
    if weights == SURVEY:
        path, known = shipped.find_shipped(entry)
        kept = folder / f"{known.arrays_sha256}.weights.h5"
        if kept.is_file():
            return Weights(SURVEY, str(kept), known.arrays_sha256, entry.name)
        return _store(SURVEY, keras_files.read_arrays(path, entry), entry, folder)
    if weights == "imagenet":
        arrays = _imagenet_arrays(entry)
        names = _imagenet_labels() if entry.head else None
        return _store("imagenet", arrays, entry, folder, label_names=names)
    if is_remote(weights):
        path = download.fetch(weights, folder, sha256, storage)
        name = unquote(urlsplit(weights).path).rpartition("/")[2]
        return _store(name, keras_files.read_arrays(path, entry), entry, folder)
    path = download.local_path(weights)
    download.check_sha256(path, sha256)
    return _store(path.name, keras_files.read_arrays(path, entry), entry, folder)


def default_cache() -> Path:
    """``$ELODIN_CACHE/weights``, else ``elodin_spark/weights`` below the user's cache folder.

    The user's cache folder is ``$XDG_CACHE_HOME`` or ``~/.cache``.
    """
    if own := os.environ.get("ELODIN_CACHE"):
        return Path(own) / "weights"
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "elodin_spark" / "weights"


def digest_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over name, shape, type and little-endian bytes of each array, in order."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{name} {array.shape} {array.dtype.str}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


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


def _resolve_random(weights: str, backbone: Backbone, folder: Path) -> Weights:
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
    found = _store(name, random_arrays(shapes, int(seed)), backbone, folder, replace=True)
    content = {"sha256": found.sha256, "size_bytes": Path(found.path).stat().st_size}
    with new_file(note) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
    return found


def _imagenet_arrays(backbone: Backbone) -> dict[str, NDArray[np.float32]]:
    from elodin_spark.fingerprints.runtimes.framework import load_keras

    keras = load_keras()
    constructor = getattr(keras.applications, backbone.title)
    try:
        with _download_timeout():
            model = constructor(weights="imagenet", include_top=backbone.head, **_pooled(backbone))
    except Exception as error:  # Keras raises plain Exception where a download fails
        home = os.environ.get("KERAS_HOME", "~/.keras")
        raise WeightsError(
            f"the ImageNet weights of {backbone.title} could not be had: {error}. On a machine with "
            f"internet download {backbone.imagenet_url}, put it as {backbone.imagenet_file} into "
            f"{home}/models here and run again; or set fingerprints.weights to random:0 (not trained) "
            "or to a weights file"
        ) from error
    ours = build_model(backbone.name, backbone.input_px, _IMAGENET_CLASSES if backbone.head else None)
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


def _pooled(backbone: Backbone) -> dict[str, str]:
    return {} if backbone.head else {"pooling": "avg"}


def _imagenet_labels() -> tuple[str, ...] | None:
    from elodin_spark.fingerprints.runtimes.framework import load_keras

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


def _store(
    name: str,
    arrays: dict[str, NDArray[np.float32]],
    backbone: Backbone,
    folder: Path,
    label_names: tuple[str, ...] | None = None,
    replace: bool = False,
) -> Weights:
    for variable, array in arrays.items():
        if not np.isfinite(array).all():
            raise WeightsError(f"weights {name}: {variable} holds NaN or infinity; training went wrong")
    head = arrays.get("predictions/kernel")
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
