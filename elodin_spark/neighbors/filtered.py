"""Neighbors among some of the cutouts only, whatever the index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.neighbors.cosine import ApproximateCosine, CosineIndex
from elodin_spark.neighbors.flat import L2Index
from elodin_spark.neighbors.fusion import RankFusion
from elodin_spark.neighbors.ivf.index import ApproximateL2Index
from elodin_spark.neighbors.labels.flat import JaccardIndex
from elodin_spark.neighbors.labels.index import LabelIndex
from elodin_spark.neighbors.lookup import held, ids_array
from elodin_spark.neighbors.outside import Outside
from elodin_spark.neighbors.search import Index, TieBroken

_AT_ONCE = 4096  # vectors, or sets


def only(index: Index, allowed: ArrayLike) -> Index:
    """Restrict an index to some cutouts; any cutout of the index can still be the query.

    Answers are what is left of the unrestricted ones, and exact where those are: `k` come back where
    as many are allowed. The exact indices are searched in a copy of what is allowed, the
    approximate ones and those of labels in shards with a selector.

    Parameters
    ----------
    index : L2Index, ApproximateL2Index, CosineIndex, ApproximateCosine, TieBroken or RankFusion
    allowed : array_like of int64, shape (m,)
        IDs; those not indexed are ignored.

    Returns
    -------
    Index
    """
    if isinstance(index, RankFusion):
        return RankFusion(only(index.first, allowed), only(index.second, allowed))
    if isinstance(index, ApproximateCosine):
        return replace(index, allowed=held(index.index, allowed))
    if isinstance(index, CosineIndex):
        return _AmongVectors(index.index, CosineIndex(_among(index.index, allowed)))
    if isinstance(index, TieBroken) and isinstance(index.index, LabelIndex):
        return replace(index, allowed=held(index.index, allowed))
    if isinstance(index, TieBroken):
        assert isinstance(index.index, JaccardIndex)
        sets = ((some, index.index.sets_of(some)) for some in _blocks(held(index.index, allowed)))
        return _AmongSets(index, JaccardIndex.build(sets, index.index.n_labels))
    assert isinstance(index, ApproximateL2Index | L2Index)
    if isinstance(index, ApproximateL2Index):
        return _Selected(index, held(index, allowed))
    return _AmongVectors(index, _among(index, allowed))


def _among(index: L2Index, allowed: ArrayLike) -> L2Index:
    ids = held(index, allowed)
    vectors = ((some, index.vectors_of(some)) for some in _blocks(ids))
    return L2Index.build(vectors, index.dimension, expected=ids.size)


def _blocks(ids: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    return (ids[at : at + _AT_ONCE] for at in range(0, ids.size, _AT_ONCE))


@dataclass(frozen=True, eq=False)
class _Selected:
    index: ApproximateL2Index
    allowed: NDArray[np.int64]

    def __len__(self) -> int:
        return self.allowed.size

    def search_ids(self, ids: ArrayLike, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        return self.index.search_ids(ids, k, allowed=self.allowed)

    def search_outside(self, queries: Outside, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        return self.index.search(queries.vectors, k, allowed=self.allowed)


@dataclass(frozen=True, eq=False)
class _AmongVectors:
    index: L2Index
    among: L2Index | CosineIndex

    def __len__(self) -> int:
        return len(self.among)

    def search_ids(self, ids: ArrayLike, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        return self.among.search(self.index.vectors_of(ids), k)

    def search_outside(self, queries: Outside, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        return self.among.search(queries.vectors, k)


@dataclass(frozen=True, eq=False)
class _AmongSets:
    index: TieBroken
    among: JaccardIndex

    def __len__(self) -> int:
        return len(self.among)

    def search_ids(self, ids: ArrayLike, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        queries = ids_array(ids)
        sets = self.index.index.sets_of(queries)
        by = self.index.by
        return self.among.search(sets, k, lambda row, others: by.distances(int(queries[row]), others))

    def search_outside(self, queries: Outside, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        return self.index.search_among(self.among, queries, k)
