"""A network in 8-bit integers, by post-training quantization with NNCF."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from elodin_spark.errors import ConfigError, MissingDependencyError
from elodin_spark.fingerprints.backbones import preprocessing_of
from elodin_spark.fingerprints.runtimes.modelfile import ModelFile
from elodin_spark.fingerprints.runtimes.openvino import (
    convert_network,
    load_openvino,
    model_cache,
    store_model,
    without_telemetry,
)
from elodin_spark.fingerprints.weights import Weights
from elodin_spark.fingerprints.windows import resize_window


def quantize(
    weights: Weights,
    windows: Sequence[NDArray[np.uint8]],
    *,
    backbone: str = "resnet50",
    input_px: int = 224,
    layer: str | None = None,
    keep: Sequence[str] = (),
    keep_precision: Literal["f32", "bf16"] = "f32",
    bias_correction: Literal["fast", "accurate"] = "fast",
    cache: Path | None = None,
) -> ModelFile:
    """Quantize a network to 8-bit integers.

    Weights get one scale per output channel and activations one per tensor, with the ranges that
    the windows show; then each layer's bias is corrected for the mean error that quantization
    made on them. The same windows give the same file. Vectors remain float32.

    Parameters
    ----------
    weights : Weights
    windows : sequence of ndarray of uint8, shape (h, w) or (h, w, 3)
        To calibrate with: some hundred windows like those that will be fingerprinted.
    backbone, input_px, layer
        As in :class:`~elodin_spark.settings.FingerprintsSettings`.
    keep : sequence of str
        Layers of the Keras network that are not quantized, such as ``conv1_conv``.
    keep_precision : str
        Of those, and of whatever else has no 8-bit form.
    bias_correction : str
        ``accurate`` looks at each layer with the layers before it quantized; it takes many times
        as long.
    cache : Path, optional
        Folder to write to; by default that of converted networks.

    Returns
    -------
    ModelFile
        ``path`` is what ``fingerprints.int8_model`` takes, and ``sha256`` what the recipe names.

    Raises
    ------
    ConfigError
        There are no windows, or no such layer.
    MissingDependencyError
        NNCF or OpenVINO is not installed.
    """
    if not len(windows):
        raise ConfigError(
            "precision int8 needs windows to calibrate with, and got none: give some hundred of the archive"
        )
    openvino, nncf = load_openvino(), _load_nncf()
    folder = model_cache() if cache is None else cache
    base = openvino.Core().read_model(convert_network(weights, backbone, input_px, folder, layer=layer).path)
    names = {node.get_friendly_name() for node in base.get_ops()}
    if unknown := [name for name in keep if name not in names]:
        raise ConfigError(f"{', '.join(unknown)}: no such convolution or dense layer in {backbone}")
    preprocess = preprocessing_of(backbone)
    prepared = [preprocess(resize_window(window, input_px)[None]) for window in windows]
    with _quiet():
        quantized = nncf.quantize(
            base,
            nncf.Dataset(prepared),
            preset=nncf.QuantizationPreset.MIXED,  # the ranges of activations need not be symmetric
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(prepared),
            fast_bias_correction=bias_correction == "fast",
            ignored_scope=nncf.IgnoredScope(names=list(keep)),
        )
    content: dict[str, Any] = {
        "weights_sha256": weights.sha256,
        "backbone": backbone,
        "input_px": input_px,
        "float_precision": keep_precision,
        "quantized": True,
    }
    if layer is not None:
        content["layer"] = layer
    return store_model(quantized, content, folder)


def _load_nncf() -> Any:
    try:
        with without_telemetry():
            import nncf
    except ImportError as error:
        raise MissingDependencyError(
            f'quantization needs NNCF ({error}): pip install "elodin_spark[openvino]"'
        ) from error
    return nncf


@contextlib.contextmanager
def _quiet() -> Any:
    """Without NNCF's progress bars."""
    log = logging.getLogger("nncf")
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        log.setLevel(before)
