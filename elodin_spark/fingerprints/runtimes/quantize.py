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

from elodin_spark.config.settings import FingerprintsSettings
from elodin_spark.errors import ConfigError, import_extra
from elodin_spark.fingerprints.backbones import preprocessing_of
from elodin_spark.fingerprints.runtimes.cpu import bf16_instructions
from elodin_spark.fingerprints.runtimes.mixed import Sensitivity
from elodin_spark.fingerprints.runtimes.modelfile import ModelFile
from elodin_spark.fingerprints.runtimes.openvino import (
    convert_network,
    load_openvino,
    model_cache,
    store_model,
    without_telemetry,
)
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.fingerprints.windows import resize_window

#: What the overlap must exceed the floor by on the windows a network was quantized with.
MARGIN = 0.01


Method = Literal["plain", "mixed"]
BiasCorrection = Literal["none", "fast", "accurate"]


def quantize(
    weights: Weights,
    windows: Sequence[NDArray[np.uint8]],
    *,
    backbone: str = "resnet50",
    input_px: int = 224,
    layer: str | None = None,
    keep: Sequence[str] = (),
    keep_precision: Literal["f32", "bf16"] = "f32",
    bias_correction: BiasCorrection = "accurate",
    method: Method = "plain",
    floor: float = 0.9,
    most_kept: int = 12,
    threads: int = 1,
    cache: Path | None = None,
) -> ModelFile:
    """Quantize a network to 8-bit integers.

    Weights get one scale per output channel and activations one per tensor, from the mean of the
    smallest to that of the largest number of each window. The same windows give the same file.
    Vectors remain float32.

    Parameters
    ----------
    weights : Weights
    windows : sequence of ndarray of uint8, shape (h, w) or (h, w, 3)
        To calibrate with: some hundred windows like those that will be fingerprinted.
    backbone, input_px, layer
        As in :class:`~elodin_spark.config.settings.FingerprintsSettings`.
    keep : sequence of str
        Layers of the Keras network that are not quantized, such as ``conv1_conv``.
    keep_precision : str
        Of those, and of whatever else has no 8-bit form.
    bias_correction : str
        For the mean error that quantization makes of each layer: ``accurate`` sees it with the layers
        before it quantized; ``fast`` sees it by itself, fed with the mean of each channel, and
        makes small images worse, whose edges it does not see.
    method : str
        ``mixed``: ranges from the smallest to the largest number of all windows where these do
        better on `windows`; and where the floor is not met, the operations that lose most are not
        quantized, as many as it asks for, see
        :class:`~elodin_spark.fingerprints.runtimes.mixed.Sensitivity`.
    floor : float
        Of mixed: overlap of nearest neighbors with float32 on `windows`.
    most_kept : int
        Of mixed.
    threads : int
        Of the trials.
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
    openvino = load_openvino()
    folder = model_cache() if cache is None else cache
    converted = convert_network(weights, backbone, input_px, folder, layer=layer).path
    base = openvino.Core().read_model(converted)
    names = {node.get_friendly_name() for node in base.get_ops()}
    if unknown := [name for name in keep if name not in names]:
        raise ConfigError(f"{', '.join(unknown)}: no such convolution or dense layer in {backbone}")
    preprocess = preprocessing_of(backbone)
    resized = [resize_window(window, input_px) for window in windows]
    prepared = [preprocess(window[None]) for window in resized]

    def make(kept: Sequence[str], correction: BiasCorrection, widest: bool = False) -> Any:
        # Read anew: NNCF changes the model it is given.
        return _quantized(openvino.Core().read_model(converted), prepared, kept, correction, widest)

    kept = tuple(keep)
    if method == "plain":
        quantized = make(keep, bias_correction)
    else:
        color = np.stack([w if w.ndim == 3 else np.repeat(w[..., None], 3, axis=2) for w in resized])
        sensitivity = Sensitivity(make(keep, "none"), base, color, preprocess, keep_precision, threads)
        # Ranges of the widest window are better where all are alike, and ruined by a single trail.
        wide = make(keep, "none", True)
        widest = sensitivity.overlap(wide) > sensitivity.overlap(sensitivity.quantized)
        if widest:
            sensitivity.quantized = wide
        corrects = bias_correction != "none"
        quantized = make(keep, bias_correction, widest) if corrects else sensitivity.quantized
        best = sensitivity.overlap(quantized)
        if best < floor:
            found = sensitivity.least(sensitivity.ranked(), floor, most_kept)
            corrected = make(kept + found.kept, bias_correction, widest) if corrects else found.model
            # Corrected or not, whichever is better; as it was, where keeping gained nothing.
            for model, overlap in ((found.model, found.overlap), (corrected, sensitivity.overlap(corrected))):
                if overlap > best:
                    quantized, best, kept = model, overlap, tuple(keep) + found.kept
    content: dict[str, Any] = {
        "weights_sha256": weights.sha256,
        "backbone": backbone,
        "input_px": input_px,
        "float_precision": keep_precision,
        "quantized": True,
    }
    if layer is not None:
        content["layer"] = layer
    if kept:
        content["kept"] = kept
    return store_model(quantized, content, folder)


def quantize_by_settings(
    settings: FingerprintsSettings, weights: Weights, windows: Sequence[NDArray[np.uint8]]
) -> ModelFile:
    """:func:`quantize` as ``fingerprints.int8`` says; what is kept has bf16 where this CPU has it."""
    return quantize(
        weights,
        windows,
        backbone=settings.backbone,
        input_px=settings.input_px,
        layer=settings.layer,
        keep_precision="f32" if bf16_instructions() is None else "bf16",
        bias_correction=settings.int8.bias_correction,
        method=settings.int8.method,
        # Other windows, to which it was not fitted, will judge it.
        floor=settings.precision_floor + MARGIN,
        most_kept=settings.int8.most_kept,
        threads=settings.threads,
    )


def _quantized(
    base: Any,
    prepared: Sequence[NDArray[np.float32]],
    keep: Sequence[str],
    correction: BiasCorrection,
    widest: bool = False,
) -> Any:
    nncf = _load_nncf()
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    # Of all windows together, or the mean of each one's.
    ranges = RangeEstimatorParametersSet.MINMAX if widest else RangeEstimatorParametersSet.MEAN_MINMAX
    with _quiet():
        return nncf.quantize(
            base,
            nncf.Dataset(prepared),
            preset=nncf.QuantizationPreset.MIXED,  # the ranges of activations need not be symmetric
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(prepared),
            fast_bias_correction=correction != "accurate",
            ignored_scope=nncf.IgnoredScope(names=list(keep)),
            advanced_parameters=AdvancedQuantizationParameters(
                disable_bias_correction=correction == "none",
                activations_range_estimator_params=ranges,
            ),
        )


def _load_nncf() -> Any:
    with without_telemetry():
        return import_extra("nncf", "quantization")


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
