"""Selections: named lists of cutouts, kept beside the catalog in ``CATALOG/selections``.

Each is a Parquet file of one column, ``cutout_id``. No run reads them, and none is part of the catalog.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from elodin_spark.diskfiles import replacing
from elodin_spark.errors import CatalogError, InputError

_FOLDER, _ENDING = "selections", ".parquet"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _.-]{0,62}[A-Za-z0-9_-])?")
#: Cutouts of one.
MOST_IDS = 2_000_000
_MOST = 1000  # selections
_CREATED = b"created"


class UnknownSelectionError(CatalogError):
    """A selection that there is not."""


class Selections:
    """The selections of a catalog.

    Parameters
    ----------
    catalog : Path
        Its folder.
    """

    def __init__(self, catalog: Path) -> None:
        self._folder = catalog / _FOLDER

    def listed(self) -> list[dict[str, Any]]:
        """All selections by name: `name`, `count`, `created` (UTC, ISO 8601)."""
        found = []
        for file in sorted(self._folder.glob(f"*{_ENDING}")) if self._is_ours(self._folder) else []:
            if _NAME.fullmatch(file.name.removesuffix(_ENDING)) and self._is_file(file):
                try:
                    footer = pq.read_metadata(file)
                except (OSError, pa.ArrowInvalid):
                    continue  # somebody else's
                created = (footer.metadata or {}).get(_CREATED, b"").decode(errors="replace") or None
                name = file.name.removesuffix(_ENDING)
                found.append({"name": name, "count": footer.num_rows, "created": created})
        return found

    def read(self, name: str) -> NDArray[np.int64]:
        """IDs of a selection, in the order they were kept.

        Raises
        ------
        InputError
            The name is none.
        UnknownSelectionError
            There is no such selection.
        CatalogError
            Its file cannot be read.
        """
        file = self._file(name)
        if not self._is_ours(self._folder) or not self._is_file(file):
            raise UnknownSelectionError(f"there is no selection {name!r}")
        try:
            column = pq.read_table(file, columns=["cutout_id"]).column("cutout_id")
            if column.null_count or not pa.types.is_integer(column.type):
                raise pa.ArrowInvalid("cutout_id holds other than IDs")
            return column.cast(pa.int64()).to_numpy()
        except (OSError, pa.ArrowInvalid, KeyError) as error:
            raise CatalogError(f"the selection {name!r} cannot be read: {error}") from None

    def keep(self, name: str, ids: NDArray[np.int64]) -> dict[str, Any]:
        """Write a selection, in place of one of that name; each ID counts once.

        Raises
        ------
        InputError
            The name is none, there are too many IDs or selections.
        CatalogError
            It cannot be written.
        """
        file = self._file(name)
        if len(ids) > MOST_IDS:
            raise InputError(f"a selection of {len(ids):,} cutouts: at most {MOST_IDS:,} are kept")
        if not file.exists() and len(self.listed()) >= _MOST:
            raise InputError(f"there are {_MOST:,} selections already: delete some")
        _, first = np.unique(ids, return_index=True)
        kept = ids[np.sort(first)]
        created = datetime.now(UTC).isoformat(timespec="seconds")
        columns = pa.schema([pa.field("cutout_id", pa.int64())], metadata={_CREATED: created})
        try:
            self._folder.mkdir(exist_ok=True)
            if not self._is_ours(self._folder):
                raise OSError("it is a link, or no folder")
            with replacing(file) as temporary:
                pq.write_table(pa.table([pa.array(kept, pa.int64())], schema=columns), temporary)
        except OSError as error:
            raise CatalogError(f"{self._folder} cannot be written to: {error}") from None
        return {"name": name, "count": int(kept.size), "created": created}

    def delete(self, name: str) -> None:
        """Delete a selection.

        Raises
        ------
        InputError, UnknownSelectionError
            As :meth:`read`.
        CatalogError
            It cannot be deleted.
        """
        file = self._file(name)
        if not self._is_ours(self._folder) or not self._is_file(file):
            raise UnknownSelectionError(f"there is no selection {name!r}")
        try:
            file.unlink()
        except OSError as error:
            raise CatalogError(f"the selection {name!r} cannot be deleted: {error}") from None

    def check(self, name: str) -> None:
        """Raise InputError where a name is none."""
        self._file(name)

    def _file(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise InputError(
                "the name of a selection is 1 to 64 of A-Z, a-z, 0-9, space, '.', '_' and '-', beginning "
                f"with a letter or digit and not ending in a space or '.'; got {name[:100]!r}"
            )
        return self._folder / f"{name}{_ENDING}"

    @staticmethod
    def _is_ours(folder: Path) -> bool:
        return folder.is_dir() and not folder.is_symlink()

    @staticmethod
    def _is_file(file: Path) -> bool:
        return file.is_file() and not file.is_symlink()
