"""The maps of a whole catalog: by executors as in one process, and as it grows and shrinks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from elodin_spark import Catalog
from elodin_spark.arrow import to_matrix
from elodin_spark.catalog.build.maps import make_projection
from elodin_spark.catalog.report import info_text
from elodin_spark.errors import CatalogError
from elodin_spark.projection.reduce import project
from elodin_spark.sampling.sample import stable_sample
from elodin_spark.schema import PROJECTION

pytestmark = pytest.mark.spark

MAPS = {"methods": ["tsne", "pca"], "perplexity": 5, "sample": 60}


@pytest.fixture(scope="module")
def catalog(small_settings, survey, spark, tmp_path_factory) -> Catalog:
    """Three of the four images, each a batch of its own."""
    archive = tmp_path_factory.mktemp("archive")
    for tile in survey.tiles[:3]:
        (archive / tile.name).write_bytes(tile.read_bytes())
    settings = small_settings(
        archive, images={"paths": str(archive), "hdu": "IMAGE"}, projection=MAPS, run={"batch_images": 1}
    )
    made = Catalog.create(tmp_path_factory.mktemp("catalog") / "maps", settings)
    assert made.run().made == ("index", "projection", "figures")
    return made


def no_spark():
    raise AssertionError("Spark is started for a handful of cutouts")


def forget(catalog: Catalog) -> None:
    (catalog.path / "products" / "projection.json").unlink()


def test_every_cutout_is_on_the_map_and_the_sample_where_it_was_laid_out(catalog):
    ids, store = catalog.cutout_ids(), catalog._store
    fingerprints = catalog.table("fingerprints").sort_by("cutout_id")
    vectors = to_matrix(fingerprints.column("vector").combine_chunks())
    sample = stable_sample(ids, 60, catalog.settings.seed)
    rows = np.searchsorted(fingerprints.column("cutout_id").to_numpy(), sample)
    for method in MAPS["methods"]:
        found = catalog.projection(method)
        assert found.schema.equals(PROJECTION)
        assert found.column("cutout_id").to_pylist() == sorted(ids.tolist())
        laid = found.filter(np.logical_not(found.column("placed").to_numpy()))
        order = np.argsort(sample)
        assert laid.column("cutout_id").to_pylist() == sample[order].tolist()
        expected = project(vectors[rows], method, perplexity=5)[order]
        np.testing.assert_array_equal(np.column_stack([laid["x"], laid["y"]]), expected)
    record = store.product("projection")
    assert (record["rows"], record["sample"], record["placed"]) == (75, 60, 15)
    for found in record["quality"].values():
        assert 0.5 < found["trustworthiness"] <= 1
        assert 0 < found["neighbors_kept"] <= 1


def test_executors_place_what_one_process_places(catalog, spark):
    store, settings = catalog._store, catalog.settings
    forget(catalog)
    assert make_projection(store, settings, no_spark)
    plain = {method: catalog.projection(method) for method in MAPS["methods"]}
    record = store.product("projection")
    assert all((store.product_folder("projection") / f"{method}.parquet").is_file() for method in plain)
    forget(catalog)
    assert make_projection(store, settings, lambda: spark, in_process=0)
    for method, table in plain.items():
        files = sorted((store.product_folder("projection") / f"{method}.parquet").iterdir())
        assert [file.name for file in files] == [f"part-0000{n}.parquet" for n in range(4)]
        assert pq.read_metadata(files[0]).num_rows == 60
        assert catalog.projection(method).equals(table)
    made = store.product("projection")
    for name in ("digest", "rows", "sample", "placed", "doubtful", "quality", "methods"):
        assert made[name] == record[name], name
    catalog.check()
    assert not make_projection(store, settings, no_spark)


def test_a_vector_that_is_not_finite_is_left_out_by_executors_too(catalog, spark, caplog):
    from elodin_spark.projection.placement import Placement
    from elodin_spark.projection.stage import PlaceSpec
    from elodin_spark.spark.maps import place_cutouts

    store = catalog._store
    folder = store.product_folder("projection")
    ids = catalog.cutout_ids()
    source = next(file for part in store.parts("fingerprints") for file in part.glob("*.parquet"))
    table = pq.read_table(source)
    vectors = to_matrix(table.column("vector").combine_chunks()).copy()
    placement = Placement.load(folder / "placement.npz")
    first = int(np.flatnonzero(~np.isin(table.column("cutout_id").to_numpy(), placement.ids))[0])
    vectors[first, 3] = np.nan
    import pyarrow as pa

    place = table.schema.get_field_index("vector")
    damaged = catalog.path.parent / "damaged.parquet"
    pq.write_table(
        table.set_column(
            place, table.schema.field(place), pa.array(vectors.tolist(), pa.list_(pa.float32()))
        ),
        damaged,
    )
    out = catalog.path.parent / "places"
    out.mkdir()
    (written,), left_out = place_cutouts(
        spark, PlaceSpec(str(folder / "placement.npz"), str(out)), [[damaged]]
    )
    assert left_out == 1
    found = pq.read_table(written["pca"]).column("cutout_id").to_numpy()
    expected = np.setdiff1d(
        np.setdiff1d(table.column("cutout_id").to_numpy(), placement.ids),
        [table.column("cutout_id")[first].as_py()],
    )
    assert np.sort(found).tolist() == expected.tolist()
    assert len(ids) == 75


def test_a_catalog_grows_and_shrinks_with_its_maps(catalog, survey, spark):
    archive = Path(catalog.settings.images.paths[0])
    assert catalog.run().text().startswith("nothing to do")
    tile = survey.tiles[3]
    (archive / tile.name).write_bytes(tile.read_bytes())
    assert catalog.run().made == ("index", "projection", "figures")
    grown = catalog.projection("tsne")
    assert grown.num_rows == 100
    gone = grown.column("cutout_id").to_pylist()[::7]
    catalog.remove(cutouts=gone)
    assert catalog.projection("tsne").num_rows == 100 - len(gone), "at once, without a run"
    catalog.run()
    shrunk = catalog.projection("tsne")
    assert not set(shrunk.column("cutout_id").to_pylist()) & set(gone)
    assert (shrunk.num_rows, catalog._store.product("projection")["rows"]) == (100 - len(gone),) * 2
    assert make_again_by_executors(catalog, spark).equals(shrunk)
    catalog.compact()
    assert catalog.run().text().startswith("nothing to do")
    assert catalog.projection("tsne").equals(shrunk)


def make_again_by_executors(catalog, spark):
    forget(catalog)
    make_projection(catalog._store, catalog.settings, lambda: spark, in_process=0)
    return catalog.projection("tsne")


def test_info_says_how_true_the_maps_are_and_an_unknown_map_is_refused(catalog):
    info = catalog.info()
    quality = info["products"]["projection"]["quality"]
    assert quality.keys() == {"tsne", "pca"}
    text = info_text(info)
    assert f"tsne: trustworthiness {quality['tsne']['trustworthiness']:.3f}" in text
    assert "60 cutouts laid out, 25 placed among them" in text
    with pytest.raises(
        CatalogError, match=r"no map by umap, but by tsne, pca: name it in projection.methods"
    ):
        catalog.projection("umap")
