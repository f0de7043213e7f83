"""Samples of cutouts that stay the same however the archive is read.

Each ID gets a pseudo-random key; a sample is the IDs with the smallest keys. It does not
depend on order or partitioning, a smaller sample is part of a larger one, and where cutouts
are added the sample changes only by those that enter it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import InputError


def sample_keys(ids: ArrayLike, seed: int) -> NDArray[np.int64]:
    """Hash IDs to keys with which to sort or threshold them.

    SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators"):
    the output function at state ``(id xor hash(seed)) + golden gamma``, its lowest bit dropped.
    The seed is hashed first, so that nearby seeds do not merely permute nearby IDs.

    Parameters
    ----------
    ids : array_like of int64, shape (n,)
    seed : int
        Taken modulo 2**64.

    Returns
    -------
    ndarray of int64, shape (n,)
        Uniform in ``[0, 2**63)``; two IDs may share a key.

    Raises
    ------
    InputError
        `ids` are not 1-D integers.
    """
    array = np.asarray(ids)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(f"cutout IDs must be 1-D integers, got {array.dtype} of shape {array.shape}")
    start = _splitmix64(np.array([seed % 2**64], dtype=np.uint64))
    mixed = _splitmix64(array.astype(np.int64).view(np.uint64) ^ start)
    return (mixed >> np.uint64(1)).view(np.int64)


def stable_sample(ids: ArrayLike, n: int, seed: int) -> NDArray[np.int64]:
    """Choose the `n` IDs with the smallest (key, ID).

    Parameters
    ----------
    ids : array_like of int64, shape (m,)
        In any order. A repeated ID counts once.
    n : int
        Size of the sample; all IDs are returned where there are no more.
    seed : int

    Returns
    -------
    ndarray of int64, shape (min(n, distinct ids),)
        In order of (key, ID): its first ``j`` are the sample of size ``j``.

    Raises
    ------
    InputError
        `n` is negative, or `ids` are not 1-D integers.
    """
    if n < 0:
        raise InputError(f"a sample has a size of 0 or more, got {n}")
    keys = sample_keys(ids, seed)
    array = np.asarray(ids).astype(np.int64)
    order = np.lexsort((array, keys))
    ordered = array[order]
    first = np.ones(ordered.size, bool)  # repeats are adjacent: equal IDs have equal keys
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first][:n]


def _splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    # Array arithmetic on uint64 wraps modulo 2**64, as the definition asks.
    z = state + np.array(0x9E3779B97F4A7C15, dtype=np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
