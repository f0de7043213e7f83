"""The indices of a catalog by metric, opened when they are first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elodin_spark.catalog.build.label_sheets import examples_of
from elodin_spark.catalog.build.labelindex import (
    JACCARD_FILE,
    LABELS_FOLDER,
    open_label_file,
    open_label_shards,
    read_label_counts,
)
from elodin_spark.catalog.build.products import checked_index
from elodin_spark.catalog.search.query import ResolvedQuery
from elodin_spark.catalog.storage.rowfilter import among
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.settings import Metric
from elodin_spark.errors import CatalogError, InputError
from elodin_spark.neighbors.cosine import ApproximateCosine, CosineIndex
from elodin_spark.neighbors.explain import label_weights, shared_labels
from elodin_spark.neighbors.flat import L2Index
from elodin_spark.neighbors.fusion import RankFusion
from elodin_spark.neighbors.ivf.index import ApproximateL2Index
from elodin_spark.neighbors.labels.flat import JaccardIndex
from elodin_spark.neighbors.labels.index import LabelIndex
from elodin_spark.neighbors.search import Index, TieBroken

_SHOWN, _LIKE = 5, 2  # shared labels, and cutouts that show one


class LabelIndices:
    """What a catalog can tell by labels.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @cached_property
    def _record(self) -> dict[str, Any]:
        return self._store.product("index") or {}

    @cached_property
    def sets(self) -> JaccardIndex | LabelIndex:
        """Label sets.

        Raises
        ------
        CatalogError
            They were not indexed.
        """
        folder, _ = checked_index(self._store)
        if (folder / JACCARD_FILE).exists():
            return JaccardIndex.load(folder / JACCARD_FILE, without=self._store.removed.cutouts)
        if self._shards is not None:
            return self._shards
        raise CatalogError(
            f"{self._store.path} has no Jaccard index; add jaccard to neighbors.metrics and run it again"
        )

    @cached_property
    def scores(self) -> LabelIndex:
        """Label sets with the scores of their labels.

        Raises
        ------
        CatalogError
            They were not indexed.
        """
        if "label_scores" in self._record.get("metrics", ()):
            folder, _ = checked_index(self._store)
            if self._shards is not None:
                return self._shards
            if (folder / LABELS_FOLDER).exists():
                return open_label_file(folder, self._store.removed.cutouts)
        raise CatalogError(
            f"{self._store.path} has no index of label scores; add label_scores to neighbors.metrics and run "
            "it again"
        )

    @cached_property
    def _shards(self) -> LabelIndex | None:
        record = self._record.get("label_index")
        return None if record is None else open_label_shards(self._store, record)

    def index_of(self, metric: Metric, l2: L2Index | ApproximateL2Index) -> Index:
        """The index of a metric.

        Parameters
        ----------
        metric : Metric
        l2 : L2Index or ApproximateL2Index

        Raises
        ------
        CatalogError
            It was not built.
        """
        if metric == "l2":
            return l2
        if metric == "cosine":
            return CosineIndex(l2) if isinstance(l2, L2Index) else ApproximateCosine(l2)
        if metric == "label_scores":
            return TieBroken(self.scores, l2, "label_scores")
        jaccard = TieBroken(self.sets, l2)
        return jaccard if metric == "jaccard" else RankFusion(l2, jaccard)

    def explain(
        self, query: ResolvedQuery, found: pa.Table, most: int = _SHOWN
    ) -> list[list[dict[str, Any]]]:
        """The labels that what was asked shares with its neighbors, the rarest in the catalog first.

        Parameters
        ----------
        query : ResolvedQuery
        found : pyarrow.Table
            Its answer, of :data:`elodin_spark.schema.NEIGHBORS`.
        most : int, optional

        Returns
        -------
        list of list of dict
            For each row: `label` and `weight`, see :func:`elodin_spark.neighbors.explain.label_weights`; of
            labels without a name also `like`, cutouts that show it best.

        Raises
        ------
        CatalogError
            Labels were not counted when the index was built.
        InputError
            A vector is asked with, whose labels are not known.
        """
        asked, others = (found.column(name).to_pylist() for name in ("query_id", "neighbor_id"))
        sets = self._labels_of([*query.cutout_ids, *others])
        if query.outside is not None:
            if query.outside.sets is None:
                raise InputError("a vector alone has no labels to share: ask with an image or a cutout")
            own = zip(query.outside.ids.tolist(), query.outside.sets, strict=True)
            sets |= {number: labels.tolist() for number, labels in own}
        rows = [
            shared_labels(sets[one], sets[other], self._weights, most)
            for one, other in zip(asked, others, strict=True)
        ]
        named = self._store.meta["label_names"] is not None
        like = examples_of(self._store, (label for row in rows for label, _ in row)) if rows else {}
        return [
            [
                {"label": self._store.label_name(label), "weight": weight}
                | ({} if named else {"like": like.get(label, [])[:_LIKE]})
                for label, weight in row
            ]
            for row in rows
        ]

    @cached_property
    def _weights(self) -> NDArray[np.float64]:
        folder, _ = checked_index(self._store)
        counts = read_label_counts(folder, self._store.label_count(self._record["dimension"]))
        counted = self._record.get("label_index", {}).get("counted", self._record["rows"])
        return label_weights(counts, counted)

    def _labels_of(self, ids: Sequence[int]) -> dict[int, list[int]]:
        found = self._store.dataset("fingerprints", ["labels"]).to_table(
            columns=["cutout_id", "labels"], filter=among("cutout_id", ids)
        )
        most = self._record.get("set_size")
        return {row["cutout_id"]: row["labels"][:most] for row in found.to_pylist()}
