"""The halves of an approximate search: candidates from codes, and the nearest of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.neighbors.distance import exact_distances, squared_float32, widened
from elodin_spark.neighbors.files import load_faiss
from elodin_spark.neighbors.ivf.shard import Shard
from elodin_spark.neighbors.ivf.training import QUERY_BLOCK, Trained

_MARGIN = 16  # candidates beyond those wanted, so that most ties at the cut are whole
_WIDER = 4  # times more of them where a tie was not


def find_candidates(
    trained: Trained,
    shards: Sequence[Shard],
    queries: NDArray[np.float32],
    wanted: int,
    nprobe: int,
    only: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """The IDs of least (approximate distance, ID) in the lists nearest to each query.

    Parameters
    ----------
    trained : Trained
    shards : sequence of Shard
        At least one.
    queries : ndarray of float32, shape (q, d)
    wanted : int
        Candidates of a query, over all shards together.
    nprobe : int
        Lists scanned, the same ones in every shard.
    only : ndarray of int64, shape (m,), optional
        Just these IDs. Masked ones are never found.

    Returns
    -------
    ndarray of int64, shape (q, wanted)
        -1 where the lists hold no more.
    """
    selectors = [_selector(shard, only) for shard in shards]
    codes = [(ivf, chosen) for shard, chosen in zip(shards, selectors, strict=True) for ivf in shard.codes]
    projected = trained.project(queries, QUERY_BLOCK)
    near, lists = trained.nearest_lists(projected, nprobe, QUERY_BLOCK)
    out = np.full((len(queries), wanted), -1, np.int64)
    pending = np.arange(len(queries))
    fetched = wanted + max(_MARGIN, wanted // 4)
    while pending.size:
        ids, approximate, cut_short = [], [], []
        for ivf, selector in codes:
            found = _scan_lists(ivf, projected[pending], near[pending], lists[pending], fetched, selector)
            approximate.append(found[0])
            ids.append(found[1])
            cut_short.append(np.where(found[1][:, -1] >= 0, found[0][:, -1], np.nan))  # nan: all of it
        every, distances = np.hstack(ids), np.hstack(approximate)
        order = np.lexsort((every, distances), axis=-1)[:, :wanted]
        out[pending] = np.take_along_axis(every, order, axis=1)
        last = np.take_along_axis(distances, order[:, -1:], axis=1).ravel()
        # A file that left out a code as near as the last kept one may hold a smaller ID.
        pending = pending[(np.array(cut_short) <= last).any(axis=0)]
        fetched *= _WIDER
    return out


def nearest_of(
    query: NDArray[np.float32], ids: NDArray[np.int64], vectors: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k nearest of some vectors by (float64 distance, ID).

    Parameters
    ----------
    query : ndarray of float32, shape (d,)
    ids : ndarray of int64, shape (m,)
        At least k.
    vectors : ndarray of float32, shape (m, d)
    k : int

    Returns
    -------
    ids, distances : ndarray of int64 and float64, shape (k,)
    """
    squared = squared_float32(query, vectors, np.empty(len(ids), np.float32))
    # What float32 puts clearly farther is left out.
    limit = widened(float(np.partition(squared, k - 1)[k - 1]), query.size)
    near = np.flatnonzero(squared <= limit)
    exact = exact_distances(query, vectors, near)
    best = np.lexsort((ids[near], exact))[:k]
    return ids[near][best], exact[best]


def _scan_lists(
    ivf: Any,
    projected: NDArray[np.float32],
    near: NDArray[np.float32],
    lists: NDArray[np.int64],
    wanted: int,
    selector: Any,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Approximate squared distances and IDs from given lists, shape (q, wanted); inf and -1 pad."""
    faiss = load_faiss()
    rabitq = hasattr(ivf, "rabitq")
    params = faiss.IVFRaBitQSearchParameters() if rabitq else faiss.SearchParametersIVF()
    params.nprobe = lists.shape[1]
    if rabitq:
        params.qb, params.centered = ivf.qb, getattr(ivf, "centered", False)
    if selector is not None:
        params.sel = selector
    distances = np.empty((len(projected), wanted), np.float32)
    ids = np.empty((len(projected), wanted), np.int64)
    arrays = [np.ascontiguousarray(array) for array in (projected, lists, near)]
    pointers = [faiss.swig_ptr(array) for array in (*arrays, distances, ids)]
    ivf.search_preassigned_c(
        len(projected), pointers[0], wanted, pointers[1], pointers[2], pointers[3], pointers[4], False, params
    )
    distances[ids < 0] = np.inf
    return distances, ids


def _selector(shard: Shard, only: NDArray[np.int64] | None) -> Any:
    """FAISS's choice of the cutouts of a shard that may be found; None where all may."""
    faiss = load_faiss()
    if only is not None:
        return faiss.IDSelectorBatch(only[shard.find(only) >= 0])
    return faiss.IDSelectorNot(faiss.IDSelectorBatch(shard.removed)) if shard.removed.size else None
