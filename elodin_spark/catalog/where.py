"""Which cutouts of a catalog a condition keeps.

The columns are those of the tables ``cutouts`` and ``images``, joined; a name that both have, such as
``ra``, is that of the cutout, and ``images.ra`` the other. ``score('LABEL')`` is of the table
``fingerprints``. Only the columns that a condition names are read, batch by batch: what is held is
IDs, the scores it names, and those columns of the images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from elodin_spark import schema
from elodin_spark.catalog.expressions import parse_condition
from elodin_spark.catalog.sparkvalues import Kernel
from elodin_spark.catalog.store import Store
from elodin_spark.catalog.terms import KINDS, Run, Term
from elodin_spark.errors import InputError
from elodin_spark.settings.base import near_miss, near_misses

_BATCH_ROWS = 1 << 16
_LABELS_NAMED = 5
_TABLES = {"cutouts": schema.CUTOUTS, "images": schema.IMAGES}
_KIND_OF = {kind: name for name, kind in KINDS.items() if name not in ("decimal", "void")}


class Where:
    """A condition on the cutouts of a catalog.

    Parameters
    ----------
    store : Store
    condition : str
        Spark SQL, see :mod:`elodin_spark.catalog.expressions`.

    Raises
    ------
    InputError
        It cannot be parsed, is not boolean, or names what is not there or not allowed.
    """

    def __init__(self, store: Store, condition: str) -> None:
        self._store = store
        self._names = _CatalogNames(store)
        self._keep: Run = parse_condition(condition, self._names)

    def ids(self) -> NDArray[np.int64]:
        """Cutouts that it keeps, those of which it is true; ascending, int64, shape (m,)."""
        names, kept = self._names, [np.empty(0, np.int64)]
        scores, images = self._scores(), self._images()
        own = sorted({"cutout_id", *names.columns["cutouts"], *(("image_id",) if images else ())})
        for batch in self._store.dataset("cutouts", own).to_batches(columns=own, batch_size=_BATCH_ROWS):
            ids = batch.column("cutout_id")
            columns = {f"cutouts.{name}": batch.column(name) for name in names.columns["cutouts"]}
            if images is not None:
                columns |= _looked_up(images, batch.column("image_id"), "image_id")
            if scores is not None:
                columns |= _looked_up(scores, ids, "cutout_id")
            found = self._keep(pa.RecordBatch.from_pydict({"cutout_id": ids, **columns}))
            kept.append(ids.filter(found).to_numpy())
        return np.sort(np.concatenate(kept))

    def _images(self) -> pa.Table | None:
        """The columns of the images, by ascending ID."""
        wanted = sorted(self._names.columns["images"])
        if not wanted:
            return None
        dataset = self._store.dataset("images", wanted)
        table = dataset.to_table(columns={name: pc.field(name) for name in {"image_id", *wanted}})
        renamed = {f"images.{name}": table.column(name) for name in wanted}
        return pa.table({"image_id": table.column("image_id"), **renamed}).sort_by("image_id")

    def _scores(self) -> pa.Table | None:
        """The scores of the labels, by ascending cutout ID."""
        labels = sorted(self._names.labels)
        if not labels:
            return None
        table = pa.Table.from_batches(self._score_batches(labels), _scores_schema(labels))
        return table.sort_by("cutout_id")

    def _score_batches(self, labels: Sequence[int]) -> Iterator[pa.RecordBatch]:
        columns = ["cutout_id", "labels", "label_scores"]
        fingerprints = self._store.dataset("fingerprints", columns)
        for batch in fingerprints.to_batches(columns=columns, batch_size=_BATCH_ROWS):
            found = [scores_of(batch.column("labels"), batch.column("label_scores"), i) for i in labels]
            yield pa.record_batch([batch.column("cutout_id"), *found], schema=_scores_schema(labels))


def scores_of(labels: pa.ListArray, scores: pa.ListArray, label: int) -> pa.Array:
    """The score of a label in each set, float32; 0 where it is not in the set.

    Parameters
    ----------
    labels : pyarrow.ListArray of int32
    scores : pyarrow.ListArray of float32
        Of each label.
    label : int
    """
    found = np.zeros(len(labels), np.float32)
    here = pc.equal(labels.flatten(), label)
    rows = pc.list_parent_indices(labels).filter(here)
    found[rows.to_numpy()] = scores.flatten().filter(here).to_numpy()
    return pa.array(found)


def _scores_schema(labels: Sequence[int]) -> pa.Schema:
    return pa.schema([("cutout_id", pa.int64()), *((f"score.{label}", pa.float32()) for label in labels)])


def _looked_up(table: pa.Table, keys: pa.Array, name: str) -> dict[str, pa.Array]:
    """The columns of a table, by ascending `name`, for each of `keys`; null where it has no such row."""
    known, wanted = table.column(name).to_numpy(), keys.to_numpy()
    if not known.size:
        return {other: pa.nulls(len(keys), table.field(other).type) for other in table.column_names[1:]}
    at = np.minimum(np.searchsorted(known, wanted), known.size - 1)
    rows = pa.array(at, mask=known[at] != wanted)
    taken = table.drop_columns([name]).take(rows)
    return {other: taken.column(other).combine_chunks() for other in taken.column_names}


class _CatalogNames:
    """What a condition on a catalog may name, and what it has named."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.columns: dict[str, set[str]] = {name: set() for name in _TABLES}
        self.labels: set[int] = set()

    def column(self, parts: Sequence[str]) -> Term:
        table, field, rest = self._found(parts)
        if not rest:
            return self._term(parts, field.type, table, field.name)
        (member,) = rest
        names = [field.type.field(i).name for i in range(field.type.num_fields)]
        if member.lower() not in names:
            raise InputError(f"{field.name} has no field {member!r}; {near_miss(member.lower(), names)}")
        kind = field.type.field(member.lower()).type
        return self._term(parts, kind, table, field.name, lambda a: pc.struct_field(a, [member.lower()]))

    def entry(self, parts: Sequence[str], key: str) -> Term:
        table, field, rest = self._found(parts)
        if rest or not pa.types.is_map(field.type):
            raise InputError(f"{'.'.join(parts)} is not a map, so it has no entry {key!r}")
        kind = field.type.item_type
        return self._term(parts, kind, table, field.name, lambda a: pc.map_lookup(a, key, "first"))

    def score(self, label: str) -> Term:
        number = label_number(self._store, label)
        self.labels.add(number)
        return Term("float", lambda batch: batch.column(f"score.{number}"))

    def _found(self, parts: Sequence[str]) -> tuple[str, pa.Field, list[str]]:
        """Table and field of a name, and what follows it."""
        first, rest = parts[0].lower(), list(parts[1:])
        tables = list(_TABLES)
        if first in _TABLES and rest:
            tables, first, rest = [first], rest[0].lower(), rest[1:]
        for table in tables:
            if first in _TABLES[table].names:
                field = _TABLES[table].field(first)
                if len(rest) > (1 if pa.types.is_struct(field.type) else 0):
                    raise InputError(f"{'.'.join(parts)}: {first} has no fields to name")
                return table, field, rest
        known = [name for table in tables for name in _TABLES[table].names]
        raise InputError(f"there is no column {'.'.join(parts)!r}; {near_miss(first, known)}")

    def _term(
        self, parts: Sequence[str], kind: pa.DataType, table: str, name: str, inside: Kernel | None = None
    ) -> Term:
        if kind not in _KIND_OF:
            hint = f"; name a field, as {name}.{kind.field(0).name}" if pa.types.is_struct(kind) else ""
            raise InputError(f"{'.'.join(parts)} holds neither numbers nor text{hint}")
        self.columns[table].add(name)

        def read(batch: pa.RecordBatch) -> pa.Array:
            column = batch.column(f"{table}.{name}")
            return column if inside is None else inside(column)

        return Term(_KIND_OF[kind], read)


def label_number(store: Store, label: str) -> int:
    """The number of a label.

    Parameters
    ----------
    store : Store
    label : str
        A class by its name (``tabby``), its WordNet ID (``n02123045``) or both; ``class 5`` or
        ``unit 5`` where the weights name none.

    Raises
    ------
    InputError
        There is no such label, or several classes have that name.
    """
    names = [store.label_name(i) for i in range(_label_count(store))]
    wanted = _plain(label)
    spellings: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        both = name.split(" ", 1) if store.meta["label_names"] is not None else []
        for spelling in {_plain(each) for each in (name, *both)}:
            spellings.setdefault(spelling, []).append(i)
    found = spellings.get(wanted, [])
    if len(found) > 1:
        several = ", ".join(names[i] for i in found[:_LABELS_NAMED])
        raise InputError(f"several labels are called {label!r}: {several}; name one by its ID")
    if not found:
        if not names:
            raise InputError(
                f"the labels of {store.path} are not known before it has an index: finish its run"
            )
        if store.meta["label_names"] is None:
            raise InputError(f"there is no label {label!r}; they are {names[0]!r} to {names[-1]!r}")
        raise InputError(f"there is no label {label!r}; {near_misses(wanted, spellings)}")
    return found[0]


def _plain(label: str) -> str:
    return label.strip().lower().replace("_", " ")


def _label_count(store: Store) -> int:
    record: dict[str, Any] = store.product("index") or {}
    return store.label_count(record.get("dimension", 0))
