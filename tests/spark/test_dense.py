"""A catalog in dense mode, on Spark."""

from __future__ import annotations

import pytest

from elodin_spark import Catalog
from elodin_spark.catalog.build.pipeline import fingerprinting
from elodin_spark.errors import ConfigError
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.weights.resolve import resolve_weights
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.stage import run_plain

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def catalog(survey, small_settings, tmp_path_factory) -> Catalog:
    settings = small_settings(
        survey.tiles[0].parent,
        cutouts={"generator": {"kind": "sliding_window", "size": 64, "step": 64, "edge": "drop"}},
        fingerprints={"mode": "dense", "block_px": 192, "halo_px": 32},
    )
    return Catalog.create(tmp_path_factory.mktemp("dense") / "catalog", settings)


def test_spark_gives_the_vectors_of_a_plain_loop(catalog, spark):
    with pytest.raises(ConfigError, match="run the stages cutouts and fingerprints together"):
        catalog.run(stages=["cutouts"])
    report = catalog.run(stages=["cutouts", "fingerprints", "index"])
    assert (report.n_images, report.n_cutouts, report.n_failures) == (4, 36, 0)
    settings = catalog.settings
    network = resolve_network(settings.fingerprints, resolve_weights("random:1"))
    spec = fingerprinting(settings, network, "r")
    files = list_files(settings.images.paths, None, {})
    plain = run_plain(spec, files_to_batches(files)).to_pylist()
    expected = {row["cutout_id"]: row["vector"] for row in plain if row["cutout_id"] is not None}
    found = catalog.table("fingerprints").to_pylist()
    assert {row["cutout_id"]: row["vector"] for row in found} == expected
    assert len(catalog.neighbors(found[0]["cutout_id"], k=3)) == 3
