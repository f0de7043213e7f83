"""Catalogs whose vectors are stored small, on Spark."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from elodin_spark import Catalog, register_vector_udf
from elodin_spark.catalog.report import info_text
from elodin_spark.errors import CatalogError
from elodin_spark.fingerprints.pca import load_pca
from elodin_spark.spark.batches import read_parts

pytestmark = pytest.mark.spark

SMALL = {"pca": 6, "pca_sample": 40, "storage": "float16"}
STAGES = ["cutouts", "fingerprints", "index", "projection"]


@pytest.fixture(scope="module")
def make(survey, small_settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("components")

    def made(name: str, first: int = 4, master: str = "local[2]", **fingerprints) -> Catalog:
        settings = small_settings(
            survey.tiles[0].parent,
            images={
                "paths": [str(path) for path in survey.tiles[:first]],
                "root": str(survey.tiles[0].parent),
                "hdu": "IMAGE",
            },
            fingerprints=fingerprints,
            projection={"methods": ["tsne"], "sample": 60, "perplexity": 5},
            run={"figures": False},
            spark={"master": master},
        )
        return Catalog.create(folder / name, settings)

    return made


@pytest.fixture(scope="module")
def whole(make, spark) -> Catalog:
    catalog = make("whole")
    catalog.run(["cutouts", "fingerprints"])
    return catalog


@pytest.fixture(scope="module")
def small(make, spark) -> Catalog:
    catalog = make("small", **SMALL)
    catalog.run(STAGES)
    return catalog


def test_vectors_are_the_projected_ones_of_the_network_and_labels_its_own(whole, small):
    ids, vectors = whole.vectors()
    found_ids, found = small.vectors()
    np.testing.assert_array_equal(found_ids, ids)
    pca = load_pca(small._store.pca)
    expected = pca.project(vectors).astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())
    labels = [catalog.table("fingerprints").sort_by("cutout_id")["labels"] for catalog in (whole, small)]
    assert labels[0].to_pylist() == labels[1].to_pylist()
    some_ids, some = small.vectors(ids[[9, 3]].tolist())
    np.testing.assert_array_equal(some_ids, ids[[3, 9]])
    np.testing.assert_array_equal(some, found[[3, 9]])


def test_indices_maps_and_the_report_take_them(whole, small):
    ids, vectors = small.vectors()
    query = int(ids[20])
    rows = small.neighbors(query, k=3, allow_overlap=True)
    distances = np.linalg.norm(vectors.astype(float) - vectors[20], axis=1)
    assert [row["distance"] for row in rows] == pytest.approx(np.sort(distances)[1:4], rel=1e-5)
    # Labels are units of the network, of which there are more than components.
    assert len(small.neighbors(query, k=3, metric="jaccard")) == 3
    assert small._store.product("projection")["rows"] == 60
    facts = small.info()
    assert (facts["pca"]["length"], facts["pca"]["components"], facts["pca"]["sample"]) == (2048, 6, 40)
    assert facts["seconds"]["fitting components"] > 0
    assert 0 < sum(facts["pca"]["variance_ratio"]) <= 1 + 1e-9
    assert "6 principal components of 2048" in info_text(facts)
    assert whole.info()["pca"] is None
    recipes = {
        row for catalog in (whole, small) for row in catalog.table("fingerprints")["recipe"].to_pylist()
    }
    assert recipes == {whole._store.meta["recipe_id"], small._store.meta["recipe_id"]}
    assert len(recipes) == 2


def test_spark_sql_reads_them_as_arrays(small, spark):
    register_vector_udf(spark)
    read_parts(spark, small._store.parts("fingerprints")).createOrReplaceTempView("small_fingerprints")
    rows = spark.sql("SELECT cutout_id, vector_floats(vector) AS v FROM small_fingerprints").toArrow()
    rows = rows.sort_by("cutout_id")
    assert rows["v"].type == pa.list_(pa.float32())
    np.testing.assert_array_equal(np.array(rows["v"].to_pylist(), np.float32), small.vectors()[1])


def test_the_fit_does_not_depend_on_the_way_it_was_come_by_and_is_kept(small, make, spark):
    twice = make("in two steps, 50% [ü] {a,b}", master="local[1]", **SMALL)
    twice.run(["cutouts"])
    assert twice._store.pca is None
    before = twice._store.meta["recipe_id"]
    twice.run(["fingerprints"])
    assert twice._store.pca.sha256 == small._store.pca.sha256
    assert twice._store.meta["recipe_id"] == small._store.meta["recipe_id"] != before
    np.testing.assert_array_equal(twice.vectors()[1], small.vectors()[1])


def test_runs_that_append_keep_the_components_and_others_are_refused(make, small, spark):
    part = make("appended", first=2, **SMALL)
    part.run(["cutouts", "fingerprints"])
    kept = part._store.pca
    assert kept.sha256 != small._store.pca.sha256
    settings = part.settings.model_copy(update={"images": small.settings.images})
    more = Catalog.open(part.path, settings)
    assert more.run(["cutouts", "fingerprints"]).n_images == 4
    assert more._store.pca == kept
    assert len(more.vectors()[0]) == 100
    assert json.loads((part.path / "catalog.json").read_text())["pca"]["sha256"] == kept.sha256
    other = settings.fingerprints.model_copy(update={"pca": 7})
    with pytest.raises(CatalogError, match=r"pca\.components: 6, not 7"):
        Catalog.open(part.path, settings.model_copy(update={"fingerprints": other}))


def test_dense_mode_is_projected_too(make, small_settings, survey, tmp_path, spark):
    settings = small_settings(
        survey.tiles[0].parent,
        cutouts={"generator": {"kind": "sliding_window", "size": 64, "step": 32, "edge": "drop"}},
        fingerprints={"mode": "dense", "block_px": 192, "halo_px": 32, **SMALL},
    )
    catalog = Catalog.create(tmp_path / "dense", settings)
    catalog.run(["cutouts", "fingerprints"])
    ids, vectors = catalog.vectors()
    assert vectors.shape == (len(ids), 6) == (100, 6)
    # The first component has the most variance: they are components of these vectors.
    assert vectors.var(axis=0).argmax() == 0
