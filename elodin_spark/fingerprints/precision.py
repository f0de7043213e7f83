"""The gate: which arithmetic may replace float32, measured on cutouts of the archive.

Reduced precision is faster and changes the vectors. What it does to a search depends on the weights
and on what the archive shows, so it is measured on both, as the share of the nearest neighbors that
stay the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.mistakes import of_network
from elodin_spark.config.settings import FingerprintsSettings, Precision
from elodin_spark.errors import ConfigError, MissingDependencyError
from elodin_spark.fingerprints.agreement import NEIGHBORS, Agreement, Matrix, compare
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.runtimes import cpu
from elodin_spark.fingerprints.runtimes.framework import installed
from elodin_spark.fingerprints.runtimes.modelfile import ModelFile
from elodin_spark.fingerprints.runtimes.network import settings_lengths
from elodin_spark.fingerprints.stage import Fingerprinter, FingerprintSpec
from elodin_spark.fingerprints.transform import VectorTransform, shares
from elodin_spark.fingerprints.weights.types import Weights

log = logging.getLogger(__name__)

#: Fewer windows say nothing about neighbors.
FEWEST_WINDOWS = 3 * NEIGHBORS
#: Windows that a precision is measured on which is named, where it only warns.
_NAMED_SAMPLE = 128

Window = NDArray[np.uint8]


@dataclass(frozen=True)
class Measured:
    """One precision on the sample.

    Attributes
    ----------
    precision : str
    agreement : Agreement
        With float32.
    per_second : float
        Windows, on the driver with ``fingerprints.threads``, while it did whatever else it did.
    """

    precision: Precision
    agreement: Agreement
    per_second: float


@dataclass(frozen=True)
class Gate:
    """What was measured and what was taken.

    Attributes
    ----------
    asked : str
        Of the settings.
    taken : str
    floor : float
        Least overlap.
    windows : int
        Of the sample; 0 where nothing was measured.
    rows : tuple of Measured
        f32 first, then from the fastest.
    reason : str
        For the log.
    models : tuple of ModelFile
        The quantized networks, where int8 was taken.
    """

    asked: str
    taken: Precision
    floor: float
    windows: int
    rows: tuple[Measured, ...]
    reason: str
    models: tuple[ModelFile, ...] = ()

    def record(self) -> dict[str, Any]:
        """Plain values that survive JSON, for the catalog."""
        return {
            "asked": self.asked,
            "taken": self.taken,
            "floor": self.floor,
            "windows": self.windows,
            "neighbors": NEIGHBORS,
            "reason": self.reason,
            "kept": [layer for model in self.models for layer in model.kept],
            "rows": [
                {"precision": row.precision, "per_second": round(row.per_second, 1)} | row.agreement.to_dict()
                for row in self.rows
            ],
        }


def candidates(settings: FingerprintsSettings) -> tuple[Precision, ...]:
    """What could replace float32 on this machine, the fastest first.

    Only what its CPU, or a GPU, runs in instructions of its own, and what a runtime that is
    installed and not excluded by the settings can do.
    """
    found: list[Precision] = []
    on_gpu = cpu.gpu_visible()
    quantizable = not _to_quantize(settings) or installed("nncf")
    if (
        settings.mode == "window"
        and settings.runtime in ("auto", "openvino")
        and installed("openvino")
        and quantizable
        and not on_gpu
        and cpu.int8_instructions() is not None
    ):
        found.append("int8")
    if on_gpu or cpu.bf16_instructions() is not None:
        found.append("bf16")
    return tuple(found)


def _to_quantize(settings: FingerprintsSettings) -> bool:
    """Whether int8 wants a network quantized that is not yet."""
    return any(part.int8_model is None for part in settings.parts)


def windows_wanted(settings: FingerprintsSettings) -> tuple[int, int]:
    """Windows to measure on and windows to quantize with; both 0 where no gate is needed."""
    if settings.precision == "f32":
        return 0, 0
    native, auto = candidates(settings), settings.precision == "auto"
    quantizing = "int8" in (native if auto else (settings.precision,)) and _to_quantize(settings)
    measured = settings.gate_sample if auto else min(settings.gate_sample, _NAMED_SAMPLE)
    # What only the executors can run is not measured on the driver.
    here = bool(native) if auto else settings.precision in native
    return measured if here else 0, settings.int8.calibration if quantizing else 0


def settle(settings: FingerprintsSettings, weights: Weights, windows: Sequence[Window]) -> Gate:
    """Settle the precision of a catalog that is begun, and quantize the network where that is wanted.

    Parameters
    ----------
    settings : FingerprintsSettings
        Precision ``auto`` takes the fastest candidate whose overlap is at least
        ``precision_floor``, else f32. A precision that is named is taken whatever it does, with a
        warning where it is below the floor.
    weights : Weights
    windows : sequence of ndarray of uint8, shape (h, w) or (h, w, 3)
        A sample of the archive. The first :func:`windows_wanted` are measured on, the rest quantize
        the network, so that it is not judged by what it was fitted to.

    Returns
    -------
    Gate

    Raises
    ------
    ConfigError
        int8 is named, and there are no windows to quantize with.
    MissingDependencyError
        int8 is named, and NNCF or OpenVINO is not installed.
    WeightsError
        The network cannot be read or converted.
    """
    auto = settings.precision == "auto"
    tried: tuple[Precision, ...] = candidates(settings) if auto else (settings.arithmetic,)
    wanted, to_fit = windows_wanted(settings)
    # Of a small archive a part for each.
    split = wanted if len(windows) >= wanted + to_fit else len(windows) * wanted // max(1, wanted + to_fit)
    sample, calibration = list(windows[:split]), list(windows[split:])
    enough = len(sample) >= FEWEST_WINDOWS
    if auto and not (tried and enough):
        why = (
            f"the archive gave {len(sample)} windows to measure on, and {FEWEST_WINDOWS} is the least: f32"
            if tried
            else "this machine has no faster arithmetic of its own: f32"
        )
        return _said(Gate("auto", "f32", settings.precision_floor, 0, (), why))
    rows: list[Measured] = []
    models: tuple[ModelFile, ...] = ()
    if enough:
        exact, seconds = _vectors(_with(settings, "f32"), weights, sample)
        transformed = _transform(settings, exact)
        exact = transformed(exact)
        rows.append(Measured("f32", compare(exact, exact), len(sample) / seconds))
    for precision in tried:
        try:
            made: tuple[ModelFile, ...] = ()
            chosen = _with(settings, precision)
            if precision == "int8":
                chosen, made = _quantized(chosen, weights, calibration)
        except (MissingDependencyError, ConfigError) as error:
            if not auto:
                raise
            log.warning("precision auto leaves int8 out: %s", error)
            continue
        if not enough:
            return _said(
                Gate(precision, precision, settings.precision_floor, 0, (), "named, not measured", made)
            )
        vectors, seconds = _vectors(chosen, weights, sample)
        rows.append(Measured(precision, compare(exact, transformed(vectors)), len(sample) / seconds))
        models = made if precision == "int8" else models
    return _said(_judged(settings, tuple(rows), len(sample), models))


def _judged(
    settings: FingerprintsSettings, rows: tuple[Measured, ...], count: int, models: tuple[ModelFile, ...]
) -> Gate:
    floor = settings.precision_floor
    good = [row.precision for row in rows[1:] if row.agreement.overlap >= floor]
    verdicts = [
        f"{row.precision} overlap {row.agreement.overlap:.3f} "
        f"{'>=' if row.precision in good else '<'} {floor:.2f}"
        for row in rows[1:]
    ]
    taken: Precision = (good[0] if good else "f32") if settings.precision == "auto" else settings.precision
    return Gate(
        settings.precision,
        taken,
        floor,
        count,
        rows,
        f"{', '.join(verdicts) or 'nothing could be measured'}: {taken}",
        models if taken == "int8" else (),
    )


def _said(gate: Gate) -> Gate:
    """Say it in the log."""
    for row in gate.rows:
        log.info(
            "%-5s overlap of %d neighbors %.3f, centerd cosine %.4f, cosine %.5f, %.0f windows/s",
            row.precision,
            NEIGHBORS,
            row.agreement.overlap,
            row.agreement.centerd_cosine,
            row.agreement.cosine,
            row.per_second,
        )
    below = [row for row in gate.rows if row.agreement.overlap < gate.floor]
    if gate.asked != "auto" and below:
        log.warning(
            "precision %s keeps %.3f of the nearest neighbors of f32, on %d cutouts of this archive: below "
            "fingerprints.precision_floor (%.2f). Set fingerprints.precision=auto for the fastest that "
            "reaches it",
            gate.taken,
            below[-1].agreement.overlap,
            gate.windows,
            gate.floor,
        )
    else:
        log.info("precision %s: %s", gate.asked, gate.reason)
    return gate


def _transform(settings: FingerprintsSettings, exact: Matrix) -> Callable[[Matrix], Matrix]:
    """What a catalog makes of vectors before it compares them, as far as a small sample can tell.

    Networks that are joined have scales of their own, and count as they should where these are evened out.
    Components and copies want more windows than these.
    """
    if settings.transform != "standardize":
        return lambda vectors: vectors
    plain = settings.untransformed().model_copy(
        update={"transform": "standardize", "power": settings.exponent, "labels": "units"}
    )
    parts = shares(settings_lengths(settings), settings.factors)
    return VectorTransform.fit(exact, plain, parts=parts).apply


def _with(settings: FingerprintsSettings, precision: Precision) -> FingerprintsSettings:
    # Dense mode is judged by its windows one by one: the arithmetic is the same.
    # What is made of the vectors is fitted to them.
    return settings.untransformed().model_copy(update={"precision": precision, "mode": "window"})


def _quantized(
    settings: FingerprintsSettings, weights: Weights, windows: Sequence[Window]
) -> tuple[FingerprintsSettings, tuple[ModelFile, ...]]:
    from elodin_spark.fingerprints.runtimes.openvino import read_model_file

    models = []
    for number, (part, some) in enumerate(zip(settings.parts, weights.parts, strict=True)):
        with of_network(number):
            if part.int8_model is not None:
                models.append(read_model_file(part.int8_model))
                continue
            from elodin_spark.fingerprints.runtimes.quantize import quantize_by_settings

            models.append(quantize_by_settings(part, some, windows))
    return settings.with_int8_models([model.path for model in models]), tuple(models)


def _vectors(
    settings: FingerprintsSettings, weights: Weights, windows: Sequence[Window]
) -> tuple[Matrix, float]:
    """Vectors of windows and the seconds they took, without the start of the network."""
    spec = FingerprintSpec.from_network(resolve_network(settings, weights))
    network = Fingerprinter(spec)
    for channels in {window.ndim for window in windows}:  # a program for gray and one for color
        network([next(window for window in windows if window.ndim == channels)])
    started = time.perf_counter()
    vectors, _, _ = network(windows)
    seconds = time.perf_counter() - started
    if any(vector is None for vector in vectors):
        raise ConfigError(
            "the network's answers to cutouts of this archive are not finite: its weights overflow; use "
            "others"
        )
    return np.stack([vector for vector in vectors if vector is not None]), seconds
