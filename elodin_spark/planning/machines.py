"""The machines of a run: how many cores, how much memory, and the line that starts it there."""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from elodin_spark.config.settings import Settings
from elodin_spark.cutouts.picture import WHOLE_PIXELS
from elodin_spark.errors import ConfigError
from elodin_spark.neighbors.ivf.factory import IndexConfig
from elodin_spark.neighbors.labels.bitcodes import code_bytes

GIB = 2**30
#: As in conf/spark-defaults.conf.
EXECUTOR_CORES = 2
HEAP_BYTES = 2 * GIB
#: A worker gets this much more than was measured.
MARGIN = 1.2
#: Of an image that is read whole: raw float32 kept for quality, processed, and 8 bits.
WHOLE_BYTES_PER_PX = 12
#: Headers of an image on the driver, where color needs all of them.
HEADER_BYTES = 6000

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt])b?", re.IGNORECASE)


@dataclass(frozen=True)
class Machines:
    """Where a run is planned to run.

    Attributes
    ----------
    executors : int
        0 for this machine alone, ``local[N]``.
    cores : int
        Of each executor, or of this machine.
    master : str
    threads : int
        Cores of one task.
    memory_bytes : int or None
        All that an executor may use, heap and Python workers.
    """

    executors: int
    cores: int
    master: str
    threads: int = 1
    memory_bytes: int | None = None

    @property
    def workers(self) -> int:
        """Python workers of one executor."""
        return max(1, self.cores // self.threads)

    @property
    def slots(self) -> int:
        """Tasks that run at once."""
        return self.workers * max(1, self.executors)

    @property
    def slices(self) -> int:
        """Tasks that the files of a batch are dealt to, at most."""
        from elodin_spark.spark.runner import SLICES_PER_CORE

        return SLICES_PER_CORE * self.cores * max(1, self.executors)


def choose_machines(
    settings: Settings, executors: int | None, cores: int | None, executor_memory: str | None
) -> Machines:
    """The machines that the command line or, without it, the settings name.

    Raises
    ------
    ConfigError
        The master is a cluster and nobody says how large it is, or a size is not one.
    """
    master, threads = settings.spark.master or "local[*]", settings.fingerprints.threads
    memory = None if executor_memory is None else parse_memory(executor_memory)
    if executors is not None:
        if master.startswith("local"):
            master = "MASTER"
        return Machines(executors, cores or EXECUTOR_CORES, master, threads, memory)
    if not master.startswith("local"):
        raise ConfigError(
            f"spark.master is {master}: say how large a cluster to plan for with --executors N, and perhaps "
            "--cores and --executor-memory"
        )
    named = re.fullmatch(r"local\[(\d+)(?:,\d+)?\]", master)
    here = int(named[1]) if named else 1 if master == "local" else os.cpu_count() or 1
    return Machines(0, cores or here, f"local[{cores or here}]", threads, memory)


def parse_memory(text: str) -> int:
    """Bytes of a size as Spark writes it, such as ``6g`` or ``512m``."""
    match = _MEMORY.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"a memory size reads 16g or 512m, got {text!r}")
    return int(float(match[1]) * 1024 ** ("kmgt".index(match[2].lower()) + 1))


def memory_needs(
    settings: Settings,
    machines: Machines,
    *,
    index_config: IndexConfig,
    n_labels: int | None,
    fingerprints: int,
    images: int,
    largest_px: int,
    sampled_px: int,
    peak_bytes: int | None,
) -> dict[str, Any]:
    """Memory of the driver and of the executors, bytes.

    Parameters
    ----------
    settings : Settings
    machines : Machines
    index_config : IndexConfig
        Of the L2 index.
    n_labels : int or None
        How many labels there can be; None: as many as the vector has components.
    fingerprints : int
        Rows that are indexed.
    images : int
    largest_px : int
        Of the largest image.
    sampled_px : int
        Of the largest image that was cut to measure.
    peak_bytes : int or None
        Of a process that cut and fingerprinted the sample.

    Returns
    -------
    dict
        `index_bytes` and `projection_bytes`, of which the larger is `driver_python_bytes`;
        `driver_heap_bytes`, `max_result_bytes` (None where Spark's default will do);
        `worker_bytes`, `executor_heap_bytes`, `executor_overhead_bytes` and
        `executor_bytes` (None where nothing was measured).
    """
    points = min(fingerprints, settings.projection.sample) if settings.projection.methods else 0
    vectors = points * index_config.dimension * 4
    # Vectors or codes, IDs and their look-up; codes of sets and IDs as they come, in one piece, and in order.
    index = fingerprints * index_config.memory_bytes + index_config.fixed_bytes
    labels = {"jaccard", "rank_fusion", "label_scores"} & set(settings.neighbors.metrics)
    if labels and not index_config.exact:
        index += 16 * fingerprints  # the IDs of sets, in order
    elif labels:
        index += 3 * fingerprints * (code_bytes(n_labels or index_config.dimension) + 8)
    # As they come from Spark, as a matrix, and twice in the principal components.
    projection = 4 * vectors
    heap = HEAP_BYTES + 3 * vectors
    if settings.images.color is not None:
        heap += 3 * HEADER_BYTES * images
    worker = overhead = None
    if peak_bytes is not None:
        larger = min(largest_px, WHOLE_PIXELS) - min(sampled_px, WHOLE_PIXELS)
        worker = int(MARGIN * (peak_bytes + WHOLE_BYTES_PER_PX * max(0, larger)))
        overhead = machines.workers * worker
    return {
        "index_bytes": index,
        "projection_bytes": projection,
        "driver_python_bytes": max(index, projection),
        "driver_heap_bytes": _up(heap, GIB),
        "max_result_bytes": _up(2 * vectors, GIB) if vectors > 0.8 * GIB else None,
        "worker_bytes": worker,
        "executor_heap_bytes": HEAP_BYTES,
        "executor_overhead_bytes": None if overhead is None else _up(overhead, GIB // 4),
        "executor_bytes": None if overhead is None else HEAP_BYTES + _up(overhead, GIB // 4),
    }


def submit_line(
    config: str, overrides: Sequence[str], settings: Settings, machines: Machines, memory: dict[str, Any]
) -> str:
    """The spark-submit line of a run on those machines."""
    words = ["spark-submit", "--master", machines.master, "--deploy-mode", "client"]
    conf: dict[str, object] = {}
    if machines.executors:
        words += ["--properties-file", "conf/spark-defaults.conf"]
        words += ["--executor-cores", str(machines.cores)]
        words += ["--executor-memory", _spark_size(memory["executor_heap_bytes"])]
        conf["spark.executor.instances"] = machines.executors
        conf["spark.cores.max"] = machines.executors * machines.cores
        if memory["executor_overhead_bytes"] is not None:
            conf["spark.executor.memoryOverhead"] = _spark_size(memory["executor_overhead_bytes"])
        if machines.threads > 1:
            conf["spark.task.cpus"] = machines.threads
    words += ["--driver-memory", _spark_size(memory["driver_heap_bytes"])]
    if memory["max_result_bytes"] is not None:
        conf["spark.driver.maxResultSize"] = _spark_size(memory["max_result_bytes"])
    for key, value in {**settings.spark.conf, **conf}.items():
        words += ["--conf", f"{key}={value}"]
    words += ["jobs/pipeline.py", "--config", config]
    for override in overrides:
        words += ["--set", override]
    return " ".join(shlex.quote(word) for word in words)


def _up(size: float, unit: int) -> int:
    return math.ceil(size / unit) * unit


def _spark_size(size: int) -> str:
    return f"{size // GIB}g" if size % GIB == 0 else f"{size // 2**20}m"
