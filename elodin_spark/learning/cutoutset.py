"""Cutouts in Parquet files: which column holds their images, and which rows count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from elodin_spark.errors import InputError

#: Columns an image is looked for in, best first; ``pixels`` needs ``pixel_shape`` beside it.
IMAGE_COLUMNS = ("pixels", "jpeg", "png", "thumbnail")


@dataclass(frozen=True)
class RowGroup:
    """A row group of a Parquet file: what is read at once."""

    file: str
    number: int
    rows: int


@dataclass(frozen=True, eq=False)
class CutoutSet:
    """Cutouts in Parquet files; :meth:`read` finds them.

    Attributes
    ----------
    files : tuple of str
        Absolute paths. Their order is part of what a seed stands for.
    image : str
        Column of the images: bytes of JPEG or PNG files or, for ``pixels``, of uint8 in C order, whose
        shape, (h, w) or (h, w, 3), is in ``pixel_shape``.
    label : str or None
        Column of integers or strings.
    without : ndarray of int64
        Values of ``cutout_id`` whose rows do not count.
    accepted : bool
        Rows do not count where ``rejected`` gives a reason.
    """

    files: tuple[str, ...]
    image: str
    label: str | None = None
    without: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    accepted: bool = False

    @classmethod
    def read(
        cls, paths: str | Path | Sequence[str | Path], image: str | None = None, label: str | None = None
    ) -> CutoutSet:
        """Find the cutouts of a folder of Parquet files, or of some files.

        Parameters
        ----------
        paths : path or sequence of paths
            Each a file, or a folder that holds ``*.parquet`` at any depth, on a file system that every
            reader mounts. Names that begin with ``_`` or ``.`` are passed over, as Spark does.
        image : str, optional
            The first of :data:`IMAGE_COLUMNS` that there is, otherwise.
        label : str, optional
            Without it there are no labels.

        Raises
        ------
        InputError
            There is no Parquet file, one is damaged, or one lacks a column or has it in another type.
        """
        listed = [paths] if isinstance(paths, str | Path) else list(paths)
        files = tuple(sorted({file for path in listed for file in _parquet_files(path)}))
        if not files:
            raise InputError(
                f"no Parquet file at {', '.join(map(str, listed))}: give files, or folders that hold some"
            )
        if image is None:
            with _opened(files[0]) as first:
                image = image_column(first.schema_arrow.names, files[0])
        return cls(files, image, label).checked()

    def checked(self) -> CutoutSet:
        """The set itself, its files looked at; raises InputError as :meth:`read`."""
        if not sum(group.rows for group in self.row_groups):
            raise InputError(f"{_some(self.files)}: no rows; nothing can be learned from them")
        return self

    @property
    def raw(self) -> bool:
        """Whether images are pixels, not files."""
        return self.image == "pixels"

    @property
    def columns(self) -> list[str]:
        """Those that are read."""
        names = [self.image]
        if self.raw:
            names.append("pixel_shape")
        if self.label is not None:
            names.append(self.label)
        if self.without.size:
            names.append("cutout_id")
        if self.accepted:
            names.append("rejected")
        return list(dict.fromkeys(names))

    @cached_property
    def row_groups(self) -> tuple[RowGroup, ...]:
        """All of them, in the order of the files."""
        found: list[RowGroup] = []
        for name in self.files:
            with _opened(name) as file:
                self._check(name, file.schema_arrow)
                found += (
                    RowGroup(name, number, file.metadata.row_group(number).num_rows)
                    for number in range(file.num_row_groups)
                )
        return tuple(found)

    @cached_property
    def text_labels(self) -> bool:
        """Whether there are labels, and they are strings."""
        if self.label is None:
            return False
        with _opened(self.files[0]) as file:
            return _is_text(file.schema_arrow.field(self.label).type)

    def _check(self, name: str, columns: pa.Schema) -> None:
        missing = [column for column in self.columns if column not in columns.names]
        if missing:
            raise InputError(
                f"{name} has no column {', '.join(missing)}; it has {', '.join(columns.names)}: name the "
                "column of the images, or of the labels"
            )
        kind = columns.field(self.image).type
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            raise InputError(f"column {self.image} of {name} holds {kind}; images are binary: name another")
        if self.label is not None:
            kind = columns.field(self.label).type
            if not (_is_text(kind) or pa.types.is_integer(kind)):
                raise InputError(
                    f"column {self.label} of {name} holds {kind}; labels are integers or strings: cast it"
                )

    def tidy(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows as they were read to what a feed takes, whoever read them.

        Parameters
        ----------
        rows : DataFrame
            Of :attr:`columns`.

        Returns
        -------
        DataFrame
            Those that count, in their order: ``image`` (bytes or None); ``shape`` of pixels, such as
            ``64,64,3`` (empty for none); ``label``, int64 (-1 for none) or str (empty for none).
        """
        counted = np.ones(len(rows), bool)
        if self.without.size:
            counted &= ~np.isin(rows["cutout_id"].to_numpy(), self.without)
        if self.accepted:
            counted &= rows["rejected"].isna().to_numpy()
        rows = rows[counted]
        found: dict[str, Any] = {"image": rows[self.image]}
        if self.raw:
            found["shape"] = pd.Series(
                [_shape_text(shape) for shape in rows["pixel_shape"]], rows.index, dtype=object
            )
        if self.label is not None:
            labels = rows[self.label]
            none, kind = ("", object) if self.text_labels else (-1, np.int64)
            found["label"] = labels.astype(object).where(labels.notna(), none).astype(kind)
        return pd.DataFrame(found).reset_index(drop=True)


def _parquet_files(path: str | Path) -> list[str]:
    if "://" in str(path):
        raise InputError(
            f"{path}: cutouts are read from a file system that every reader mounts (local disk, NFS, Lustre, "
            "CephFS); copy them there"
        )
    where = Path(path).absolute()
    if where.is_file():
        return [str(where)]
    found = [file for file in where.rglob("*.parquet") if file.is_file()]
    # Hidden ones are what a write that goes on, or was killed, has there.
    return [str(f) for f in found if not any(p.startswith(("_", ".")) for p in f.relative_to(where).parts)]


def image_column(names: Sequence[str], where: str) -> str:
    """The column of the images among some: the first of :data:`IMAGE_COLUMNS`.

    Raises
    ------
    InputError
        There is none in `where`.
    """
    for name in IMAGE_COLUMNS:
        if name in names and (name != "pixels" or "pixel_shape" in names):
            return name
    raise InputError(
        f"{where} has no column {', '.join(IMAGE_COLUMNS[1:])}, nor pixels and pixel_shape; it has "
        f"{', '.join(names)}: name the column of the images"
    )


def _opened(name: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(name)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{name} cannot be read as Parquet ({error}): write it again") from None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _shape_text(shape: Any) -> str:
    return "" if shape is None else ",".join("0" if pd.isna(side) else str(int(side)) for side in shape)


def _some(files: Sequence[str]) -> str:
    return files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
