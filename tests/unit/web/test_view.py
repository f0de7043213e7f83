"""A catalog as it is shown, and what may be asked of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.smallcatalog import tables, write_catalog

from elodin_spark import Catalog, Query
from elodin_spark.errors import InputError, UnknownCutoutError
from elodin_spark.web.view import (
    View,
    checked_id,
    checked_ids,
    checked_options,
    options_schema,
    state_of,
)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return write_catalog(tmp_path_factory.mktemp("c") / "c", tables(4, 3))


@pytest.fixture(scope="module")
def view(catalog: Catalog) -> View:
    return View(catalog)


def test_cutouts_are_described_with_their_columns_and_image(view, catalog) -> None:
    ids = catalog.cutout_ids()[::-1]
    rows = {row["cutout_id"]: row for row in catalog.cutouts.to_pylist()}
    images = {row["image_id"]: row for row in catalog.images.to_pylist()}
    for each, described in zip(view.describe(ids), catalog.describe_cutouts(ids), strict=True):
        row = rows[int(each["id"])]
        assert {n: each[n] for n in ("image", "x0", "y1", "labels")} == {
            n: described[n] for n in ("image", "x0", "y1", "labels")
        }
        assert each["image_id"] == str(row["image_id"])
        assert each["columns"]["edge_px"] == row["edge_px"]
        assert each["columns"]["source.flux"] == (row["source"] or {}).get("flux")
        assert each["columns"]["mjd"] == images[row["image_id"]]["mjd"]


def test_no_table_is_scanned_to_describe_cutouts(view, catalog, monkeypatch) -> None:
    catalog.describe_cutouts(catalog.cutout_ids()[:1])
    monkeypatch.setattr(type(view.store), "dataset", lambda *_: pytest.fail("a table is read whole"))
    options = checked_options({"k": 5})
    assert len(view.neighbors(Query.from_id(int(view.map(None).ids[0])), options)["neighbors"]) == 5
    assert len(view.thumbnails(catalog.cutout_ids().tolist())) == 36


def test_ids_of_json_are_texts_of_whole_numbers() -> None:
    assert checked_id("4611686018427387905") == 2**62 + 1
    assert checked_ids(["1", "2", 3], 3) == [1, 2, 3]
    for wrong in (True, 1.0, None, "x", "1.5", "", [], {}, "9" * 21, str(2**63), "1e5", float("nan")):
        with pytest.raises(InputError):
            checked_id(wrong)
    for wrong in (None, [], "12", {"1": 2}, ["1"] * 4, ["1", None]):
        with pytest.raises(InputError):
            checked_ids(wrong, 3)


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"ids": ["5", "6"]}, "Query.from_id([5, 6])"),
        ({"position": {"ra": 1, "dec": "2"}}, "Query.from_position((1.0, 2.0))"),
        (
            {"position": {"ra": 1, "dec": 2, "radius_arcsec": 3}},
            "Query.from_position((1.0, 2.0), radius_arcsec=3.0)",
        ),
    ],
)
def test_queries_of_json(view, asked: dict[str, Any], wanted: str) -> None:
    assert repr(view.query(asked)) == wanted


def test_a_pixel_is_of_an_image_by_its_id(view, catalog) -> None:
    image = catalog.images.to_pylist()[1]
    asked = {"pixel": {"image_id": str(image["image_id"]), "x": 10, "y": 20.5}}
    assert view.query(asked).value == (f"{image['path']}[0]", 10.0, 20.5)
    (found,) = view.neighbors(view.query(asked), checked_options({"k": 1}))["query"]["cutouts"]
    assert found["image"] == image["path"]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"ids": ["1"], "pixel": {}},
        {"image": "/etc/passwd"},
        {"vector": [1.0]},
        {"position": [1, 2]},
        {"position": {"ra": 1}},
        {"position": {"ra": None, "dec": 2}},
        {"position": {"ra": 1, "dec": 2, "radius_arcsec": -1}},
        {"position": {"ra": 1, "dec": 2, "radius_arcsec": "x"}},
        {"pixel": {"image_id": "x", "x": 1, "y": 2}},
        {"pixel": {"x": 1, "y": 2}},
        {"position": {"ra": 10**400, "dec": 0}},
    ],
)
def test_other_queries_are_refused(view, asked) -> None:
    with pytest.raises(InputError):
        view.query(asked)


def test_options_are_those_of_a_search_but_for_files() -> None:
    assert checked_options(None) == checked_options({})
    cone = {"ra": 1, "dec": 2, "radius_arcsec": 3}
    assert checked_options({"cone": cone, "moc": None}).cone.radius_arcsec == 3  # type: ignore[union-attr]
    for wrong in (
        [],
        "k",
        {"k": 10_001},
        {"k": "x"},
        {"moc": "/a"},
        {"": 1},
        {"self": 1},
        {"metric": "l3"},
        {"cone": [1]},
    ):
        with pytest.raises(InputError):
            checked_options(wrong)
    schema = options_schema()
    assert set(schema["properties"]) >= {"k", "metric", "where", "cone"}
    assert "moc" not in schema["properties"]
    assert schema["properties"]["k"]["anyOf"][0]["maximum"] == 10_000


def test_a_metric_that_has_no_index_is_told_beforehand(tmp_path) -> None:
    view = View(write_catalog(tmp_path / "c", tables(2, 3), neighbors={"metrics": ["l2"]}))
    found = {each["name"]: each for each in view.facts()["metrics"]}
    assert found["l2"]["available"]
    assert found["cosine"]["available"]
    assert not found["jaccard"]["available"]
    assert "add jaccard to neighbors.metrics" in found["jaccard"]["why_not"]


def test_before_there_is_an_index_no_label_has_a_name(tmp_path) -> None:
    catalog = write_catalog(tmp_path / "c", tables(2, 2))
    (catalog.path / "products" / "index.json").unlink()
    fresh = View(Catalog.open(catalog.path))
    assert len(fresh.points(None)) > 100
    with pytest.raises(InputError, match="no column 'top_label' to color by") as said:
        fresh.column(None, "top_label")
    assert "top_label," not in str(said.value)


def test_thumbnails_of_cutouts_that_there_are_not(view) -> None:
    with pytest.raises(UnknownCutoutError):
        view.thumbnails([1])
    with pytest.raises(UnknownCutoutError):
        view.known(np.array([int(view.ids[0]), 1]))


def test_what_another_process_writes_is_seen(catalog) -> None:
    before = state_of(catalog.path)
    assert state_of(catalog.path) == before
    (catalog.path / "products" / "x.tmp").touch()
    assert state_of(catalog.path) != before
    (catalog.path / "products" / "x.tmp").unlink()
    with pytest.raises(OSError):
        state_of(catalog.path / "none")
