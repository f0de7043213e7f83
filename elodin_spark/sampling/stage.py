"""Stages of samples: the key of each cutout, the IDs of windows, and the windows of given IDs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from elodin_spark.arrow import to_column, to_matrix
from elodin_spark.sampling.sample import sample_keys
from elodin_spark.schema import CUTOUTS, FINGERPRINTS
from elodin_spark.stage import Locate, Stage


@dataclass(frozen=True)
class SampleKeySpec:
    """Adds `sample_key` (int64) to `cutout_id` and another column of the fingerprints.

    Parameters
    ----------
    seed : int
    column : str, optional
        ``vector`` or ``labels``.
    """

    seed: int
    column: str = "vector"
    files: tuple[str, ...] = ()

    @property
    def output_schema(self) -> pa.Schema:
        """`cutout_id`, the column, `sample_key`."""
        return pa.schema(
            [
                FINGERPRINTS.field("cutout_id"),
                FINGERPRINTS.field(self.column),
                pa.field("sample_key", pa.int64()),
            ]
        )

    def build(self, locate: Locate) -> Stage:
        """Build the stage."""
        return _SampleKey(self)


class _SampleKey:
    def __init__(self, spec: SampleKeySpec) -> None:
        self._spec = spec
        self.output_schema = spec.output_schema

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            ids, values = batch.column("cutout_id"), batch.column(self._spec.column)
            keys = sample_keys(np.asarray(ids, dtype=np.int64), self._spec.seed)
            if self._spec.column == "vector":
                values = to_column(list(to_matrix(values)))
            columns = [ids, values, pa.array(keys)]
            yield pa.RecordBatch.from_arrays(columns, schema=self.output_schema)


@dataclass(frozen=True)
class CutoutIdsSpec:
    """Windows to the IDs of those that are not rejected: `cutout_id`, and nothing else."""

    files: tuple[str, ...] = ()

    @property
    def output_schema(self) -> pa.Schema:
        """`cutout_id`."""
        return pa.schema([CUTOUTS.field("cutout_id")])

    def build(self, locate: Locate) -> Stage:
        """Build the stage."""
        return _CutoutIds(self.output_schema)


class _CutoutIds:
    def __init__(self, output_schema: pa.Schema) -> None:
        self.output_schema = output_schema

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            kept = batch.filter(
                pc.and_(batch.column("cutout_id").is_valid(), batch.column("rejected").is_null())
            )
            yield pa.RecordBatch.from_arrays([kept.column("cutout_id")], schema=self.output_schema)


@dataclass(frozen=True, eq=False)
class KeepCutoutsSpec:
    """Keeps the rows of some windows, and no others.

    Parameters
    ----------
    output_schema : pyarrow.Schema
        Of what comes in, and goes out; with `cutout_id`.
    cutout_ids : ndarray of int64
    """

    output_schema: pa.Schema
    cutout_ids: NDArray[np.int64]
    files: tuple[str, ...] = ()

    def build(self, locate: Locate) -> Stage:
        """Build the stage."""
        return _KeepCutouts(self.output_schema, self.cutout_ids)


class _KeepCutouts:
    def __init__(self, output_schema: pa.Schema, cutout_ids: NDArray[np.int64]) -> None:
        self.output_schema = output_schema
        self._wanted = pa.array(np.sort(cutout_ids), pa.int64())

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch.filter(pc.is_in(batch.column("cutout_id"), self._wanted))
