"""What points can be colored by: numbers and categories of all cutouts, in the order of the points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from elodin_spark import schema
from elodin_spark.catalog.filters.where import Labels
from elodin_spark.catalog.storage.rowindex import RowIndex
from elodin_spark.catalog.storage.store import Store
from elodin_spark.errors import InputError
from elodin_spark.web.binary import pack

#: Codes of categories: one that is not among those that are named, and none.
OTHER, NONE = 65_534, 65_535
_MOST_CATEGORIES = 1000  # that are named

_NO_COLORS = {"cutout_id", "image_id", "healpix", "thumbnail", "wcs", "uri", "planes", "status", "error"}
_IMAGE_COLUMNS = ("path", "bands", "hdu", "width", "height", "pixel_scale", "mjd", "no_sky_reason")


@dataclass(frozen=True)
class Column:
    """A column that points can be colored by.

    Attributes
    ----------
    name : str
        As a condition has it, such as ``source.mag``.
    table : str
        ``cutouts``, ``images`` or ``fingerprints``.
    kind : {"number", "category", "boolean"}
    unit, description : str
    """

    name: str
    table: str
    kind: str
    unit: str = ""
    description: str = ""

    def facts(self) -> dict[str, str]:
        """As JSON."""
        return {
            "name": self.name,
            "table": self.table,
            "kind": self.kind,
            "unit": self.unit,
            "description": self.description,
        }


#: Columns that no condition knows.
IMAGE = Column("image", "images", "category", "", "path of the image below the archive root")
TOP_LABEL = Column("top_label", "fingerprints", "category", "", "the best label")


def known_columns(cutouts: RowIndex, images: pa.Table) -> list[Column]:
    """Columns of a catalog that hold more than nulls.

    Parameters
    ----------
    cutouts : RowIndex
        Of the table of cutouts.
    images : pyarrow.Table
        The table of images.
    """
    empty = cutouts.empty_columns()
    found = []
    for field in schema.CUTOUTS:
        inner = list(field.type) if pa.types.is_struct(field.type) else []
        for each, name in [(one, f"{field.name}.{one.name}") for one in inner] or [(field, field.name)]:
            if name not in empty and name not in _NO_COLORS and (column := _column(name, "cutouts", each)):
                found.append(column)
    for name in _IMAGE_COLUMNS:
        if name in images.column_names and images.column(name).null_count < images.num_rows:
            column = _column(name, "images", schema.IMAGES.field(name))
            if column is not None:
                found.append(column)
    return found


def _column(name: str, table: str, field: pa.Field) -> Column | None:
    kind = field.type
    if pa.types.is_boolean(kind):
        called = "boolean"
    elif pa.types.is_string(kind):
        called = "category"
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        called = "number"
    else:
        return None
    about = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    return Column(name, table, called, about.get("unit", ""), about.get("meaning", ""))


def read_values(store: Store, column: Column) -> pa.ChunkedArray:
    """Values of a column of the table of cutouts, in the order of its files."""
    top, _, inner = column.name.partition(".")
    field = ds.field(top, inner) if inner else ds.field(top)
    files = [str(file) for file in store.files(column.table, [top])]
    rows = ds.dataset(files, schema=schema.TABLES[column.table], format="parquet")
    return rows.to_table(columns={"value": field}).column("value")


def best_labels(store: Store) -> NDArray[np.int32]:
    """The best label of each fingerprint, in the order of the files; -1 where there is none."""
    parts = [np.empty(0, np.int32)]
    for labels in _lists(store, ["labels"]):
        starts, ends, flat = labels["labels"]
        best = np.full(starts.size, -1, np.int32)
        some = ends > starts
        best[some] = flat[starts[some]]
        parts.append(best)
    return np.concatenate(parts)


def scores_of(store: Store, label: int) -> NDArray[np.float32]:
    """The score of a label in each fingerprint, in the order of the files; 0 where it is not among its best.

    That is what ``score('LABEL')`` is in a condition.
    """
    parts = [np.empty(0, np.float32)]
    for lists in _lists(store, ["labels", "label_scores"]):
        starts, ends, flat = lists["labels"]
        score_starts, _, scores = lists["label_scores"]
        found = np.zeros(starts.size, np.float32)
        at = np.flatnonzero(flat == label)
        row = np.searchsorted(starts, at, side="right") - 1
        # Of empty lists several begin at one place; the last of these holds it.
        inside = (row >= 0) & (at < ends[row])
        row, at = row[inside][::-1], at[inside][::-1]  # the first of a list counts
        found[row] = scores[score_starts[row] + at - starts[row]]
        parts.append(found)
    return np.concatenate(parts)


def _lists(store: Store, names: list[str]) -> Iterator[dict[str, tuple[NDArray, NDArray, NDArray]]]:
    """Starts, ends and values of columns of lists, batch by batch."""
    files = [str(file) for file in store.files("fingerprints", names)]
    kinds = pa.schema([schema.FINGERPRINTS.field(name) for name in names])
    for batch in ds.dataset(files, schema=kinds, format="parquet").to_batches(
        columns=names, batch_size=1 << 16
    ):
        found = {}
        for name in names:
            column = batch.column(name)
            lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
            ends = np.cumsum(lengths, dtype=np.int64)
            found[name] = (ends - lengths, ends, column.flatten().to_numpy(zero_copy_only=False))
        yield found


def packed_numbers(values: NDArray[np.floating], column: Column) -> bytes:
    """Numbers of points in binary columns, with what a legend needs; NaN is null."""
    small = values.astype(np.float32)
    known = small[np.isfinite(small)]
    percentiles = np.percentile(known, np.arange(101)).tolist() if known.size else []
    low, high = (percentiles[0], percentiles[-1]) if percentiles else (None, None)
    about: dict[str, Any] = {
        "kind": "number",
        "unit": column.unit,
        "min": low,
        "max": high,
        "percentiles": percentiles,
    }
    return pack({"values": small}, name=column.name, **about)


def packed_categories(codes: NDArray[np.int64], names: list[str], column: Column) -> bytes:
    """Categories of points in binary columns, the most frequent first.

    Parameters
    ----------
    codes : ndarray of int64, shape (n,)
        Places in `names`; -1 for none.
    names : list of str
    column : Column
    """
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    order = np.lexsort((np.array(names, dtype=object).astype(str), -counts))[:_MOST_CATEGORIES]
    order = order[counts[order] > 0]
    place = np.full(len(names) + 1, OTHER, np.uint16)
    place[order] = np.arange(order.size)
    place[-1] = NONE
    found = place[codes]
    about: dict[str, Any] = {
        "kind": "category",
        "categories": [names[at] for at in order.tolist()],
        "counts": counts[order].tolist(),
        "other": int((found == OTHER).sum()),
        "none": int((found == NONE).sum()),
    }
    return pack({"codes": found}, name=column.name, unit=column.unit, **about)


def coded(values: pa.ChunkedArray | pa.Array) -> tuple[NDArray[np.int64], list[str]]:
    """Texts or booleans as codes, -1 for null, and their names."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    encoded = pc.dictionary_encode(array.cast(pa.string()))
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, [str(name) for name in encoded.dictionary.to_pylist()]


def label_of(store: Store, name: str) -> int:
    """The number of a label in ``score:LABEL``; InputError where there is none."""
    return Labels(store).number(name)


def label_names(store: Store) -> list[str]:
    """Names of all labels; empty before there is an index."""
    record: dict[str, Any] = store.product("index") or {}
    count = store.label_count(record.get("dimension", 0)) if record else 0
    return [store.label_name(label) for label in range(count)]


def unknown_column(name: str, known: list[Column]) -> InputError:
    """The error of asking for a column that there is not."""
    names = ", ".join(column.name for column in known)
    return InputError(f"there is no column {name[:100]!r} to color by; one of {names}, or score:LABEL")
