"""Windows whose answer of the network is known already: those that the transform of a catalog was fitted to.

A small archive is a sample of itself, and would else go through the network twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from elodin_spark.arrow import to_matrix

#: Of the table in a file.
COLUMNS = ("cutout_id", "vector", "labels", "label_scores")


@dataclass(frozen=True, eq=False)
class Known:
    """What the network said of some windows.

    Attributes
    ----------
    cutout_ids : ndarray of int64, shape (n,)
        Ascending.
    vectors : ndarray of float32, shape (n, d)
        As the network gives them, not transformed.
    labels : sequence of ndarray of int32
        Classes or units, best first.
    label_scores : sequence of ndarray of float32
    """

    cutout_ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    labels: Sequence[NDArray[np.int32]]
    label_scores: Sequence[NDArray[np.float32]]

    def find(self, cutout_ids: pa.Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows of a column that are known, and where they are here; null is not."""
        asked = np.asarray(cutout_ids.fill_null(-1), np.int64)  # no ID is negative
        places = np.minimum(np.searchsorted(self.cutout_ids, asked), len(self.cutout_ids) - 1)
        rows = np.flatnonzero(self.cutout_ids[places] == asked)
        return rows, places[rows]


def save_known(folder: Path, rows: pa.Table) -> Path:
    """Write rows of :data:`COLUMNS` for one run: :meth:`.store.Store.sweep` deletes what is left of it."""
    # The name is new each time because Spark ships files of all catalogs to one folder.
    path = folder / f"known-{secrets.token_hex(8)}.tmp"
    pq.write_table(rows.select(list(COLUMNS)).sort_by("cutout_id"), path)
    return path


@lru_cache(maxsize=1)
def load_known(path: str) -> Known:
    """Read what :func:`save_known` wrote, once for each process."""
    rows = pq.read_table(path).combine_chunks()
    labels = [np.asarray(row.values, np.int32) for row in rows.column("labels")]
    scores = [np.asarray(row.values, np.float32) for row in rows.column("label_scores")]
    ids = rows.column("cutout_id").to_numpy()
    return Known(ids, to_matrix(rows.column("vector").combine_chunks()), labels, scores)
