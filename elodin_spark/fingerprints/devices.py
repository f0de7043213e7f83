"""On which device the networks of this process run; no framework is imported here.

A Python worker outlives its tasks, and the next task may come with another GPU, while CUDA
reads its variables once, when the framework starts. So the choice has two parts: what can be
said by the environment is said before the framework is imported, and the device is then named
for each network by its place among the visible ones, which may change at any time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from elodin_spark.errors import ConfigError

#: Packages that start CUDA when they are imported or first used.
FRAMEWORKS = ("tensorflow", "jax", "torch")

_ORDER, _VISIBLE = "CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES"

_chosen: str | None = None


def use_gpu(address: str, *, alone: bool, environment: MutableMapping[str, str] = os.environ) -> str:
    """Run the networks of this process on one GPU, from now on.

    Parameters
    ----------
    address : str
        Number of the GPU in the order of the PCI bus, which is that of ``nvidia-smi``, or its UUID.
    alone : bool
        No task of this process will ever have another GPU, so that only this one need be
        visible. Otherwise all stay visible, and a network is placed on the one it was given.
    environment : mapping, optional

    Returns
    -------
    str
        The device as TensorFlow calls it, ``/GPU:0`` say.

    Raises
    ------
    ConfigError
        The framework already runs and does not see that GPU, or its order is not known.
    """
    global _chosen
    if not any(name in sys.modules for name in FRAMEWORKS):
        environment[_ORDER] = "PCI_BUS_ID"  # CUDA's own order is the fastest first
        if alone:
            environment[_VISIBLE] = address
    _chosen = f"/GPU:{_place(address, environment)}"
    return _chosen


def use_cpu() -> None:
    """Run the networks of this process on the CPU, from now on, even where there is a GPU."""
    global _chosen
    if not any(name in sys.modules for name in FRAMEWORKS):
        os.environ[_ORDER] = "PCI_BUS_ID"  # a later task may be given a GPU
    _chosen = "/CPU:0"


def chosen_device() -> str | None:
    """Device of new networks, ``/GPU:1`` say; None where the framework may choose."""
    return _chosen


@contextmanager
def on_device(tensorflow: Any, device: str | None) -> Iterator[None]:
    """Place what TensorFlow makes in the block on a device of :func:`chosen_device`.

    Parameters
    ----------
    tensorflow : module
        Passed in, because this module must not import it.
    device : str or None
        With None TensorFlow chooses.

    Raises
    ------
    ConfigError
        There is no such device. TensorFlow would quietly take the CPU.
    """
    if device is None:
        yield
        return
    names = [found.name.removeprefix("/device:") for found in tensorflow.config.list_logical_devices()]
    if device.removeprefix("/") not in names:
        raise ConfigError(
            f"the network was given the device {device}, but TensorFlow has {', '.join(names)}: install its "
            "GPU build (the extra 'gpu' of elodin_spark) and a driver that fits, or set spark.gpus to 0"
        )
    with tensorflow.device(device):
        yield


def _place(address: str, environment: MutableMapping[str, str]) -> int:
    visible = environment.get(_VISIBLE)
    if visible is None:
        if address.isdigit() and environment.get(_ORDER) == "PCI_BUS_ID":
            return int(address)
        raise ConfigError(
            f"GPU {address} cannot be told from the others of this machine: the framework was started "
            f"without {_ORDER}=PCI_BUS_ID, or the GPU is named by its UUID; set spark.gpus to 1, and "
            "spark.python.worker.reuse=false where other code of the job uses the GPU too"
        )
    names = [name.strip() for name in visible.split(",")]
    if address in names:
        return names.index(address)
    raise ConfigError(
        f"Spark gave GPU {address} to a Python process that sees only '{visible}' ({_VISIBLE}): unset that "
        "variable for the executors, or let the discovery script name what it lists, as "
        "conf/discover-gpus.sh does"
    )
