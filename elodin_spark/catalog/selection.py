"""Which cutouts are meant: IDs, a list of them in a file, a condition, a sample."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elodin_spark.catalog.filters.where import Where
from elodin_spark.catalog.search.query import whole_ids
from elodin_spark.catalog.storage.store import Store
from elodin_spark.errors import InputError, UnknownCutoutError
from elodin_spark.neighbors.base import some_ids
from elodin_spark.sampling.sample import stable_sample

_COLUMNS = ("cutout_id", "neighbor_id")


def select_cutouts(
    store: Store,
    known: NDArray[np.int64],
    cutout_ids: Iterable[int] | None = None,
    *,
    ids_file: str | Path | None = None,
    where: str | None = None,
    sample: int | None = None,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Choose cutouts of a catalog.

    Parameters
    ----------
    store : Store
    known : ndarray of int64
        All its cutouts, ascending.
    cutout_ids : iterable of int, optional
    ids_file : str or Path, optional
        See :func:`read_ids`.
    where : str, optional
        Those that meet this condition.
    sample : int, optional
        A stable sample of so many, where there are more.
    seed : int
        Of the sample.

    Returns
    -------
    ndarray of int64, shape (n,)
        What is named, in that order, each once; else all, ascending. A sample is in the order of what it is
        taken from.

    Raises
    ------
    UnknownCutoutError
        One that is named is not in the catalog.
    InputError
        IDs are named twice over, the file cannot be read, the condition cannot be understood, or nothing is
        left.
    """
    if cutout_ids is not None and ids_file is not None:
        raise InputError("cutouts are named by their IDs or by a file of them, not both")
    named = read_ids(ids_file) if ids_file is not None else None
    if cutout_ids is not None:
        named = np.asarray(whole_ids(cutout_ids), np.int64)
    chosen = known
    if named is not None:
        _, first = np.unique(named, return_index=True)
        chosen = named[np.sort(first)]
        if (missing := ~np.isin(chosen, known)).any():
            raise UnknownCutoutError(f"{store.path} holds no cutout {some_ids(chosen[missing])}")
    if where is not None:
        chosen = chosen[np.isin(chosen, Where(store, where).ids())]
    if not chosen.size:
        raise InputError(f"no cutout of {store.path} is left{f' by {where!r}' if where else ''}")
    if sample is not None and sample < chosen.size:
        chosen = chosen[np.isin(chosen, stable_sample(chosen, sample, seed))]
    return chosen


def read_ids(path: str | Path) -> NDArray[np.int64]:
    """Cutout IDs of a file.

    Parameters
    ----------
    path : str or Path
        Parquet or CSV with a column `cutout_id` or `neighbor_id`, such as an answer; any other file is text,
        an ID a line.

    Returns
    -------
    ndarray of int64, shape (n,)

    Raises
    ------
    InputError
        It is not there, has no such column, or holds something else than IDs.
    """
    path = Path(path)
    try:
        if path.suffix.lower() in (".parquet", ".csv"):
            column = _column(path)
            return np.asarray(column.cast(pa.int64()).to_numpy(), np.int64)
        lines = path.read_text(encoding="utf-8").split()
        return np.array([int(line) for line in lines], np.int64)
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        raise InputError(
            f"{path} cannot be read as cutout IDs: {error}; give text with an ID a line, or CSV or Parquet "
            "with a column cutout_id"
        ) from None


def _column(path: Path) -> pa.ChunkedArray:
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        names = pq.read_schema(path).names
        found = next((name for name in _COLUMNS if name in names), None)
        table = pq.read_table(path, columns=[found]) if found else None
    else:
        from pyarrow import csv

        read = csv.read_csv(path)
        found = next((name for name in _COLUMNS if name in read.column_names), None)
        table = read
    if table is None or found is None:
        raise ValueError(f"it has no column {' or '.join(_COLUMNS)}")
    column = table.column(found)
    if column.null_count:
        raise ValueError(f"{column.null_count} rows of {found} are empty")
    return column
