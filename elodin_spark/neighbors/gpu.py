"""FAISS on GPUs, where there is a build for them: training and exact scans; files are those of CPUs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from elodin_spark.neighbors.files import load_faiss

#: Neighbors that FAISS gives on a GPU at most.
MOST_ON_GPU = 2048

_log = logging.getLogger(__name__)


def gpu_count() -> int:
    """GPUs that FAISS sees; 0 where it was built for CPUs, which the package ``faiss-cpu`` is."""
    faiss = load_faiss()
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def on_gpus(flat: Any) -> Any:
    """An exact index on all GPUs, its vectors dealt among them in float32.

    Parameters
    ----------
    flat : faiss.IndexFlatL2

    Returns
    -------
    faiss.Index or None
        None without a GPU, or where its memory does not hold the vectors, which is logged. It gives at
        most :data:`MOST_ON_GPU` neighbors.
    """
    if not gpu_count() or not flat.ntotal:
        return None
    faiss = load_faiss()
    options = faiss.GpuMultipleClonerOptions()
    options.shard = True
    try:
        return faiss.index_cpu_to_all_gpus(flat, co=options)
    except RuntimeError as error:
        _log.warning(
            "%d vectors are searched on the CPU: FAISS cannot place them on the GPU (%s)",
            flat.ntotal,
            str(error).strip().splitlines()[0][:200],
        )
        return None


@contextmanager
def clustering_on_gpus(ivf: Any) -> Iterator[None]:
    """k-means of the inverted lists of an index on all GPUs, if there are any, for a while.

    Parameters
    ----------
    ivf : faiss.IndexIVF
    """
    if not gpu_count():
        yield
        return
    faiss = load_faiss()
    assigner = faiss.index_cpu_to_all_gpus(faiss.IndexFlatL2(ivf.d))  # lives as long as it is lent
    ivf.clustering_index = assigner
    try:
        yield
    finally:
        ivf.clustering_index = None
        del assigner
