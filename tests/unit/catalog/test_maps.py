"""Places of cutouts on the maps of a catalog."""

from __future__ import annotations

import pytest
from helpers.picturedcatalog import pictured_rows, write_map
from helpers.smallcatalog import write_catalog

from elodin_spark.catalog.maps import map_or_first
from elodin_spark.errors import CatalogError, InputError


def test_a_map_is_read_by_ascending_id_without_what_was_removed(tmp_path):
    rows = pictured_rows(tmp_path)
    catalog = write_catalog(tmp_path / "catalog", rows)
    with pytest.raises(CatalogError, match=r"has no map: set projection\.methods and run it again"):
        map_or_first(catalog._store)
    folder = catalog._store.new_product("projection")
    catalog._store.commit_product("projection", folder, {"digest": "0", "methods": []})
    with pytest.raises(CatalogError, match="has no map: its last run could make none, as at least 5 vectors"):
        map_or_first(catalog._store)
    ids = [row["cutout_id"] for row in rows["fingerprints"]]
    places = write_map(catalog._store, ids, "umap", doubtful=[at % 2 == 0 for at in range(len(ids))])
    method, found = map_or_first(catalog._store)
    assert method == "umap"
    assert found.column("cutout_id").to_pylist() == sorted(ids)
    assert {row["cutout_id"]: [row["x"], row["y"]] for row in found.to_pylist()} == places
    assert found.column("doubtful").to_pylist() == [ids.index(i) % 2 == 0 for i in sorted(ids)]
    with pytest.raises(InputError, match="no map by 'tsne', but by umap"):
        map_or_first(catalog._store, "tsne")
    catalog.remove(cutouts=ids[:2])
    assert set(map_or_first(catalog._store, "umap")[1].column("cutout_id").to_pylist()) == set(ids[2:])
