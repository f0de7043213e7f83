"""Named lists of cutouts."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elodin_spark.errors import CatalogError, InputError
from elodin_spark.web.selections import Selections, UnknownSelectionError

HOSTILE = (
    "../x",
    "..",
    ".",
    "",
    "a/b",
    "/etc/passwd",
    "a\\b",
    "a\0b",
    "a\n",
    "-a",
    ".a",
    "a.",
    "a ",
    "a" * 65,
    "ü",
)


def test_a_selection_keeps_order_and_counts_each_once(tmp_path: Path) -> None:
    kept = Selections(tmp_path)
    assert kept.listed() == []
    facts = kept.keep("Lens candidates_1", np.array([5, 3, 5, 2**62], np.int64))
    assert facts["count"] == 3
    assert kept.read("Lens candidates_1").tolist() == [5, 3, 2**62]
    assert kept.listed() == [facts]
    kept.keep("Lens candidates_1", np.array([7], np.int64))
    kept.keep("b", np.array([], np.int64))
    assert [(each["name"], each["count"]) for each in kept.listed()] == [("Lens candidates_1", 1), ("b", 0)]
    kept.delete("b")
    with pytest.raises(UnknownSelectionError, match="'b'"):
        kept.read("b")
    assert [file.name for file in (tmp_path / "selections").iterdir()] == ["Lens candidates_1.parquet"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_might_lead_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    kept = Selections(tmp_path / "catalog")
    (tmp_path / "catalog").mkdir()
    for act in (kept.read, kept.delete, kept.check, lambda n: kept.keep(n, np.array([1]))):
        with pytest.raises(InputError, match="the name of a selection"):
            act(name)
    assert [each.name for each in tmp_path.rglob("*")] == ["catalog"]


def test_no_link_is_followed(tmp_path: Path) -> None:
    elsewhere, catalog = tmp_path / "elsewhere", tmp_path / "catalog"
    elsewhere.mkdir()
    catalog.mkdir()
    Selections(elsewhere).keep("a", np.array([1]))
    (catalog / "selections").symlink_to(elsewhere / "selections")
    kept = Selections(catalog)
    assert kept.listed() == []
    with pytest.raises(UnknownSelectionError):
        kept.read("a")
    with pytest.raises(CatalogError, match="cannot be written to"):
        kept.keep("b", np.array([1]))
    (catalog / "selections").unlink()
    (catalog / "selections").mkdir()
    (catalog / "selections" / "a.parquet").symlink_to(elsewhere / "selections" / "a.parquet")
    assert kept.listed() == []
    with pytest.raises(UnknownSelectionError):
        kept.delete("a")
    kept.keep("a", np.array([2]))  # in its place, not through it
    assert Selections(elsewhere).read("a").tolist() == [1]
    assert kept.read("a").tolist() == [2]


def test_strange_files_are_passed_over_and_damaged_ones_said(tmp_path: Path) -> None:
    kept = Selections(tmp_path)
    kept.keep("a", np.array([1]))
    (tmp_path / "selections" / "b.parquet").write_bytes(b"no parquet")
    (tmp_path / "selections" / "notes.txt").write_text("mine")
    assert [each["name"] for each in kept.listed()] == ["a"]
    with pytest.raises(CatalogError, match="cannot be read"):
        kept.read("b")


@pytest.mark.parametrize("values", [["a"], [1.5], [None]])
def test_files_that_others_made_are_listed_and_hold_ids_or_are_damaged(tmp_path: Path, values: list) -> None:
    kept = Selections(tmp_path)
    (tmp_path / "selections").mkdir()
    schema = pa.schema([("cutout_id", pa.array(values).type)], metadata={b"created": b"\xff<b>"})
    pq.write_table(pa.table([values], schema=schema), tmp_path / "selections" / "c.parquet")
    assert [each["count"] for each in kept.listed()] == [1]
    with pytest.raises(CatalogError, match="other than IDs"):
        kept.read("c")
    pq.write_table(pa.table({"cutout_id": pa.array([3], pa.int32())}), tmp_path / "selections" / "c.parquet")
    assert kept.read("c").dtype == np.int64


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_catalog_that_is_read_only_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(CatalogError, match="cannot be written to"):
            Selections(tmp_path).keep("a", np.array([1]))
    finally:
        tmp_path.chmod(0o700)


def test_there_are_bounds(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("elodin_spark.web.selections.MOST_IDS", 3)
    monkeypatch.setattr("elodin_spark.web.selections._MOST", 1)
    kept = Selections(tmp_path)
    with pytest.raises(InputError, match="at most 3"):
        kept.keep("a", np.arange(4))
    kept.keep("a", np.arange(3))
    kept.keep("a", np.arange(2))
    with pytest.raises(InputError, match="1 selections already"):
        kept.keep("b", np.arange(3))
    assert pq.read_metadata(tmp_path / "selections" / "a.parquet").num_rows == 2
