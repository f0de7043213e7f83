"""Runs that are refused before a cutout is stored, and go through once their settings are mended."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from elodin_spark import Catalog
from elodin_spark.catalog import run_config
from elodin_spark.config.load import dump_settings
from elodin_spark.errors import ElodinError

pytestmark = pytest.mark.spark

PLAIN = {"run": {"figures": False}}
#: What is wrong at first, what is said of it, and what mends it.
REFUSED = {
    "components": ({"transform": "standardize", "pca": 101}, "only 100 windows", {"pca": 20}),
    "windows": ({}, "4 x smaller_than_window", {"cutouts.generator.size": 64, "cutouts.generator.step": 32}),
    "dates": ({}, None, {"images.mjd": "null"}),
    "quality": ({}, None, {"cutouts.quality.min_edge_px": 0, "fingerprints.input_px": 48}),
    "folder": ({}, "could be used", {}),
}


@pytest.fixture
def config(survey, small_settings, tmp_path, request) -> Path:
    """Settings that are refused, as `request.param` says."""
    tiles = survey.tiles[0].parent
    wrong, sections = request.param, {**PLAIN, "catalog": str(tmp_path / "catalog")}
    sections["fingerprints"] = REFUSED[wrong][0]
    sections["images"] = {"hdu": "IMAGE"}
    if wrong == "windows":
        sections["cutouts"] = {"generator": {"kind": "sliding_window", "size": 500, "step": 500}}
    if wrong == "quality":  # all are rejected
        sections["cutouts"] = {"quality": {"min_edge_px": 10_000}}
    if wrong == "dates":
        sections["images"]["mjd"] = [1.0, 2.0]
    if wrong == "folder":
        tiles = tmp_path / "wrong"
        tiles.mkdir()
        (tiles / "text.fits").write_text("no image\n")
    file = tmp_path / "run.yaml"
    file.write_text(dump_settings(small_settings(tiles, **sections)))
    return file


@pytest.mark.parametrize("config", REFUSED, indirect=True)
def test_the_cure_that_a_refusal_advises_is_taken(config, survey, tmp_path, request):
    wrong = request.node.callspec.params["config"]
    _, said, mended = REFUSED[wrong]
    with pytest.raises(ElodinError, match=said) if said else nullcontext():
        run_config(config)  # nothing to be fingerprinted is no error
    sets = [f"{name if '.' in name else f'fingerprints.{name}'}={value}" for name, value in mended.items()]
    if wrong == "folder":
        sets = [f"images.paths={survey.tiles[0].parent}"]
    for _ in range(2):  # the other time there is nothing to do
        report = run_config(config, sets)
        assert (report.n_images, report.n_cutouts, report.n_failures) == (4, 100, 0)
    assert report.batches_done == 0
    catalog = Catalog.open(tmp_path / "catalog")
    assert len(catalog.neighbors(catalog.cutout_ids()[0], k=3)) == 3
    assert catalog.vectors()[1].shape == (100, 20 if wrong == "components" else 2048)
