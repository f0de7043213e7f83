"""The centers by which label sets are sorted into lists, so that a query need not be compared with all.

All of it is counting: the same sets give the same centers on any machine.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elodin_spark.errors import CatalogError
from elodin_spark.neighbors.files import existing, load_faiss, unreadable, written_whole
from elodin_spark.neighbors.labels.bitcodes import LabelSets, code_bytes, encode, flatten, set_sizes

_FORMAT = "elodin_spark label centers 1"
_UNREADABLE = (  # what NumPy and zipfile raise on files of all kinds
    *(OSError, EOFError, ValueError, KeyError, IndexError, TypeError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)
_ALL_COMPARED = 200_000  # sets; below, comparing all takes about a millisecond
_MOST_LISTS = 16_384
_SETS_PER_LIST = 40  # to train on
_ROUNDS = 6
_AT_ONCE = 16 << 20  # distances


class LabelCenters:
    """One set of labels for each list; a set belongs to the center of least Hamming distance.

    Made by :func:`train_centers` or :meth:`load`, never changed.

    Parameters
    ----------
    codes : ndarray of uint8, shape (lists, bytes)
        Bit codes of the centers, see :func:`elodin_spark.neighbors.labels.bitcodes.encode`.
    n_labels : int
        Labels are ``0 .. n_labels - 1``.

    Attributes
    ----------
    digest : str
        SHA-256 of them all: names what shards belong to them.
    """

    def __init__(self, codes: NDArray[np.uint8], n_labels: int) -> None:
        self.codes = np.ascontiguousarray(codes)
        self.n_labels = n_labels
        self.digest = hashlib.sha256(
            f"{_FORMAT} {n_labels} {codes.shape}".encode() + codes.tobytes()
        ).hexdigest()

    def __len__(self) -> int:
        return len(self.codes)

    def nearest(self, codes: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
        """The lists nearest to some sets, by (Hamming distance of the center, number of the list).

        Parameters
        ----------
        codes : ndarray of uint8, shape (q, bytes)
        count : int
            At most as many as there are.

        Returns
        -------
        ndarray of int64, shape (q, count)
            In ascending order of their numbers.
        """
        out = np.empty((len(codes), count), np.int64)
        step = max(1, _AT_ONCE // len(self))
        for start in range(0, len(codes), step):
            keys = hamming(codes[start : start + step], self.codes).astype(np.int64) * len(self)
            keys += np.arange(len(self))
            if count == 1:
                near = keys.min(axis=1, keepdims=True)
            else:
                near = np.partition(keys, count - 1, axis=1)[:, :count]
            out[start : start + step] = np.sort(near % len(self), axis=1)
        return out

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` of plain arrays; it appears at `path` whole or not at all."""
        with written_whole(path) as temporary, temporary.open("wb") as file:
            np.savez(file, format=np.array(_FORMAT), n_labels=np.array(self.n_labels), codes=self.codes)

    @classmethod
    def load(cls, path: str | Path) -> LabelCenters:
        """Read what :meth:`save` wrote; nothing is unpickled.

        Raises
        ------
        CatalogError
            The file is missing, truncated or not such centers.
        """
        path = existing(path, "file of label centers")
        try:
            with np.load(path, allow_pickle=False) as file:
                if str(file["format"]) != _FORMAT:
                    raise ValueError(f"format {str(file['format'])[:80]!r} is not {_FORMAT!r}")
                codes, n_labels = file["codes"], int(file["n_labels"])
            if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != code_bytes(n_labels):
                raise ValueError(f"codes of {n_labels} labels are {codes.dtype} of shape {codes.shape}")
            if not len(codes):
                raise ValueError("no centers")
        except _UNREADABLE as error:
            raise unreadable(path, "file of label centers", error) from None
        return cls(codes, n_labels)


def list_count(count: int) -> int:
    """Lists for so many sets: 1 while all can be compared, else the power of two near four times the root.

    At most 16,384: a set is compared with each of them once.
    """
    if count < _ALL_COMPARED:
        return 1
    return int(min(2 ** round(math.log2(4 * math.sqrt(count))), _MOST_LISTS))


def training_size(lists: int) -> int:
    """How many sets centers are trained on; none for one list."""
    return _SETS_PER_LIST * lists if lists > 1 else 0


def train_centers(sets: LabelSets, lists: int, n_labels: int, source: str = "the sample") -> LabelCenters:
    """Find centers: k-majority (Grana et al. 2013, SPIE 8667), with sets of a given size.

    Sets go to their nearest center, and the labels most common among them, as many as a set of the
    sample holds on average, become the next center; ties go to the smaller label. A center without
    sets stays.

    Parameters
    ----------
    sets : n label sets
        In an order that tells nothing about them: the first are the first centers.
    lists : int
        Fewer centers come of fewer distinct sets.
    n_labels : int
        Size of the universe.
    source : str, optional
        What to call the sets in messages.

    Returns
    -------
    LabelCenters

    Raises
    ------
    CatalogError
        A set is null or holds a label outside the universe.
    """
    if lists == 1:
        return LabelCenters(np.zeros((1, code_bytes(n_labels)), np.uint8), n_labels)
    codes = encode(sets, n_labels, source)
    if not len(codes):
        raise CatalogError(f"{source} holds no label sets to train {lists} lists on")
    values, lengths = flatten(sets, source)
    # A label that a set repeats counts once.
    cells = np.unique(np.repeat(np.arange(len(codes)), lengths) * n_labels + values)
    size = max(1, round(float(set_sizes(codes).mean())))
    first = np.sort(np.unique(codes, axis=0, return_index=True)[1])[:lists]
    centers = LabelCenters(codes[first], n_labels)
    for _ in range(_ROUNDS):
        near = centers.nearest(codes, 1)[:, 0]
        counts = np.bincount(
            near[cells // n_labels] * n_labels + cells % n_labels, minlength=len(centers) * n_labels
        ).reshape(len(centers), n_labels)
        common = np.argsort(-counts, axis=1, kind="stable")[:, :size]
        chosen = [row[count[row] > 0] for row, count in zip(common, counts, strict=True)]
        following = encode(chosen, n_labels, source)
        empty = np.bincount(near, minlength=len(centers)) == 0
        following[empty] = centers.codes[empty]
        if np.array_equal(following, centers.codes):
            break
        centers = LabelCenters(following, n_labels)
    return centers


def hamming(some: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Hamming distances of bit codes, each of `some` with each of `others`.

    Parameters
    ----------
    some, others : ndarray of uint8, shapes (n, bytes) and (m, bytes)
        C-contiguous; whole words of 8 bytes.

    Returns
    -------
    ndarray of int32, shape (n, m)
    """
    faiss = load_faiss()
    out = np.empty((len(some), len(others)), np.int32)
    if out.size:
        some, others = np.ascontiguousarray(some), np.ascontiguousarray(others)
        first, second, result = (faiss.swig_ptr(array) for array in (some, others, out))
        faiss.hammings(first, second, len(some), len(others), some.shape[1], result)
    return out
