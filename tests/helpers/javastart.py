"""Java virtual machines that start in half the time: a suite starts a hundred of them, each for seconds."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from helpers.limits import HANG_S

#: Compiling and collecting in ways that pay off after minutes costs more than it brings here.
OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"

#: A job of each kind, for the classes that Spark loads on the way.
_JOB = """
import sys
from elodin_spark.config.settings import SparkSettings
from elodin_spark.spark.session import start_session
spark = start_session(SparkSettings(master="local[2]", driver_memory="1g"))
rows = spark.range(100).mapInArrow(lambda batches: batches, "id long")
rows.write.parquet(sys.argv[1])
spark.read.parquet(sys.argv[1]).selectExpr("id % 7 AS key", "id").groupBy("key").count().toPandas()
spark.stop()
"""


def archive() -> Path:
    """Where the classes of Spark lie as this Java maps them, beside the environment's packages."""
    home = os.environ.get("JAVA_HOME")
    java = Path(home) / "bin" / "java" if home else Path("java")
    try:
        said = subprocess.run([java, "-version"], capture_output=True, check=False, timeout=HANG_S).stderr
    except OSError:
        said = b"no Java"
    import pyspark

    name = hashlib.sha256(said + pyspark.__version__.encode()).hexdigest()[:12]
    return Path(sys.prefix) / f"spark-{name}.jsa"


def options() -> str:
    """Options of a Java that starts quickly; without the archive it starts as ever."""
    file = archive()
    if not file.is_file():
        return OPTIONS
    return f"{OPTIONS} -XX:SharedArchiveFile={file} -Xlog:cds=off -Xlog:cds+dynamic=off"


def make_archive(scratch: Path) -> None:
    """Run a job that leaves the archive, where it is not there yet; a Java that cannot is no error."""
    file = archive()
    if file.exists():
        return
    new = file.with_suffix(f".{os.getpid()}")
    made = f"{OPTIONS} -XX:ArchiveClassesAtExit={new} -Xlog:cds=off -Xlog:cds+dynamic=off"
    try:
        done = subprocess.run(
            [sys.executable, "-c", _JOB, str(scratch / "rows")],
            env={**os.environ, "SPARK_SUBMIT_OPTS": made},
            capture_output=True,
            check=False,
            timeout=HANG_S,
        )
        if done.returncode == 0 and new.exists():
            new.replace(file)
    except (OSError, subprocess.TimeoutExpired):
        pass
    finally:
        new.unlink(missing_ok=True)  # what a Java that broke down has left of it
