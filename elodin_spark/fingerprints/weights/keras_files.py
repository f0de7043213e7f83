"""Weights files as Keras has written them over the years, and our own, read as named arrays.

Four layouts are told apart by what is inside, not by the name:

- the zip archive of ``model.save("x.keras")``;
- the safetensors of :mod:`elodin_spark.fingerprints.weights.packed`;
- HDF5 of ``model.save_weights("x.weights.h5")``: groups below ``layers``;
- the older HDF5 of ``model.save("x.h5")`` and ``tf.keras``: a list ``layer_names``.

Nothing is unpickled, and a model's own code (``Lambda`` layers, classes that are not Keras') is refused. What
a file says it holds is bounded by the network before it is unpacked, and data in other files is not read.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.backbones import Backbone
from elodin_spark.errors import WeightsError
from elodin_spark.fingerprints.backbones import HEAD_LAYER, build_model, named_weights
from elodin_spark.fingerprints.runtimes.framework import load_keras
from elodin_spark.fingerprints.weights.packed import is_pack, read_header, read_pack

#: First names of layers that ``keras.applications`` gives none.
_UNNAMED = ("conv2d", "batch_normalization", "layer_normalization", "normalization")

#: What a file may hold beside the network, bytes: a head, counters.
_BESIDE = 2**26
#: Most bytes of a number, and copies: those of an optimizer are as large as the network.
_NUMBER_BYTES, _COPIES = 8, 4
_CONFIG_BYTES = 2**24
#: Largest number of a ``.keras`` configuration, which is of units, filters or px.
_LARGEST = 2**17
#: More convolutions than this beside the network are no head but another network.
_HEAD_CONVOLUTIONS = 2

Arrays = dict[str, NDArray[np.float32]]


def read_arrays(path: Path, backbone: Backbone) -> Arrays:
    """Read the weights of a network from a file.

    A head is taken where the file holds exactly one dense layer and that stands on the pooled
    features, with two classes or more; any other head is left out.

    Parameters
    ----------
    path : Path
        A local file.
    backbone : Backbone
        The network the file must hold.

    Returns
    -------
    dict of str to ndarray of float32
        ``layer/variable`` as in :func:`~elodin_spark.fingerprints.backbones.build_model`, in
        its order; the head, if any, is ``predictions``.

    Raises
    ------
    WeightsError
        The file is damaged, is of another format, or holds another network.
    """
    try:
        if is_pack(path):
            return _from_pack(path, backbone)
        if zipfile.is_zipfile(path):
            return _from_archive(path, backbone)
        with h5py.File(path, "r") as file:
            _check_size(file, path, backbone)
            root = file.get("model_weights", file)
            if "layer_names" in root.attrs or "layer_names0" in root.attrs:
                return _from_legacy(root, path, backbone)
            if "layers" in file:
                return _from_groups(file, path, backbone)
    except WeightsError:
        raise
    except Exception as error:  # h5py, zipfile and Keras raise many kinds for damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"weights file {path} cannot be read ({reason}): it is damaged, truncated or not a Keras file; "
            "copy or save it again"
        ) from error
    raise WeightsError(
        f"weights file {path} is HDF5 but not a Keras weights file: expected what model.save_weights or "
        "model.save wrote"
    )


def _from_pack(path: Path, backbone: Backbone) -> Arrays:
    header = read_header(path)
    if header.backbone != backbone.name:
        raise _misfit(path, backbone, f"it is of {header.backbone}")
    if header.mode != backbone.mode:
        raise _misfit(path, backbone, f"its pixels are prepared as {header.mode!r}")
    names = network_order(header.arrays, path, backbone)
    arrays = read_pack(path, header)
    return {name: arrays[name] for name in names}


def read_label_names(path: Path) -> tuple[str, ...] | None:
    """Names of the classes of a file's head; None without them, and Keras's files hold none.

    Raises
    ------
    WeightsError
        The file is damaged.
    """
    return read_header(path).label_names if is_pack(path) else None


def network_order(found: Mapping[str, tuple[int, ...]], path: Path, backbone: Backbone) -> tuple[str, ...]:
    """Names of the arrays of a network as it lists them, its head last, which their SHA-256 depends on.

    Raises
    ------
    WeightsError
        The shapes `found`, by name, which are those of the file `path`, are not of the network, or its head
        is not one dense layer of two classes or more on the pooled features.
    """
    shapes = _shapes(backbone)
    if kernel := found.get(f"{HEAD_LAYER}/kernel"):
        if not _is_head([kernel], backbone):
            raise _misfit(path, backbone, f"its head has a kernel of shape {kernel}")
        shapes = {**shapes, f"{HEAD_LAYER}/kernel": kernel, f"{HEAD_LAYER}/bias": kernel[-1:]}
    for name in shapes.keys() | found.keys():
        if (ours := shapes.get(name)) != (theirs := found.get(name)):
            raise _misfit(path, backbone, f"{name} has shape {theirs}, not {ours}")
    return tuple(shapes)


def _from_archive(path: Path, backbone: Backbone) -> Arrays:
    _check_archive(path, backbone)
    keras = load_keras()
    # Keras goes by the suffix, not by the content.
    with _linked(path, "model.keras") as link:
        model = keras.models.load_model(str(link), compile=False, safe_mode=True)
    found: dict[str, NDArray[Any]] = {}
    dense: list[str] = []
    for layer in _leaves(model):
        for variable in layer.weights:
            name = f"{layer.name}/{variable.name}"
            if name in found:
                raise _misfit(path, backbone, f"it holds {name} twice: two networks are in it")
            found[name] = variable.numpy()
        if isinstance(layer, keras.layers.Dense):
            dense.append(layer.name)
    return _fit(found, dense, _shapes(backbone), path, backbone)


def _from_legacy(root: Any, path: Path, backbone: Backbone) -> Arrays:
    shapes = _shapes(backbone)
    layers = {name.split("/")[-2] for name in shapes}
    found: dict[str, NDArray[Any]] = {}
    for group_name, group in root.items():
        for name, dataset in _datasets(group).items():
            parts = name.split("/")
            # A plain layer's group has the layer's name; a nested model's holds its layers.
            layer = group_name if group_name in layers or len(parts) < 2 else parts[-2]
            name = f"{layer}/{parts[-1].removesuffix(':0')}"
            if name in found:
                raise _misfit(path, backbone, f"it holds {name} twice: two networks are in it")
            found[name] = dataset[()]
    dense = [name.split("/")[0] for name, array in found.items() if array.ndim == 2]
    return _fit(found, dense, shapes, path, backbone)


#: Numbers of a configuration that nothing is made as large as: an object's place in memory, and seeds.
_NO_SIZES = ("shared_object_id", "seed")


def _check_archive(path: Path, backbone: Backbone) -> None:
    """Refuse a ``.keras`` file that is too large unpacked, or whose configuration is not of Keras' layers."""
    limit = _most_bytes(backbone)
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            most = _CONFIG_BYTES if member.filename.endswith(".json") else limit
            if member.file_size > most:
                raise WeightsError(
                    f"weights file {path} is refused: {member.filename} in it has {member.file_size:,} bytes "
                    f"unpacked, and {backbone.title} needs {most:,} at most; give weights of that network"
                )
        config = json.loads(archive.read("config.json"))
        _check_config(config, path)
        with tempfile.TemporaryDirectory() as scratch:
            inner = Path(scratch) / "weights.h5"
            with archive.open("model.weights.h5") as source, inner.open("wb") as target:
                shutil.copyfileobj(source, target)
            with h5py.File(inner, "r") as file:
                _check_size(file, path, backbone)


def _check_config(value: Any, path: Path) -> None:
    """Refuse code, classes that are not Keras', and sizes that no network has."""
    if isinstance(value, dict):
        module, name = value.get("module"), value.get("class_name")
        foreign = isinstance(module, str) and not re.fullmatch(r"keras(\.\w+)*|builtins", module)
        if (
            foreign
            or name in ("Lambda", "function", "__lambda__")
            or value.get("registered_name") == "Lambda"
        ):
            raise WeightsError(
                f"weights file {path} is refused: its configuration names {module}.{name}, which is code and "
                "not a layer of Keras; save the weights alone, with model.save_weights('NAME.weights.h5')"
            )
    items = value if isinstance(value, list) else ()
    if isinstance(value, dict):
        items = [each for key, each in value.items() if key not in _NO_SIZES]
    for each in items:
        if isinstance(each, int) and abs(each) > _LARGEST:
            raise WeightsError(
                f"weights file {path} is refused: its configuration asks for {each:,} units or pixels; save "
                "the weights alone, with model.save_weights('NAME.weights.h5')"
            )
        _check_config(each, path)


def _check_size(file: Any, path: Path, backbone: Backbone) -> None:
    """Refuse HDF5 that says it holds more than the network, however few bytes it has, or data elsewhere."""
    total = 0
    for name, dataset in _datasets(file).items():
        if dataset.is_virtual or dataset.external:
            raise WeightsError(
                f"weights file {path} is refused: {name} in it lies in another file; save the weights again"
            )
        total += dataset.nbytes
    if total > (most := _most_bytes(backbone)):
        raise WeightsError(
            f"weights file {path} is refused: it says it holds {total:,} bytes of arrays, and "
            f"{backbone.title} needs {most:,} at most; give weights of that network"
        )


@cache
def _most_bytes(backbone: Backbone) -> int:
    numbers = sum(int(np.prod(shape)) for shape in _shapes(backbone).values())
    return numbers * _NUMBER_BYTES * _COPIES + _BESIDE


def _from_groups(file: Any, path: Path, backbone: Backbone) -> Arrays:
    if "functional" in file["layers"] and "layers" in file["layers/functional"]:
        raise _misfit(
            path,
            backbone,
            "it is of a Sequential model around the network: save that inner model by itself, or "
            "the whole as .keras",
        )
    stored = {
        name: dataset.shape
        for name, dataset in _datasets(file["layers"]).items()
        if "/seed_generator/" not in name
    }
    dense = [shape for shape in stored.values() if len(shape) == 2]
    for shape in _shapes(backbone).values():
        if shape in dense:
            dense.remove(shape)
    # Keras passes over, in silence, what a file holds beyond the model: count first. A dense
    # layer is a kernel and a bias.
    expected = _n_weights(backbone) + 2 * len(dense)
    if len(stored) != expected:
        raise _misfit(path, backbone, f"it holds {len(stored)} arrays, not {expected}")
    classes = dense[0][1] if _is_head(dense, backbone) else None
    model = build_model(backbone.name, backbone.input_px, classes)
    with _linked(path, "model.weights.h5") as link:
        try:
            model.load_weights(str(link))
        except ValueError as error:
            raise _misfit(path, backbone, " ".join(str(error).split())[:200]) from error
    return {name: variable.numpy() for name, variable in named_weights(model).items()}


def _fit(
    found: dict[str, NDArray[Any]],
    dense: list[str],
    shapes: dict[str, tuple[int, ...]],
    path: Path,
    backbone: Backbone,
) -> Arrays:
    """Pick the variables of the network, and of its head if there is one, by name."""
    arrays: Arrays = {}
    theirs = _numbered([name.split("/")[0] for name in found], [path.split("/")[-2] for path in shapes])
    dense = [layer for layer in dense if layer not in theirs.values()]
    for path_in_network, shape in shapes.items():
        layer, variable = path_in_network.split("/")[-2:]
        name = f"{theirs[layer]}/{variable}"
        if name not in found:
            # As Keras 2 called the kernel of a depthwise convolution.
            name = name.replace("/kernel", "/depthwise_kernel")
        if name not in found and any(each.startswith("res2a_branch2a/") for each in found):
            raise _misfit(
                path, backbone, "its layers are those of the ResNet50 of Keras 2.2, another network"
            )
        if name not in found:
            raise _misfit(path, backbone, f"{name} is missing")
        if found[name].shape != shape:
            raise _misfit(path, backbone, f"{name} has shape {found[name].shape}, not {shape}")
        arrays[path_in_network] = np.asarray(found[name], np.float32)
    used = set(theirs.values())
    others = {name.split("/")[0] for name, array in found.items() if array.ndim > 2} - used
    if len(others) > _HEAD_CONVOLUTIONS:
        some = ", ".join(sorted(others)[:3])
        raise _misfit(path, backbone, f"it holds {len(others)} convolutions beside it, such as {some}")
    kernels = [found[f"{layer}/kernel"] for layer in dense]
    if _is_head([kernel.shape for kernel in kernels], backbone):
        classes = kernels[0].shape[1]
        bias = found.get(f"{dense[0]}/bias", np.zeros(classes))
        arrays[f"{HEAD_LAYER}/kernel"] = np.asarray(kernels[0], np.float32)
        arrays[f"{HEAD_LAYER}/bias"] = np.asarray(bias, np.float32)
    return arrays


def _numbered(found: Sequence[str], layers: Sequence[str]) -> dict[str, str]:
    """What a file calls each layer of the network.

    Keras numbers the layers that have no name of their own through the process: ``conv2d`` to
    ``conv2d_93`` of one file are ``conv2d_94`` to ``conv2d_187`` of another.
    """
    names = {layer: layer for layer in layers}
    for kind in _UNNAMED:
        ours, theirs = _family(kind, names), _family(kind, found)
        if len(theirs) >= len(ours):
            names.update(zip(ours, theirs, strict=False))
    return names


def _family(kind: str, layers: Iterable[str]) -> list[str]:
    """``kind``, ``kind_1``, ``kind_2``, ..., those there are, in their order."""
    family = [name for name in set(layers) if re.fullmatch(rf"{re.escape(kind)}(_\d+)?", name)]
    return sorted(family, key=lambda name: int(name.removeprefix(kind).removeprefix("_") or 0))


def _is_head(dense: list[tuple[int, ...]], backbone: Backbone) -> bool:
    if len(dense) != 1 or len(dense[0]) != 2:
        return False
    return dense[0][0] == backbone.vector_length and dense[0][1] >= 2


def _misfit(path: Path, backbone: Backbone, reason: str) -> WeightsError:
    builder = "elodin_spark" if backbone.ours else "keras.applications"
    return WeightsError(
        f"weights file {path} does not fit {backbone.title} as {builder} builds it ({reason}): "
        "give weights of that network, saved by Keras with its layer names"
    )


@cache
def _shapes(backbone: Backbone) -> dict[str, tuple[int, ...]]:
    """Shape of each variable of the network without a head."""
    model = build_model(backbone.name, backbone.min_px)
    return {path: tuple(variable.shape) for path, variable in named_weights(model).items()}


@cache
def _n_weights(backbone: Backbone) -> int:
    """Arrays that Keras writes for the network without a head, whole numbers included."""
    return len(build_model(backbone.name, backbone.min_px).weights)


def _leaves(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _leaves(layer)
        else:
            yield layer


def _datasets(group: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item

    group.visititems(note)
    return found


@contextmanager
def _linked(path: Path, name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as scratch:
        link = Path(scratch) / name
        link.symlink_to(path.resolve())
        yield link
