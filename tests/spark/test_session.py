"""Whose session it is: one that was started elsewhere is neither stopped nor changed."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from helpers.limits import HANG_S

from elodin_spark.config.settings import SparkSettings
from elodin_spark.errors import ResourceError
from elodin_spark.spark.session import ROWS_PER_BATCH, session, start_session

pytestmark = pytest.mark.spark

ROWS = "spark.sql.execution.arrow.maxRecordsPerBatch"
OURS = SparkSettings(app_name="another", gpus=3, conf={"spark.sql.shuffle.partitions": 3})


def state(spark: Any) -> tuple[Any, ...]:
    active = spark._get_j_spark_session_class(spark._jvm).getActiveSession()
    return (
        dict(spark.conf.getAll),
        dict(spark.sparkContext.getConf().getAll()),
        spark.getActiveSession() is spark,
        active.isDefined() and active.get().equals(spark._jsparkSession),
        spark.range(3).count(),
    )


def use(given: Any) -> tuple[Any, ...]:
    return given.sparkContext, given.conf.get(ROWS), given.range(5).count()


@pytest.mark.parametrize("where", ["its own thread", "another thread"])
@pytest.mark.parametrize("ends", ["well", "with an error"])
def test_a_session_of_the_user_is_neither_stopped_nor_changed(spark, where, ends):
    spark.sql("SELECT 1").collect()
    before = state(spark)

    def work() -> tuple[Any, ...]:
        found = ()
        try:
            with session(OURS) as given:
                found = use(given)
                if ends == "with an error":
                    raise RuntimeError("inside")
        except RuntimeError:
            assert ends == "with an error"
        return found

    if where == "its own thread":
        found = work()
    else:
        with ThreadPoolExecutor(1) as other:
            found = other.submit(work).result()
    assert found == (spark.sparkContext, str(ROWS_PER_BATCH), 5)
    assert state(spark) == before


def test_a_clone_has_the_properties_and_views_of_the_session_it_is_of(spark):
    spark.conf.set("spark.sql.shuffle.partitions", "11")
    spark.range(7).createOrReplaceTempView("seven")
    try:
        with session() as given:
            assert given.conf.get("spark.sql.shuffle.partitions") == "11"
            assert given.table("seven").count() == 7
            given.conf.set("spark.sql.shuffle.partitions", "2")
        assert spark.conf.get("spark.sql.shuffle.partitions") == "11"
    finally:
        spark.conf.unset("spark.sql.shuffle.partitions")
        spark.catalog.dropTempView("seven")


def test_to_start_a_session_where_one_runs_changes_nothing_of_it(spark):
    before = state(spark)
    given = start_session(OURS)
    assert use(given) == (spark.sparkContext, str(ROWS_PER_BATCH), 5)
    assert state(spark)[:2] == before[:2]
    spark.createDataFrame([], "nothing INT")  # the active one again
    assert state(spark) == before


def test_a_killed_worker_of_python_says_what_to_set(spark):
    def die(rows: Any) -> Any:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)
        yield from rows

    with (
        pytest.raises(ResourceError, match=r"out of memory\?.*spark\.master=local\[2\]") as caught,
        session() as given,
    ):
        given.range(1).mapInArrow(die, "id LONG").collect()
    assert "\n" not in str(caught.value)


def test_a_full_disk_in_a_worker_is_told_from_other_errors(spark):
    def full(rows: Any) -> Any:
        with open("/dev/full", "wb", buffering=0) as device:  # noqa: PTH123
            device.write(b"0")
        yield from rows

    with pytest.raises(ResourceError, match="a disk is full"), session() as given:
        given.range(1).mapInArrow(full, "id LONG").collect()


SHARED = """
import sys, threading
from pyspark import SparkContext
from elodin_spark import session
from elodin_spark.config.settings import SparkSettings

first_is_over, second_has_begun = threading.Event(), threading.Event()
counts = []

def second():
    with session(SparkSettings(master="local[1]")) as spark:
        second_has_begun.set()
        first_is_over.wait()
        counts.append(spark.range(4).count())

with session(SparkSettings(master="local[1]")) as spark:
    thread = threading.Thread(target=second)
    thread.start()
    second_has_begun.wait()
    counts.append(spark.range(3).count())
first_is_over.set()
thread.join()
print(counts, SparkContext._active_spark_context)
"""


def test_a_session_that_two_threads_use_is_stopped_by_the_last_and_java_gives_no_notices():
    done = subprocess.run(
        [sys.executable, "-c", SHARED], capture_output=True, text=True, timeout=HANG_S, check=False
    )
    assert done.stdout.strip() == "[3, 4] None", done.stderr
    assert done.stderr == ""


def test_a_session_knows_the_data_source_as_soon_as_somebody_wants_it():
    """In a process of its own: a session there is shared by those who want it and those who do not."""
    program = (
        "from elodin_spark.config.settings import SparkSettings\n"
        "from elodin_spark.spark.session import session\n"
        "import tempfile\n"
        "settings = SparkSettings(master='local[1]')\n"
        "with session(settings, data_source=False) as first, session(settings) as second:\n"
        "    assert first is second\n"
        "    read = second.read.format('survey-images')\n"
        "    assert 'image_id' in read.load(tempfile.mkdtemp()).columns\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=HANG_S)
