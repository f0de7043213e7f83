"""Which cutouts of a catalog a condition keeps.

The columns are those of the tables ``cutouts`` and ``images``, joined; a name that both have, such as
``ra``, is that of the cutout, and ``images.ra`` the other. ``score('LABEL')`` is of the table
``fingerprints``. Only the columns that a condition names are read, batch by batch.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elodin_spark import schema
from elodin_spark.catalog.filters.conditions import Condition, parse_condition, run_query
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.base import near_misses
from elodin_spark.errors import InputError

_BATCH_ROWS = 1 << 16
_LABELS_NAMED = 5
_TABLES = {"cutouts": schema.CUTOUTS, "images": schema.IMAGES}
_SECONDS, _SECONDS_A_MILLION = 60.0, 30.0  # of cutouts: some thirty times what is usual


class Where:
    """A condition on the cutouts of a catalog.

    Parameters
    ----------
    store : Store
    condition : str
        See :mod:`elodin_spark.catalog.filters.conditions`.

    Raises
    ------
    InputError
        It cannot be parsed, is not boolean, or names what is not there or not allowed.
    """

    def __init__(self, store: Store, condition: str) -> None:
        self._store = store
        self._condition = parse_condition(condition, _TABLES, Labels(store).number)
        self._query = _query(self._condition)
        types = {"cutouts": schema.CUTOUTS, "images": schema.IMAGES, "fingerprints": schema.FINGERPRINTS}
        columns = self._columns()
        nothing = {name: pa.schema([types[name].field(each) for each in columns[name]]) for name in columns}
        # What DuckDB alone refuses, such as a malformed pattern, it does of no rows as well.
        run_query(self._query, {name: kind.empty_table() for name, kind in nothing.items()}, _SECONDS)

    def ids(self, seconds: float | None = None) -> NDArray[np.int64]:
        """Cutouts that it keeps, those of which it is true; ascending, int64, shape (m,).

        Parameters
        ----------
        seconds : float, optional
            It is stopped after as many; by default a minute, and half a minute for a million cutouts.

        Raises
        ------
        InputError
            It takes more than that, or too much memory.
        """
        tables = {
            name: self._store.dataset(name, columns)
            .scanner(columns=columns, batch_size=_BATCH_ROWS)
            .to_reader()
            for name, columns in self._columns().items()
        }
        if seconds is None:
            rows = sum(commit.rows.get("cutouts", 0) for commit in self._store.commits())
            seconds = _SECONDS + _SECONDS_A_MILLION * rows / 1e6
        return np.sort(run_query(self._query, tables, seconds).to_numpy())

    def _columns(self) -> dict[str, list[str]]:
        """The columns that are read, of each table."""
        named = self._condition.columns
        found = {"cutouts": sorted({"cutout_id", *named["cutouts"]})}
        if named["images"]:
            found["cutouts"] = sorted({"image_id", *found["cutouts"]})
            found["images"] = sorted({"image_id", *named["images"]})
        if self._condition.labels:
            found["fingerprints"] = ["cutout_id", "labels", "label_scores"]
        return found


def _query(condition: Condition) -> str:
    """The IDs of the cutouts that are kept, of tables that are joined where the condition names them."""
    joined = '"cutouts"'
    if condition.columns["images"]:
        joined += ' LEFT JOIN "images" ON "cutouts"."image_id" = "images"."image_id"'
    if condition.labels:
        scores = ", ".join(f'{score_sql(label)} AS "score.{label}"' for label in sorted(condition.labels))
        joined += f' LEFT JOIN (SELECT "cutout_id", {scores} FROM "fingerprints") AS "scores"'
        joined += ' ON "cutouts"."cutout_id" = "scores"."cutout_id"'
    return f'SELECT "cutouts"."cutout_id" FROM {joined} WHERE {condition.sql}'


def score_sql(label: int) -> str:
    """The score of a label among ``labels`` and their ``label_scores``; 0 where it is not there."""
    return f'coalesce("label_scores"[list_position("labels", {label})], 0)::DOUBLE'


class Labels:
    """The labels of a catalog, by all their spellings.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @cached_property
    def _names(self) -> list[str]:
        return [self._store.label_name(i) for i in range(_label_count(self._store))]

    @cached_property
    def _spellings(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for i, name in enumerate(self._names):
            both = name.split(" ", 1) if self._store.meta["label_names"] is not None else []
            for spelling in {_plain(each) for each in (name, *both)}:
                found.setdefault(spelling, []).append(i)
        return found

    def number(self, label: str) -> int:
        """The number of a label.

        Parameters
        ----------
        label : str
            A class by its name (``tabby``), its WordNet ID (``n02123045``) or both; ``class 5`` or
            ``unit 5`` where the weights name none.

        Raises
        ------
        InputError
            There is no such label, or several classes have that name.
        """
        found = self._spellings.get(_plain(label), [])
        if len(found) > 1:
            several = ", ".join(self._names[i] for i in found[:_LABELS_NAMED])
            raise InputError(f"several labels are called {label!r}: {several}; name one by its ID")
        if not found:
            if not self._names:
                raise InputError(
                    f"the labels of {self._store.path} are not known before it has an index: finish its run"
                )
            if self._store.meta["label_names"] is None:
                first, last = self._names[0], self._names[-1]
                raise InputError(f"there is no label {label!r}; they are {first!r} to {last!r}")
            raise InputError(f"there is no label {label!r}; {near_misses(_plain(label), self._spellings)}")
        return found[0]


def _plain(label: str) -> str:
    return label.strip().lower().replace("_", " ")


def _label_count(store: Store) -> int:
    record: dict[str, Any] = store.product("index") or {}
    return store.label_count(record.get("dimension", 0))
