"""The noise floor of a catalog: how far apart the vectors of one source are, seen twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.dataset as ds
from numpy.typing import NDArray

from elodin_spark.catalog.build.crossmatch import PAIRS
from elodin_spark.catalog.build.products import commit_index, load_l2, removed_digest
from elodin_spark.catalog.storage.store import Store
from elodin_spark.neighbors.flat import L2Index
from elodin_spark.neighbors.ivf.index import ApproximateL2Index
from elodin_spark.sampling.sample import sample_keys

_PAIRS = 20_000  # at most, of which distances are taken
_AT_ONCE = 1024


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
    made_from = [repeats["digest"], index["digest"], seed, *removed_digest(store)]
    if index.get("noise", {}).get("made_from") == made_from:
        return False
    l2 = load_l2(store)
    known, pairs = _sampled(store, l2, seed)
    found = _distances(l2, pairs)
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
        order = np.lexsort((best[:, 1], best[:, 0], keys))[:_PAIRS]
        best, keys = best[order], keys[order]
    return known, best


def _distances(l2: L2Index | ApproximateL2Index, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    found = [np.empty(0)]
    for at in range(0, len(pairs), _AT_ONCE):
        a, b = (l2.vectors_of(pairs[at : at + _AT_ONCE, side]).astype(np.float64) for side in (0, 1))
        found.append(np.linalg.norm(a - b, axis=1))
    return np.concatenate(found)
