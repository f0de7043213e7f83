"""A catalog as the Parquet file that Embedding Atlas opens.

Its form is that of Embedding Atlas 0.26: two columns of coordinates, pictures as structs of `bytes` and
`path`, neighbors as structs of `ids` (rows of the file, from 0) and `distances`.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from elodin_spark.catalog.export.report import Export
from elodin_spark.catalog.export.rows import (
    facts_of,
    fingerprinted,
    thumbnails_in_order,
    vector_length,
    vectors_in_order,
)
from elodin_spark.catalog.maps import map_or_first
from elodin_spark.catalog.storage.store import Store
from elodin_spark.diskfiles import replacing
from elodin_spark.errors import InputError
from elodin_spark.progress import Progress

#: From IDs to a table of :data:`elodin_spark.schema.NEIGHBORS`.
Nearest = Callable[[NDArray[np.int64]], pa.Table]
#: From the IDs to answer with to a search among them.
NearestAmong = Callable[[NDArray[np.int64]], Nearest]

_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_NEIGHBORS = pa.struct([("ids", pa.list_(pa.int32())), ("distances", pa.list_(pa.float64()))])
_ASKED_AT_ONCE = 256


def export_embedding_atlas(
    store: Store,
    path: str | Path,
    ids: NDArray[np.int64],
    *,
    method: str | None = None,
    nearest: NearestAmong | None = None,
    vectors: bool = False,
) -> Export:
    """Write cutouts as a Parquet file for Embedding Atlas.

    Parameters
    ----------
    store : Store
    path : str or Path
        Ends in ``.parquet``; a file that is there is replaced, whole or not at all.
    ids : ndarray of int64, shape (n,)
        Those without a place on the map are left out.
    method : {"tsne", "umap"}, optional
        Of the map.
    nearest : callable, optional
        Gives a search among the cutouts that are written; without it there is no column of neighbors.
    vectors : bool
        Whether vectors are written.

    Returns
    -------
    Export

    Raises
    ------
    CatalogError
        There is no map, or nothing of `ids` is on it.
    InputError
        The name ends otherwise, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".parquet":
        raise InputError(f"{path.name} does not end in .parquet, which Embedding Atlas opens")
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent} to write {path.name} to")
    _, places = map_or_first(store, method)
    on_map = places.column("cutout_id").to_numpy()
    kept = fingerprinted(store, ids[np.isin(ids, on_map)])
    if not kept.size:
        raise InputError(
            f"none of the {len(ids):,} cutouts lies on the map: run the catalog again, or choose others"
        )
    at = np.searchsorted(on_map, kept)
    table = facts_of(store, kept)
    # As text: JavaScript's numbers would round them.
    columns = {"cutout_id": table.column("cutout_id").cast(pa.string())}
    columns |= {name: places.column(name).take(at) for name in places.column_names if name != "cutout_id"}
    columns |= {name: table.column(name) for name in table.column_names if name != "cutout_id"}
    if nearest is not None:
        columns["neighbors"] = _neighbors(kept, nearest(kept))
    whole = pa.table(columns)
    try:
        with replacing(path) as temporary:
            _write(store, temporary, whole, kept, vectors)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}") from None
    command = f"embedding-atlas {shlex.quote(str(path))} --x x --y y --image thumbnail --features labels"
    if nearest is not None:
        command += " --neighbors neighbors"
    return Export(path, len(kept), len(ids) - len(kept), command)


def _write(store: Store, file: Path, table: pa.Table, ids: NDArray[np.int64], vectors: bool) -> None:
    fields = [*table.schema, pa.field("thumbnail", _PICTURE)]
    if vectors:
        fields.append(pa.field("vector", pa.list_(pa.float32())))
    with tempfile.TemporaryDirectory(prefix="elodin-export-", dir=file.parent) as scratch:
        matrix = _vectors(store, ids, Path(scratch) / "vectors") if vectors else None
        with (
            pq.ParquetWriter(file, pa.schema(fields), compression="zstd") as writer,
            Progress(len(ids), "writing", "cutouts") as progress,
        ):
            for start, pictures in _in_rows(thumbnails_in_order(store, ids)):
                rows = slice(start, start + len(pictures))
                part = table.slice(start, len(pictures))
                named = [
                    None if data is None else {"bytes": data, "path": f"{cutout}.jpg"}
                    for cutout, data in zip(ids[rows].tolist(), pictures, strict=True)
                ]
                part = part.append_column("thumbnail", pa.array(named, _PICTURE))
                if matrix is not None:
                    flat = pa.array(np.asarray(matrix[rows]).ravel(), pa.float32())
                    ends = np.arange(len(pictures) + 1, dtype=np.int32) * matrix.shape[1]
                    part = part.append_column("vector", pa.ListArray.from_arrays(pa.array(ends), flat))
                writer.write_table(part.cast(pa.schema(fields)))
                progress.add(len(pictures))


def _in_rows(
    batches: Iterator[tuple[NDArray[np.int64], list[bytes | None]]],
) -> Iterator[tuple[int, list[bytes | None]]]:
    """The scan is in the order of the rows, which were taken from it."""
    expected = 0
    for rows, pictures in batches:
        if rows[0] != expected or not (np.diff(rows) == 1).all():
            raise AssertionError("the cutouts were scanned in another order than before")
        yield expected, pictures
        expected += len(rows)


def _vectors(store: Store, ids: NDArray[np.int64], file: Path) -> NDArray[np.float32]:
    """All vectors, in the order of `ids`, on disk."""
    shape = (len(ids), vector_length(store))
    matrix = np.memmap(file, np.float32, "w+", shape=shape)
    with Progress(len(ids), "reading", "vectors") as progress:
        for rows, values in vectors_in_order(store, ids):
            matrix[rows] = values
            progress.add(len(rows))
    return matrix


def _neighbors(ids: NDArray[np.int64], nearest: Nearest) -> pa.Array:
    """Neighbors of each cutout, as rows of the file; as many of each as the one with fewest has."""
    order = np.argsort(ids, kind="stable")
    found: list[dict[str, list]] = [{"ids": [], "distances": []} for _ in ids]
    with Progress(len(ids), "finding neighbors", "cutouts") as progress:
        for start in range(0, len(ids), _ASKED_AT_ONCE):
            asked = ids[start : start + _ASKED_AT_ONCE]
            answer = nearest(asked)
            query, near = (answer.column(name).to_numpy() for name in ("query_id", "neighbor_id"))
            of, to = (order[np.searchsorted(ids, some, sorter=order)] for some in (query, near))
            for row, neighbor, distance in zip(
                of.tolist(), to.tolist(), answer.column("distance").to_pylist(), strict=True
            ):
                found[row]["ids"].append(neighbor)
                found[row]["distances"].append(distance)
            progress.add(len(asked))
    # All of one length, or Embedding Atlas cannot stack them.
    fewest = min(len(row["ids"]) for row in found)
    return pa.array([{name: part[:fewest] for name, part in row.items()} for row in found], _NEIGHBORS)
