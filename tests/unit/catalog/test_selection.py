"""Cutouts by ID, by file, by condition, by sample."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.smallcatalog import tables, write_catalog

from elodin_spark import Catalog
from elodin_spark.catalog.selection import read_ids
from elodin_spark.errors import InputError, UnknownCutoutError


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Catalog:
    return write_catalog(tmp_path_factory.mktemp("selection") / "catalog", tables(3, 4))


def test_named_cutouts_keep_their_order_each_once(catalog):
    ids = catalog.cutout_ids()
    named = [int(ids[i]) for i in (5, 1, 9, 1)]
    assert catalog.select(named).tolist() == [named[0], named[1], named[2]]
    assert catalog.select().tolist() == ids.tolist()


def test_conditions_and_samples_narrow_what_is_named(catalog):
    ids = catalog.cutout_ids()
    kept = [row["cutout_id"] for row in catalog.cutouts.to_pylist() if row["x0"] > 0]
    assert sorted(catalog.select(where="x0 > 0")) == sorted(kept)
    assert sorted(catalog.select(ids[:20], where="x0 > 0")) == sorted(set(kept) & set(ids[:20].tolist()))
    sample = catalog.select(sample=7)
    assert len(sample) == 7
    assert set(catalog.select(sample=5)) < set(sample), "a smaller sample is part of a larger one"
    assert catalog.select(ids[::-1], sample=7).tolist() == sample[::-1].tolist(), (
        "in the order it is taken from"
    )
    assert len(catalog.select(sample=10**6)) == len(ids)


def test_files_of_ids_of_each_kind(catalog, tmp_path):
    ids = catalog.cutout_ids()[:3]
    (tmp_path / "ids.txt").write_text("\n".join(map(str, ids)) + "\n")
    (tmp_path / "ids.csv").write_text("name,cutout_id\n" + "".join(f"a,{i}\n" for i in ids))
    pq.write_table(pa.table({"neighbor_id": ids, "rank": [1, 2, 3]}), tmp_path / "near.parquet")
    for name in ("ids.txt", "ids.csv", "near.parquet"):
        assert catalog.select(ids_file=tmp_path / name).tolist() == ids.tolist()
    answer = catalog.neighbors(catalog.select(where="rejected is null")[0], k=4)
    for name in ("answer.csv", "answer.parquet"):
        answer.write(tmp_path / name)
        assert read_ids(tmp_path / name).tolist() == [row["neighbor_id"] for row in answer]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "12\nM31\n", "invalid literal"),
        ("a.csv", "id\n12\n", "no column cutout_id or neighbor_id"),
        ("a.csv", "cutout_id\n12.5\n", "cannot be read as cutout IDs"),
        ("a.csv", "cutout_id,b\n,1\n", "empty"),
        ("a.parquet", "no parquet", "cannot be read as cutout IDs"),
        ("a.txt", "99999999999999999999999\n", "cannot be read as cutout IDs"),
        ("missing.txt", None, "No such file"),
    ],
)
def test_a_file_that_holds_no_ids_is_refused(catalog, tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=words):
        catalog.select(ids_file=tmp_path / name)


def test_what_is_not_there_is_refused(catalog, tmp_path):
    with pytest.raises(UnknownCutoutError, match="holds no cutout 12"):
        catalog.select([12])
    with pytest.raises(InputError, match="is left by 'x0 < 0'"):
        catalog.select(where="x0 < 0")
    with pytest.raises(InputError, match="not both"):
        catalog.select([1], ids_file=tmp_path / "a")
    with pytest.raises(InputError, match="is left"):
        catalog.select(np.empty(0, np.int64))
