"""A catalog whose vectors are those of two networks joined: begun, gone on with, asked, planned."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from helpers import instructions

from elodin_spark import Catalog, Query
from elodin_spark.catalog.report import info_text
from elodin_spark.config.load import dump_settings
from elodin_spark.errors import CatalogError
from elodin_spark.fingerprints.runtimes import cpu
from elodin_spark.planning import plan_config

pytestmark = pytest.mark.spark

SECOND = {"weights": "random:1", "backbone": "mobilenet", "input_px": 48, "factor": 0.7}
JOINED = {"transform": "auto", "labels": "auto", "networks": [SECOND]}


@pytest.fixture
def archive(survey, tmp_path):
    """Three of the four tiles; the other comes later."""
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    for tile in survey.tiles[:3]:
        shutil.copy(tile, tiles)
    return tiles


def test_a_catalog_of_two_networks_goes_on_answers_and_is_planned(
    archive, survey, small_settings, spark, tmp_path
):
    settings = small_settings(archive, fingerprints=JOINED)
    catalog = Catalog.create(tmp_path / "catalog", settings)
    assert catalog.run(["cutouts", "fingerprints", "index"]).n_cutouts == 75
    shutil.copy(survey.tiles[3], archive)
    again = Catalog.open(catalog.path)
    assert again.run(["cutouts", "fingerprints", "index"]).n_cutouts == 100

    table = again.table("fingerprints")
    vectors = np.stack(table.column("vector").to_numpy())
    assert vectors.shape == (100, 2048 + 1024)
    assert min(np.ptp(vectors[:, :2048]), np.ptp(vectors[:, 2048:])) > 0

    first = int(table.column("cutout_id")[0].as_py())
    assert again.neighbors(first, k=5).to_pandas()["neighbor_id"].iloc[0] != first
    again.cutout(first).write(tmp_path / "first.fits")
    assert len(again.neighbors(Query.from_image(tmp_path / "first.fits"), k=3).to_pandas()) == 3
    assert len(again.neighbors(Query.from_vector(vectors[0]), k=3, metric="jaccard").to_pandas()) == 3
    assert "ResNet50, random weights (seed 1): not trained + MobileNet" in info_text(again.info())
    config = tmp_path / "other.yaml"
    config.write_text(
        dump_settings(small_settings(archive, fingerprints=JOINED, catalog=str(tmp_path / "other")))
    )
    planned = plan_config(config)
    assert planned["tables"]["fingerprints"]["rows"] == 100

    closer = {**JOINED, "networks": [{**SECOND, "factor": 0.5}]}
    with pytest.raises(CatalogError, match=r"another recipe \(fingerprints.networks"):
        Catalog.open(catalog.path, small_settings(archive, fingerprints=closer))


def test_both_networks_are_quantized_and_kept(archive, survey, small_settings, spark, tmp_path, monkeypatch):
    pytest.importorskip("nncf", reason="8-bit integers need nncf, which this environment leaves out")
    monkeypatch.setenv("ELODIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cpu, "int8_instructions", lambda: instructions.INT8)
    int8 = {"method": "plain", "bias_correction": "none", "calibration": 24}
    settings = small_settings(
        archive, fingerprints={**JOINED, "precision": "int8", "gate_sample": 0, "int8": int8}
    )
    catalog = Catalog.create(tmp_path / "catalog", settings)
    recipe = catalog.info()["recipe"]["fingerprints"]
    assert {recipe["model_sha256"], recipe["networks"][0]["model_sha256"]} <= {
        file.stem for file in (tmp_path / "cache" / "models").glob("*.xml")
    }
    assert catalog.run(["cutouts", "fingerprints"]).n_cutouts == 75
    shutil.rmtree(tmp_path / "cache" / "models")
    shutil.copy(survey.tiles[3], archive)
    assert Catalog.open(catalog.path).run(["cutouts", "fingerprints"]).n_cutouts == 100
