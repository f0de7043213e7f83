"""A real standalone cluster on this machine: one master, two workers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyspark
import pytest

SPARK_CLASS = Path(pyspark.__file__).parent / "bin" / "spark-class"


@dataclass(frozen=True)
class Cluster:
    """Where the master listens, and what a driver needs in its environment."""

    url: str
    environment: dict[str, str]


def started(log: Path, *arguments: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [str(SPARK_CLASS), *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def wait_for(
    log: Path, pattern: str, process: subprocess.Popen[bytes], timeout_s: float = 90
) -> re.Match[str]:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        if found := re.search(pattern, text):
            return found
        assert process.poll() is None, f"{log.name} ended:\n{text[-3000:]}"
        time.sleep(0.2)
    raise AssertionError(f"{log.name} never said {pattern!r}:\n{log.read_text(errors='replace')[-3000:]}")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start a master and two workers of one core each, on loopback and free ports."""
    folder = tmp_path_factory.mktemp("cluster")
    environment = {
        **os.environ,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_NO_DAEMONIZE": "1",
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_WORKER_DIR": str(folder / "work"),
    }
    processes = []
    try:
        logs = [folder / "master.log", folder / "worker-1.log", folder / "worker-2.log"]
        master = started(
            logs[0],
            "org.apache.spark.deploy.master.Master",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--webui-port",
            "0",
            environment=environment,
        )
        processes.append(master)
        url = wait_for(logs[0], r"Starting Spark master at (spark://127\.0\.0\.1:\d+)", master).group(1)
        for log in logs[1:]:
            processes.append(
                started(
                    log,
                    "org.apache.spark.deploy.worker.Worker",
                    "--host",
                    "127.0.0.1",
                    "--webui-port",
                    "0",
                    "--cores",
                    "1",
                    "--memory",
                    "2g",
                    url,
                    environment=environment,
                )
            )
        for log, worker in zip(logs[1:], processes[1:], strict=True):
            wait_for(log, "Successfully registered with master", worker)
        yield Cluster(url, environment)
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGTERM)
        for process in processes:
            process.wait(timeout=60)
