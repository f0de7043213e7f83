"""A driver that asks four tasks, which run at the same time, where their networks would be placed.

Prints one JSON object; run by test_gpus.py as ``gpu_driver.py MASTER shared|alone``.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import types
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyspark import TaskContext

from elodin_spark.config.settings import SparkSettings
from elodin_spark.fingerprints import devices
from elodin_spark.spark.runner import run_stage
from elodin_spark.spark.session import start_session

TASKS = 4
CONF = {"spark.driver.host": "127.0.0.1", "spark.executor.memory": "512m"}
SEEN = pa.schema([("seen", pa.string())])


@dataclass(frozen=True)
class ProbeSpec:
    """Says what a network would find; waits until all tasks are there."""

    meeting: str
    tasks: int
    wants_gpu: bool
    output_schema: pa.Schema = SEEN
    files: tuple[str, ...] = ()

    def build(self, locate):
        context = TaskContext.get()
        given = context.resources().get("gpu")
        seen = {
            "process": os.getpid(),
            "given": None if given is None else list(given.addresses),
            "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "order": os.environ.get("CUDA_DEVICE_ORDER"),
            "device": devices.chosen_device(),
            "started": any(name in sys.modules for name in devices.FRAMEWORKS),
        }
        # From here on a framework runs in this worker, as far as elodin_spark can tell.
        sys.modules.setdefault("torch", types.ModuleType("torch"))
        Path(self.meeting, str(context.partitionId())).touch()
        deadline = time.monotonic() + 3600
        while sum(1 for _ in Path(self.meeting).iterdir()) < self.tasks and time.monotonic() < deadline:
            time.sleep(0.05)
        return Probe(seen)


class Probe:
    output_schema = SEEN

    def __init__(self, seen):
        self.seen = seen

    def __call__(self, batches):
        for _ in batches:
            pass
        yield pa.RecordBatch.from_pydict({"seen": [json.dumps(self.seen)]}, schema=SEEN)


def probe(spark, wants_gpu):
    tasks = TASKS if wants_gpu else 1
    with tempfile.TemporaryDirectory() as meeting:
        rows = spark.range(tasks, numPartitions=tasks)
        found = run_stage(rows, ProbeSpec(meeting, tasks, wants_gpu)).collect()
        assert sum(1 for _ in Path(meeting).iterdir()) == tasks
    return [json.loads(row["seen"]) for row in found]


def shared(master):
    """Executors of two GPUs each, which all stages share; three jobs, so that workers are reused."""
    conf = {**CONF, "spark.executor.cores": 2}
    spark = start_session(SparkSettings(master=master, gpus=2, conf=conf))
    return {"network": [probe(spark, True) for _ in range(3)], "plain": probe(spark, False)}


def alone(master):
    """Executors of one GPU each, started for the stage that wants them."""
    dynamic = {
        "spark.executor.cores": 1,
        "spark.dynamicAllocation.enabled": True,
        "spark.dynamicAllocation.shuffleTracking.enabled": True,
        "spark.dynamicAllocation.executorIdleTimeout": "1s",
        "spark.dynamicAllocation.schedulerBacklogTimeout": "1s",
    }
    spark = start_session(SparkSettings(master=master, gpus=1, conf={**CONF, **dynamic}))
    return {"plain": probe(spark, False), "network": [probe(spark, True)]}


if __name__ == "__main__":
    print(json.dumps({"shared": shared, "alone": alone}[sys.argv[2]](sys.argv[1])))
