"""Network weights: from what the settings name to one checked file in a local cache.

Whatever the source, the result is a Keras ``.weights.h5`` of our own architecture, named by
a hash of its arrays, which is what every worker loads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from elodin_spark.config.backbones import get_backbone
from elodin_spark.config.mistakes import of_network
from elodin_spark.config.settings import FingerprintsSettings
from elodin_spark.config.shipped import STEMS, own_network
from elodin_spark.errors import ConfigError
from elodin_spark.fingerprints.weights.cache import default_cache, store_arrays
from elodin_spark.fingerprints.weights.random import resolve_random
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.images.uris import is_remote


def resolve_settings(settings: FingerprintsSettings) -> Weights:
    """Weights of the settings, those of further networks joined to them; see :func:`resolve_weights`."""
    found = []
    for number, part in enumerate(settings.parts):
        with of_network(number):
            found.append(
                resolve_weights(
                    part.weights, part.backbone, sha256=part.weights_sha256, storage=part.weights_storage
                )
            )
    return replace(found[0], joined=tuple(found[1:]))


def resolve_weights(
    weights: str,
    backbone: str | None = None,
    cache: Path | None = None,
    *,
    sha256: str | None = None,
    storage: Mapping[str, Any] | None = None,
) -> Weights:
    """Find, check and cache the weights the settings name.

    Parameters
    ----------
    weights : str
        ``survey`` or ``imagenet-lite``: those of the package. ``imagenet``: downloaded and kept by Keras.
        ``random:SEED``: not trained, the same arrays on any machine. Else a file (a path or a URI:
        ``s3://``, ``https://``, ...): ``.keras``, ``.h5`` / ``.weights.h5`` with or without a head, or
        the ``.safetensors`` of :mod:`~elodin_spark.fingerprints.weights.packed`. A remote one is fetched
        again only when the server has another.
    backbone : str, optional
        A name in :data:`~elodin_spark.config.backbones.BACKBONES`; by default that of weights of the package,
        else ``resnet50``.
    cache : Path, optional
        Folder to keep the result in; by default
        :func:`~elodin_spark.fingerprints.weights.cache.default_cache`.
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
    # Here, so that a query, which reads no weights, does not wait for h5py.
    from elodin_spark.fingerprints.weights.download import check_sha256, fetch, local_path
    from elodin_spark.fingerprints.weights.imagenet import imagenet_arrays, imagenet_labels
    from elodin_spark.fingerprints.weights.keras_files import read_arrays, read_label_names
    from elodin_spark.fingerprints.weights.packed import read_header
    from elodin_spark.fingerprints.weights.shipped import find_shipped

    entry = get_backbone(own_network(weights, backbone)["backbone"])
    folder = default_cache() if cache is None else Path(cache)
    is_random = weights == "random" or weights.startswith("random:")
    if sha256 is not None and (is_random or weights == "imagenet" or weights in STEMS):
        raise ConfigError(
            f"fingerprints.weights_sha256 is that of a file, and the weights are {weights}, which are "
            "checked without it; leave it out, or name a file or URI"
        )
    if is_random:
        return resolve_random(weights, entry, folder)
    if weights in STEMS:
        path, known = find_shipped(weights, entry)
        header = read_header(path)
        kept = folder / f"{known.arrays_sha256}.weights.h5"
        if kept.is_file():
            classes, names = header.classes, header.label_names
            return Weights(weights, str(kept), known.arrays_sha256, entry.name, classes, names)
        return store_arrays(weights, read_arrays(path, entry), entry, folder, header.label_names)
    if weights == "imagenet":
        arrays = imagenet_arrays(entry)
        return store_arrays("imagenet", arrays, entry, folder, imagenet_labels() if entry.head else None)
    if is_remote(weights):
        path = fetch(weights, folder, sha256, storage)
        name = unquote(urlsplit(weights).path).rpartition("/")[2]
    else:
        path = local_path(weights)
        check_sha256(path, sha256)
        name = path.name
    return store_arrays(name, read_arrays(path, entry), entry, folder, read_label_names(path))
