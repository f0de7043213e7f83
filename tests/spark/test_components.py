"""Catalogs whose vectors are transformed, labeled by prototypes and stored small, on Spark."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from elodin_spark import Catalog, Query, register_vector_udf
from elodin_spark.catalog.report import info_text
from elodin_spark.errors import CatalogError, InputError, TooManyFailuresError
from elodin_spark.fingerprints.transform import load_transform
from elodin_spark.spark.batches import read_parts

pytestmark = pytest.mark.spark

SMALL = {
    "transform": "standardize",
    "power": 0.5,
    "copies": 12,
    "pca": 6,
    "pca_sample": 40,
    "storage": "float16",
    "labels": "prototypes",
    "prototypes": 8,
}
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


def test_vectors_are_transformed_and_labels_the_nearest_prototypes(whole, small):
    ids, vectors = whole.vectors()
    found_ids, found = small.vectors()
    np.testing.assert_array_equal(found_ids, ids)
    transform = load_transform(small._store.transform)
    assert transform.directions.shape == (12, vectors.shape[1])
    expected = transform.apply(vectors)
    np.testing.assert_array_equal(small.transformed(vectors), expected)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())
    labels = small.table("fingerprints").sort_by("cutout_id")["labels"].to_pylist()
    sets, _ = transform.prototypes.label_sets(expected, 30)
    assert len(transform.prototypes.centers) == 8
    assert [row.tolist() for row in sets] == labels
    assert {len(row) for row in labels} == {2}
    some_ids, some = small.vectors(ids[[9, 3]].tolist())
    np.testing.assert_array_equal(some_ids, ids[[3, 9]])
    np.testing.assert_array_equal(some, found[[3, 9]])


def test_indices_maps_and_the_report_take_them(whole, small):
    ids, vectors = small.vectors()
    query = int(ids[20])
    rows = small.neighbors(query, k=3, allow_overlap=True)
    distances = np.linalg.norm(vectors.astype(float) - vectors[20], axis=1)
    assert [row["distance"] for row in rows] == pytest.approx(np.sort(distances)[1:4], rel=1e-5)
    assert len(small.neighbors(query, k=3, metric="jaccard")) == 3
    # A vector is one of the catalog's, whose prototypes are known.
    asked = small.neighbors(Query.from_vector(vectors[20]), k=1, metric="jaccard", explain=True)
    assert (asked[0]["distance"], asked[0]["explain"][0]["label"][:10]) == (0, "prototype ")
    with pytest.raises(InputError, match="no label 'unit 3'; they are 'prototype 0' to 'prototype 7'"):
        small.neighbors(query, where="score('unit 3') > 0.5")
    projection = small._store.product("projection")
    assert (projection["sample"], projection["rows"]) == (60, len(ids))
    facts = small.info()
    transform = facts["transform"]
    assert (transform["length"], transform["components"], transform["sample"]) == (2048, 6, 40)
    assert facts["seconds"]["fitting the transform"] > 0
    assert 0 < sum(transform["variance_ratio"]) <= 1 + 1e-9
    share = f"{sum(transform['variance_ratio']):.1%}"
    assert (
        f"vectors    standardized, power 0.5, what copies change counts less, "
        f"6 principal components of 2048 ({share} of the variance), "
        "labeled by 8 prototypes, fitted to 40 windows\n"
    ) in info_text(facts)
    assert whole.info()["transform"] is None
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
    assert twice._store.transform is None
    before = twice._store.meta["recipe_id"]
    twice.run(["fingerprints"])
    assert twice._store.transform.sha256 == small._store.transform.sha256
    assert twice._store.meta["recipe_id"] == small._store.meta["recipe_id"] != before
    tables = [each.table("fingerprints").sort_by("cutout_id") for each in (small, twice)]
    assert tables[0].equals(tables[1])


def test_runs_that_append_keep_the_components_and_others_are_refused(make, small, spark):
    part = make("appended", first=2, **SMALL)
    opened_before = Catalog.open(part.path)
    part.run(["cutouts", "fingerprints"])
    kept = part._store.transform
    opened_before.run(["cutouts", "fingerprints"])
    assert opened_before._store.transform == kept
    assert kept.sha256 != small._store.transform.sha256
    settings = part.settings.model_copy(update={"images": small.settings.images})
    more = Catalog.open(part.path, settings)
    assert more.run(["cutouts", "fingerprints"]).n_images == 4
    assert more._store.transform == kept
    assert len(more.vectors()[0]) == 100
    assert json.loads((part.path / "catalog.json").read_text())["transform"]["sha256"] == kept.sha256
    for change, message in (
        ({"pca": 7}, "components: 6, not 7"),
        ({"transform": "whiten"}, "kind: 'standardize', not 'whiten'"),
        ({"power": 1.0}, "power: 0.5, not 1.0"),
        ({"labels": "units"}, "prototypes: 8, not none"),
    ):
        other = settings.fingerprints.model_copy(update=change)
        with pytest.raises(CatalogError, match=rf"fingerprints\.transform\.{message}"):
            Catalog.open(part.path, settings.model_copy(update={"fingerprints": other}))
    # What is left to the program is what the catalog was begun with.
    left = settings.fingerprints.model_copy(update={"transform": "auto", "labels": "auto"})
    again = Catalog.open(part.path, settings.model_copy(update={"fingerprints": left}))
    chosen = again.settings.fingerprints
    assert (chosen.transform, chosen.labels) == ("standardize", "prototypes")


def test_components_of_color_images_and_of_positions(small_settings, survey, tmp_path, spark):
    for band, source in zip("gr", sorted(survey.tiles), strict=False):
        (tmp_path / f"a_{band}.fits").write_bytes(source.read_bytes())
    color = {"grouping": {"kind": "pattern", "pattern": "*_{band}.fits"}, "channels": ["r", "r", "g"]}
    images = {"paths": str(tmp_path / "a_*.fits"), "hdu": "IMAGE"}
    settings = small_settings(tmp_path, images=images | {"color": color}, fingerprints=SMALL)
    banded = Catalog.create(tmp_path / "color", settings)
    assert banded.run(["cutouts", "fingerprints"]).n_cutouts == 25
    assert banded.vectors()[1].shape == (25, 6)
    assert banded.info()["transform"]["sample"] == 25
    sky = banded.table("cutouts").to_pylist()[:9]
    lines = [f"{row['cutout_id']},{row['ra']},{row['dec']}" for row in sky]
    (tmp_path / "stars.csv").write_text("\n".join(["id,ra,dec", *lines]))
    generator = {"kind": "positions", "catalog": str(tmp_path / "stars.csv"), "size": 32}
    settings = small_settings(tmp_path, images=images, cutouts={"generator": generator}, fingerprints=SMALL)
    placed = Catalog.create(tmp_path / "positions", settings)
    placed.run(["cutouts", "fingerprints"])
    assert placed.info()["transform"]["sample"] == len(placed.vectors()[0]) >= 9


def test_an_archive_without_a_window_tells_why_and_waits_for_one(make, survey, tmp_path, spark):
    (tmp_path / "broken.fits").write_bytes(b"SIMPLE  =                    T")
    catalog = make("empty", transform="standardize", pca_sample=40)
    images = catalog.settings.images
    broken = images.model_copy(update={"paths": (str(tmp_path / "broken.fits"),), "root": None})
    settings = catalog.settings.model_copy(update={"images": broken, "catalog": None})
    waiting = Catalog.create(tmp_path / "catalog", settings)
    for _ in range(2):
        with pytest.raises(TooManyFailuresError, match="none of 1 image could be used"):
            waiting.run(["cutouts", "fingerprints"])
        assert waiting._store.transform is None
        with pytest.raises(CatalogError, match="not fitted yet"):
            waiting.transformed(np.zeros((1, 2048)))
    (tmp_path / "good.fits").write_bytes(survey.tiles[0].read_bytes())
    both = settings.model_copy(update={"images": broken.model_copy(update={"paths": (str(tmp_path),)})})
    more = Catalog.open(waiting.path, both)
    more.run(["cutouts", "fingerprints"])
    np.testing.assert_allclose(more.vectors()[1].std(axis=0).mean(), 1, atol=0.2)
