"""Vectors in a table: lists of float32, or the bytes of float16 where they are stored small.

Neither Spark nor its SQL knows half precision, so a float16 vector is a BINARY value: its
components one after the other, little-endian. :func:`to_matrix` reads both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elodin_spark.config.transform import Storage

#: Beyond this, float16 is infinite.
LARGEST_FLOAT16 = float(np.finfo(np.float16).max)

_TYPES: dict[Storage, pa.DataType] = {"float32": pa.list_(pa.float32()), "float16": pa.binary()}
_HALF = np.dtype("<f2")


def with_storage(columns: pa.Schema, storage: Storage) -> pa.Schema:
    """A schema whose column ``vector`` is of `storage`."""
    place = columns.get_field_index("vector")
    return columns.set(place, columns.field(place).with_type(_TYPES[storage]))


def storage_of(kind: pa.DataType) -> Storage:
    """The storage of a column of vectors, by its type."""
    return "float16" if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else "float32"


def to_value(vector: NDArray[np.float32], storage: Storage) -> Any:
    """One vector as Arrow takes it: an array, or bytes.

    Parameters
    ----------
    vector : ndarray of float32, shape (d,)
        Of no component beyond :data:`LARGEST_FLOAT16`, for float16; rounded to the nearest.
    storage : {"float32", "float16"}
    """
    return vector if storage == "float32" else vector.astype(_HALF).tobytes()


def to_floats(value: Any) -> NDArray[np.float32] | None:
    """One value of a column of vectors, in either storage; None for none."""
    if value is None:
        return None
    half = isinstance(value, bytes | bytearray | memoryview)
    return np.frombuffer(value, _HALF).astype(np.float32) if half else np.asarray(value, np.float32)


def to_column(vectors: Sequence[NDArray[np.float32] | None], storage: Storage = "float32") -> pa.Array:
    """Vectors as a column; null for None."""
    if storage == "float32":
        return lists(vectors, pa.float32())
    return pa.array([None if row is None else to_value(row, storage) for row in vectors], pa.binary())


def to_matrix(column: pa.Array) -> NDArray[np.float32]:
    """A column of vectors of one length, in either storage, as a matrix.

    Parameters
    ----------
    column : pyarrow.Array
        Without nulls: lists of float32, or the bytes of float16.

    Returns
    -------
    ndarray of float32, shape (n, d)
        Of lists without a copy.
    """
    if not len(column):
        return np.empty((0, 0), np.float32)
    if storage_of(column.type) == "float16":
        whole = b"".join(column.to_pylist())
        return np.frombuffer(whole, _HALF).astype(np.float32).reshape(len(column), -1)
    values: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1)


def lists(rows: Sequence[NDArray | None], kind: pa.DataType) -> pa.ListArray:
    """A column of lists from one array, or None, for each row."""
    # From the buffers: pa.array would look at every row as a Python object.
    present = [row for row in rows if row is not None]
    flat = np.concatenate(present) if present else np.empty(0)
    ends = np.cumsum([0] + [0 if row is None else len(row) for row in rows])
    # A null row is one whose start is null.
    missing = np.array([row is None for row in rows] + [False])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32(), mask=missing), pa.array(flat, kind))
