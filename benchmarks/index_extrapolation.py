"""What an index of any size would cost, from what smaller ones were measured to cost.

Every number comes from the rows of ``sharded_index.py`` and from timing the search for the nearest
centroid, the one part of coding a vector whose cost grows with the archive:

- coding a vector takes a + q(lists) on a core: a is fitted to the rows, with the start of a job, after what
  the search for centroids takes, q, was timed and taken off;
- q is timed for the flat search of each row; for HNSW at two sizes, between and beyond which it grows with
  the logarithm of the lists (Malkov and Yashunin 2018, arXiv:1603.09320);
- k-means takes time in proportion to sample, lists and components;
- bytes of a vector do not depend on the size; a worker holds 24 bytes for each vector of its shard.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import faiss
import numpy as np
from scipy.optimize import nnls
from synthetic_vectors import SyntheticVectors

from elodin_spark.neighbors.ivf.factory import IndexConfig, choose_index_config
from elodin_spark.neighbors.ivf.training import ADD_BLOCK

_HNSW_LISTS = (2048, 8192)
_QUERIES = 2048
_BYTES_PER_ID = 24  # of a worker, while it writes a shard
_REPEATS = 3


def centroid_seconds(lists: int, width: int, *, graph: bool) -> float:
    """CPU seconds that finding the nearest of so many centroids takes a vector; median of 3."""
    rows = np.concatenate(list(SyntheticVectors(width).batches(lists + _QUERIES)))
    centroids, queries = rows[:lists], rows[lists : lists + _QUERIES]
    index = faiss.index_factory(width, "HNSW32" if graph else "Flat")
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    index.add(centroids)
    taken = []
    for _ in range(_REPEATS):
        started = time.process_time()
        for at in range(0, _QUERIES, ADD_BLOCK):
            index.search(queries[at : at + ADD_BLOCK], 1)
        taken.append((time.process_time() - started) / _QUERIES)
    faiss.omp_set_num_threads(before)
    return sorted(taken)[_REPEATS // 2]


def extrapolate(
    rows: Sequence[dict[str, Any]], target: int, dimension: int, recall: float, shard_rows: int
) -> dict[str, Any]:
    """Cost of an index of `target` vectors by the configuration that an archive of that size gets.

    Parameters
    ----------
    rows : sequence of dict
        Of ``sharded_index.py``, made with ``--index_config auto``; one at least, better three.
    target : int
    dimension : int
    recall : float
    shard_rows : int
        Vectors of a shard, there.

    Returns
    -------
    dict
        Measured constants and what follows from them.
    """
    index_config = choose_index_config(target, dimension, 1, recall)
    width = (
        int(index_config.factory.split(",")[0].removeprefix("PCAR"))
        if "PCAR" in index_config.factory
        else dimension
    )
    flat = {lists: centroid_seconds(lists, width, graph=False) for lists in {row["lists"] for row in rows}}
    counts = np.array([row["vectors"] for row in rows], float)
    others = np.array([row["adding, CPU s"] - flat[row["lists"]] * row["vectors"] for row in rows])
    # Of one size, no start can be told from the rest.
    columns = [np.full(len(rows), float(len(rows) > 1)), counts]
    start, each = nnls(np.column_stack(columns), others)[0].tolist()
    graph = _graph_seconds(index_config, width)
    largest = rows[-1]
    kmeans = largest["training, CPU s"] / (largest["sample"] * largest["lists"] * width)
    peaks = [row["worker peak, MiB"] for row in rows]
    more_ids = _BYTES_PER_ID * max(0, shard_rows - largest["vectors of a shard"])
    per_vector = each + graph
    return {
        "vectors": target,
        "index_config": index_config.factory,
        "measured": {
            "coding but for centroids, s a vector": each,
            "start of a job, s": start,
            "nearest of flat centroids, s a vector": {str(lists): flat[lists] for lists in sorted(flat)},
            "nearest centroid of this index_config, s a vector": graph,
            "k-means, s a vector, list and component": kmeans,
            "worker peak, largest over smallest": max(peaks) / min(peaks),
        },
        "shards": math.ceil(target / shard_rows),
        "coding, core-hours": target * per_vector / 3600,
        "coding on 1,000 cores, h": target * per_vector / 3.6e6,
        "a shard on a core, min": shard_rows * per_vector / 60,
        "training on a core, h": kmeans * index_config.training * index_config.lists * width / 3600,
        "worker peak, MiB": max(peaks) + (more_ids + index_config.fixed_bytes) / 2**20,
        "trained part, MiB": index_config.fixed_bytes / 2**20,
        "memory of codes, GB": target * largest["B/vector in memory"] / 1e9,
        "disk, TB": target * largest["B/vector on disk"] / 1e12,
    }


def _graph_seconds(index_config: IndexConfig, width: int) -> float:
    """Seconds to the nearest centroid of a configuration."""
    if "HNSW" not in index_config.factory:
        return centroid_seconds(index_config.lists, width, graph=False)
    few, many = (centroid_seconds(lists, width, graph=True) for lists in _HNSW_LISTS)
    steps = (math.log2(lists) for lists in _HNSW_LISTS)
    slope, at_one = np.polyfit(list(steps), [few, many], 1)
    return float(max(many, at_one + slope * math.log2(index_config.lists)))


def in_words(found: dict[str, Any]) -> str:
    """The extrapolation for a terminal."""
    lines = [f"\n{found['vectors']:,} vectors, extrapolated from these rows: {found['index_config']}"]
    for name, value in found.items():
        if isinstance(value, int | float) and name != "vectors":
            lines.append(f"  {name:<28}{value:>14,.4g}")
    lines.append("measured:")
    for name, value in found["measured"].items():
        told = value if isinstance(value, dict) else {"": value}
        lines += [f"  {name} {lists}".ljust(58) + f"{seconds:>10.3g}" for lists, seconds in told.items()]
    return "\n".join(lines)
