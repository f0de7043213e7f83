"""The shapes in which a DataFrame may hold pictures, each read as windows."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from elodin_spark.cutouts.pixels import to_uint8
from elodin_spark.errors import ConfigError, ImageError
from elodin_spark.fingerprints.rows import window_of
from elodin_spark.images.raster import describe_raster, read_raster

#: Largest encoded picture, px, that is decoded in a DataFrame; a larger one is an archive to cut.
MAX_PICTURE_PIXELS = 2**26

#: OpenCV's numbers of the modes of Spark's ``image`` source, to their channels.
IMAGE_MODES = {0: 1, 16: 3, 24: 4}  # CV_8UC1, CV_8UC3, CV_8UC4

#: What an iterator pandas UDF is given: a column, a struct, or several columns.
Batch: TypeAlias = pd.Series | pd.DataFrame | tuple[pd.Series | pd.DataFrame, ...]
#: Window of a row; raises ImageError where there is none.
Reader: TypeAlias = Callable[[int], NDArray[np.uint8]]


def reader(batch: Batch) -> tuple[int, Reader]:
    """Tell what a batch holds.

    Parameters
    ----------
    batch : Series, DataFrame or tuple of Series
        One of: the columns ``pixels`` (bytes of uint8) and ``pixel_shape`` of our cutouts, or a
        struct of them; a struct of Spark's ``image`` source; bytes of JPEG, PNG or TIFF files.

    Returns
    -------
    count : int
        Rows.
    read : callable
        From the number of a row to its window: ndarray of uint8, shape (h, w) or
        (h, w, 3), RGB, the top row of a picture first. Raises
        :class:`~elodin_spark.errors.ImageError` of kind ``null``, ``bad_pixels``, or as
        :func:`~elodin_spark.images.raster.read_raster`.

    Raises
    ------
    ConfigError
        It is none of them.
    """
    parts = batch if isinstance(batch, tuple) else (batch,)
    if len(parts) == 2 and all(isinstance(part, pd.Series) for part in parts):
        pixels, shapes = (list(part) for part in parts)  # a lookup in a Series takes longer
        return len(pixels), lambda row: _raw(pixels[row], shapes[row])
    if len(parts) == 1:
        (column,) = parts
        if isinstance(column, pd.Series):
            return len(column), lambda row: decode(column.iloc[row])
        fields = {name: column[name] for name in column.columns}
        if {"pixels", "pixel_shape"} <= fields.keys():
            return len(column), lambda row: _raw(fields["pixels"].iloc[row], fields["pixel_shape"].iloc[row])
        if {"height", "width", "nChannels", "mode", "data"} <= fields.keys():
            return len(column), lambda row: _spark_image({name: fields[name].iloc[row] for name in fields})
    raise ConfigError(
        "fingerprint takes the columns pixels and pixel_shape of cutouts, the column of Spark's image "
        "source, or a BINARY column with JPEG, PNG or TIFF files; give it one of these"
    )


def decode(content: Any) -> NDArray[np.uint8]:
    """Decode the bytes of a JPEG, PNG or TIFF file.

    Parameters
    ----------
    content : bytes or None

    Returns
    -------
    ndarray of uint8, shape (h, w) or (h, w, 3)
        Turned as a viewer shows it; transparency is dropped, 16 bits become 8.

    Raises
    ------
    ImageError
        Kinds ``null``, ``needs_stretch`` (floats), ``too_large``, and those of
        :func:`~elodin_spark.images.raster.read_raster`.
    ConfigError
        It is not bytes at all.
    """
    if content is None:
        raise _null()
    if not isinstance(content, bytes | bytearray):
        raise ConfigError(
            f"fingerprint was given a column of {type(content).__name__}; encoded pictures must be BINARY"
        )
    # The readers of pictures work on files, which they open more than once.
    with tempfile.NamedTemporaryFile(prefix="elodin-") as file:
        file.write(content)
        file.flush()
        found = describe_raster(file.name)
        if found.width * found.height > MAX_PICTURE_PIXELS:
            raise ImageError(
                f"the picture has {found.width} x {found.height} px, more than {MAX_PICTURE_PIXELS}; cut it "
                "into windows with read_images and tile",
                "too_large",
            )
        return to_uint8(read_raster(file.name))


def _raw(pixels: Any, shape: Any) -> NDArray[np.uint8]:
    if pixels is None:
        raise _null()
    sides = None if shape is None else [None if pd.isna(side) else int(side) for side in shape]
    return window_of(pa.py_buffer(pixels), sides)


def _spark_image(row: dict[str, Any]) -> NDArray[np.uint8]:
    if row["data"] is None:
        raise _null()
    numbers = {name: row[name] for name in ("height", "width", "nChannels", "mode")}
    if any(pd.isna(value) for value in numbers.values()):
        raise ImageError(
            f"the image has no {', '.join(n for n in numbers if pd.isna(numbers[n]))}", "bad_pixels"
        )
    height, width, channels, mode = (int(value) for value in numbers.values())
    if mode == -1:  # Spark's word for a file that it could not decode
        raise ImageError(f"Spark could not decode the image {row.get('origin') or ''}".rstrip())
    if IMAGE_MODES.get(mode) != channels:
        raise ImageError(
            f"the image has mode {mode} with {channels} channels; CV_8UC1 (0), CV_8UC3 (16) and CV_8UC4 (24) "
            "are read",
            "bad_pixels",
        )
    if channels == 1:
        return window_of(pa.py_buffer(row["data"]), [height, width])
    if len(row["data"]) != height * width * channels or min(height, width) < 1:
        raise ImageError(
            f"the image has {len(row['data'])} bytes, which do not fill the shape "
            f"{(height, width, channels)}",
            "bad_pixels",
        )
    pixels = np.frombuffer(row["data"], np.uint8).reshape(height, width, channels)
    return np.ascontiguousarray(pixels[..., 2::-1])  # BGR or BGRA; transparency is dropped


def _null() -> ImageError:
    return ImageError("there is no picture: the value is null", "null")
