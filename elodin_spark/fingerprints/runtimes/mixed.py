"""A quantized network whose most sensitive operations are given their floating-point numbers back.

Each is tried alone: what the vectors gain when it is not quantized ranks it. Then so many of the
first are kept as the overlap of neighbors asks for.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.fingerprints.agreement import Matrix, centerd, compare, cosines
from elodin_spark.fingerprints.backbones import Preprocessing
from elodin_spark.fingerprints.runtimes.openvino import CARRIERS, compile_on_cpu, fix_batch

log = logging.getLogger(__name__)

#: Windows that operations are ranked with: the mean of a smooth figure needs few.
RANKING_WINDOWS = 64
#: Operations that numbers are quantized for.
_TAKING = (*CARRIERS, "Add", "ReduceMean")
#: Overlaps nearer than this are alike.
WITHIN = 0.01
_BATCH = 16


@dataclass(frozen=True)
class Trial:
    """So many operations kept.

    Attributes
    ----------
    kept : tuple of str
        Their names.
    overlap : float
        Of the nearest neighbors with float32, on the windows it was made with.
    model : openvino.Model
    """

    kept: tuple[str, ...]
    overlap: float
    model: Any


class Sensitivity:
    """A quantized network beside the one it was made from.

    Parameters
    ----------
    quantized, base : openvino.Model
        Without corrected biases: what is given back must be what it was.
    windows : ndarray of uint8, shape (n, px, px, 3)
    preprocess : Preprocessing
    precision : str
        Of what is not quantized.
    threads : int
    """

    def __init__(
        self,
        quantized: Any,
        base: Any,
        windows: NDArray[np.uint8],
        preprocess: Preprocessing,
        precision: str,
        threads: int = 1,
    ) -> None:
        self.quantized, self._base = quantized, base
        self._windows, self._preprocess = windows, preprocess
        self._precision, self._threads = precision, threads
        self._exact = self._vectors(base, "f32", len(windows))

    def ranked(self, names: Sequence[str] | None = None) -> list[str]:
        """Names of the operations that are quantized, or some of them, the most sensitive first."""
        count = min(len(self._windows), RANKING_WINDOWS)
        exact = self._exact[:count]
        gains = {}
        for name in quantized_operations(self.quantized) if names is None else names:
            vectors = self._vectors(self.with_kept([name]), self._precision, count)
            gains[name] = float(cosines(*centerd(exact, vectors)).mean())
        return sorted(gains, key=lambda name: (-gains[name], name))

    def least(self, ranked: Sequence[str], floor: float, most: int) -> Trial:
        """Keep as few as reach a floor, in steps of a half more.

        Where none does, as few as come within :data:`WITHIN` of the best: more would cost speed for
        nothing.
        """
        trials, count = [self.trial(())], 1
        while trials[-1].overlap < floor and len(trials[-1].kept) < min(most, len(ranked)):
            trials.append(self.trial(ranked[: min(count, most)]))
            count = max(count + 1, count * 3 // 2)
        reached = trials[-1].overlap >= floor
        enough = floor if reached else max(trial.overlap for trial in trials) - WITHIN
        best = next(trial for trial in trials if trial.overlap >= enough)
        log.info(
            "int8 with %s operations kept in %s: overlap %s on the windows it was made with",
            ", ".join(str(len(trial.kept)) for trial in trials),
            self._precision,
            ", ".join(f"{trial.overlap:.3f}" for trial in trials),
        )
        return best

    def trial(self, names: Sequence[str]) -> Trial:
        """Keep these, and measure."""
        model = self.with_kept(names)
        return Trial(tuple(names), self.overlap(model), model)

    def overlap(self, model: Any) -> float:
        """Of the nearest neighbors that a model finds with those of float32."""
        vectors = self._vectors(model, self._precision, len(self._windows))
        return compare(self._exact, vectors).overlap

    def with_kept(self, names: Sequence[str]) -> Any:
        """A copy of the quantized network with these operations as they were."""
        model = self.quantized.clone()
        before = {node.get_friendly_name(): node for node in self._base.get_ordered_ops()}
        for node in model.get_ordered_ops():
            if node.get_friendly_name() in names:
                _give_back(node, before[node.get_friendly_name()])
        return model

    def _vectors(self, model: Any, precision: str, count: int) -> Matrix:
        model = model.clone()
        fix_batch(model, _BATCH)
        request = compile_on_cpu(model, precision, self._threads)
        found = []
        for start in range(0, count, _BATCH):
            batch = np.zeros((_BATCH, *self._windows.shape[1:]), np.uint8)
            some = self._windows[start : min(start + _BATCH, count)]
            batch[: len(some)] = some
            request.infer([self._preprocess(batch)])
            found.append(np.array(request.output_tensors[0].data[: len(some)], np.float32))
        return np.concatenate(found)


def quantized_operations(model: Any) -> list[str]:
    """Names of the operations of a network that take numbers quantized for them, in its order."""
    return [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() in _TAKING
        and any(_quantizer(node.input(port)) for port in range(node.get_input_size()))
    ]


def _give_back(node: Any, before: Any) -> None:
    """Feed an operation what it was fed before it was quantized."""
    for port in range(node.get_input_size()):
        fed = _quantizer(node.input(port))
        if fed is not None:
            fed.replace_source_output(fed.get_source_output().get_node().input_value(0))
        elif _kind(before.input_value(port)) == "Constant" and node.get_type_name() in CARRIERS:
            node.input(port).replace_source_output(before.input_value(port))


#: Operations that pass numbers on as they are, between a quantizer and what it quantizes for.
_PASSING = ("Pad", "MaxPool", "Transpose", "Reshape")


def _quantizer(port: Any) -> Any | None:
    """The input that a quantizer feeds, this one or one behind it; None without a quantizer."""
    source = port.get_source_output().get_node()
    if source.get_type_name() == "FakeQuantize":
        return port
    return _quantizer(source.input(0)) if source.get_type_name() in _PASSING else None


def _kind(output: Any) -> str:
    return str(output.get_node().get_type_name())
