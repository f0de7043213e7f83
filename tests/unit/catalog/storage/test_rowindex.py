"""Rows by their IDs, without a scan of the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.smallcatalog import tables, write_catalog

from elodin_spark import Catalog
from elodin_spark.catalog.storage.rowindex import RowIndex
from elodin_spark.errors import UnknownCutoutError


@pytest.fixture
def files(tmp_path: Path) -> tuple[list[Path], pa.Table]:
    """Three files, one of them without a row, with row groups of 7 rows."""
    rng = np.random.default_rng(0)
    ids = rng.permutation(50).astype(np.int64) * 10**15
    whole = pa.table(
        {"cutout_id": ids, "text": [f"row {each}" for each in ids], "nothing": pa.nulls(50, pa.float32())}
    )
    made = []
    for number, (start, stop) in enumerate([(0, 30), (30, 30), (30, 50)]):
        made.append(tmp_path / f"{number}.parquet")
        pq.write_table(whole.slice(start, stop - start), made[-1], row_group_size=7)
    return made, whole


def test_rows_come_in_the_order_of_their_ids(files) -> None:
    index = RowIndex(files[0], "here")
    ids = files[1].column("cutout_id").to_numpy()
    assert len(index) == 50
    assert index.files == files[0]
    asked = np.concatenate([ids[::-3], ids[:2], ids[:2]])
    found = index.read(asked, ["text", "cutout_id"])
    assert found.column_names == ["text", "cutout_id"]
    assert found.column("cutout_id").to_pylist() == asked.tolist()
    assert found.column("text").to_pylist() == [f"row {each}" for each in asked]
    assert index.rows_of(ids).tolist() == list(range(50))


def test_only_row_groups_that_are_needed_are_read(files, monkeypatch) -> None:
    index = RowIndex(files[0], "here")
    ids = files[1].column("cutout_id").to_numpy()
    read = []
    real = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda self, i, **more: read.append(i) or real(self, i, **more)
    )
    index.read(ids[[0, 1, 6, 35, 30]], ["text"])
    assert read == [0, 0]  # the first of the first file, and of the last


def test_unknown_ids_are_said_and_no_ids_are_no_rows(files) -> None:
    index = RowIndex(files[0], "this catalog")
    assert index.rows_of([1, 0]).tolist() == [-1, index.rows_of([0])[0]]
    with pytest.raises(UnknownCutoutError, match="this catalog holds no cutout 1, 2"):
        index.read([1, 0, 2], ["text"])
    nothing = index.read([], ["text"])
    assert (nothing.num_rows, nothing.schema.field("text").type) == (0, pa.string())
    empty = RowIndex([], "here")
    assert (len(empty), empty.rows_of([1]).tolist(), empty.read([], ["text"]).num_rows) == (0, [-1], 0)


def test_columns_of_nulls_are_told(files) -> None:
    assert RowIndex(files[0], "here").empty_columns() == {"nothing"}


def test_labels_of_cutouts_are_read_by_it(tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "c", tables(3, 3))
    known = {row["cutout_id"]: row["labels"] for row in catalog.table("fingerprints").to_pylist()}
    rows = catalog.describe_cutouts(catalog.cutout_ids()[::-1])
    for row in rows:
        labels = known.get(row["cutout_id"], [])  # a rejected one has none
        assert row["labels"] == [catalog._store.label_name(label) for label in labels]
    assert [] in [row["labels"] for row in rows]


def test_labels_are_found_again_after_another_process_has_compacted(tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "c", tables(3, 3))
    other, ids = Catalog.open(catalog.path), catalog.cutout_ids()
    catalog.remove(cutouts=[int(ids[0])])
    before = catalog.describe_cutouts(ids[1:])
    other.compact()
    assert catalog.describe_cutouts(ids[1:]) == before


def test_a_condition_gives_ids_of_its_cutouts(tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "c", tables(3, 3))
    rows = catalog.cutouts.to_pylist()
    wanted = sorted(row["cutout_id"] for row in rows if row["edge_px"] > 40)
    assert catalog.ids_where("edge_px > 40").tolist() == wanted
    assert catalog.ids_where("edge_px > 40") is catalog.ids_where("edge_px > 40")
    assert len(catalog.ids_where("edge_px >= 0")) == len(rows)


@pytest.mark.parametrize("dictionary", [True, False])
def test_bytes_are_read_by_their_pages_or_as_arrow_does(tmp_path: Path, dictionary: bool) -> None:
    ids = np.arange(40, dtype=np.int64)[::-1] * 3
    values = [None if each == 3 * 5 else f"{each}".encode() * 9 for each in ids]
    table = pa.table({"cutout_id": ids, "b": pa.array(values, pa.binary())})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=7, use_dictionary=dictionary)
    index = RowIndex([tmp_path / "x.parquet"], "here")
    asked = [15, 0, 117, 15, 3, 60]
    known = dict(zip(ids.tolist(), values, strict=True))
    for _ in range(2):
        assert index.read_bytes(asked, "b") == [known[each] for each in asked]
    plain = [chunk is not None for chunk in index._chunks.values()]
    assert any(plain) is not dictionary
    assert not all(plain)  # of one row group a value is null
    assert index.read_bytes([], "b") == []
    with pytest.raises(UnknownCutoutError, match="no cutout 1"):
        index.read_bytes([1], "b")
