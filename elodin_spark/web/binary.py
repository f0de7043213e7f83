"""Columns of numbers as bytes, which a page reads without parsing.

Four bytes, a little-endian length; JSON of that length, `n`, `meta` and `columns` (`name`, `dtype`, `offset`
in bytes from the start of the data, `length` in elements), padded with spaces so that the data start at a
multiple of 8; then the columns, little-endian, each at a multiple of 8.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Types that a page has arrays of.
DTYPES = ("int64", "float32", "uint8", "uint16", "uint32")
MEDIA_TYPE = "application/octet-stream"
_ALIGNED = 8


def pack(columns: Mapping[str, NDArray], rows: int | None = None, **meta: Any) -> bytes:
    """Columns as bytes.

    Parameters
    ----------
    columns : mapping of str to ndarray, shape (m,)
        Of one of :data:`DTYPES`.
    rows : int, optional
        How many rows they are of; the length of the first by default.
    **meta
        What JSON can hold; numbers that are not finite become null.

    Returns
    -------
    bytes

    Raises
    ------
    ValueError
        A column is of another type or shape.

    Examples
    --------
    >>> packed = pack({"x": np.array([1, 2], np.float32)}, unit="px")
    >>> unpack(packed)
    (2, {'unit': 'px'}, {'x': array([1., 2.], dtype=float32)})
    """
    described, pieces, offset = [], [], 0
    for name, values in columns.items():
        if values.dtype.name not in DTYPES or values.ndim != 1:
            raise ValueError(f"column {name} is {values.dtype} of shape {values.shape}: one of {DTYPES}")
        about = {"name": name, "dtype": values.dtype.name, "offset": offset, "length": len(values)}
        described.append(about)
        content = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
        pieces += [content, bytes(-len(content) % _ALIGNED)]
        offset += len(content) + -len(content) % _ALIGNED
    if rows is None:
        rows = described[0]["length"] if described else 0  # type: ignore[assignment]
    head = json_bytes({"n": rows, "meta": meta, "columns": described})
    head += b" " * (-(4 + len(head)) % _ALIGNED)
    return b"".join([struct.pack("<I", len(head)), head, *pieces])


def unpack(packed: bytes) -> tuple[int, dict[str, Any], dict[str, NDArray]]:
    """Rows, `meta` and columns of what :func:`pack` made.

    Raises
    ------
    ValueError
        It is something else, or cut short.
    """
    try:
        (length,) = struct.unpack_from("<I", packed)
        head = json.loads(packed[4 : 4 + length])
        columns = {
            each["name"]: np.frombuffer(
                packed, np.dtype(each["dtype"]).newbyteorder("<"), each["length"], 4 + length + each["offset"]
            )
            for each in head["columns"]
        }
    except (struct.error, KeyError, TypeError) as error:
        raise ValueError(f"these bytes are no columns: {error}") from None
    return head["n"], head["meta"], columns


def json_bytes(value: Any) -> bytes:
    """JSON that any browser reads: numbers that are not finite are null."""
    return json.dumps(_finite(value), allow_nan=False, separators=(",", ":")).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
