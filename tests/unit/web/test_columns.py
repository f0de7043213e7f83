"""What points are colored by."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from helpers.smallcatalog import LABELS, tables, write_catalog

from elodin_spark import Catalog
from elodin_spark.catalog.storage.rowindex import RowIndex
from elodin_spark.catalog.storage.store import Store
from elodin_spark.web import columns
from elodin_spark.web.binary import unpack


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return write_catalog(tmp_path_factory.mktemp("c") / "c", tables(4, 3))


@pytest.fixture(scope="module")
def store(catalog) -> Store:
    return Store(catalog.path)


def test_columns_that_hold_something_are_known(catalog, store) -> None:
    found = columns.known_columns(RowIndex(store.files("cutouts", ()), ""), catalog.images)
    kinds = {column.name: (column.table, column.kind) for column in found}
    assert kinds["sky_sigma"] == ("cutouts", "number")
    assert kinds["source.flux"] == ("cutouts", "number")
    assert kinds["shifted"] == ("cutouts", "boolean")
    assert kinds["rejected"] == ("cutouts", "category")
    assert kinds["mjd"] == ("images", "number")
    assert kinds["bands"] == ("images", "category")
    for absent in (
        "source.mag",
        "healpix",
        "thumbnail",
        "mask_fractions",
        "haralick",
        "position_id",
        "wcs",
        "uri",
    ):
        assert absent not in kinds
    assert all(column.description for column in found)


def test_values_and_labels_are_in_the_order_of_the_files(catalog, store) -> None:
    rows = {row["cutout_id"]: row for row in catalog.table("cutouts").to_pylist()}
    index = RowIndex(store.files("cutouts", ()), "")
    ids = list(rows)
    flux = columns.read_values(store, columns.Column("source.flux", "cutouts", "number")).to_pylist()
    assert [flux[at] for at in index.rows_of(ids)] == [
        (rows[each]["source"] or {}).get("flux") for each in ids
    ]
    marks = {row["cutout_id"]: row for row in catalog.table("fingerprints").to_pylist()}
    index = RowIndex(store.files("fingerprints", ()), "")
    at = index.rows_of(list(marks))
    assert columns.best_labels(store)[at].tolist() == [row["labels"][0] for row in marks.values()]
    for label in range(len(LABELS)):
        wanted = [
            dict(zip(row["labels"], row["label_scores"], strict=True)).get(label, 0) for row in marks.values()
        ]
        np.testing.assert_array_equal(columns.scores_of(store, label)[at], np.array(wanted, np.float32))


def test_scores_are_what_a_condition_has_of_empty_and_of_repeated_labels(store, monkeypatch) -> None:
    batch = pa.record_batch(
        {
            "labels": pa.array([[], [1, 2], None, [2, 1, 2], []], pa.list_(pa.int32())),
            "label_scores": pa.array([[], [0.5, 0.4], None, [0.3, 0.2, 0.1], []], pa.list_(pa.float32())),
        }
    )

    class Batches:
        def to_batches(self, **_: object) -> list[pa.RecordBatch]:
            return [batch, batch.slice(1, 3)]

    monkeypatch.setattr(columns.ds, "dataset", lambda *_, **__: Batches())
    wanted = [0, 0.4, 0, 0.3, 0, 0.4, 0, 0.3]
    np.testing.assert_array_equal(columns.scores_of(store, 2), np.array(wanted, np.float32))
    assert columns.best_labels(store).tolist() == [-1, 1, -1, 2, -1, 1, -1, 2]


def test_numbers_come_with_what_a_legend_needs() -> None:
    column = columns.Column("sky", "cutouts", "number", "mag")
    values = np.array([np.nan, 3, 1, 2, np.inf])
    count, about, found = unpack(columns.packed_numbers(values, column))
    np.testing.assert_array_equal(found["values"], values.astype(np.float32))
    assert (count, about["min"], about["max"], about["unit"]) == (5, 1, 3, "mag")
    assert about["percentiles"][50] == 2
    assert len(about["percentiles"]) == 101
    about = unpack(columns.packed_numbers(np.array([np.nan]), column))[1]
    assert (about["min"], about["percentiles"]) == (None, [])


def test_categories_are_sorted_by_frequency_and_the_rest_is_other(monkeypatch) -> None:
    monkeypatch.setattr(columns, "_MOST_CATEGORIES", 2)
    column = columns.Column("bands", "images", "category")
    codes, names = columns.coded(pa.chunked_array([["r", "g", None], ["g", "i", "g", "r", "z"]]))
    _, about, found = unpack(columns.packed_categories(codes, names, column))
    assert (about["categories"], about["counts"]) == (["g", "r"], [3, 2])
    assert (about["other"], about["none"]) == (2, 1)
    other, none = columns.OTHER, columns.NONE
    assert found["codes"].tolist() == [1, 0, none, 0, other, 0, 1, other]
    codes, names = columns.coded(pa.array([True, None, False, False]))
    _, about, found = unpack(columns.packed_categories(codes, names, column))
    assert (about["categories"], found["codes"].tolist()) == (["false", "true"], [1, none, 0, 0])
