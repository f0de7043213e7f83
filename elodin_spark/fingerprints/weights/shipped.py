"""Packing trained weights for users, and finding those that come with the package."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from elodin_spark.config import shipped
from elodin_spark.config.backbones import Backbone, get_backbone
from elodin_spark.config.shipped import STEMS, ShippedWeights, shipped_weights
from elodin_spark.errors import InputError, WeightsError
from elodin_spark.fingerprints.backbones import HEAD_LAYER, preprocessing_of
from elodin_spark.fingerprints.runtimes.network import vector_length
from elodin_spark.fingerprints.weights.download import file_sha256
from elodin_spark.fingerprints.weights.keras_files import network_order, read_arrays
from elodin_spark.fingerprints.weights.packed import LABEL_NAME_LENGTH, Encoding, write_pack

log = logging.getLogger(__name__)


def pack_weights(
    model: Any,
    path: Path,
    card: Mapping[str, Any],
    *,
    input_px: int,
    backbone: str = "resnet50",
    encoding: Encoding = "float16",
    layer: str | None = None,
    augmentations: Literal[1, 4, 8] = 1,
    label_names: Sequence[str] | None = None,
) -> ShippedWeights:
    """Write trained weights as one small file, and beside it a JSON file that describes it.

    Parameters
    ----------
    model : keras.Model, path, or mapping of str to ndarray
        The network as :func:`~elodin_spark.fingerprints.backbones.build_model` makes it, a file of
        Keras, or arrays by ``layer/variable``. A head is left out unless its classes are named.
    path : Path
        To write to, ``NAME.safetensors``; ``NAME.json`` is written beside.
    card : mapping
        Where they come from and how good they are; plain values that survive JSON.
    input_px : int
        Side of the images they were trained with, or that makes the better vectors, px.
    backbone : str
    encoding : {"float16", "int8", "float32"}
        Of kernels, see :mod:`elodin_spark.fingerprints.weights.packed`. ``int8`` takes half the bytes of
        ``float16`` and changes neighbors; docs/fingerprints.md has figures.
    layer : str, optional
        Whose output makes the better vectors, or several joined by +: the default of
        ``fingerprints.layer`` where these are the weights of the package.
    augmentations : {1, 4, 8}
        Likewise of ``fingerprints.augmentations``.
    label_names : sequence of str, optional
        Of the classes of the head, in their order; the head is then kept, and labels are its classes.

    Returns
    -------
    ShippedWeights
        What the JSON file says.

    Raises
    ------
    WeightsError
        The weights are not of that network, or hold numbers that cannot be stored.
    InputError
        `path` does not end in ``.safetensors``, the card is not plain, or the names are not those of a head.
    ConfigError
        There is no such layer.
    """
    if layer is not None:
        vector_length(backbone, layer)
    entry, path = get_backbone(backbone), Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"packed weights are named NAME.safetensors, got {path}")
    try:
        plain = json.loads(json.dumps(dict(card), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"the card of weights holds what JSON cannot write: {error}") from None
    arrays = _arrays_of(model, entry)
    shapes = {name: array.shape for name, array in arrays.items()}
    kernel = shapes.get(f"{HEAD_LAYER}/kernel")
    if label_names is not None:
        _check_names(label_names, None if kernel is None else kernel[-1])
    elif kernel is not None:
        shapes = {name: shape for name, shape in shapes.items() if not name.startswith(f"{HEAD_LAYER}/")}
        log.info("the head of the network is left out, for its classes have no names here")
    arrays = {name: arrays[name] for name in network_order(shapes, path, entry)}
    path.parent.mkdir(parents=True, exist_ok=True)
    header = write_pack(
        path,
        arrays,
        encoding,
        backbone=entry.name,
        input_px=input_px,
        mode=entry.mode,
        preprocessing=preprocessing_of(entry.name),
        label_names=None if label_names is None else tuple(label_names),
        card=plain,
    )
    described = ShippedWeights(
        file=path.name,
        size_bytes=path.stat().st_size,
        sha256=file_sha256(path),
        arrays_sha256=header.arrays_sha256,
        backbone=entry.name,
        input_px=input_px,
        encoding=encoding,
        layer=layer,
        augmentations=augmentations,
        card=plain,
    )
    path.with_suffix(".json").write_text(described.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return described


def _check_names(names: Sequence[str], classes: int | None) -> None:
    if classes is None:
        raise InputError("classes are named, and the weights have no head: leave the names out")
    if len(names) != classes:
        raise InputError(f"{len(names)} classes are named, and the head has {classes}")
    for name in names:
        if not (0 < len(name) <= LABEL_NAME_LENGTH and name.isprintable()):
            raise InputError(
                f"the name of a class has 1 to {LABEL_NAME_LENGTH} printable characters, and {name!r} has not"
            )


def _arrays_of(model: Any, backbone: Backbone) -> dict[str, Any]:
    if isinstance(model, Mapping):
        return dict(model)
    if isinstance(model, str | Path):
        return read_arrays(Path(model), backbone)
    with tempfile.TemporaryDirectory() as scratch:
        saved = Path(scratch) / "model.weights.h5"
        model.save_weights(str(saved))
        return read_arrays(saved, backbone)


def find_shipped(name: str, backbone: Backbone) -> tuple[Path, ShippedWeights]:
    """A weights file of the package, by a name of ``STEMS``, checked against its checksum.

    Raises
    ------
    WeightsError
        There is none, it is damaged, or it is of another network.
    """
    known = shipped_weights(name)
    if known is None:
        raise WeightsError(
            f"this installation of elodin_spark comes without its weights {name} "
            f"({STEMS[name]}.safetensors is not in {shipped.FOLDER}): set fingerprints.weights to imagenet, "
            "or to random:0 (not trained), or train some and name their file, see docs/model-card.md"
        )
    if known.backbone != backbone.name:
        raise WeightsError(
            f"weights {name} are of {get_backbone(known.backbone).title}, not of {backbone.title}: leave "
            f"fingerprints.backbone out or set it to {known.backbone}, or set fingerprints.weights to "
            "imagenet, random:0 or a file"
        )
    path = Path(str(shipped.FOLDER / known.file))
    try:
        found = file_sha256(path)
        harm = None if found == known.sha256 else f"is damaged or truncated (SHA-256 {found})"
    except OSError as error:
        harm = f"cannot be read ({error.strerror})"
    if harm is not None:
        raise WeightsError(f"weights {name}: {path} {harm}; install elodin_spark again")
    return path, known
