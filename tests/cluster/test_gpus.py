"""Four tasks, four GPUs: placement on a real standalone cluster whose GPUs are announced only."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.limits import HANG_S

pytestmark = [pytest.mark.cluster, pytest.mark.spark]

DRIVER = Path(__file__).with_name("gpu_driver.py")


def ask(cluster, what: str):
    """Run the driver; a process for each, because Spark keeps the properties of its first session."""
    done = subprocess.run(
        [sys.executable, str(DRIVER), cluster.url, what],
        env={name: value for name, value in cluster.environment.items() if not name.startswith("CUDA_")},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_tasks_on_executors_of_one_gpu_see_only_theirs_before_a_framework_starts(gpu_cluster):
    """Dynamic allocation: executors with GPUs are started for the stage that wants them alone."""
    seen = ask(gpu_cluster, "alone")
    (plain,) = seen["plain"]
    assert (plain["given"], plain["visible"], plain["device"]) == (None, None, None)
    (tasks,) = seen["network"]
    assert sorted(task["given"] for task in tasks) == [["0"], ["1"], ["2"], ["3"]]
    for task in tasks:
        assert not task["started"]
        assert [task["visible"]] == task["given"]
        assert task["device"] == "/GPU:0"


def test_tasks_on_executors_of_two_gpus_run_on_theirs_even_in_reused_workers(gpu_cluster):
    seen = ask(gpu_cluster, "shared")
    for tasks in seen["network"]:
        assert sorted(task["given"] for task in tasks) == [["0"], ["1"], ["2"], ["3"]]
        for task in tasks:
            assert task["order"] == "PCI_BUS_ID"
            assert task["visible"] is None
            assert task["device"] == f"/GPU:{task['given'][0]}"
    first, *later = ({task["process"]: task for task in tasks} for tasks in seen["network"])
    assert not any(task["started"] for task in first.values())
    reused = [tasks[process] for tasks in later for process in first.keys() & tasks.keys()]
    assert reused
    assert all(task["started"] for task in reused)
    assert [task["given"] for task in seen["plain"]] == [None]
