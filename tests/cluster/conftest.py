"""A real standalone cluster on this machine: one master, two workers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyspark
import pytest
from helpers.limits import HANG_S
from helpers.paths import ROOT

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


def wait_for(log: Path, pattern: str, process: subprocess.Popen[bytes]) -> re.Match[str]:
    deadline = time.monotonic() + HANG_S
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        if found := re.search(pattern, text):
            return found
        assert process.poll() is None, f"{log.name} ended:\n{text[-3000:]}"
        time.sleep(0.2)
    raise AssertionError(f"{log.name} never said {pattern!r}:\n{log.read_text(errors='replace')[-3000:]}")


@contextmanager
def standalone(
    folder: Path, *, cores: int, memory: str, workers: Sequence[Mapping[str, str]]
) -> Iterator[Cluster]:
    """Start a master and a worker for each mapping of environment variables, on loopback and free ports."""
    environment = {
        **os.environ,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_NO_DAEMONIZE": "1",
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_WORKER_DIR": str(folder / "work"),
    }
    spoken = ("--host", "127.0.0.1", "--webui-port", "0")
    processes = []
    try:
        log = folder / "master.log"
        name = "org.apache.spark.deploy.master.Master"
        master = started(log, name, *spoken, "--port", "0", environment=environment)
        processes.append(master)
        url = wait_for(log, r"Starting Spark master at (spark://127\.0\.0\.1:\d+)", master).group(1)
        logs = [folder / f"worker-{number}.log" for number in range(1, len(workers) + 1)]
        name = "org.apache.spark.deploy.worker.Worker"
        for log, own in zip(logs, workers, strict=True):
            sizes = ("--cores", str(cores), "--memory", memory, url)
            processes.append(started(log, name, *spoken, *sizes, environment={**environment, **own}))
        for log, worker in zip(logs, processes[1:], strict=True):
            wait_for(log, "Successfully registered with master", worker)
        yield Cluster(url, environment)
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGTERM)
        for process in processes:
            process.wait(timeout=HANG_S)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers of one core each."""
    folder = tmp_path_factory.mktemp("cluster")
    with standalone(folder, cores=1, memory="2g", workers=[{}, {}]) as running:
        yield running


@pytest.fixture(scope="session")
def gpu_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers with two GPUs each, which exist only in what a stand-in for nvidia-smi lists."""
    folder = tmp_path_factory.mktemp("gpu-cluster")
    workers = []
    for first in (0, 2):
        tools = folder / f"gpus-{first}"
        tools.mkdir()
        lines = "".join(f"echo 'GPU {n}: Stand-in (UUID: GPU-{n})'\n" for n in (first, first + 1))
        (tools / "nvidia-smi").write_text(f"#!/bin/sh\n{lines}")
        (tools / "nvidia-smi").chmod(0o755)
        announced = "-Dspark.worker.resource.gpu.amount=2 -Dspark.worker.resource.gpu.discoveryScript="
        workers.append(
            {
                "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
                "SPARK_WORKER_OPTS": f"{announced}{ROOT / 'conf' / 'discover-gpus.sh'}",
            }
        )
    with standalone(folder, cores=3, memory="2g", workers=workers) as running:
        yield running
