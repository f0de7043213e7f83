"""Progress of Spark jobs, from its status tracker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

_EVERY_S = 0.5


@contextmanager
def watch_tasks(spark: SparkSession, report: Callable[[int, int], None]) -> Iterator[None]:
    """Call ``report(done, total)`` with the tasks of the running stages until the block ends.

    Only the stages that run inside the block are seen; calls come from another thread.
    """
    tracker = spark.sparkContext.statusTracker()
    over = threading.Event()

    def look() -> None:
        while not over.wait(_EVERY_S):
            done = total = 0
            for stage_id in tracker.getActiveStageIds():
                stage = tracker.getStageInfo(stage_id)
                if stage is not None:
                    done, total = done + stage.numCompletedTasks, total + stage.numTasks
            if total:
                report(done, total)

    watcher = threading.Thread(target=look, name="watch-tasks", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
