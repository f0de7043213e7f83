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
from elodin_spark.neighbors.base import Index
from elodin_spark.neighbors.cosine import CosineIndex
from elodin_spark.neighbors.explain import label_weights, shared_labels
from elodin_spark.neighbors.flat import VectorIndex
from elodin_spark.neighbors.fusion import RankFusion
from elodin_spark.neighbors.labels.index import LabelIndex, TieBroken

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
    def _sets(self) -> LabelIndex | None:
        if (record := self._record.get("label_index")) is not None:
            return open_label_shards(self._store, record)
        folder, _ = checked_index(self._store)
        has_sets = (folder / LABELS_FOLDER).exists()
        return open_label_file(folder, self._store.tombstones.cutouts) if has_sets else None

    def index_of(self, metric: Metric, l2: VectorIndex) -> Index:
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
            return CosineIndex(l2)
        scored = metric == "label_scores"
        if self._sets is None or (scored and metric not in self._record.get("metrics", ())):
            what, name = ("index of label scores", metric) if scored else ("Jaccard index", "jaccard")
            raise CatalogError(
                f"{self._store.path} has no {what}; add {name} to neighbors.metrics and run it again"
            )
        by_labels = TieBroken(self._sets, l2, "label_scores" if scored else "jaccard")
        return RankFusion(l2, by_labels) if metric == "rank_fusion" else by_labels

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
