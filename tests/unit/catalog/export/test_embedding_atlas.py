"""The Parquet file that Embedding Atlas opens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.picturedcatalog import pictured_catalog, pictured_rows, write_map
from helpers.smallcatalog import write_catalog

from elodin_spark import Catalog
from elodin_spark.catalog.export import rows as export_rows
from elodin_spark.catalog.maps import map_or_first
from elodin_spark.cli.main import run_command
from elodin_spark.errors import CatalogError, InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("atlas")
    pictured_catalog(place)
    return place / "catalog"


@pytest.fixture
def catalog(folder) -> Catalog:
    return Catalog.open(folder)


@pytest.fixture(params=[1024, 5])
def _batches(request, monkeypatch) -> None:
    """The same whatever is read at once."""
    monkeypatch.setattr(export_rows, "_BATCH_ROWS", request.param)


def exported(catalog: Catalog, path: Path, **options) -> list[dict]:
    done = catalog.export(path, "embedding-atlas", **options)
    found = pq.read_table(path).to_pylist()
    assert len(found) == done.cutouts
    return found


@pytest.mark.usefixtures("_batches")
def test_every_cutout_has_its_place_picture_labels_and_facts(catalog, tmp_path):
    found = exported(catalog, tmp_path / "a.parquet")
    prints = {row["cutout_id"]: row for row in catalog.table("fingerprints").to_pylist()}
    cutouts = {row["cutout_id"]: row for row in catalog.table("cutouts").to_pylist()}
    images = {row["image_id"]: row for row in catalog.images.to_pylist()}
    places = {row["cutout_id"]: row for row in map_or_first(catalog._store)[1].to_pylist()}
    assert {int(row["cutout_id"]) for row in found} == set(prints)
    for row in found:
        cutout = int(row["cutout_id"])
        assert (row["x"], row["y"]) == (places[cutout]["x"], places[cutout]["y"])
        facts, image = cutouts[cutout], images[cutouts[cutout]["image_id"]]
        for name in ("x0", "y0", "x1", "y1", "ra", "dec", "nodata_fraction", "edge_px"):
            assert row[name] == facts[name]
        assert (row["image"], row["bands"], row["mjd"]) == (image["path"], image["bands"], image["mjd"])
        labels = [catalog._store.label_name(label) for label in prints[cutout]["labels"]]
        assert (row["labels"], row["label"]) == (labels, labels[0])
        assert row["label_score"] == prints[cutout]["label_scores"][0]
        if facts["thumbnail"] is None:
            assert row["thumbnail"] is None
        else:
            assert row["thumbnail"] == {"bytes": facts["thumbnail"], "path": f"{cutout}.jpg"}
    assert sum(row["thumbnail"] is None for row in found) == 1
    assert "saturated_fraction" not in found[0], "of which nothing is known"


def test_columns_are_of_the_types_that_it_reads(catalog, tmp_path):
    catalog.export(tmp_path / "a.parquet", "embedding-atlas", vectors=True)
    kinds = {field.name: field.type for field in pq.read_schema(tmp_path / "a.parquet")}
    assert kinds["cutout_id"] == pa.string(), "numbers of JavaScript would round it"
    assert kinds["thumbnail"] == pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    assert pa.types.is_float32(kinds["x"])
    assert pa.types.is_list(kinds["labels"])
    assert pa.types.is_list(kinds["vector"])
    ids, distances = kinds["neighbors"].field("ids").type, kinds["neighbors"].field("distances").type
    assert (ids.value_type, distances.value_type) == (pa.int32(), pa.float64())


def test_neighbors_are_rows_of_the_file_and_all_of_one_length(catalog, tmp_path):
    found = exported(catalog, tmp_path / "a.parquet", neighbors=5)
    ids = [int(row["cutout_id"]) for row in found]
    for row in found:
        near = catalog.neighbors(int(row["cutout_id"]), k=5)
        assert [ids[at] for at in row["neighbors"]["ids"]] == [each["neighbor_id"] for each in near]
        assert row["neighbors"]["distances"] == pytest.approx([each["distance"] for each in near])
    # Of a few cutouts, some of which overlap, not all have as many.
    few = exported(catalog, tmp_path / "b.parquet", cutout_ids=ids[:12], neighbors=8)
    lengths = {len(row["neighbors"]["ids"]) for row in few}
    assert len(lengths) == 1
    assert all(0 <= at < len(few) for row in few for at in row["neighbors"]["ids"])


@pytest.mark.usefixtures("_batches")
def test_vectors_are_those_of_the_catalog_and_nothing_is_left_beside(catalog, tmp_path):
    found = exported(catalog, tmp_path / "a.parquet", vectors=True, neighbors=0)
    ids, vectors = catalog.vectors()
    mine = {int(row["cutout_id"]): row["vector"] for row in found}
    assert (np.array([mine[i] for i in ids.tolist()], np.float32) == vectors).all()
    assert "neighbors" not in found[0]
    assert [file.name for file in tmp_path.iterdir()] == ["a.parquet"]


def test_what_the_map_says_besides_is_told_and_what_it_lacks_left_out(tmp_path):
    rows = pictured_rows(tmp_path)
    catalog = write_catalog(tmp_path / "catalog", rows)
    ids = [row["cutout_id"] for row in rows["fingerprints"]]
    write_map(catalog._store, ids[:20], "umap", doubtful=[True] * 20)
    done = catalog.export(tmp_path / "a.parquet", "embedding-atlas", method="umap", neighbors=3)
    assert (done.cutouts, done.left_out) == (20, len(catalog.cutout_ids()) - 20)
    assert "left out" in done.text()
    assert all(row["doubtful"] for row in pq.read_table(tmp_path / "a.parquet").to_pylist())
    with pytest.raises(InputError, match="none of the 2 cutouts lies on the map"):
        catalog.export(tmp_path / "b.parquet", "embedding-atlas", ids[20:22])


def test_wrong_names_and_formats_are_refused_and_write_nothing(catalog, tmp_path):
    with pytest.raises(InputError, match=r"does not end in \.parquet"):
        catalog.export(tmp_path / "a.csv", "embedding-atlas")
    with pytest.raises(InputError, match="there is no folder"):
        catalog.export(tmp_path / "no" / "a.parquet", "embedding-atlas")
    with pytest.raises(InputError, match="no format 'tableau'"):
        catalog.export(tmp_path / "a.parquet", "tableau")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="neighbors is 0 or more"):
        catalog.export(tmp_path / "a.parquet", "embedding-atlas", neighbors=-1)
    (tmp_path / "other").mkdir()
    bare = write_catalog(tmp_path / "other" / "catalog", pictured_rows(tmp_path / "other", 2, 2))
    with pytest.raises(CatalogError, match="has no map"):
        bare.export(tmp_path / "a.parquet", "embedding-atlas")
    assert not list(tmp_path.glob("*.parquet"))


def test_the_command_line_exports_and_says_how_to_open_it(catalog, tmp_path, capsys):
    out = tmp_path / "a b.parquet"
    arguments = ["export", str(catalog.path), "--format", "embedding-atlas", "-o", str(out)]
    assert run_command([*arguments, "--sample", "12", "--neighbors", "2", "--where", "x0 > 0"]) == 0
    said = capsys.readouterr().out
    assert f"written: {out}: 12 cutouts" in said
    assert f"embedding-atlas '{out}' --x x --y y --image thumbnail --features labels --neighbors" in said
    assert pq.read_table(out).num_rows == 12
    assert run_command([*arguments, "--where", "nonsense = 1"]) == 2
    assert "nonsense" in capsys.readouterr().err
    assert run_command([*arguments, "--ids", str(tmp_path / "none.txt")]) == 2
    assert "cannot be read as cutout IDs" in capsys.readouterr().err
    assert run_command(["export", "--help"]) == 0
    assert "Example: elodin-spark export runs/coadds --format embedding-atlas" in capsys.readouterr().out
