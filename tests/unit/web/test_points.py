"""Points of maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.smallcatalog import DIMENSION, tables, write_catalog

from elodin_spark import Catalog
from elodin_spark.catalog.storage.store import Store
from elodin_spark.errors import CatalogError
from elodin_spark.web.binary import unpack
from elodin_spark.web.points import make_map, map_names, read_map, scaled


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return write_catalog(tmp_path / "c", tables(3, 3))


def add_map(catalog: Catalog, table: pa.Table, **record: object) -> Store:
    store = Store(catalog.path)
    folder = store.new_product("projection")
    pq.write_table(table, folder / "umap.parquet")
    store.commit_product("projection", folder, {"digest": "", "methods": ["umap"], **record})
    return store


def test_a_map_keeps_its_order_and_its_longer_side_is_two(catalog) -> None:
    ids = catalog.cutout_ids()[::-1]
    xy = np.random.default_rng(0).normal(5, (20, 3), (ids.size, 2)).astype(np.float32)
    store = add_map(catalog, pa.table({"cutout_id": ids, "x": xy[:, 0], "y": xy[:, 1]}))
    assert map_names(store) == ["umap"]
    found = read_map(store, "umap", catalog.cutout_ids())
    assert (found.title, found.quality) == ("UMAP", None)
    np.testing.assert_array_equal(found.ids, ids)
    np.testing.assert_array_equal(catalog.cutout_ids()[found.rows], ids)
    assert np.ptp(found.xy[:, 0]) == pytest.approx(2)
    np.testing.assert_allclose(found.xy.max(axis=0), -found.xy.min(axis=0), rtol=1e-5)
    scale = np.ptp(xy[:, 0]) / 2
    np.testing.assert_allclose(np.diff(found.xy, axis=0) * scale, np.diff(xy, axis=0), rtol=0, atol=1e-4)
    assert not found.placed.any()
    count, meta, columns = unpack(found.packed())
    assert (count, meta, list(columns)) == (ids.size, {"map": "umap"}, ["id", "x", "y", "placed", "doubtful"])


def test_marks_and_quality_are_read_where_they_are(catalog) -> None:
    ids = catalog.cutout_ids()
    marks = np.arange(ids.size) % 2 == 0
    columns = {"cutout_id": ids, "x": np.zeros(ids.size, np.float32), "y": np.zeros(ids.size, np.float32)}
    table = pa.table({**columns, "placed": marks, "doubtful": ~marks})
    quality = {"umap": {"trustworthiness": 0.9, "neighbors_kept": 0.5}}
    found = read_map(add_map(catalog, table, quality=quality), "umap", ids)
    assert found.placed.tolist() == marks.tolist()
    assert found.doubtful.tolist() == (~marks).tolist()
    assert found.quality == quality["umap"]
    assert not found.xy.any(), "all points are one"


def test_a_map_may_be_a_folder_of_files(catalog) -> None:
    ids, store = catalog.cutout_ids(), Store(catalog.path)
    xy = np.arange(2 * ids.size, dtype=np.float32).reshape(-1, 2)
    table = pa.table({"cutout_id": ids, "x": xy[:, 0], "y": xy[:, 1]})
    folder = store.new_product("projection")
    (folder / "tsne.parquet").mkdir()
    for number in range(2):
        file = folder / "tsne.parquet" / f"part-{number:05d}.parquet"
        pq.write_table(table.slice(10 * number, 10 + 90 * number), file)
    store.commit_product("projection", folder, {"digest": "", "methods": ["tsne"]})
    assert read_map(store, "tsne", ids).ids.tolist() == ids.tolist()


def test_what_was_removed_is_on_no_map(catalog) -> None:
    ids = catalog.cutout_ids()
    xy = np.arange(2 * ids.size, dtype=np.float32).reshape(-1, 2)
    store = add_map(catalog, pa.table({"cutout_id": ids, "x": xy[:, 0], "y": xy[:, 1]}))
    catalog.remove(cutouts=[int(ids[3])])
    found = read_map(store, "umap", catalog.cutout_ids())
    assert found.ids.tolist() == np.delete(ids, 3).tolist()
    assert catalog.cutout_ids()[found.rows].tolist() == found.ids.tolist()


def test_a_damaged_map_is_said(catalog) -> None:
    ids = catalog.cutout_ids()
    xy = np.zeros(ids.size, np.float32)
    store = add_map(catalog, pa.table({"cutout_id": ids, "x": xy, "y": xy}))
    next((catalog.path / "products").glob("projection-*/umap.parquet")).write_bytes(b"")
    with pytest.raises(CatalogError, match=r"umap\.parquet is missing or truncated"):
        read_map(store, "umap", ids)


def test_without_a_map_principal_components_stand_in(catalog) -> None:
    store, known = Store(catalog.path), catalog.cutout_ids()
    assert map_names(store) == []
    found = make_map(store, known, seed=0)
    assert found is not None
    assert "24 cutouts, computed at the start" in found.title  # 3 of 27 were rejected
    ids, vectors = catalog.vectors()
    np.testing.assert_array_equal(found.ids, ids)
    centered = (vectors - vectors.mean(axis=0)).astype(np.float64)
    _, _, axes = np.linalg.svd(centered, full_matrices=False)
    wanted = centered @ axes[:2].T
    for axis in range(2):
        assert abs(np.corrcoef(wanted[:, axis], found.xy[:, axis])[0, 1]) > 0.9999
    np.testing.assert_array_equal(make_map(store, known, seed=0).xy, found.xy)
    assert vectors.shape[1] == DIMENSION


def test_a_sample_of_cutouts_stands_for_many(catalog, monkeypatch) -> None:
    monkeypatch.setattr("elodin_spark.web.points._FALLBACK", 12)
    found = make_map(Store(catalog.path), catalog.cutout_ids(), seed=0)
    assert found is not None
    assert 3 <= len(found.ids) <= 12


@pytest.mark.parametrize(("images", "wanted"), [(1, [0.0]), (2, [-1.0, 1.0])])
def test_few_vectors_lie_on_a_line(tmp_path: Path, images: int, wanted: list[float]) -> None:
    catalog = write_catalog(tmp_path / "few", tables(images, 1))
    found = make_map(Store(catalog.path), catalog.cutout_ids(), seed=0)
    assert found is not None
    assert sorted(found.xy[:, 0].tolist()) == wanted
    assert not found.xy[:, 1].any()


def test_without_a_finite_vector_there_is_no_map(tmp_path: Path) -> None:
    rows = tables(2, 1)
    for row in rows["fingerprints"]:
        row["vector"] = [np.nan] * DIMENSION
    with pytest.raises(CatalogError, match="NaN"):
        write_catalog(tmp_path / "none", rows)  # of which no index can be made
    known = np.sort([row["cutout_id"] for row in rows["cutouts"]])
    assert make_map(Store(tmp_path / "none"), known, seed=0) is None
    assert scaled(np.empty((0, 2), np.float32)).shape == (0, 2)
