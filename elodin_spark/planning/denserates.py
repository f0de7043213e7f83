"""What dense mode costs on this machine, by a few blocks of the images of a sample."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elodin_spark import schema
from elodin_spark.catalog.build.pipeline import fingerprinting
from elodin_spark.config.settings import Settings
from elodin_spark.fingerprints.dense import DenseSpec, DenseStage
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.runtimes.base import Runtime
from elodin_spark.fingerprints.transform import TransformFile
from elodin_spark.fingerprints.weights.types import Weights

#: Blocks of an image that are timed.
BLOCKS = 3
#: Rows that the size of a table is measured on, where the images give so many.
ROWS = 96
#: As long as a true one.
_RECIPE = "0123456789ab"


@dataclass(frozen=True)
class DenseRate:
    """Of one core of this machine.

    Attributes
    ----------
    start_s : float
        Seconds to build the network.
    s_per_px : float
        Seconds of the network for each pixel it sees, halos included.
    """

    start_s: float
    s_per_px: float


class _Timed:
    """A runtime in dense mode with a stopwatch."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.blocks = 0
        self.px = 0
        self.seconds = self.first_s = 0.0

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As the runtime; the first block goes through it twice, as the first pass builds its program."""
        if not self.blocks:
            self.first_s = self._time(pixels)[1]
        found, seconds = self._time(pixels)
        self.first_s = max(0.0, self.first_s - seconds) if not self.blocks else self.first_s
        self.blocks, self.px = self.blocks + 1, self.px + pixels.shape[0] * pixels.shape[1]
        self.seconds += seconds
        return found

    def scores(self, vectors: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """As the runtime."""
        started = time.perf_counter()
        found = self._runtime.scores(vectors)
        self.seconds += time.perf_counter() - started
        return found

    def _time(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        started = time.perf_counter()
        found = self._runtime.features(pixels)
        return found, time.perf_counter() - started


def measure_dense(
    images: Sequence[Mapping[str, Any]],
    settings: Settings,
    weights: Weights,
    transform: TransformFile | None = None,
) -> tuple[DenseRate | None, pa.Table]:
    """Run the dense stage over a sample until some blocks are timed.

    Parameters
    ----------
    images : sequence of mapping
        Rows of ``schema.TARGETED``.
    settings : Settings
        In dense mode.
    weights : Weights
    transform : TransformFile, optional

    Returns
    -------
    DenseRate or None
        None where no block was run: nothing could be read, or all windows are rejected.
    pyarrow.Table
        Rows of the table of fingerprints.
    """
    network = resolve_network(settings.fingerprints, weights)
    (spec,) = fingerprinting(settings, network, _RECIPE, described=True, transform=transform).specs
    assert isinstance(spec, DenseSpec)
    started = time.perf_counter()
    timed = _Timed(spec.network.load(str)[0])
    built = time.perf_counter() - started
    stage = DenseStage(spec, str)
    stage.runtime = timed  # type: ignore[assignment]
    tables = [fingerprints_in(spec.output_schema.empty_table())]
    for image in images:
        row = {name: image.get(name) for name in schema.TARGETED.names}
        for batch in stage(iter([schema.rows_to_batch([row], schema.TARGETED)])):
            tables.append(fingerprints_in(pa.table(batch)))
            if timed.blocks >= BLOCKS and sum(map(len, tables)) >= ROWS:
                break
        if timed.blocks >= BLOCKS and sum(map(len, tables)) >= ROWS:
            break
    rate = DenseRate(built + timed.first_s, timed.seconds / timed.px) if timed.px else None
    return rate, pa.concat_tables(tables)


def fingerprints_in(rows: pa.Table) -> pa.Table:
    """What a run writes to the table of fingerprints, of rows with the columns of ``FINGERPRINTED``."""
    return rows.filter(rows.column("vector").is_valid()).select(schema.FINGERPRINTS.names)
