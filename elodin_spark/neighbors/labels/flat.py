"""Exact Jaccard neighbors of label sets.

The distance of sets A and B is 1 - |A n B| / |A u B|. With sizes a and b and H labels in
one set only (the Hamming distance of their bit codes) it is 2H / (a + b + H): for given
sizes it grows with H, so neighbors are found by FAISS's binary search within each set size
and merged over sizes. Numerators and denominators are small integers, so that equal
fractions are equal float64 and comparing distances is exact.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import CatalogError
from elodin_spark.neighbors.files import existing, unreadable, written_whole
from elodin_spark.neighbors.labels.bitcodes import LabelSets, code_bytes, count_labels, encode, set_sizes
from elodin_spark.neighbors.lookup import IdLookup, checked_k, ids_array

#: (query row, int64 IDs of shape (m,)) to distances of shape (m,), the smaller the better.
TieBreak = Callable[[int, NDArray[np.int64]], NDArray[np.float64]]

_UNREADABLE = (  # what NumPy and zipfile raise on files of all kinds
    *(OSError, EOFError, ValueError, KeyError, IndexError, TypeError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)
_FORMAT = "elodin_spark jaccard index 1"
_QUERIES_AT_ONCE = 256
_WIDE_QUERIES_AT_ONCE = 16  # a tie can be the whole catalog, once for each of these
_MARGIN = 64  # candidates fetched beyond k, so that most ties are closed by one scan


@dataclass(frozen=True, eq=False)
class _Group:
    """The sets of one size: rows `start` to `start + len` of the index."""

    size: int
    start: int
    index: Any
    codes: NDArray[np.uint8]


class JaccardIndex:
    """Label sets of a catalog as bit codes, searched exhaustively.

    Identical sets, empty ones included, have distance 0; an empty and a non-empty set 1.
    Made by :meth:`build` or :meth:`load`, never changed afterwards.

    Parameters
    ----------
    ids : array_like of int64, shape (n,)
    codes : ndarray of uint8, shape (n, bytes)
        Bit j of a row (little-endian) says whether label j is in the set.
    n_labels : int
        Labels are ``0 .. n_labels - 1``.
    source : str, optional
        What to call it in messages.

    Raises
    ------
    CatalogError
        An ID occurs twice.
    """

    def __init__(
        self, ids: ArrayLike, codes: NDArray[np.uint8], n_labels: int, source: str = "the Jaccard index"
    ) -> None:
        import faiss

        keys = ids_array(ids)
        sizes = set_sizes(codes)
        order = np.lexsort((keys, sizes))  # so that the index does not depend on insertion order
        self._ids = keys[order]
        self._lookup = IdLookup(self._ids, source)
        self._n_labels = n_labels
        self._source = source
        self._groups: list[_Group] = []
        distinct, counts = np.unique(sizes, return_counts=True)
        for size, start, count in zip(distinct, np.cumsum(counts) - counts, counts, strict=True):
            index: Any = faiss.IndexBinaryFlat(codes.shape[1] * 8)
            index.add(np.ascontiguousarray(codes[order[start : start + count]]))
            inside = faiss.rev_swig_ptr(index.xb.data(), index.ntotal * index.code_size)
            self._groups.append(_Group(int(size), int(start), index, inside.reshape(-1, index.code_size)))

    @classmethod
    def build(
        cls,
        batches: Iterable[tuple[ArrayLike, LabelSets]],
        n_labels: int,
        *,
        source: str = "the Jaccard index",
    ) -> JaccardIndex:
        """Build from a stream of batches.

        Parameters
        ----------
        batches : iterable of (ids, sets)
            `ids` int64, shape (n,); `sets` n label sets. A label that a set repeats counts once.
        n_labels : int
            Size of the universe.
        source : str, optional
            What to call the index in messages.

        Raises
        ------
        CatalogError
            A set is null or holds a label outside the universe, or an ID occurs twice.
        """
        if n_labels < 1:
            raise CatalogError(f"{source}: there must be at least 1 label, got {n_labels}")
        ids, codes = [np.empty(0, np.int64)], [np.empty((0, code_bytes(n_labels)), np.uint8)]
        for keys, sets in batches:
            ids.append(ids_array(keys))
            codes.append(encode(sets, n_labels, source))
            if len(ids[-1]) != len(codes[-1]):
                raise CatalogError(
                    f"{source}: a batch holds {len(ids[-1])} IDs but {len(codes[-1])} label sets"
                )
        return cls(np.concatenate(ids), np.concatenate(codes), n_labels, source)

    @classmethod
    def load(cls, path: str | Path, *, without: ArrayLike | None = None) -> JaccardIndex:
        """Read what :meth:`save` wrote; nothing is unpickled.

        Parameters
        ----------
        path : str or Path
        without : array_like of int64, shape (m,), optional
            IDs to leave out; the file keeps them.

        Raises
        ------
        CatalogError
            The file is missing, truncated, or not such an index.
        """
        path = existing(path, "Jaccard index")
        try:
            with np.load(path, allow_pickle=False) as file:
                if str(file["format"]) != _FORMAT:
                    raise ValueError(f"format {str(file['format'])[:80]!r} is not {_FORMAT!r}")
                ids, codes, n_labels = file["ids"], file["codes"], int(file["n_labels"])
            if codes.dtype != np.uint8 or codes.shape != (ids.size, code_bytes(n_labels)):
                raise ValueError(f"{ids.size} IDs, but codes are {codes.dtype} of shape {codes.shape}")
        except _UNREADABLE as error:
            raise unreadable(path, "Jaccard index", error) from None
        if without is not None:
            kept = ~np.isin(ids, ids_array(without))
            ids, codes = ids[kept], codes[kept]
        return cls(ids, codes, n_labels, str(path))

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` of plain arrays; it appears at `path` whole or not at all."""
        codes = [
            np.empty((0, code_bytes(self._n_labels)), np.uint8),
            *(group.codes for group in self._groups),
        ]
        with written_whole(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                format=np.array(_FORMAT),
                n_labels=np.array(self._n_labels),
                ids=self._ids,
                codes=np.concatenate(codes),
            )

    def __len__(self) -> int:
        return len(self._lookup)

    @property
    def n_labels(self) -> int:
        """Size of the universe."""
        return self._n_labels

    @property
    def ids(self) -> NDArray[np.int64]:
        """All cutout IDs in ascending order, int64, shape (n,)."""
        return self._lookup.ids

    def contains(self, ids: ArrayLike) -> NDArray[np.bool_]:
        """Whether each of `ids`, shape (m,), is indexed; bool, shape (m,)."""
        return self._lookup.contains(ids)

    def sets_of(self, ids: ArrayLike) -> list[NDArray[np.int32]]:
        """Return stored label sets.

        Parameters
        ----------
        ids : array_like of int64, shape (m,)

        Returns
        -------
        list of ndarray of int32
            Each ascending, without repeats.

        Raises
        ------
        UnknownCutoutError
            An ID is not indexed.
        """
        codes = self._codes_at(self._lookup.positions(ids))
        return [np.flatnonzero(np.unpackbits(code, bitorder="little")).astype(np.int32) for code in codes]

    def label_counts(self) -> NDArray[np.int64]:
        """How many sets hold each label, int64, shape (n_labels,)."""
        counts = np.zeros(self._n_labels, np.int64)
        for group in self._groups:
            counts += count_labels(group.codes, self._n_labels)
        return counts

    def search_ids(
        self, ids: ArrayLike, k: int, tie_break: TieBreak | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Nearest cutouts of cutouts; each finds itself among its own.

        Parameters and results as for :meth:`search`, the queries given by ID, int64, shape (q,).

        Raises
        ------
        UnknownCutoutError
            An ID is not indexed.
        InputError
            `k` is below 1.
        """
        return self._search(self._codes_at(self._lookup.positions(ids)), checked_k(k), tie_break)

    def search(
        self, sets: LabelSets, k: int, tie_break: TieBreak | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Nearest cutouts of label sets, ordered by (Jaccard distance, tie break, ID).

        Parameters
        ----------
        sets : q label sets
        k : int
            Neighbors wanted; all ``n`` come back where `k` is larger.
        tie_break : callable, optional
            Second distance, asked once a query for the IDs whose Jaccard distance is shared,
            including all that tie with the k-th. Without it, ties go by ID.

        Returns
        -------
        ids : ndarray of int64, shape (q, min(k, n))
        distances : ndarray of float64, shape (q, min(k, n))
            1 - Jaccard index, in [0, 1].

        Raises
        ------
        CatalogError
            A label outside the universe.
        InputError
            `k` is below 1.
        """
        return self._search(encode(sets, self._n_labels, "the query"), checked_k(k), tie_break)

    def _codes_at(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        codes = np.empty((positions.size, code_bytes(self._n_labels)), np.uint8)
        for group in self._groups:
            inside = (positions >= group.start) & (positions < group.start + len(group.codes))
            codes[inside] = group.codes[positions[inside] - group.start]
        return codes

    def _search(
        self, codes: NDArray[np.uint8], k: int, tie_break: TieBreak | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        k = min(k, len(self))
        ids = np.empty((len(codes), k), np.int64)
        distances = np.empty((len(codes), k), np.float64)
        if k == 0:
            return ids, distances
        sizes = set_sizes(codes)
        for size in np.unique(sizes):
            rows = np.flatnonzero(sizes == size)
            for start in range(0, rows.size, _QUERIES_AT_ONCE):
                block = rows[start : start + _QUERIES_AT_ONCE]
                found = self._candidates(codes[block], int(size), k)
                for row, (positions, jaccard) in zip(block, found, strict=True):
                    near = self._ids[positions]
                    best = ranked(int(row), near, jaccard, tie_break)[:k]
                    ids[row], distances[row] = near[best], jaccard[best]
        return ids, distances

    def _candidates(
        self, codes: NDArray[np.uint8], size: int, k: int
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Every set at most as far as the k-th nearest: (positions, distances) of each query.

        All queries hold `size` labels.
        """
        smallest = {
            g.size: jaccard_distance(size, g.size, np.array(abs(size - g.size))) for g in self._groups
        }
        best = np.full((len(codes), k), np.inf)  # the k smallest distances so far
        scans = []
        for group in sorted(self._groups, key=lambda g: (smallest[g.size], g.size)):
            rows = np.flatnonzero(best[:, -1] >= smallest[group.size])
            if not rows.size:
                break  # the sets of this and all later sizes are too far, whatever they hold
            fetched = min(len(group.codes), k + max(_MARGIN, k))
            hamming, positions = group.index.search(codes[rows], fetched)
            jaccard = jaccard_distance(size, group.size, hamming)
            best[rows] = np.sort(np.hstack([best[rows], jaccard]), axis=1)[:, :k]
            scans.append((group, rows, positions, jaccard))
        kth = best[:, -1]
        parts: list[list[tuple[NDArray[np.int64], NDArray[np.float64]]]] = [[] for _ in codes]
        for group, rows, positions, jaccard in scans:
            # FAISS cut the list somewhere inside a tie: fetch all of it.
            cut = (jaccard[:, -1] <= kth[rows]) & (positions.shape[1] < len(group.codes))
            for at, row in enumerate(rows.tolist()):
                if not cut[at]:
                    near = jaccard[at] <= kth[row]
                    parts[row].append((positions[at][near] + group.start, jaccard[at][near]))
            for row, where, distances in _all_within(group, size, codes, rows[cut], kth):
                parts[row].append((where + group.start, distances))
        return [
            (np.concatenate([p for p, _ in part]), np.concatenate([j for _, j in part])) for part in parts
        ]


def _all_within(
    group: _Group, size: int, codes: NDArray[np.uint8], rows: NDArray[np.int64], kth: NDArray[np.float64]
) -> Iterable[tuple[int, NDArray[np.int64], NDArray[np.float64]]]:
    """(row, positions in the group, distances) of all sets at most ``kth[row]`` away."""
    steps = jaccard_distance(size, group.size, np.arange(size + group.size + 1))
    radii = np.searchsorted(steps, kth[rows], side="right")  # FAISS wants Hamming < radius
    for radius in np.unique(radii):
        same = rows[radii == radius]
        for start in range(0, same.size, _WIDE_QUERIES_AT_ONCE):
            block = same[start : start + _WIDE_QUERIES_AT_ONCE]
            limits, hamming, positions = group.index.range_search(codes[block], int(radius))
            for at, row in enumerate(block):
                part = slice(int(limits[at]), int(limits[at + 1]))
                yield int(row), positions[part], jaccard_distance(size, group.size, hamming[part])


def ranked(
    row: int, ids: NDArray[np.int64], jaccard: NDArray[np.float64], tie_break: TieBreak | None
) -> NDArray[np.int64]:
    """Order of some cutouts by (Jaccard distance, tie break, ID).

    Parameters
    ----------
    row : int
        Of the query.
    ids : ndarray of int64, shape (m,)
    jaccard : ndarray of float64, shape (m,)
    tie_break : callable or None
        See :data:`TieBreak`; asked for those whose distance is shared.

    Returns
    -------
    ndarray of int64, shape (m,)
    """
    second = np.zeros(ids.size)
    if tie_break is not None:
        _, value, count = np.unique(jaccard, return_inverse=True, return_counts=True)
        tied = count[value] > 1
        if tied.any():
            second[tied] = tie_break(row, ids[tied])
    return np.lexsort((ids, second, jaccard))


def jaccard_distance(a: int, b: int | NDArray[Any], hamming: NDArray[Any]) -> NDArray[np.float64]:
    """Jaccard distances of a set of size `a` and sets of size `b` from their Hamming distances.

    Parameters
    ----------
    a : int
    b : int, or ndarray of integers, shape (m,)
    hamming : ndarray of integers, shape (m,), or any where `b` is one size

    Returns
    -------
    ndarray of float64, shape of `hamming`
        2H / (a + b + H); 0 between empty sets.
    """
    wide = hamming.astype(np.float64)
    return np.asarray(2 * wide / np.maximum(a + b + wide, 1))
