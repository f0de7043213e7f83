"""Label sets as bit codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import CatalogError

#: Label sets of n cutouts: one integer array each, or an Arrow list column.
LabelSets: TypeAlias = Sequence[ArrayLike] | pa.Array | pa.ChunkedArray

_WORD_BITS = 64  # codes are whole words: FAISS counts 64 bits at a time
_SETS_AT_ONCE = 8192
_BITS = np.array([byte.bit_count() for byte in range(256)], dtype=np.uint8)


def code_bytes(n_labels: int) -> int:
    """Bytes of a code over `n_labels` labels."""
    return -(-n_labels // _WORD_BITS) * _WORD_BITS // 8


def set_sizes(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the bits set in each row of uint8 `codes`, shape (n, bytes); int64, shape (n,)."""
    sizes = np.empty(len(codes), np.int64)
    for start in range(0, len(codes), _SETS_AT_ONCE):
        sizes[start : start + _SETS_AT_ONCE] = _BITS[codes[start : start + _SETS_AT_ONCE]].sum(
            axis=1, dtype=np.int64
        )
    return sizes


def encode(sets: LabelSets, n_labels: int, source: str) -> NDArray[np.uint8]:
    """Turn sets into bit codes: bit j of a row (little-endian) says whether label j is in the set.

    Parameters
    ----------
    sets : n label sets
        A label that a set repeats counts once.
    n_labels : int
        Labels are ``0 .. n_labels - 1``.
    source : str
        What to call the sets in messages.

    Returns
    -------
    ndarray of uint8, shape (n, bytes)

    Raises
    ------
    CatalogError
        A set is null, is not 1-D integers, or holds a label outside the universe.
    """
    values, lengths = flatten(sets, source)
    outside = (values < 0) | (values >= n_labels)
    if outside.any():
        raise CatalogError(
            f"{source}: label {values[outside][0]} is not in 0 .. {n_labels - 1}: "
            "it comes from another backbone"
        )
    ends = np.cumsum(lengths)
    codes = np.empty((lengths.size, code_bytes(n_labels)), np.uint8)
    for start in range(0, lengths.size, _SETS_AT_ONCE):
        some = lengths[start : start + _SETS_AT_ONCE]
        members = np.zeros((some.size, codes.shape[1] * 8), bool)
        inside = slice(int(ends[start] - some[0]), int(ends[start + some.size - 1]))
        members[np.repeat(np.arange(some.size), some), values[inside]] = True
        codes[start : start + some.size] = np.packbits(members, axis=1, bitorder="little")
    return codes


def flatten(sets: LabelSets, source: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All labels one after another, and the number of labels of each set; both int64.

    Raises
    ------
    CatalogError
        A set is null or is not 1-D integers.
    """
    if isinstance(sets, pa.ChunkedArray):
        sets = sets.combine_chunks()
    if isinstance(sets, pa.Array):
        values = sets.flatten()
        if sets.null_count or values.null_count:
            raise CatalogError(
                f"{source}: some label sets are null; only fingerprinted cutouts can be indexed"
            )
        lengths = np.asarray(sets.value_lengths(), dtype=np.int64)
        return values.to_numpy(zero_copy_only=False).astype(np.int64), lengths
    arrays = [np.asarray(one) for one in sets]
    if any(one.ndim != 1 or (one.size and one.dtype.kind not in "iu") for one in arrays):
        raise CatalogError(f"{source}: each label set must be a 1-D array of integers")
    flat = np.concatenate([one.astype(np.int64) for one in arrays]) if arrays else np.empty(0, np.int64)
    return flat, np.array([one.size for one in arrays], dtype=np.int64)


def first_labels(sets: pa.Array, count: int | None) -> pa.Array:
    """The first, that is best, labels of each set of an Arrow list column; all where `count` is None."""
    return sets if count is None else pc.list_slice(sets, 0, count)


def count_labels(codes: NDArray[np.uint8], n_labels: int) -> NDArray[np.int64]:
    """How many of some bit codes, shape (n, bytes), hold each label; int64, shape (n_labels,)."""
    out = np.zeros(n_labels, np.int64)
    for start in range(0, len(codes), _SETS_AT_ONCE):
        some = codes[start : start + _SETS_AT_ONCE]
        out += np.unpackbits(some, axis=1, count=n_labels, bitorder="little").sum(axis=0, dtype=np.int64)
    return out
