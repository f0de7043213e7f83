"""The Spark session: local by default, or what spark-submit started."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyspark import SparkContext
from pyspark.sql import SparkSession

from elodin_spark.config.settings import SparkSettings
from elodin_spark.errors import ElodinError, resource_error
from elodin_spark.exits import kept_interrupts
from elodin_spark.spark.datasource import register_data_source
from elodin_spark.spark.gpu import GPUS, TASKS_PER_GPU, gpu_conf
from elodin_spark.spark.java import check_java
from elodin_spark.spark.launch import quiet_launch

#: A row may hold a window of 224 x 224 x 3 bytes, so batches are kept small.
ROWS_PER_BATCH = 64


class _Shared:
    """The session that this module started, and how many use it: the last one stops it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.session: SparkSession | None = None
        self.users = 0
        self.has_source = False

    def alive(self) -> bool:
        return self.session is not None and self.session.sparkContext._jsc is not None


_SHARED = _Shared()
#: Applications whose executors have the package: a context takes a file of one name once.
_SHIPPED: set[str] = set()
_SHIPPING = threading.Lock()


@contextmanager
def session(settings: SparkSettings | None = None, *, data_source: bool = True) -> Iterator[SparkSession]:
    """Give a session: of the Spark that runs in this process, or of one that is started and stopped again.

    A session that was started elsewhere, in whichever thread, is neither stopped nor changed: what is given
    is a clone of it, with its properties and a few of its own. One that is started here is shared by all that
    ask for one meanwhile.

    Parameters
    ----------
    settings : SparkSettings, optional
        Master and configuration; what spark-submit gave wins over them.
    data_source : bool, optional
        Whether it knows the format ``survey-images``, which takes some seconds.

    Yields
    ------
    pyspark.sql.SparkSession

    Raises
    ------
    MissingDependencyError
        There is no Java, or one too old.
    ElodinError
        Spark did not start, for example because no master answers; or memory or a disk ran out inside.

    Examples
    --------
    >>> from elodin_spark import session
    >>> with session() as spark:
    ...     spark.range(3).count()
    3
    """
    settings = settings or SparkSettings()
    with _SHARED.lock:
        running = None if _SHARED.alive() else running_session()
        if running is None:
            if not _SHARED.alive():
                _SHARED.session, _SHARED.users = start_session(settings, data_source=data_source), 0
                _SHARED.has_source = data_source
            elif data_source and not _SHARED.has_source:
                assert _SHARED.session is not None
                register_data_source(_SHARED.session)
                _SHARED.has_source = True
            _SHARED.users += 1
    if running is None:
        given, active = _SHARED.session, (None, None)
    else:
        active = _active(running)
        given = _clone(running, settings, data_source)
    assert given is not None
    try:
        yield given
    except Exception as error:
        if (known := resource_error(error)) is not None:
            raise known from error
        raise
    finally:
        if running is not None:
            _activate(running, active)
        else:
            with _SHARED.lock:
                _SHARED.users -= 1
                if not _SHARED.users and _SHARED.session is given:
                    given.stop()
                    _SHARED.session = None


def running_session() -> SparkSession | None:
    """A session of the Spark that runs in this process, whichever thread started it; None without one."""
    context = SparkContext._active_spark_context
    if context is None or context._jsc is None:
        return None
    # The active session is that of this thread; others know the default one, or the context alone.
    return SparkSession.getActiveSession() or SparkSession(context)


def _active(running: SparkSession) -> tuple[Any, Any]:
    """What Python and, in this thread, the JVM hold to be the active session."""
    found = running._get_j_spark_session_class(running._jvm).getActiveSession()
    return SparkSession._activeSession, found.get() if found.isDefined() else None


def _activate(running: SparkSession, active: tuple[Any, Any]) -> None:
    if running.sparkContext._jsc is None:  # stopped by its owner meanwhile
        return
    SparkSession._activeSession, in_thread = active
    sessions = running._get_j_spark_session_class(running._jvm)
    if in_thread is None:
        sessions.clearActiveSession()
    else:
        sessions.setActiveSession(in_thread)


def _clone(running: SparkSession, settings: SparkSettings, data_source: bool) -> SparkSession:
    clone = SparkSession(running.sparkContext, running._jsparkSession.cloneSession())
    _prepare(clone, settings, data_source)
    return clone


def start_session(settings: SparkSettings, *, data_source: bool = True) -> SparkSession:
    """Start a session, which is the caller's to stop; a clone of the one that runs, where one does."""
    if (running := running_session()) is not None:
        return _clone(running, settings, data_source)
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
        with kept_interrupts(), quiet_launch():
            started = builder.getOrCreate()
    except Exception as error:
        raise ElodinError(
            f"Spark did not start with master {settings.master or 'local[*]'}: {str(error).splitlines()[0]}"
        ) from error
    _prepare(started, settings, data_source)
    return started


def _prepare(spark: SparkSession, settings: SparkSettings, data_source: bool) -> None:
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", ROWS_PER_BATCH)
    if settings.gpus:
        spark.conf.set(GPUS, settings.gpus)
        spark.conf.set(TASKS_PER_GPU, settings.tasks_per_gpu)
    context = spark.sparkContext
    if not str(context.master).startswith("local"):
        with _SHIPPING:
            if context.applicationId not in _SHIPPED:
                _ship_package(spark)
                _SHIPPED.add(context.applicationId)
    if data_source:
        register_data_source(spark)


def _ship_package(spark: SparkSession) -> None:
    """Give executors this very version of elodin_spark; they need only its requirements."""
    package = Path(__file__).parents[1]
    archive = Path(tempfile.mkdtemp(prefix="elodin_spark-")) / "elodin_spark.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        # Of weights what they are, not the arrays: those are shipped by their hash where a job needs them.
        for source in sorted([*package.rglob("*.py"), *package.glob("weights/*.json")]):
            bundle.write(source, source.relative_to(package.parent))
    spark.sparkContext.addPyFile(str(archive))


def _log4j2() -> Path:
    return Path(__file__).with_name("log4j2.properties")
