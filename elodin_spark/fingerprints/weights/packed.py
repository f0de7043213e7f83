"""Network weights in one small file of the safetensors format, which other libraries read too.

Kernels are stored in half precision or as 8-bit integers with a scale for each output channel,
``LAYER/VARIABLE.scale``: kernel = integers * scale. All else (biases, normalizations) is float32. A head,
where there is one, is the dense layer ``predictions``. What the file is stands in its metadata, as JSON under
``elodin_spark``. The same arrays always make the same file.

>>> with safe_open("survey-resnet50.safetensors", "numpy") as file:             # doctest: +SKIP
...     header = json.loads(file.metadata()["elodin_spark"])
...     kernel = file.get_tensor("conv1_conv/kernel").astype("float32")
...     if header["encoding"] == "int8":
...         kernel = kernel * file.get_tensor("conv1_conv/kernel.scale")
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator
from safetensors import safe_open
from safetensors.numpy import save

from elodin_spark.config.backbones import PreprocessingMode
from elodin_spark.config.base import Model
from elodin_spark.diskfiles import replacing
from elodin_spark.errors import WeightsError
from elodin_spark.fingerprints.backbones import HEAD_LAYER, Preprocessing
from elodin_spark.fingerprints.weights.types import digest_arrays


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError(f"{name!r} cannot be printed")
    return name


#: How kernels are stored.
Encoding = Literal["float32", "float16", "int8"]

#: Most characters of the name of a class.
LABEL_NAME_LENGTH = 200
#: Of one class: one line of print.
LabelName = Annotated[str, Field(min_length=1, max_length=LABEL_NAME_LENGTH), AfterValidator(_printable)]

_KEY = "elodin_spark"
_VERSION: Literal[1] = 1


class PackHeader(Model):
    """What a file says of itself.

    Attributes
    ----------
    version : int
        Of the format.
    backbone : str
        The network the weights fit, a name of
        :data:`~elodin_spark.config.backbones.BACKBONES`.
    input_px : int
        Side of the images it was trained with, or that makes the better vectors, px.
    mode : str
        Name of the preprocessing, one of :data:`~elodin_spark.config.backbones.PreprocessingMode`.
    preprocessing : Preprocessing
    encoding : str
        Of the kernels.
    arrays_sha256 : str
        Of the float32 arrays that are read, see
        :func:`~elodin_spark.fingerprints.weights.types.digest_arrays`.
    arrays : dict of str to tuple of int
        Shapes by ``layer/variable``, in the order of the network, then of its head.
    label_names : tuple of str, optional
        Of the classes of the head.
    card : dict
        Where the weights come from: data, recipe, seeds, scores.
    """

    version: Literal[1] = _VERSION
    backbone: str
    input_px: int = Field(ge=32, le=1024)
    mode: PreprocessingMode
    preprocessing: Preprocessing
    encoding: Encoding
    arrays_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    arrays: dict[str, tuple[int, ...]]
    label_names: tuple[LabelName, ...] | None = None
    card: dict[str, Any] = Field(default_factory=dict)

    @property
    def classes(self) -> int | None:
        """Length of the head; None without one."""
        kernel = self.arrays.get(f"{HEAD_LAYER}/kernel")
        return kernel[-1] if kernel else None

    @model_validator(mode="after")
    def _a_name_for_each_class(self) -> PackHeader:
        if self.label_names is not None and len(self.label_names) != self.classes:
            raise ValueError(f"{len(self.label_names)} names of {self.classes or 0} classes")
        return self


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
        Of ``int8``: what the numbers are multiplied with, of length 1 along all axes but the channels'.

    Raises
    ------
    WeightsError
        A number is not finite, or too large for float16.
    """
    _require_finite(array, encoding)
    if encoding == "int8":
        channel = _channel_axis(array.shape)
        others = tuple(axis for axis in range(array.ndim) if axis != channel)
        largest = np.abs(array).max(axis=others, keepdims=True)
        scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        return np.clip(np.rint(array / scale), -127, 127).astype(np.int8), scale
    with np.errstate(over="ignore"):
        numbers = array.astype(encoding)
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
    stored: dict[str, NDArray[Any]] = {}
    decoded: dict[str, NDArray[np.float32]] = {}
    for name, array in arrays.items():
        try:
            numbers, scale = encode(array, encoding if array.ndim >= 2 else "float32")
        except WeightsError as error:
            raise WeightsError(f"{name}: {error}") from None
        stored[name] = np.ascontiguousarray(numbers)
        if scale is not None:
            stored[f"{name}.scale"] = scale
        decoded[name] = _decode(numbers, scale)
    known = PackHeader(
        encoding=encoding,
        arrays_sha256=digest_arrays(decoded),
        arrays={name: array.shape for name, array in decoded.items()},
        **header,
    )
    with replacing(path) as temporary:
        temporary.write_bytes(save(stored, {_KEY: known.model_dump_json()}))
    return known


def is_pack(path: Path) -> bool:
    """Whether a file begins like one of safetensors: the length of a JSON object, and that object."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def read_header(path: Path) -> PackHeader:
    """Read what a file says of itself.

    Raises
    ------
    WeightsError
        It is damaged, truncated, of another kind or of a newer version.
    """
    try:
        with safe_open(path, "numpy") as file:
            content = json.loads((file.metadata() or {})[_KEY])
        if isinstance(version := content.get("version"), int) and version > _VERSION:
            raise WeightsError(
                f"weights file {path} is of format {version}, and this version of elodin_spark reads "
                f"{_VERSION}: install a newer one"
            )
        return PackHeader(**content)
    except WeightsError:
        raise
    except KeyError:
        raise WeightsError(
            f"weights file {path} was not written by elodin_spark: its metadata has no {_KEY!r}; pack the "
            "weights with elodin-spark weights pack"
        ) from None
    except Exception as error:  # safetensors, json and pydantic raise many kinds for damaged files
        _damaged(path, error)


def read_pack(path: Path, header: PackHeader) -> dict[str, NDArray[np.float32]]:
    """Read the arrays, checked against their SHA-256.

    Parameters
    ----------
    path : Path
    header : PackHeader
        Of the file, from :func:`read_header`. No array of another shape is read.

    Returns
    -------
    dict of str to ndarray of float32
        By ``layer/variable``, in the order of the header.

    Raises
    ------
    WeightsError
        An array is missing, damaged, or not as the header says.
    """
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: _read(file, name, shape) for name, shape in header.arrays.items()}
    except Exception as error:
        _damaged(path, error)
    if digest_arrays(arrays) != header.arrays_sha256:
        _damaged(path, "its arrays have another SHA-256 than its metadata says")
    return arrays


def _read(file: Any, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    entry = file.get_slice(name)
    dtype, found = entry.get_dtype(), tuple(entry.get_shape())
    if dtype not in ("F32", "F16", "I8") or found != shape:
        raise ValueError(f"{name} is {dtype} of shape {found}, not {shape}")
    scale = None
    if dtype == "I8":
        channel = _channel_axis(shape)
        one_each = tuple(length if axis == channel else 1 for axis, length in enumerate(shape))
        scale = _read(file, f"{name}.scale", one_each)
    return _decode(file.get_tensor(name), scale)


def _decode(numbers: NDArray[Any], scale: NDArray[np.float32] | None) -> NDArray[np.float32]:
    found = numbers.astype(np.float32)
    return found if scale is None else found * scale


def _channel_axis(shape: tuple[int, ...]) -> int:
    """Of the output channels: the last, but of a depthwise kernel the last but one."""
    return len(shape) - (2 if len(shape) == 4 and shape[-1] == 1 else 1)


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
