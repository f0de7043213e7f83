"""Neighbors of an image file, fingerprinted as the catalog's own cutouts are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from elodin_spark import Catalog, Query
from elodin_spark.cli.main import run_command
from elodin_spark.errors import InputError

pytestmark = pytest.mark.spark

RECIPES: dict[str, dict[str, Any]] = {
    "whole": {
        "cutouts": {
            "generator": {"kind": "full_image"},
            "steps": [{"type": "FlipLR"}],
            "quality": {"nodata": {"reject_above": 0.5}, "min_edge_px": 0},
        },
        "fingerprints": {
            "weights": "random:1",
            "input_px": 64,
            "pca": 3,
            "pca_sample": 4,
            "storage": "float16",
        },
    },
    "dense": {
        "cutouts": {"generator": {"kind": "sliding_window", "size": 192, "step": 192, "edge": "drop"}},
        "fingerprints": {
            "weights": "random:1",
            "mode": "dense",
            "transform": "standardize",
            "labels": "prototypes",
        },
    },
}


@pytest.fixture(scope="module", params=list(RECIPES))
def catalog(request, survey, small_settings, spark, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """One cutout of each tile: the whole tile."""
    settings = small_settings(
        survey.tiles[0].parent,
        images={"paths": str(survey.tiles[0].parent), "hdu": "IMAGE"},
        run={"figures": False},
        **RECIPES[request.param],
    )
    made = Catalog.create(tmp_path_factory.mktemp("catalog") / request.param, settings)
    assert made.run().n_cutouts == 4
    return made


def test_the_image_of_a_cutout_finds_that_cutout(catalog: Catalog, survey, tmp_path: Path, capsys) -> None:
    for tile in survey.tiles:
        found = catalog.neighbors(Query.from_image(tile), k=4)
        assert found[0]["image"] == tile.name
        assert found[0]["distance"] == pytest.approx(0, abs=1e-3 * found[1]["distance"])
        assert {row["query_id"] for row in found} == {-1}
    # By labels too, and kept apart from what lies where: the same file elsewhere, without its extension.
    copy = tmp_path / "mine.fits"
    fits.writeto(copy, fits.getdata(tile, "IMAGE"))
    assert catalog.neighbors(Query.from_image(str(copy)), k=1)[0]["neighbor_id"] == found[0]["neighbor_id"]
    by_labels = catalog.neighbors(Query.from_image(tile), k=4, metric="jaccard")
    assert (by_labels[0]["image"], by_labels[0]["distance"]) == (tile.name, 0)
    kept = catalog.neighbors(Query.from_image(tile), k=4, where=f"path <> '{tile.name}'")
    assert [row["neighbor_id"] for row in kept] == [row["neighbor_id"] for row in found[1:]]
    drawn = ("--plot", str(tmp_path / "similar.png"))
    assert run_command(["neighbors", str(catalog.path), "--image", str(copy), "-k", "2", *drawn]) == 0
    assert f"nearest neighbors of the image {copy} (L2 distance)" in capsys.readouterr().out
    assert (tmp_path / "similar.png").stat().st_size > 1000


def test_images_that_cannot_be_used_are_refused(catalog: Catalog, survey, tmp_path: Path) -> None:
    content = survey.tiles[0].read_bytes()
    (tmp_path / "cut.fits").write_bytes(content[: len(content) // 3])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "empty.fits").touch()
    refused = {
        "cut.fits": "cannot be asked with",
        "text.png": "cannot be asked with",
        "empty.fits": "cannot be asked with",
        "notes.txt": "not a known kind of image",
        "none.fits": "no file or folder",
        "*.fits": "holds 2 image files; ask with one",
    }
    for name, words in refused.items():
        with pytest.raises(InputError) as error:
            catalog.neighbors(Query.from_image(tmp_path / name))
        assert words in str(error.value)
        assert name in str(error.value)
    if catalog.settings.fingerprints.mode == "dense":
        Image.fromarray(np.zeros((192, 384), np.uint8)).save(tmp_path / "two.png")
        with pytest.raises(InputError, match="makes 2 windows, and one, of 192 x 192 px, can be"):
            catalog.neighbors(Query.from_image(tmp_path / "two.png"))
    else:
        fits.writeto(tmp_path / "blank.fits", np.full((50, 50), np.nan, np.float32))
        with pytest.raises(InputError, match=r"blank\.fits cannot be asked with"):
            catalog.neighbors(Query.from_image(tmp_path / "blank.fits"))
