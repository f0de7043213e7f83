"""The stage that gives each cutout its key in the stable sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from elodin_spark.projection.sample import sample_keys
from elodin_spark.schema import FINGERPRINTS
from elodin_spark.stage import Locate, Stage

KEYED = pa.schema(
    [FINGERPRINTS.field("cutout_id"), FINGERPRINTS.field("vector"), pa.field("sample_key", pa.int64())]
)


@dataclass(frozen=True)
class SampleKeySpec:
    """Adds `sample_key` (int64) to `cutout_id` and `vector`."""

    seed: int
    files: tuple[str, ...] = ()

    @property
    def output_schema(self) -> pa.Schema:
        """`cutout_id`, `vector`, `sample_key`."""
        return KEYED

    def build(self, locate: Locate) -> Stage:
        """Build the stage."""
        return _SampleKey(self.seed)


class _SampleKey:
    output_schema = KEYED

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            ids = batch.column("cutout_id")
            keys = sample_keys(np.asarray(ids, dtype=np.int64), self._seed)
            vectors = batch.column("vector").cast(KEYED.field("vector").type)
            yield pa.RecordBatch.from_arrays([ids, vectors, pa.array(keys)], schema=KEYED)
