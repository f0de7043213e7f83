"""The examples of what a user meets first, on a small simulated survey and a catalog of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.limits import HANG_S

pytestmark = pytest.mark.spark

#: What the folder of the examples holds, beside ``survey``: settings, and ``runs/mine``, made with them.
SETTINGS = """
images: {paths: survey/tiles, hdu: IMAGE}
cutouts:
  generator: {kind: sliding_window, size: 64, step: 32}   # px
fingerprints: {weights: "random:0", input_px: 32, batch_size: 16}
projection: {methods: [tsne, pca]}
run: {repeats_arcsec: 1.0}
spark: {master: "local[2]"}
"""
#: A process of its own, as a reader's: Spark takes paths from the folder in which it started.
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])

import numpy as np
from helpers.docexamples import failed_examples

import elodin_spark

settings = elodin_spark.load_config("mine.yaml")
with elodin_spark.session(settings.spark):
    report = elodin_spark.Catalog.create("runs/mine", settings).run()
    assert (report.n_images, report.n_cutouts) == (4, 100), report
    things = [elodin_spark.Catalog]
    things += [getattr(elodin_spark, name) for name in sys.argv[2:]]
    failed = [failure for thing in things for failure in failed_examples(thing, np=np)]
print("\\n".join(failed) or "all run")
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


def test_the_examples_of_a_catalog_and_of_dataframes_run(survey, tmp_path):
    (tmp_path / "survey").symlink_to(survey.tiles[0].parents[1])
    (tmp_path / "mine.yaml").write_text(SETTINGS)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(Path(__file__).parents[1]), *DATAFRAMES],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=HANG_S,
    )
    assert done.stdout == "all run\n", done.stdout + done.stderr
