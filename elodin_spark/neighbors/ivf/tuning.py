"""How good an index is: measured against exact search, and set to the recall asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.errors import InputError
from elodin_spark.neighbors.base import ExternalQueries
from elodin_spark.neighbors.ivf.index import ApproximateL2Index, Search

_RANKS = (1, 10, 100)
_CANDIDATES = (50, 100, 200, 400, 800)
_SINGLES = 200  # queries timed one by one


@dataclass(frozen=True)
class Calibration:
    """The least work that reaches a recall.

    Attributes
    ----------
    search : Search
        What to search with; the most that was tried where none reached the recall.
    recall : float
        Share of the true ten nearest that it finds, on the queries given.
    wanted : float
    """

    search: Search
    recall: float
    wanted: float

    @property
    def reached(self) -> bool:
        """Whether the recall asked for was reached."""
        return self.recall >= self.wanted

    def describe(self) -> str:
        """One line for people."""
        said = (
            f"recall@10 {self.recall:.3f} with {self.search.nprobe} lists scanned and "
            f"{self.search.candidates} candidates ranked"
        )
        if self.reached:
            return f"{said}; {self.wanted:.3f} was asked for"
        return f"{said}: below the {self.wanted:.3f} asked for; take longer codes, or the exact index"


def calibrate(
    index: ApproximateL2Index,
    queries: NDArray[np.float32],
    exact: NDArray[np.int64],
    recall: float,
    own: NDArray[np.int64] | None = None,
) -> Calibration:
    """Find the smallest nprobe, and for it the fewest candidates, that reach a recall.

    Parameters
    ----------
    index : ApproximateL2Index
    queries : ndarray of float32, shape (q, d)
        Held back: not among the vectors indexed, else the recall is flattered.
    exact : ndarray of int64, shape (q, 10 or more)
        IDs of their true nearest, by :meth:`ApproximateL2Index.scan` or from the vectors.
    recall : float
        Share of the true ten nearest to be found.
    own : ndarray of int64, shape (q,), optional
        IDs of queries that are indexed all the same: not counted among their own neighbors.

    Raises
    ------
    InputError
        There are no queries, or fewer neighbors than queries need.
    """
    _check(queries, exact)
    if index.trained.exact:
        return Calibration(index.settings, _measured(index, index.settings, queries, exact, own), recall)
    best: Calibration | None = None
    nprobe = 1
    while True:
        widest = replace(index.settings, nprobe=nprobe, candidates=_CANDIDATES[-1])
        tried = Calibration(widest, _measured(index, widest, queries, exact, own), recall)
        if best is None or tried.recall > best.recall:
            best = tried
        if tried.reached:
            break
        if nprobe >= index.trained.lists:
            return best
        nprobe = min(2 * nprobe, index.trained.lists)
    for candidates in _CANDIDATES[:-1]:
        fewer = replace(best.search, candidates=candidates)
        tried = Calibration(fewer, _measured(index, fewer, queries, exact, own), recall)
        if tried.reached:
            return tried
    return best


def measure(
    index: ApproximateL2Index,
    queries: NDArray[np.float32],
    exact: NDArray[np.int64],
    own: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """Accuracy and speed on held-back queries.

    Parameters
    ----------
    index : ApproximateL2Index
    queries : ndarray of float32, shape (q, d)
    exact : ndarray of int64, shape (q, up to 100)
        IDs of their true nearest, in order.
    own : ndarray of int64, shape (q,), optional
        As for :func:`calibrate`.

    Returns
    -------
    dict
        ``recall@1``, ``@10`` and ``@100`` as far as `exact` goes; ``distance_error``, the mean
        of (distance found / true distance at the same rank) - 1 over ten ranks;
        ``batch_per_second``; ``single_ms_p50`` and ``_p99`` of queries by ID, one by one;
        ``memory_bytes_per_vector`` of codes and IDs, ``disk_bytes_per_vector``; and the settings.

    Raises
    ------
    InputError
        There are no queries, or `exact` does not belong to them.
    """
    _check(queries, exact)
    ranks = [rank for rank in _RANKS if rank <= exact.shape[1]]
    record: dict[str, Any] = {"vectors": len(index), "queries": len(queries), **asdict(index.settings)}
    for rank in ranks:
        near, distances = _near(index, queries, rank, own)
        record[f"recall@{rank}"] = _recall(near, exact, rank)
        if rank == 10:
            record["distance_error"] = _distance_error(index, queries, distances, exact)
    index.search(ExternalQueries(queries[:1]), 10)
    record["batch_per_second"] = len(queries) / _seconds(lambda: index.search(ExternalQueries(queries), 10))
    some = np.random.default_rng(0).choice(exact[:, 0], min(_SINGLES, len(exact)))
    index.search(some[:1], 10)
    single = [_seconds(partial(index.search, [one], 10)) for one in some]
    for percentile in (50, 99):
        record[f"single_ms_p{percentile}"] = 1e3 * float(np.percentile(single, percentile))
    return {**record, **_bytes(index)}


def _measured(
    index: ApproximateL2Index,
    search: Search,
    queries: NDArray[np.float32],
    exact: NDArray[np.int64],
    own: NDArray[np.int64] | None,
) -> float:
    tuned = ApproximateL2Index(index.trained, index.shards, search)
    return _recall(_near(tuned, queries, 10, own)[0], exact, 10)


def _near(
    index: ApproximateL2Index, queries: NDArray[np.float32], k: int, own: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The nearest `k` of queries, without `own`."""
    if own is None:
        return index.search(ExternalQueries(queries), k)
    ids, distances = index.search(ExternalQueries(queries), k + 1)
    others = without(ids, own)
    return tuple(found[others].reshape(len(ids), -1) for found in (ids, distances))  # type: ignore[return-value]


def without(ids: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which neighbors to keep so that every row loses one: itself, or the last.

    Parameters
    ----------
    ids : ndarray of int64, shape (q, k)
    own : ndarray of int64, shape (q,)
    """
    others = ids != own[:, np.newaxis]
    others[others.all(axis=1), -1] = False
    return others


def _recall(near: NDArray[np.int64], exact: NDArray[np.int64], rank: int) -> float:
    """Mean share of the first `rank` exact IDs that were found."""
    first = exact[:, :rank]
    return float(np.mean([np.isin(e, n).mean() for n, e in zip(near, first, strict=True)]))


def _distance_error(
    index: ApproximateL2Index,
    queries: NDArray[np.float32],
    distances: NDArray[np.float64],
    exact: NDArray[np.int64],
) -> float:
    excess = []
    for query, found, ids in zip(queries, distances, exact[:, :10], strict=True):
        difference = index.vectors_of(ids).astype(np.float64) - query
        true = np.sort(np.sqrt(np.square(difference).sum(axis=1)))
        some = true > 0
        excess.append(found[: true.size][some] / true[some] - 1)
    every = np.concatenate(excess)
    return float(every.mean()) if every.size else 0.0


def _bytes(index: ApproximateL2Index) -> dict[str, float]:
    count = max(1, len(index))
    trained = index.trained
    code = trained.row_bytes if trained.exact else trained.ivf.code_size
    disk = sum(sum(shard.record["bytes"].values()) for shard in index.shards)
    return {"memory_bytes_per_vector": code + 8, "disk_bytes_per_vector": disk / count}


def _seconds(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def _check(queries: NDArray[np.float32], exact: NDArray[np.int64]) -> None:
    if not len(queries) or exact.ndim != 2 or len(exact) != len(queries) or exact.shape[1] < 10:
        raise InputError(
            f"accuracy needs queries and ten or more exact neighbors of each, "
            f"got {len(queries)} queries and neighbors of shape {exact.shape}"
        )
