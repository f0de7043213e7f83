"""What was taken out of a catalog: IDs that stay taken out, whatever is run or rewritten later.

``tombstones-<hash>.parquet`` in the folder of the catalog is the one record of it, and ``catalog.json`` names
it: so it replaces the one before in one step, a cutout is in all answers or in none, and a record that is
lost or put back from another day is seen.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from elodin_spark.catalog.storage.rowfilter import among
from elodin_spark.errors import CatalogError, UnknownCutoutError
from elodin_spark.neighbors.base import ids_array, some_ids
from elodin_spark.neighbors.files import written_whole

_COLUMNS = pa.schema([pa.field("kind", pa.string()), pa.field("id", pa.int64())])
_EMPTY = np.empty(0, np.int64)
#: The column by which rows of a table are left out; tables that are not named keep all rows.
_COLUMN = {"images": "image_id", "cutouts": "cutout_id", "fingerprints": "cutout_id"}


@dataclass(frozen=True, eq=False)
class Tombstones:
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
        return ~among(_COLUMN[table], ids) if ids.size else None

    def refuse(self, cutout_ids: ArrayLike, source: str) -> None:
        """Raise UnknownCutoutError where a cutout was taken out; `source` is the catalog."""
        asked = ids_array(cutout_ids)
        gone = np.unique(asked[np.isin(asked, self.cutouts)])
        if gone.size:
            raise UnknownCutoutError(
                f"cutout {some_ids(gone)} was removed from {source}; take another of its cutouts table"
            )


def tombstones_path(catalog: Path, record: Mapping[str, Any] | None) -> Path | None:
    """The file that a record of ``catalog.json`` names; None before there is anything."""
    return None if record is None else catalog / str(record["file"])


def read_tombstones(catalog: Path, record: Mapping[str, Any] | None) -> Tombstones:
    """What was taken out of a catalog so far.

    Parameters
    ----------
    catalog : Path
    record : mapping or None
        From :func:`write_tombstones`.

    Raises
    ------
    CatalogError
        The file is missing or damaged.
    """
    if record is None:
        return Tombstones()
    return _read(catalog / str(record["file"]), str(record["sha256"]))


@lru_cache(maxsize=4)
def _read(file: Path, sha256: str) -> Tombstones:
    try:
        content = file.read_bytes()
        if sha256 != hashlib.sha256(content).hexdigest():
            raise ValueError("its bytes are others than were written")
        rows = pq.read_table(pa.BufferReader(content), schema=_COLUMNS)
    except (OSError, ValueError) as error:
        raise CatalogError(
            f"{file} is missing or damaged ({str(error)[:200]}): put it back from a copy; without it what "
            "was removed is in the answers again. Where there is none, delete the catalog and run it again"
        ) from None
    kinds, ids = rows.column("kind"), rows.column("id")
    cutouts, images = (ids.filter(pc.equal(kinds, kind)).to_numpy() for kind in ("cutout", "image"))
    return Tombstones(np.unique(cutouts), np.unique(images))


def write_tombstones(catalog: Path, removed: Tombstones) -> dict[str, Any]:
    """Write what is taken out to a file, which counts once ``catalog.json`` names it.

    Returns
    -------
    dict
        For ``catalog.json``: `file`, its `sha256`, and the numbers of `cutouts` and `images`.
    """
    kinds = pa.concat_arrays(
        [pa.repeat("cutout", removed.cutouts.size), pa.repeat("image", removed.images.size)]
    )
    ids = np.concatenate([removed.cutouts, removed.images])
    content = io.BytesIO()
    pq.write_table(pa.table([kinds, ids], schema=_COLUMNS), content)
    sha256 = hashlib.sha256(content.getvalue()).hexdigest()
    file = catalog / f"tombstones-{sha256[:12]}.parquet"
    with written_whole(file) as temporary:
        temporary.write_bytes(content.getvalue())
    counts = {"cutouts": int(removed.cutouts.size), "images": int(removed.images.size)}
    return {"file": file.name, "sha256": sha256, **counts}
