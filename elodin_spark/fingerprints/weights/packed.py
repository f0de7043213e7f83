"""Network weights in one small file, which NumPy alone can read.

A file is a zip archive, as ``numpy.savez`` writes it, of plain arrays ``LAYER/VARIABLE.npy`` and a
``header.json``. Kernels are stored in half precision or as 8-bit integers with a scale for each output
channel, ``LAYER/VARIABLE.scale.npy``: kernel = integers * scale. All else (biases, normalizations) is
float32. Nothing is pickled, and the same arrays always make the same file.

>>> with np.load("survey-resnet50.npz") as file:                                # doctest: +SKIP
...     header = json.loads(file["header.json"])
...     kernel = file["conv1_conv/kernel"]
...     if header["arrays"]["conv1_conv/kernel"]["encoding"] == "int8":
...         kernel = kernel * file["conv1_conv/kernel.scale"]
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from elodin_spark.config.base import Model
from elodin_spark.diskfiles import replacing
from elodin_spark.errors import WeightsError

#: How kernels are stored.
Encoding = Literal["float32", "float16", "int8"]

_FORMAT: Literal["elodin_spark weights"] = "elodin_spark weights"
_VERSION: Literal[1] = 1
_HEADER = "header.json"
_HEADER_BYTES = 2**24
#: What the header of a ``.npy`` file may take beside its numbers, bytes.
_NPY_HEADER = 4096
_DTYPES: dict[Encoding, str] = {"float32": "<f4", "float16": "<f2", "int8": "|i1"}
_SHA256 = "^[0-9a-f]{64}$"


class PackedPreprocessing(Model):
    """What is done to RGB pixels of 0 to 255 before they enter: ``(pixels - mean) * scale``.

    Attributes
    ----------
    mode : str
        What ``keras.applications`` calls it.
    mean, scale : tuple of float
        Per channel, in the order the network reads them.
    bgr : bool
        Whether that order is blue, green, red.
    """

    mode: str
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]
    bgr: bool


class PackedArray(Model):
    """One variable of the network as it is stored.

    Attributes
    ----------
    shape : tuple of int
    encoding : str
    sha256 : str
        Of the stored numbers, little-endian in C order.
    scale_sha256 : str or None
        Of the scales of ``int8``, float32.
    """

    shape: tuple[int, ...]
    encoding: Encoding
    sha256: str = Field(pattern=_SHA256)
    scale_sha256: str | None = Field(None, pattern=_SHA256)


class PackHeader(Model):
    """What ``header.json`` says.

    Attributes
    ----------
    backbone : str
        The network the weights fit, a name of
        :data:`~elodin_spark.config.backbones.BACKBONES`; without a head.
    input_px : int
        Side of the images it was trained with, px.
    encoding : str
        Of the kernels.
    arrays_sha256 : str
        Of the float32 arrays that are read, see
        :func:`~elodin_spark.fingerprints.weights.resolve.digest_arrays`.
    arrays : dict of str to PackedArray
        By ``layer/variable``, in the order of the network.
    card : dict
        Where the weights come from: data, recipe, seeds, scores.
    """

    format: Literal["elodin_spark weights"] = _FORMAT
    version: Literal[1] = _VERSION
    backbone: str
    input_px: int = Field(ge=32, le=1024)
    preprocessing: PackedPreprocessing
    encoding: Encoding
    arrays_sha256: str = Field(pattern=_SHA256)
    arrays: dict[str, PackedArray]
    card: dict[str, Any] = Field(default_factory=dict)


def encode(array: NDArray[Any], encoding: Encoding) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    """Encode one kernel.

    Parameters
    ----------
    array : ndarray of float, shape (..., channels)
        The output channels last, as in Keras; of a depthwise kernel (h, w, channels, 1) the last but one.
    encoding : str

    Returns
    -------
    numbers : ndarray, of the shape of `array`
    scale : ndarray of float32 or None
        Of ``int8``: what the numbers are multiplied with, which broadcasts to their shape.

    Raises
    ------
    WeightsError
        A number is not finite, or too large for float16.
    """
    _require_finite(array, encoding)
    if encoding == "int8":
        depthwise = array.ndim == 4 and array.shape[-1] == 1
        channel = array.ndim - 2 if depthwise else array.ndim - 1
        others = tuple(axis for axis in range(array.ndim) if axis != channel)
        largest = np.abs(array).max(axis=others, keepdims=depthwise)
        scale = np.where(largest > 0, largest / 127, 1).astype("<f4")
        return np.clip(np.rint(array / scale), -127, 127).astype("|i1"), scale
    with np.errstate(over="ignore"):
        numbers = array.astype(_DTYPES[encoding])
    _require_finite(numbers, encoding)
    return numbers, None


def write_pack(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    encoding: Encoding,
    **header: Any,
) -> PackHeader:
    """Write a file, whole or not at all.

    Parameters
    ----------
    path : Path
    arrays : mapping of str to ndarray of float
        By ``layer/variable``, in the order of the network.
    encoding : str
        Of the kernels, which are the arrays of two axes and more.
    **header
        The other attributes of :class:`PackHeader` that are not worked out here.

    Returns
    -------
    PackHeader

    Raises
    ------
    WeightsError
        A number is not finite, or too large for the encoding.
    """
    from elodin_spark.fingerprints.weights.resolve import digest_arrays

    members: dict[str, NDArray[Any]] = {}
    packed: dict[str, PackedArray] = {}
    decoded: dict[str, NDArray[np.float32]] = {}
    for name, array in arrays.items():
        stored_as: Encoding = encoding if array.ndim >= 2 else "float32"
        try:
            numbers, scale = encode(array, stored_as)
        except WeightsError as error:
            raise WeightsError(f"{name}: {error}") from None
        members[name] = numbers
        if scale is not None:
            members[f"{name}.scale"] = scale
        packed[name] = PackedArray(
            shape=array.shape,
            encoding=stored_as,
            sha256=_digest(numbers),
            scale_sha256=None if scale is None else _digest(scale),
        )
        decoded[name] = _decode(numbers, scale)
    known = PackHeader(encoding=encoding, arrays_sha256=digest_arrays(decoded), arrays=packed, **header)
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_member(_HEADER), known.model_dump_json(indent=1))
        for name, array in members.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(_member(f"{name}.npy"), content.getvalue())
    return known


def is_pack(path: Path) -> bool:
    """Whether a zip archive is such a file."""
    with zipfile.ZipFile(path) as archive:
        return _HEADER in archive.namelist()


def read_header(path: Path) -> PackHeader:
    """Read what a file says of itself.

    Raises
    ------
    WeightsError
        It is damaged, truncated, of another kind or of a newer version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(_HEADER).file_size > _HEADER_BYTES:
                _damaged(path, f"{_HEADER} is too large")
            content = json.loads(archive.read(_HEADER))
    except WeightsError:
        raise
    except Exception as error:  # zipfile and zlib raise many kinds for damaged files
        _damaged(path, error)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        _damaged(path, f"{_HEADER} is not that of {_FORMAT}")
    if isinstance(content.get("version"), int) and content["version"] > _VERSION:
        raise WeightsError(
            f"weights file {path} is of format {content['version']}, and this version of elodin_spark reads "
            f"{_VERSION}: install a newer one"
        )
    try:
        return PackHeader(**content)
    except (ValidationError, TypeError) as error:
        _damaged(path, f"{_HEADER}: {error}")


def read_pack(path: Path, header: PackHeader) -> dict[str, NDArray[np.float32]]:
    """Read the arrays, each checked.

    Parameters
    ----------
    path : Path
    header : PackHeader
        Of the file, from :func:`read_header`.

    Returns
    -------
    dict of str to ndarray of float32
        By ``layer/variable``.

    Raises
    ------
    WeightsError
        An array is missing, damaged, or not as the header says.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name, entry in header.arrays.items():
                numbers = _read(archive, name, _DTYPES[entry.encoding], entry.sha256, entry.shape)
                scale = None
                if entry.encoding == "int8":
                    scale = _read(archive, f"{name}.scale", "<f4", entry.scale_sha256)
                arrays[name] = _decode(numbers, scale)
                if arrays[name].shape != entry.shape:
                    raise ValueError(f"{name}.scale does not fit {name}")
    except Exception as error:
        _damaged(path, error)
    return arrays


def _read(
    archive: zipfile.ZipFile, name: str, dtype: str, sha256: str | None, shape: tuple[int, ...] | None = None
) -> NDArray[Any]:
    member = archive.getinfo(f"{name}.npy")
    # Before it is decompressed: a small file may hold a very large member.
    expected = np.dtype(dtype).itemsize * int(np.prod(shape)) if shape is not None else 2**20
    if member.file_size > expected + _NPY_HEADER:
        raise ValueError(f"{name} has {member.file_size:,} bytes, not {expected:,}")
    array = np.lib.format.read_array(io.BytesIO(archive.read(member)), allow_pickle=False)
    if array.dtype != np.dtype(dtype) or (shape is not None and array.shape != shape):
        raise ValueError(f"{name} holds {array.dtype} of shape {array.shape}")
    if _digest(array) != sha256:
        raise ValueError(f"{name} has another SHA-256 than {_HEADER} says")
    return array


def _decode(numbers: NDArray[Any], scale: NDArray[np.float32] | None) -> NDArray[np.float32]:
    found = numbers.astype(np.float32)
    return found if scale is None else np.asarray(found * scale.astype(np.float32), np.float32)


def _digest(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _member(name: str) -> zipfile.ZipInfo:
    # The first day zip knows: the same content is the same file.
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info


def _require_finite(array: NDArray[Any], encoding: Encoding) -> None:
    if not np.isfinite(array).all():
        raise WeightsError(
            f"a number is NaN, infinite or too large for {encoding}: training went wrong, or store it in "
            "float32"
        )


def _damaged(path: Path, reason: object) -> NoReturn:
    words = " ".join(str(reason).split())[:200] or type(reason).__name__
    raise WeightsError(
        f"weights file {path} is damaged or truncated ({words}): copy it again, or reinstall elodin_spark "
        "where it came with the package"
    )
