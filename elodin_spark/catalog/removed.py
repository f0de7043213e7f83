"""What was taken out of a catalog: IDs that stay taken out, whatever is run or rewritten later.

``removed.parquet`` in the folder of the catalog is the one record of it. It replaces the one before in
one step, so that a cutout is in all answers or in none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import CatalogError, UnknownCutoutError
from elodin_spark.neighbors.files import written_whole
from elodin_spark.neighbors.lookup import ids_array, some_ids

_FILE = "removed.parquet"
_COLUMNS = pa.schema([pa.field("kind", pa.string()), pa.field("id", pa.int64())])
_EMPTY = np.empty(0, np.int64)
#: The column by which rows of a table are left out; tables that are not named keep all rows.
_COLUMN = {"images": "image_id", "cutouts": "cutout_id", "fingerprints": "cutout_id"}


@dataclass(frozen=True, eq=False)
class Removed:
    """IDs that were taken out.

    Attributes
    ----------
    cutouts, images : ndarray of int64
        Ascending, each once.
    """

    cutouts: NDArray[np.int64] = field(default_factory=lambda: _EMPTY)
    images: NDArray[np.int64] = field(default_factory=lambda: _EMPTY)

    def of(self, table: str) -> NDArray[np.int64]:
        """IDs whose rows are left out of a table."""
        return {"image_id": self.images, "cutout_id": self.cutouts}.get(_COLUMN.get(table, ""), _EMPTY)

    def kept(self, table: str) -> pc.Expression | None:
        """The rows of a table that are not taken out; None where that is all of them."""
        ids = self.of(table)
        return ~pc.field(_COLUMN[table]).isin(pa.array(ids)) if ids.size else None

    def refuse(self, cutout_ids: ArrayLike, source: str) -> None:
        """Raise UnknownCutoutError where a cutout was taken out; `source` is the catalog."""
        asked = ids_array(cutout_ids)
        gone = np.unique(asked[np.isin(asked, self.cutouts)])
        if gone.size:
            raise UnknownCutoutError(
                f"cutout {some_ids(gone)} was removed from {source}; take another of its cutouts table"
            )


def removed_file(catalog: Path) -> Path | None:
    """The record, for those who join with it: `kind` (cutout or image) and `id`; None before there is one."""
    file = catalog / _FILE
    return file if file.exists() else None


def read_removed(catalog: Path) -> Removed:
    """What was taken out of a catalog so far.

    Raises
    ------
    CatalogError
        The record is damaged.
    """
    file = removed_file(catalog)
    if file is None:
        return Removed()
    status = file.stat()
    return _read(file, status.st_ino, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _read(file: Path, inode: int, mtime_ns: int) -> Removed:
    try:
        rows = pq.read_table(file, schema=_COLUMNS)
    except (OSError, ValueError) as error:
        raise CatalogError(
            f"{file} is damaged ({str(error)[:200]}): put it back from a copy; without it what was removed "
            "is in the answers again"
        ) from None
    kinds, ids = rows.column("kind"), rows.column("id")
    cutouts, images = (ids.filter(pc.equal(kinds, kind)).to_numpy() for kind in ("cutout", "image"))
    return Removed(np.unique(cutouts), np.unique(images))


def write_removed(catalog: Path, removed: Removed) -> None:
    """Record what is taken out; only with the lock held."""
    kinds = pa.concat_arrays(
        [pa.repeat("cutout", removed.cutouts.size), pa.repeat("image", removed.images.size)]
    )
    ids = np.concatenate([removed.cutouts, removed.images])
    with written_whole(catalog / _FILE) as temporary:
        pq.write_table(pa.table([kinds, ids], schema=_COLUMNS), temporary)
