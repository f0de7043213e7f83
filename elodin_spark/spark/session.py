"""The Spark session: local by default, or what spark-submit started."""

from __future__ import annotations

import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark.sql import SparkSession

import elodin_spark
from elodin_spark.errors import ElodinError
from elodin_spark.settings import SparkSettings
from elodin_spark.spark.datasource import register_data_source
from elodin_spark.spark.gpu import GPUS, TASKS_PER_GPU, gpu_conf
from elodin_spark.spark.java import check_java

#: A row may hold a window of 224 x 224 x 3 bytes, so batches are kept small.
ROWS_PER_BATCH = 64


@contextmanager
def session(settings: SparkSettings | None = None) -> Iterator[SparkSession]:
    """Give the running session, or start one and stop it at the end.

    Parameters
    ----------
    settings : SparkSettings, optional
        Master and configuration; what spark-submit gave wins over them.

    Yields
    ------
    pyspark.sql.SparkSession

    Raises
    ------
    MissingDependencyError
        There is no Java, or one too old.
    ElodinError
        Spark did not start, for example because no master answers.
    """
    running = SparkSession.getActiveSession()
    if running is not None:
        _prepare(running, settings or SparkSettings())
        yield running
        return
    started = start_session(settings or SparkSettings())
    try:
        yield started
    finally:
        started.stop()


def start_session(settings: SparkSettings) -> SparkSession:
    """Start a session, or take the one that runs; see :func:`session`."""
    check_java()
    # Workers must run this very Python, and a laptop's host name may not resolve.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    submitted = "SPARK_ENV_LOADED" in os.environ and "PYSPARK_GATEWAY_PORT" in os.environ
    builder = SparkSession.builder.appName(settings.app_name)
    conf: dict[str, str | int | float | bool] = {}
    if not submitted:
        master = settings.master or "local[*]"
        builder = builder.master(master)
        conf = {
            "spark.driver.memory": settings.driver_memory,
            "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={_log4j2()}",
            "spark.ui.showConsoleProgress": False,
            "spark.ui.enabled": False,
        }
        if master.startswith("local"):
            os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
            conf |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    conf |= gpu_conf(settings) | settings.conf
    for key, value in conf.items():
        builder = builder.config(key, value)
    try:
        started = builder.getOrCreate()
    except Exception as error:
        raise ElodinError(
            f"Spark did not start with master {settings.master or 'local[*]'}: {str(error).splitlines()[0]}"
        ) from error
    _prepare(started, settings)
    return started


def _prepare(spark: SparkSession, settings: SparkSettings) -> None:
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", ROWS_PER_BATCH)
    if settings.gpus:
        spark.conf.set(GPUS, settings.gpus)
        spark.conf.set(TASKS_PER_GPU, settings.tasks_per_gpu)
    context = spark.sparkContext
    if not str(context.master).startswith("local"):
        _ship_package(spark)
    register_data_source(spark)


def _ship_package(spark: SparkSession) -> None:
    """Give executors this very version of elodin_spark; they need only its requirements."""
    package = Path(elodin_spark.__file__).parent
    archive = Path(tempfile.mkdtemp(prefix="elodin_spark-")) / "elodin_spark.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        # Of weights what they are, not the arrays: those are shipped by their hash where a job needs them.
        for source in sorted([*package.rglob("*.py"), *package.glob("weights/*.json")]):
            bundle.write(source, source.relative_to(package.parent))
    spark.sparkContext.addPyFile(str(archive))


def _log4j2() -> Path:
    return Path(__file__).with_name("log4j2.properties")
