"""Cutouts placed on the maps by executors: from files of vectors to files of places."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from elodin_spark.neighbors.ivf.stages import stream_vectors
from elodin_spark.projection.placement import Placement
from elodin_spark.schema import PROJECTION
from elodin_spark.stage import Locate, Stage

#: What one task places: the number of the file it writes, and the Parquet files whose vectors it takes.
PLACE_JOBS = pa.schema([pa.field("number", pa.int32()), pa.field("files", pa.list_(pa.string()))])
#: What became of it: the files by method (JSON), and how many cutouts had vectors that are not finite.
PLACED = pa.schema(
    [pa.field("number", pa.int32()), pa.field("written", pa.string()), pa.field("left_out", pa.int64())]
)


@dataclass(frozen=True)
class PlaceSpec:
    """Places the cutouts of :data:`PLACE_JOBS` that are not of the sample, and writes them.

    Parameters
    ----------
    placement : str
        File of a :class:`~elodin_spark.projection.placement.Placement`, on a file system that driver and
        executors share.
    folder : str
        For the files of ``schema.PROJECTION``; their names are new at each attempt.
    without : str, optional
        Parquet file of what was taken out, `kind` and `id`.
    """

    placement: str
    folder: str
    without: str | None = None
    files: tuple[str, ...] = ()
    output_schema: pa.Schema = PLACED

    def build(self, locate: Locate) -> Stage:
        """Build the stage."""
        return _Place(self)


class _Place:
    output_schema = PLACED

    def __init__(self, spec: PlaceSpec) -> None:
        self._spec = spec

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        placement: Placement | None = None
        without = np.empty(0, np.int64)
        for batch in batches:
            for job in batch.to_pylist():
                if placement is None:
                    placement = Placement.load(Path(self._spec.placement))
                    without = _skipped(placement, self._spec.without)
                vectors = stream_vectors([Path(file) for file in job["files"]])
                written, left_out = write_places(placement, vectors, without, Path(self._spec.folder))
                yield pa.RecordBatch.from_pydict(
                    {"number": [job["number"]], "written": [json.dumps(written)], "left_out": [left_out]},
                    schema=PLACED,
                )


def write_places(
    placement: Placement,
    vectors: Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]],
    without: NDArray[np.int64],
    folder: Path,
) -> tuple[dict[str, str], int]:
    """Place cutouts and write their places, one file a method.

    Parameters
    ----------
    placement : Placement
    vectors : iterable of (ndarray of int64, ndarray of float32)
        IDs and vectors.
    without : ndarray of int64
        IDs to pass over.
    folder : Path

    Returns
    -------
    written : dict of str to str
        Method to its file.
    left_out : int
        Cutouts whose vectors are not finite.
    """
    name = secrets.token_hex(8)
    files = {method: folder / f"{method}-{name}.parquet" for method in placement.places}
    writers = {method: pq.ParquetWriter(file, PROJECTION) for method, file in files.items()}
    left_out = 0
    for ids, rows in vectors:
        wanted = ~np.isin(ids, without)
        finite = np.isfinite(rows).all(axis=1)
        left_out += int((wanted & ~finite).sum())
        kept = wanted & finite
        for method, (xy, marks) in placement.place(rows[kept]).items():
            writers[method].write_table(places_table(ids[kept], xy, marks, placed=True))
    for writer in writers.values():
        writer.close()
    return {method: str(file) for method, file in files.items()}, left_out


def places_table(
    ids: NDArray[np.int64], xy: NDArray[np.float32], marks: NDArray[np.bool_], *, placed: bool
) -> pa.Table:
    """Cutouts on a map as rows of ``schema.PROJECTION``."""
    columns = [pa.array(ids), pa.array(xy[:, 0]), pa.array(xy[:, 1]), np.full(len(ids), placed), marks]
    return pa.table([pa.array(column) for column in columns], schema=PROJECTION)


def _skipped(placement: Placement, without: str | None) -> NDArray[np.int64]:
    """Cutouts of the sample, and those that were taken out."""
    if without is None:
        return placement.ids
    removed = pq.read_table(without, filters=pc.field("kind") == "cutout").column("id").to_numpy()
    return np.union1d(placement.ids, removed)
