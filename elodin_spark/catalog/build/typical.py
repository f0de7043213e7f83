"""How far apart cutouts of a catalog are, so that a distance can be told to be small or large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pyarrow.dataset as ds
from numpy.typing import NDArray

from elodin_spark.catalog.build.crossmatch import PAIRS
from elodin_spark.catalog.build.products import commit_index, load_l2, tombstones_digest
from elodin_spark.catalog.search.indices import LabelIndices
from elodin_spark.catalog.storage.rowfilter import among
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.settings import Metric
from elodin_spark.neighbors.base import Index
from elodin_spark.neighbors.cosine import cosine_distances
from elodin_spark.neighbors.distance import exact_distances
from elodin_spark.neighbors.flat import L2Index
from elodin_spark.neighbors.ivf.index import ApproximateL2Index
from elodin_spark.neighbors.search import neighbors_of
from elodin_spark.neighbors.suppression import WindowTable
from elodin_spark.sampling.sample import sample_keys, stable_sample

_FORMAT = "distances 1"
_CUTOUTS, _QUERIES = 320, 200  # of all pairs, and of which the nearest neighbor is found
_FEWEST = 10  # cutouts: below, pairs say nothing
#: Percentiles that are kept; between them a distance is interpolated.
_PERCENTILES = np.array([0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, *range(1, 100), 99.5, 99.9, 100.0])
_MOST_REPEATS, _AT_ONCE = 20_000, 1024  # pairs of repeats of which distances are taken
_FAR_NEAREST = 95  # percentile of nearest-neighbor distances beyond which a nearest one is far


@dataclass(frozen=True, eq=False)
class Typical:
    """Distances by one metric between cutouts of a catalog, as percentiles.

    Attributes
    ----------
    pairs : ndarray of float64, shape (109,)
        Of pairs of cutouts taken at random.
    nearest : ndarray of float64, shape (109,)
        Of cutouts and their nearest neighbor that overlaps them nowhere.
    """

    pairs: NDArray[np.float64]
    nearest: NDArray[np.float64]

    @classmethod
    def of(cls, pairs: NDArray[np.float64], nearest: NDArray[np.float64]) -> Typical:
        """From distances themselves, at least one of each."""
        return cls(np.percentile(pairs, _PERCENTILES), np.percentile(nearest, _PERCENTILES))

    def percentile(self, distance: float) -> float:
        """The percentage of pairs that are nearer to each other than `distance`; 0 to 100."""
        at = int(np.searchsorted(self.pairs, distance))
        if at == 0 or at == len(self.pairs):
            return 0.0 if at == 0 else 100.0
        low, high = self.pairs[at - 1 : at + 1]
        part = (distance - low) / (high - low)
        return float(_PERCENTILES[at - 1] + part * (_PERCENTILES[at] - _PERCENTILES[at - 1]))

    def remark(self, best: float) -> str:
        """What is to be said of an answer whose nearest neighbor is this far away; mostly nothing."""
        if best >= np.interp(50, _PERCENTILES, self.pairs):
            return "nothing is like it: the nearest is no nearer than two cutouts taken at random"
        if best > np.interp(_FAR_NEAREST, _PERCENTILES, self.nearest):
            return f"little is like it: the nearest is farther than that of {_FAR_NEAREST} of 100 cutouts"
        return ""


def measure_typical(store: Store, seed: int) -> bool:
    """Keep what distances are usual with the index: `distances` of its record, by metric.

    Of a stable sample of up to 320 cutouts the distances of all pairs, and of 200 of them that to their
    nearest neighbor, itself and what overlaps it left out. The metric ``rank_fusion`` has ranks and no
    distances.

    Parameters
    ----------
    store : Store
        With the lock held.
    seed : int

    Returns
    -------
    bool
        False where that was up to date, or there is no index.
    """
    index = store.product("index")
    if index is None:
        return False
    made_from = [_FORMAT, index["digest"], seed, *tombstones_digest(store)]
    if index.get("distances", {}).get("made_from") == made_from:
        return False
    l2 = load_l2(store)
    ids = stable_sample(l2.ids, _CUTOUTS, seed)
    found: dict[str, Any] = {"made_from": made_from, "cutouts": int(ids.size)}
    if ids.size >= _FEWEST:
        labels = LabelIndices(store)
        metrics: list[Metric] = [
            "l2",
            "cosine",
            *(m for m in ("jaccard", "label_scores") if m in index["metrics"]),
        ]
        for metric in metrics:
            by = labels.index_of(metric, l2)
            nearest = neighbors_of(ids[:_QUERIES], 1, by, windows_of=_windows_of(store)).column("distance")
            if len(nearest):  # in one image all may overlap
                typical = Typical.of(_pair_distances(metric, by, l2, ids), nearest.to_numpy())
                found[metric] = {"pairs": typical.pairs.tolist(), "nearest": typical.nearest.tolist()}
    commit_index(store, store.product_folder("index"), {**index, "distances": found})
    return True


def typical_of(store: Store, metric: Metric) -> Typical | None:
    """What distances are usual by a metric; None where that is not known."""
    found = ((store.product("index") or {}).get("distances") or {}).get(metric)
    return None if found is None else Typical(*(np.array(found[name]) for name in ("pairs", "nearest")))


def typical_facts(store: Store) -> dict[str, Any]:
    """By metric the 16th, 50th and 84th percentile of the distances of `pairs` and of the `nearest`."""
    facts: dict[str, Any] = {}
    for metric in get_args(Metric):
        if typical := typical_of(store, metric):
            facts[metric] = {
                name: np.interp([16, 50, 84], _PERCENTILES, getattr(typical, name)).tolist()
                for name in ("pairs", "nearest")
            }
    return facts


def _windows_of(store: Store) -> Any:
    columns = ["cutout_id", "image_id", "x0", "y0", "x1", "y1"]

    def windows(ids: NDArray[np.int64]) -> WindowTable:
        wanted = among("cutout_id", ids)
        rows = store.dataset("cutouts").to_table(columns=columns, filter=wanted)
        return WindowTable.from_arrow(rows.sort_by("cutout_id"))

    return windows


def _pair_distances(
    metric: Metric, index: Index, l2: L2Index | ApproximateL2Index, ids: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Distances of all pairs of cutouts, each pair once."""
    found: Sequence[NDArray[np.float64]]
    if metric in ("l2", "cosine"):
        vectors, measure = l2.vectors_of(ids), exact_distances if metric == "l2" else cosine_distances
        found = [measure(vectors[at], vectors, np.arange(at)) for at in range(1, len(ids))]
    else:
        others, distances = index.search(ids, len(ids), allowed=ids)
        found = [far[other > cutout] for cutout, other, far in zip(ids, others, distances, strict=True)]
    return np.concatenate(found)


# ---- of one source, seen twice ------------------------------------------------------------------


def measure_noise(store: Store, seed: int) -> bool:
    """Keep the distances of known repeats with the index: `noise` of its record.

    That is `median`, `p16` and `p84`, percentiles of the Euclidean distances of the pairs that
    ``run.repeats_arcsec`` found (with linear interpolation), over a stable sample of up to 20,000 `pairs`
    of the `known` ones whose cutouts are both indexed.

    Parameters
    ----------
    store : Store
        With the lock held.
    seed : int

    Returns
    -------
    bool
        False where that was up to date, or there are no repeats or no index.
    """
    repeats, index = store.product("repeats"), store.product("index")
    if repeats is None or index is None:
        return False
    made_from = [repeats["digest"], index["digest"], seed, *tombstones_digest(store)]
    if index.get("noise", {}).get("made_from") == made_from:
        return False
    l2 = load_l2(store)
    known, pairs = _sampled(store, l2, seed)
    found = _repeat_distances(l2, pairs)
    noise: dict[str, Any] = {"made_from": made_from, "max_sep_arcsec": repeats["max_sep_arcsec"]}
    noise |= {"known": known, "pairs": len(found)}
    if len(found):
        noise |= dict(zip(("p16", "median", "p84"), np.percentile(found, [16, 50, 84]).tolist(), strict=True))
    commit_index(store, store.product_folder("index"), {**index, "noise": noise})
    return True


def noise_floor(store: Store) -> float | None:
    """Median Euclidean distance of repeats; None where it is not known, or 0."""
    floor = ((store.product("index") or {}).get("noise") or {}).get("median")
    return float(floor) if floor else None


def _sampled(store: Store, l2: L2Index | ApproximateL2Index, seed: int) -> tuple[int, NDArray[np.int64]]:
    """How many pairs are indexed, and a stable sample of them, shape (n, 2)."""
    best, keys, known = np.empty((0, 2), np.int64), np.empty(0, np.int64), 0
    for batch in ds.dataset(store.product_file("repeats", PAIRS)).to_batches(columns=["id_a", "id_b"]):
        some = np.column_stack([batch.column(name).to_numpy() for name in ("id_a", "id_b")])
        some = some[l2.contains(some[:, 0]) & l2.contains(some[:, 1])]
        known += len(some)
        best = np.concatenate([best, some])
        keys = np.concatenate([keys, sample_keys(some[:, 0], seed) ^ sample_keys(some[:, 1], seed + 1)])
        order = np.lexsort((best[:, 1], best[:, 0], keys))[:_MOST_REPEATS]
        best, keys = best[order], keys[order]
    return known, best


def _repeat_distances(l2: L2Index | ApproximateL2Index, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    found = [np.empty(0)]
    for at in range(0, len(pairs), _AT_ONCE):
        a, b = (l2.vectors_of(pairs[at : at + _AT_ONCE, side]).astype(np.float64) for side in (0, 1))
        found.append(np.linalg.norm(a - b, axis=1))
    return np.concatenate(found)
