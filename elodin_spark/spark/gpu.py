"""GPUs under Spark: which executors have them, and which one a task works on.

Spark knows GPUs as resources with addresses. Three ways lead to an address: stages that want a
GPU ask for it with a resource profile; the session gives one to every task
(``spark.task.resource.gpu.amount``); or, in local mode, where Spark knows no profiles, the
workers deal the GPUs of the machine among themselves.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from pyspark import TaskContext
from pyspark.resource import (
    ExecutorResourceRequests,
    ResourceProfile,
    ResourceProfileBuilder,
    TaskResourceRequests,
)
from pyspark.sql import SparkSession

from elodin_spark.config.settings import SparkSettings
from elodin_spark.errors import ConfigError
from elodin_spark.fingerprints.devices import use_cpu, use_gpu

#: Properties of the session that carry ``spark.gpus`` and ``spark.tasks_per_gpu``.
GPUS, TASKS_PER_GPU = "spark.elodin.gpus", "spark.elodin.tasksPerGpu"

_EXECUTOR = "spark.executor.resource.gpu"
_TASK = "spark.task.resource.gpu.amount"


@dataclass(frozen=True)
class Gpus:
    """How the tasks of a session come to their GPU; small, goes to the workers.

    Attributes
    ----------
    each : int
        GPUs of an executor or, in local mode, of this machine; at least 1.
    tasks_per_gpu : int
        Tasks that may share one at the same time.
    local : bool
        Spark assigns none: the workers choose by themselves.
    session_wide : bool
        Spark gives one to every task.
    """

    each: int
    tasks_per_gpu: int
    local: bool
    session_wide: bool


def gpu_conf(settings: SparkSettings) -> dict[str, str]:
    """Properties a new session needs for ``spark.gpus``."""
    conf = {GPUS: str(settings.gpus), TASKS_PER_GPU: str(settings.tasks_per_gpu)} if settings.gpus else {}
    cluster = settings.master is not None and not settings.master.startswith("local")
    dynamic = str(settings.conf.get("spark.dynamicAllocation.enabled", False)).lower() == "true"
    if settings.gpus and cluster and not dynamic:
        # Executors are all alike then, so all have GPUs; with dynamic allocation the profile asks.
        conf[f"{_EXECUTOR}.amount"] = str(settings.gpus)
    return conf


def session_gpus(spark: SparkSession) -> Gpus | None:
    """What a session says of GPUs; None where it says nothing.

    Raises
    ------
    ConfigError
        The properties are no whole numbers above zero.
    """
    session_wide = spark.conf.get(_TASK, None) is not None
    every_task = spark.conf.get(f"{_EXECUTOR}.amount", None) if session_wide else None
    each = spark.conf.get(GPUS, None) or every_task
    if each is None or each == "0":
        return None
    tasks = spark.conf.get(TASKS_PER_GPU, None) or "1"
    for name, value in ((GPUS, each), (TASKS_PER_GPU, tasks)):
        if not value.isdigit() or int(value) < 1:
            raise ConfigError(f"{name} is {value!r}: give a whole number, 1 or more")
    local = str(spark.sparkContext.master).startswith("local[") or spark.sparkContext.master == "local"
    return Gpus(int(each), int(tasks), local, session_wide)


def gpu_profile(spark: SparkSession, gpus: Gpus) -> ResourceProfile | None:
    """Profile of a stage whose tasks need a GPU.

    With dynamic allocation Spark starts executors with GPUs for that stage alone; without, its
    tasks share the GPUs that all executors were started with, and other stages take none.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
    gpus : Gpus
        Of that session.

    Returns
    -------
    pyspark.resource.ResourceProfile or None
        None where no profile is needed: in local mode, and where all tasks have a GPU anyway.

    Raises
    ------
    ConfigError
        Without dynamic allocation, executors were started without GPUs.
    """
    if gpus.local or gpus.session_wide:
        return None
    builder = ResourceProfileBuilder()
    if (spark.conf.get("spark.dynamicAllocation.enabled", None) or "false").lower() == "true":
        script = spark.conf.get(f"{_EXECUTOR}.discoveryScript", None) or ""
        vendor = spark.conf.get(f"{_EXECUTOR}.vendor", None) or ""
        asked = ExecutorResourceRequests().resource("gpu", gpus.each, script, vendor)
        # Otherwise a standalone executor takes all cores of its machine, and the GPUs beside it idle.
        if cores := spark.conf.get("spark.executor.cores", None):
            asked = asked.cores(int(cores))
        if memory := spark.conf.get("spark.executor.memory", None):
            asked = asked.memory(memory)
        builder.require(asked)
    elif spark.conf.get(f"{_EXECUTOR}.amount", None) is None:
        raise ConfigError(
            f"spark.gpus is {gpus.each} but the executors were started without GPUs: give spark-submit "
            f"--conf {_EXECUTOR}.amount={gpus.each} (docs/cluster.md, GPUs), or turn on "
            "spark.dynamicAllocation.enabled"
        )
    # Binary fractions: 3 tasks of 0.3333 fit one GPU, and Spark takes no more than that.
    builder.require(TaskResourceRequests().cpus(1).resource("gpu", 1 / gpus.tasks_per_gpu))
    return builder.build


def take_gpu(gpus: Gpus | None) -> None:
    """In a task: bind the networks of this worker to the GPU of the task.

    To be called before anything imports TensorFlow, and again in each task: a reused worker may
    be given another GPU.

    Parameters
    ----------
    gpus : Gpus or None
        Of the session; with None nothing is done.

    Raises
    ------
    ConfigError
        The GPU is not visible to this worker.
    """
    if gpus is None:
        return
    context = TaskContext.get()
    given = context.resources().get("gpu") if context is not None else None
    if given is not None:
        use_gpu(given.addresses[0], alone=gpus.each == 1)
    elif gpus.local:
        # A worker keeps its GPU for life, and process numbers of workers follow each other.
        use_gpu(str(os.getpid() % gpus.each), alone=True)
    else:
        use_cpu()  # the GPUs of this executor belong to other tasks
