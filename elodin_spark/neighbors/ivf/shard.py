"""Shards of an index: folders of codes and vectors, written once by one process.

    SHARD/codes0.index    FAISS inverted lists: int64 cutout IDs and codes (not where exact)
    SHARD/codes1.index    more of them, where they did not fit in the memory of the writer
    SHARD/vectors.bin     the vectors in their stored form, in the order they came
    SHARD/ids.bin         (ID, row) by ascending ID
    SHARD/removed.npy     IDs masked since, where there are any
    SHARD/shard.json      written last: digest of the trained index, count, error, sizes

A worker needs the trained index and its own vectors, nothing else. A shard is written beside its
name and renamed, so it is there whole or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.diskfiles import file_crc
from elodin_spark.errors import CatalogError
from elodin_spark.neighbors.base import IdLookup, ids_array
from elodin_spark.neighbors.files import ArrayWriter, new_folder, open_array, read_json, written_whole
from elodin_spark.neighbors.ivf.inverted_lists import CodesWriter, read_codes
from elodin_spark.neighbors.ivf.training import Trained, omp_threads

_FORMAT = "elodin_spark index shard 1"
_VECTORS, _IDS, _REMOVED, _RECORD = "vectors.bin", "ids.bin", "removed.npy", "shard.json"
_ROWS = 4096  # at once
_RETRAIN_FROM = 1.25  # times the training sample's error
_FEWEST_TO_JUDGE = 1000  # vectors


class Shard:
    """One shard, opened for reading.

    Parameters
    ----------
    folder : str or Path
    trained : Trained
        Of the index that the shard belongs to.
    mapped : bool, optional
        Leave the codes on disk, memory-mapped, where their kind allows it.

    Attributes
    ----------
    record : dict
        ``count``, ``quantization_error`` (mean squared distance to the centroids) and more.

    Raises
    ------
    CatalogError
        A file is missing, damaged, or of another trained index.
    """

    def __init__(self, folder: str | Path, trained: Trained, *, mapped: bool = False) -> None:
        self.folder = Path(folder)
        self.trained = trained
        self.record = read_json(self.folder / _RECORD, "index shard")
        _check_record(self.folder, self.record, trained)
        self.codes = [read_codes(path, trained, mapped=mapped) for path in self.code_files()]
        coded = sum(ivf.ntotal for ivf in self.codes)
        if not trained.exact and coded != self.record["count"]:
            raise CatalogError(
                f"{self.folder} holds {coded} codes of {self.record['count']} vectors: build it again"
            )
        owner = trained.digest
        self._rows = open_array(self.folder / _VECTORS, "vectors file", trained.row_bytes, np.uint8, owner)
        by_id = open_array(self.folder / _IDS, "ID file", 2, np.int64, owner)
        if len(by_id) != len(self._rows) or len(by_id) != self.record["count"]:
            raise CatalogError(f"{self.folder}: {len(by_id)} IDs, {len(self._rows)} vectors; build it again")
        self._sorted, self._order = by_id[:, 0], by_id[:, 1]
        self.removed = _read_removed(self.folder / _REMOVED)

    def code_files(self) -> list[Path]:
        """Files of inverted lists."""
        return [self.folder / name for name in sorted(self.record["bytes"]) if name.startswith("codes")]

    def __len__(self) -> int:
        """Vectors that are not masked."""
        return int(self._sorted.size - self.removed.size)

    @property
    def ids(self) -> NDArray[np.int64]:
        """IDs that are not masked, ascending, int64, shape (n,)."""
        ids = np.asarray(self._sorted)
        return ids[~np.isin(ids, self.removed)] if self.removed.size else ids

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row of each ID, int64, shape (m,); -1 for one that is not here or masked."""
        if not self._sorted.size:
            return np.full(ids.size, -1, np.int64)
        at = np.minimum(np.searchsorted(self._sorted, ids), self._sorted.size - 1)
        here = self._sorted[at] == ids
        if self.removed.size:
            here &= ~np.isin(ids, self.removed)
        return np.where(here, self._order[at], -1)

    def stored(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Stored form of the vectors at `rows`, uint8, shape (m, bytes), read in the order of the file."""
        order = np.argsort(rows)
        out = np.empty((rows.size, self._rows.shape[1]), np.uint8)
        out[order] = self._rows[rows[order]]
        return out

    def blocks(
        self, only: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        """(IDs, stored vectors) that are not masked, in the order of the file.

        Parameters
        ----------
        only : ndarray of int64, shape (m,), optional
            Just these IDs, where they are here.
        """
        if only is None:
            ids = np.empty(self._order.size, np.int64)
            ids[self._order] = self._sorted
            rows = np.flatnonzero(~np.isin(ids, self.removed))
            ids = ids[rows]
        else:
            rows = self.find(only)
            ids, rows = only[rows >= 0], rows[rows >= 0]
            order = np.argsort(rows)
            ids, rows = ids[order], rows[order]
        for at in range(0, ids.size, _ROWS):
            yield ids[at : at + _ROWS], self._rows[rows[at : at + _ROWS]]

    def needs_retraining(self, training_error: float) -> str | None:
        """Advice to train again where these vectors fit the centroids much worse than the sample did.

        Parameters
        ----------
        training_error : float
            ``quantization_error`` of the training record.
        """
        count, error = self.record["count"], self.record["quantization_error"]
        if not has_drifted(self.record, training_error):
            return None
        return (
            f"{self.folder.name}: mean squared quantization error {error:.4g} of {count:,} vectors, "
            f"{error / training_error:.2f} times that of the training sample: the archive has changed"
        )

    def mask(self, ids: ArrayLike) -> int:
        """Leave cutouts out of the answers of this object; how many of `ids` were here."""
        here = np.unique(ids_array(ids))
        here = here[self.find(here) >= 0]
        if here.size:
            self.removed = np.union1d(self.removed, here)
        return int(here.size)

    def remove(self, ids: ArrayLike) -> int:
        """Mask cutouts from now on, in this object and in those that open the shard later.

        Returns
        -------
        int
            How many of `ids` were here and not masked.
        """
        count = self.mask(ids)
        if count:
            with written_whole(self.folder / _REMOVED) as temporary, temporary.open("wb") as file:
                np.save(file, self.removed)
        return count


def has_drifted(record: dict[str, Any], training_error: float) -> bool:
    """Whether the vectors of a shard, by its record, fit the centroids much worse than the sample did."""
    return bool(
        record["count"] >= _FEWEST_TO_JUDGE and record["quantization_error"] > _RETRAIN_FROM * training_error
    )


def add_shard(
    folder: str | Path,
    trained: str | Path | Trained,
    batches: Iterable[tuple[ArrayLike, ArrayLike]],
    *,
    memory_bytes: int = 1 << 30,
    threads: int = 1,
) -> dict[str, Any]:
    """Code a stream of vectors into a new shard.

    Holds a batch, the trained index, 24 bytes for each vector, and codes up to `memory_bytes`;
    more codes go to several files.

    Parameters
    ----------
    folder : str or Path
        The shard to make; its parent must exist, it must not.
    trained : str, Path or Trained
        The trained index or its file.
    batches : iterable of (ids, vectors)
        `ids` int64, shape (n,); `vectors` float32, shape (n, d).
    memory_bytes : int, optional
        For codes.
    threads : int, optional
        OpenMP threads.

    Returns
    -------
    dict
        The shard's record.

    Raises
    ------
    CatalogError
        The shard exists, a vector is not finite or of another dimension, or an ID occurs twice.
    """
    trained = trained if isinstance(trained, Trained) else Trained.load(trained)
    folder = Path(folder)
    with new_folder(folder) as temporary, omp_threads(threads):
        keys: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        codes = CodesWriter(temporary, trained, memory_bytes)
        error = 0.0
        with ArrayWriter(temporary / _VECTORS, trained.row_bytes, np.uint8, trained.digest) as vectors:
            for batch_ids, batch_vectors in batches:
                ids = ids_array(batch_ids)
                rows = trained.checked(batch_vectors, str(folder), ids)
                if ids.size and ids.min() < 0:
                    raise CatalogError(f"{folder}: cutout ID {ids.min()} is negative; IDs are 0 .. 2^63 - 1")
                for at in range(0, len(ids), _ROWS):
                    some, part = ids[at : at + _ROWS], rows[at : at + _ROWS]
                    vectors.append(trained.encode(part))
                    keys.append(some)
                    error += codes.add(some, part)
        codes.save()
        ids = np.concatenate(keys)
        _write_ids(temporary / _IDS, ids, trained, str(folder))
        mean = error / len(ids) if len(ids) else 0.0
        return _seal(temporary, trained, len(ids), mean)


def merge_shards(
    folder: str | Path, shards: Iterable[str | Path], trained: Trained, *, memory_bytes: int = 1 << 30
) -> dict[str, Any]:
    """Make one shard of several, without the cutouts masked in them; the sources stay.

    Codes beyond `memory_bytes` go to several files.

    Parameters
    ----------
    folder : str or Path
        The shard to make.
    shards : iterable of str or Path
        Folders of shards of `trained`.
    trained : Trained
    memory_bytes : int, optional
        For codes.

    Returns
    -------
    dict
        The new shard's record.

    Raises
    ------
    CatalogError
        The shard exists, a source is damaged or of another trained index, or two hold one ID.
    """
    folder = Path(folder)
    with new_folder(folder) as temporary:
        sources = [Shard(shard, trained, mapped=True) for shard in shards]
        keys: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        with ArrayWriter(temporary / _VECTORS, trained.row_bytes, np.uint8, trained.digest) as vectors:
            for source in sources:
                for ids, rows in source.blocks():
                    keys.append(ids)
                    vectors.append(rows)
        ids = np.concatenate(keys)
        _write_ids(temporary / _IDS, ids, trained, str(folder))
        if not trained.exact:
            codes = CodesWriter(temporary, trained, memory_bytes)
            for source in sources:
                for path in source.code_files():
                    codes.copy(path, source.removed)
            codes.save()
        counts = [source.record["count"] for source in sources]
        errors = [source.record["quantization_error"] for source in sources]
        mean = float(np.dot(counts, errors) / max(1, sum(counts)))
        return _seal(temporary, trained, len(ids), mean)


def compact(folder: str | Path, trained: Trained) -> dict[str, Any]:
    """Drop the masked cutouts of a shard from its files; the shard is replaced.

    For a moment between two renames the shard is at ``.NAME.old`` beside; open indices keep
    what they have open.

    Raises
    ------
    CatalogError
        The shard is damaged or of another trained index.
    """
    folder = Path(folder)
    record = read_json(folder / _RECORD, "index shard")
    if not Shard(folder, trained, mapped=True).removed.size:
        return record
    new, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    record = merge_shards(new, [folder], trained)
    folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old)
    return record


def _write_ids(path: Path, ids: NDArray[np.int64], trained: Trained, source: str) -> None:
    lookup = IdLookup(ids, source)  # which refuses an ID that occurs twice
    with ArrayWriter(path, 2, np.int64, trained.digest) as file:
        for at in range(0, len(lookup), _ROWS):
            some = lookup.ids[at : at + _ROWS]
            file.append(np.column_stack([some, lookup.positions(some)]))


def _seal(folder: Path, trained: Trained, count: int, error: float) -> dict[str, Any]:
    """Write the record of a finished shard."""
    files = sorted(path for path in folder.iterdir())
    for path in files:
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    record = {
        "format": _FORMAT,
        "trained": trained.digest,
        "count": count,
        "quantization_error": error,
        "bytes": {path.name: path.stat().st_size for path in files},
        "crc32": {path.name: file_crc(path) for path in files},
    }
    with written_whole(folder / _RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=1))
    return record


def _check_record(folder: Path, record: dict[str, Any], trained: Trained) -> None:
    if record.get("format") != _FORMAT or not isinstance(record.get("bytes"), dict):
        raise CatalogError(f"{folder} is not an index shard of this version: build it again")
    if record.get("trained") != trained.digest:
        raise CatalogError(
            f"{folder} belongs to another trained index or configuration than {trained.source}: "
            "build this shard again"
        )
    for name, size in record["bytes"].items():  # before FAISS maps them: it trusts their length
        path = folder / name
        found = path.stat().st_size if path.is_file() else 0
        if found != size:
            raise CatalogError(
                f"{path} is missing, truncated or damaged: {found:,} bytes instead of {size:,}; "
                "build this shard again"
            )


def _read_removed(path: Path) -> NDArray[np.int64]:
    if not path.exists():
        return np.empty(0, np.int64)
    try:
        removed = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError):
        removed = None
    if removed is None or removed.dtype != np.int64 or removed.ndim != 1:
        raise CatalogError(f"{path} is damaged: delete it and mask the removed cutouts again")
    return removed
