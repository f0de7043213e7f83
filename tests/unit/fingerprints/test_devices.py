"""GPUs: found by the discovery script, chosen before the framework starts, used afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.limits import HANG_S
from helpers.paths import ROOT

from elodin_spark.errors import ConfigError
from elodin_spark.fingerprints.devices import use_gpu

SCRIPT = ROOT / "conf" / "discover-gpus.sh"
TWO = "GPU 0: NVIDIA H200 (UUID: GPU-aa)\nGPU 1: NVIDIA H200 (UUID: GPU-bb)\n"
SLICED = (
    "GPU 0: NVIDIA H200 (UUID: GPU-aa)\n"
    "  MIG 1g.18gb     Device  0: (UUID: MIG-11)\n"
    "  MIG 1g.18gb     Device  1: (UUID: MIG-22)\n"
)


def discover(folder: Path, listed: str | None, status: int = 0, **environment: str):
    """Run the script beside an nvidia-smi that lists `listed`, or none."""
    for tool in ("sed", "tr"):
        (folder / tool).symlink_to(subprocess.check_output(["which", tool], text=True).strip())
    if listed is not None:
        (folder / "list").write_text(listed)
        (folder / "nvidia-smi").write_text(
            f"#!/bin/sh\nwhile read -r line; do echo \"$line\"; done < '{folder}/list'\nexit {status}\n"
        )
        (folder / "nvidia-smi").chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", str(SCRIPT)],
        env={"PATH": str(folder), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["name"] == "gpu"
    return found["addresses"], done.stderr


def test_the_script_lists_gpus_by_their_number(tmp_path):
    assert discover(tmp_path, TWO) == (["0", "1"], "")


def test_the_script_lists_the_slices_of_divided_gpus(tmp_path):
    assert discover(tmp_path, SLICED) == (["MIG-11", "MIG-22"], "")


def test_the_script_keeps_to_what_the_site_made_visible(tmp_path):
    assert discover(tmp_path, TWO, CUDA_VISIBLE_DEVICES="3,GPU-cc")[0] == ["3", "GPU-cc"]


@pytest.mark.parametrize(
    ("listed", "status", "said"),
    [
        (None, 0, "nvidia-smi is not on PATH"),
        ("NVIDIA-SMI has failed because it couldn't communicate with the driver\n", 9, "communicate"),
        ("", 0, "lists none"),
    ],
)
def test_without_a_gpu_the_script_lists_none_and_says_why(tmp_path, listed, status, said):
    addresses, explanation = discover(tmp_path, listed, status)
    assert addresses == []
    assert said in explanation


def run_fresh(code: str, **environment: str) -> str:
    """Run code in a process of its own: what is tested is what happens before and after an import."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("CUDA_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**plain, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


SHOW = "print(device, os.environ['CUDA_DEVICE_ORDER'], os.environ.get('CUDA_VISIBLE_DEVICES'))"


@pytest.mark.parametrize(
    ("alone", "site", "expected"),
    [
        # Alone: it becomes the only one.
        (True, {}, "/GPU:0 PCI_BUS_ID 3"),
        (True, {"CUDA_VISIBLE_DEVICES": "2,3"}, "/GPU:0 PCI_BUS_ID 3"),
        # Not alone: all stay visible, and it is named by its place.
        (False, {}, "/GPU:3 PCI_BUS_ID None"),
        (False, {"CUDA_VISIBLE_DEVICES": "2,3"}, "/GPU:1 PCI_BUS_ID 2,3"),
    ],
)
def test_before_the_framework_starts_the_environment_says_which_gpu(alone, site, expected):
    code = f"import os\nfrom elodin_spark.fingerprints.devices import use_gpu\n{SHOW}"
    assert run_fresh(code.replace("device,", f"use_gpu('3', alone={alone}),"), **site) == expected


def test_after_the_framework_started_another_gpu_is_found_or_refused():
    code = """
import os, sys
sys.modules["torch"] = sys  # a framework that runs already
from elodin_spark.fingerprints.devices import chosen_device, use_cpu, use_gpu
os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
for address in ("0", "2", "1"):
    assert use_gpu(address, alone=False) == chosen_device() == f"/GPU:{address}"
os.environ["CUDA_VISIBLE_DEVICES"] = "1"  # bound to one for life
assert use_gpu("1", alone=True) == "/GPU:0"
use_cpu()
assert chosen_device() == "/CPU:0"
try:
    use_gpu("2", alone=True)
except Exception as error:
    print(type(error).__name__, error)
"""
    said = run_fresh(code)
    assert said.startswith("ConfigError Spark gave GPU 2 to a Python process that sees only '1'")


def test_an_address_that_cannot_be_told_from_others_is_refused():
    with pytest.raises(ConfigError, match=r"GPU-aa cannot be told.*spark\.gpus to 1"):
        use_gpu("GPU-aa", alone=False, environment={})


def test_networks_are_placed_on_the_device_of_their_task_and_agree():
    """Two CPU devices stand for two GPUs: one process, tasks with one and then the other."""
    code = """
import numpy as np
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from elodin_spark.fingerprints import devices
from elodin_spark.fingerprints.runtimes.base import NetworkSpec, Runtime
from elodin_spark.fingerprints.runtimes.factory import get_runtime
from elodin_spark.fingerprints.weights.resolve import resolve_weights
weights = resolve_weights("random:1")
pixels = np.random.default_rng(0).integers(0, 255, (3, 32, 32), np.uint8)
found = []
for device in ("/CPU:0", "/CPU:1", "/CPU:0", "/CPU:1"):
    devices._chosen = device
    runtime = get_runtime(NetworkSpec(weights, "resnet50", 32, 4, 1))
    homes = {v.value.device.rpartition("device:")[2] for v in runtime._model.variables}
    assert homes == {device[1:]}, homes
    found.append(runtime(pixels)[0])
assert all(np.array_equal(found[0], other) for other in found)
assert Runtime.builds == 2, Runtime.builds
devices._chosen = "/GPU:1"
try:
    get_runtime(NetworkSpec(weights, "resnet50", 32, 4, 1))
except Exception as error:
    print(type(error).__name__, error)
"""
    said = run_fresh(code, CUDA_VISIBLE_DEVICES="")
    assert said.startswith(
        "ConfigError the network was given the device /GPU:1, but TensorFlow has CPU:0, CPU:1"
    )
    assert "set spark.gpus to 0" in said
