"""Which runtime a network gets, and why."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution

from elodin_spark.config.settings import FingerprintsSettings
from elodin_spark.errors import ConfigError, missing_extra
from elodin_spark.fingerprints.runtimes import cpu
from elodin_spark.fingerprints.runtimes.base import RuntimeName
from elodin_spark.fingerprints.runtimes.framework import installed
from elodin_spark.fingerprints.runtimes.modelfile import ModelFile
from elodin_spark.fingerprints.runtimes.network import vector_length
from elodin_spark.fingerprints.weights.types import Weights

log = logging.getLogger(__name__)

#: What each runtime imports in a worker, any of them.
_NEEDS: dict[RuntimeName, tuple[str, ...]] = {
    "tensorflow": ("tensorflow",),
    "openvino": ("openvino",),
    "keras": ("jax", "torch", "tensorflow"),
}


@dataclass(frozen=True)
class Choice:
    """A runtime, and why it was taken.

    Attributes
    ----------
    runtime : str
    reason : str
        For the log.
    """

    runtime: RuntimeName
    reason: str


def choose_runtime(settings: FingerprintsSettings, before: str | None = None) -> Choice:
    """Choose by the settings, the devices of this machine and what is installed.

    ``auto`` is resolved here, once, on the driver: workers are told what to run.

    Parameters
    ----------
    settings : FingerprintsSettings
    before : str, optional
        Runtime that earlier vectors of the same catalog were made with; ``auto`` stays with it.

    Returns
    -------
    Choice

    Raises
    ------
    MissingDependencyError
        The runtime that is named, or that the precision needs, is not installed.
    ConfigError
        ``auto`` finds nothing on this machine that has the precision.
    """
    if settings.runtime != "auto":
        _require(settings.runtime)
        if settings.arithmetic == "bf16" and not cpu.gpu_visible() and cpu.bf16_instructions() is None:
            log.warning(
                "this machine has no bfloat16 instructions: workers on machines like it will refuse to run"
            )
        return Choice(settings.runtime, "set")
    if before is not None:
        runtime: RuntimeName = before  # type: ignore[assignment]
        if before in _NEEDS and _installed(runtime):
            return Choice(runtime, "the catalog was begun with it")
        if settings.arithmetic != "f32":
            _require(runtime)
        choice = _choose(settings)
        log.warning(
            "the catalog was begun with runtime %s, which is not installed here: going on with %s, whose "
            "vectors in f32 are the same to 1e-4",
            before,
            choice.runtime,
        )
        return choice
    choice = _choose(settings)
    log.info("runtime %s, %s: %s", choice.runtime, settings.arithmetic, choice.reason)
    return choice


def _choose(settings: FingerprintsSettings) -> Choice:
    if settings.arithmetic == "int8":
        _require("openvino")
        return Choice("openvino", f"int8 on the CPU ({cpu.int8_instructions() or 'no 8-bit instructions'})")
    if cpu.gpu_visible():
        backend = os.environ.get("KERAS_BACKEND")
        if backend in ("jax", "torch"):
            return Choice("keras", f"an NVIDIA GPU, and KERAS_BACKEND is {backend}")
        if _tensorflow_has_cuda():
            return Choice("tensorflow", "an NVIDIA GPU, and a TensorFlow built for it")
        log.warning(
            "there is an NVIDIA GPU, but nothing installed here uses it: the gpu extra does "
            '(pip install "elodin_spark[gpu]" in an environment of its own)'
        )
    instructions = cpu.bf16_instructions()
    if settings.arithmetic == "bf16" and instructions is None:
        raise ConfigError(
            "fingerprints.precision is bf16, but this machine has no bfloat16 instructions (AMX, AVX512-BF16 "
            "or Arm's BF16): set fingerprints.precision=f32; or, where the executors have them and only the "
            "driver has not, name the runtime: fingerprints.runtime=openvino"
        )
    where = f"the CPU ({instructions})" if settings.arithmetic == "bf16" else "the CPU"
    if _installed("openvino"):
        return Choice("openvino", f"the fastest on {where}")
    _require("tensorflow")
    return Choice("tensorflow", f"on {where}; OpenVINO, which is faster there, is not installed")


def model_for(settings: FingerprintsSettings, runtime: RuntimeName, weights: Weights) -> ModelFile | None:
    """The converted network that `runtime` needs on the workers; None where it reads the weights.

    Parameters
    ----------
    settings : FingerprintsSettings
    runtime : str
        From :func:`choose_runtime`.
    weights : Weights
        Those the settings name.

    Raises
    ------
    ConfigError
        The quantized network is of other weights, or for windows of another size; the network has
        no such layer.
    WeightsError, MissingDependencyError
        As :func:`~elodin_spark.fingerprints.runtimes.openvino.convert_network`.
    """
    if runtime != "openvino":
        # A layer that is not there is refused here, before any worker starts.
        vector_length(settings.backbone, settings.layer)
        return None
    from elodin_spark.fingerprints.runtimes.openvino import adopt_model, convert_network

    if settings.arithmetic != "int8":
        return convert_network(weights, settings.backbone, settings.input_px, layer=settings.layer)
    if settings.int8_model is None:
        raise ConfigError(
            "fingerprints.precision int8 needs a quantized network: a run quantizes it with cutouts of its "
            "archive; elsewhere name it in int8_model (elodin_spark.fingerprints.runtimes.quantize writes it)"
        )
    model = adopt_model(settings.int8_model)
    made_for = (model.weights_sha256, model.backbone, model.input_px, model.layer)
    wanted = (weights.sha256, settings.backbone, settings.input_px, settings.layer)
    if not model.quantized or made_for != wanted:
        raise ConfigError(
            f"fingerprints.int8_model {settings.int8_model} holds {model.backbone} of weights "
            f"{model.weights_sha256[:12]} at {model.input_px} px, layer "
            f"{model.layer or 'last'}, and the settings ask for "
            f"{settings.backbone} of weights {weights.sha256[:12]} at {settings.input_px} px, "
            f"layer {settings.layer or 'last'}: quantize again"
        )
    return model


def _installed(runtime: RuntimeName) -> bool:
    return any(installed(package) for package in _NEEDS[runtime])


def _require(runtime: RuntimeName) -> None:
    if not _installed(runtime):
        raise missing_extra(
            _NEEDS[runtime], f"fingerprints.runtime {runtime}", instead="choose another runtime"
        )


def _tensorflow_has_cuda() -> bool:
    try:
        distribution("tensorflow-cpu")
    except PackageNotFoundError:
        return installed("tensorflow")
    return False
