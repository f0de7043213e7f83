"""The examples of what a user meets first, on a small simulated survey and a catalog of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from docexamples import failed_examples

import elodin_spark
from elodin_spark import Catalog, load_config
from elodin_spark.catalog.reading import Contents

pytestmark = pytest.mark.spark

#: What the folder of the examples holds, beside ``survey``: settings, and ``runs/mine``, made with them.
SETTINGS = """
images: {paths: survey/tiles, hdu: IMAGE}
cutouts:
  generator: {kind: sliding_window, size: 64, step: 32}   # px
fingerprints: {weights: "random:0", input_px: 32, batch_size: 16}
projection: {methods: []}
run: {repeats_arcsec: 1.0}
spark: {master: "local[2]"}
"""
DATAFRAMES = (
    "session",
    "read_images",
    "tile",
    "fingerprint",
    "fingerprint_udf",
    "register_udfs",
    "vector_udf",
    "register_vector_udf",
    "register_data_source",
)


@pytest.fixture(scope="module")
def folder(spark, survey, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    (folder / "survey").symlink_to(survey.tiles[0].parents[1])
    (folder / "mine.yaml").write_text(SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        report = Catalog.create("runs/mine", load_config("mine.yaml")).run()
    assert (report.n_images, report.n_cutouts) == (4, 100)
    return folder


@pytest.mark.parametrize("owner", [Catalog, Contents], ids=["Catalog", "Contents"])
def test_the_examples_of_a_catalog_run(owner, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert failed_examples(owner, np=np) == []


@pytest.mark.parametrize("name", DATAFRAMES)
def test_the_examples_of_dataframes_run(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert failed_examples(getattr(elodin_spark, name)) == []
