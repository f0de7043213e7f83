"""Two rankings made one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.neighbors.base import ExternalQueries, Found, Index, Queries, checked_k, ids_array

#: Neighbors of each ranking that are fused, and the most that come back.
DEPTH = 500
_SMOOTHING = 60  # as in the paper


@dataclass(frozen=True, eq=False)
class RankFusion:
    """Neighbors by reciprocal rank fusion of two metrics: an :class:`Index`.

    The score of a cutout is the sum of 1 / (60 + rank) over the rankings whose best 500 hold it,
    ranks from 1, the query itself left out (Cormack, Clarke and Buettcher 2009, SIGIR,
    doi:10.1145/1571941.1572114). Its distance is 1 - score / (2 / 61): 0 for what is first in both.
    Equal scores go by the rank in the first metric, where it has one, and then by ID.

    Parameters
    ----------
    first, second : Index
        Of the same cutouts.
    """

    first: Index
    second: Index

    def __len__(self) -> int:
        return min(len(self.first), len(self.second), DEPTH)

    def contains(self, ids: ArrayLike) -> NDArray[np.bool_]:
        """Whether both hold each of `ids`, shape (m,); bool, shape (m,)."""
        return self.first.contains(ids) & self.second.contains(ids)

    def search(self, queries: Queries, k: int, *, allowed: ArrayLike | None = None) -> Found:
        """Best cutouts, up to 500, as :class:`~elodin_spark.neighbors.base.Index` says.

        Each finds itself first, where it may.
        """
        asked = queries.ids if isinstance(queries, ExternalQueries) else ids_array(queries)
        first, second = (
            index.search(queries, DEPTH + 1, allowed=allowed)[0] for index in (self.first, self.second)
        )
        k = min(checked_k(k), first.shape[1], second.shape[1], DEPTH)
        near, distances = np.empty((asked.size, k), np.int64), np.empty((asked.size, k))
        for row, query in enumerate(asked):
            ranked, apart = _fused(int(query), first[row], second[row])
            near[row], distances[row] = ranked[:k], apart[:k]
        return near, distances


def _fused(
    query: int, first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    lists = [found[found != query][:DEPTH] for found in (first, second)]
    every, place = np.unique(np.concatenate(lists), return_inverse=True)
    places = np.split(place, [lists[0].size])
    ranks = np.full((2, every.size), np.inf)
    for number, where in enumerate(places):
        ranks[number, where] = np.arange(1, where.size + 1)
    score = (1 / (_SMOOTHING + ranks)).sum(axis=0)
    order = np.lexsort((every, ranks[0], -score))
    apart = 1 - score[order] * (_SMOOTHING + 1) / 2
    if query in first or query in second:
        return np.append(query, every[order]), np.append(0.0, apart)
    return every[order], apart
