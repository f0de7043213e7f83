"""The precision of a catalog: measured when it is begun, kept in it, and never measured again."""

from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import pytest
from astropy.table import Table
from helpers import instructions

from elodin_spark import Catalog
from elodin_spark.catalog.build.sample import sample_windows
from elodin_spark.catalog.report import info_text
from elodin_spark.errors import CatalogError
from elodin_spark.fingerprints.precision import candidates
from elodin_spark.fingerprints.runtimes import cpu
from elodin_spark.fingerprints.runtimes.openvino import read_model_file
from elodin_spark.images.listing import list_files

pytestmark = pytest.mark.spark

INT8 = {"method": "plain", "bias_correction": "none", "calibration": 24}
GATE = {"precision": "auto", "gate_sample": 48, "int8": INT8}


@pytest.fixture
def archive(survey, tmp_path):
    """Three of the four tiles; the other comes later."""
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    for tile in survey.tiles[:3]:
        shutil.copy(tile, tiles)
    return tiles


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    # Of these tests, so that nothing lies there from before; the weights are those of all.
    monkeypatch.setenv("ELODIN_CACHE", str(tmp_path_factory.getbasetemp() / "precision"))


@pytest.fixture(autouse=True)
def eight_bits(monkeypatch):
    """8-bit integers are tried on any CPU."""
    monkeypatch.setattr(cpu, "int8_instructions", lambda: instructions.INT8)


def test_auto_is_settled_stored_shown_and_taken_again(
    archive, survey, small_settings, spark, tmp_path, caplog
):
    pytest.importorskip("nncf", reason="8-bit integers need nncf, which this environment leaves out")
    settings = small_settings(archive, fingerprints={**network(), **GATE, "precision_floor": 0.2})
    with caplog.at_level(logging.INFO):
        catalog = Catalog.create(tmp_path / "catalog", settings)
    fastest = candidates(settings.fingerprints)[0]
    assert f">= 0.20: {fastest}" in caplog.text
    assert catalog.run(["cutouts", "fingerprints", "index"]).n_cutouts == 75
    text = info_text(catalog.info())
    assert "precision  auto:" in text
    assert "on 48 cutouts: 10 nearest in common with f32" in text
    gate = catalog.info()["precision"]
    assert [row["precision"] for row in gate["rows"]] == ["f32", *candidates(settings.fingerprints)]
    recipe = catalog.info()["recipe"]["fingerprints"]
    assert recipe["precision"] == {"int8": "int8", "bf16": "bfloat16"}[fastest]

    shutil.copy(survey.tiles[3], archive)
    caplog.clear()
    # Another floor would give another precision, but the catalog has one.
    later = small_settings(archive, fingerprints={**network(), **GATE, "precision_floor": 1.01})
    if fastest == "int8":
        made = read_model_file(catalog.path / "network" / "int8.xml")
        assert made.sha256 == recipe["model_sha256"]
        shutil.rmtree(tmp_path.parent / "precision" / "models", ignore_errors=True)
    with caplog.at_level(logging.INFO):
        again = Catalog.open(catalog.path, later)
        assert again.run(["cutouts", "fingerprints", "index"]).n_cutouts == 100
    assert "overlap" not in caplog.text
    assert again.info()["precision"] == gate
    assert again.settings.fingerprints.precision == fastest
    assert "precision: auto" in (catalog.path / "config.yaml").read_text()
    vectors = np.array(again.table("fingerprints")["vector"].to_pylist(), np.float32)
    assert np.isfinite(vectors).all()
    assert len(Catalog.open(catalog.path).neighbors(int(again.cutout_ids()[0]), 3, allow_overlap=True)) == 3
    with pytest.raises(CatalogError, match="precision"):
        Catalog.open(catalog.path, small_settings(archive, fingerprints=network()))


def test_a_floor_above_one_gives_float32(archive, small_settings, tmp_path):
    # Not with OpenVINO: nothing is quantized.
    asked = {**network(), **GATE, "precision_floor": 1.01, "runtime": "tensorflow"}
    settings = small_settings(archive, fingerprints=asked)
    catalog = Catalog.create(tmp_path / "catalog", settings)
    meta = json.loads((catalog.path / "catalog.json").read_text())
    assert meta["precision"]["taken"] == "f32"
    assert meta["precision"]["windows"] == (48 if candidates(settings.fingerprints) else 0)
    # The same recipe as where f32 is named: catalogs do not depend on what was asked for.
    named = Catalog.create(tmp_path / "named", small_settings(archive, fingerprints=network()))
    assert named.info()["recipe_id"] == catalog.info()["recipe_id"]
    assert named.info()["precision"] is None


def sample(settings, count):
    return sample_windows(settings, list_files(settings.images.paths, None, {}), count)


def test_a_sample_is_the_same_every_time_and_of_all_images(archive, small_settings):
    settings = small_settings(archive)
    windows = sample(settings, 30)
    assert {window.shape for window in windows} == {(64, 64)}
    again = sample(settings, 30)
    assert all(np.array_equal(a, b) for a, b in zip(windows, again, strict=True))
    other = sample(settings.model_copy(update={"seed": 5}), 30)
    assert not all(np.array_equal(a, b) for a, b in zip(windows, other, strict=True))
    # No more than there are, and none twice.
    everything = sample(settings, 1000)
    assert len(everything) == len({window.tobytes() for window in everything}) == 75


def test_images_that_cannot_be_used_are_passed_over(archive, small_settings):
    (archive / "broken.fits").write_bytes(b"SIMPLE  = nonsense")
    assert len(sample(small_settings(archive), 1000)) == 75


def test_windows_at_positions_are_sampled_too(archive, small_settings, survey, spark, tmp_path):
    truth = Table.read(survey.truth)
    truth["ra", "dec"].write(tmp_path / "positions.csv")
    generator = {"kind": "positions", "catalog": str(tmp_path / "positions.csv"), "size": 32}
    windows = sample(small_settings(archive, cutouts={"generator": generator}), 10)
    assert len(windows) == 10
    assert {window.shape for window in windows} == {(32, 32)}


def network():
    return {"weights": "random:1", "input_px": 32, "batch_size": 16}
