"""Each way to make a catalog, with what it leaves open: run, run again, add files, ask."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from elodin_spark import Catalog, Query
from elodin_spark.catalog import run_config
from elodin_spark.config.load import dump_settings

pytestmark = pytest.mark.spark

BANDS = ("g", "r", "i")
#: Sections of the settings of each; what is fitted to an archive is left to the program in all of them.
WAYS: dict[str, dict[str, Any]] = {
    "windows": {},
    "bands": {
        "images": {
            "color": {
                "grouping": {"kind": "pattern", "pattern": "*_{band}.fits"},
                "channels": ["i", "r", "g"],
            }
        }
    },
    "sources": {"cutouts": {"generator": {"kind": "sources"}}},
    "positions": {},
    "precision auto": {
        "fingerprints": {
            "precision": "auto",
            "gate_sample": 30,
            "int8": {"method": "plain", "bias_correction": "none", "calibration": 16},
        }
    },
    "dense": {
        "cutouts": {"generator": {"kind": "sliding_window", "size": 64, "step": 32, "edge": "drop"}},
        "fingerprints": {"mode": "dense", "block_px": 128, "halo_px": 32},
    },
    "sharded": {"neighbors": {"index_config": "PCAR32,IVF2,RaBitQ"}},
    "jaccard only": {"neighbors": {"metrics": ["jaccard"]}},
    "whitened": {"fingerprints": {"transform": "whiten"}},
    "units": {"fingerprints": {"labels": "units"}},
    "float16": {"fingerprints": {"storage": "float16"}},
    # Alone, in eight turns.
    "survey": {"fingerprints": {"weights": "survey", "input_px": None, "layer": None, "augmentations": None}},
    # Which have classes with names.
    "imagenet-lite": {"fingerprints": {"weights": "imagenet-lite"}},
}


def add(tile: Path, folder: Path, bands: bool) -> None:
    """Put a tile into an archive, three times where it is one of bands."""
    for name in [f"{tile.stem}_{band}.fits" for band in BANDS] if bands else [tile.name]:
        shutil.copy(tile, folder / name)


def places(tiles: list[Path], file: Path) -> None:
    """Write a catalog of five positions on each tile."""
    lines = ["id,ra,dec"]
    for tile in tiles:
        sky = WCS(fits.getheader(tile, "IMAGE")).pixel_to_world(
            [40, 90, 140, 50, 150], [40, 90, 60, 150, 140]
        )
        lines += [f"{tile.stem}-{n},{float(p.ra.deg)!r},{float(p.dec.deg)!r}" for n, p in enumerate(sky.icrs)]
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("way", WAYS)
def test_each_way_is_run_run_again_added_to_and_asked(way, survey, small_settings, spark, tmp_path):
    archive, bands, config = tmp_path / "archive", way == "bands", tmp_path / "mine.yaml"
    archive.mkdir()
    tiles = sorted(survey.tiles)
    for tile in tiles[:3]:
        add(tile, archive, bands)
    sections = {name: dict(section) for name, section in WAYS[way].items()}
    if way == "positions":
        places(tiles, tmp_path / "positions.csv")
        sections["cutouts"] = {"generator": {"kind": "positions", "catalog": str(tmp_path / "positions.csv")}}
    open_to = {"transform": "auto", "labels": "auto"}
    settings = small_settings(
        archive,
        catalog=str(tmp_path / "catalog"),
        **sections
        | {
            "images": {"paths": str(archive), "hdu": "IMAGE", **sections.get("images", {})},
            "fingerprints": open_to | sections.get("fingerprints", {}),
            "run": {"figures": False},
        },
    )
    config.write_text(dump_settings(settings))

    first = run_config(config)
    assert (first.n_images, first.n_failures, first.batches_done) == (3, 0, 1)
    assert "index" in first.made
    kept = [file.name for file in (tmp_path / "catalog").glob("*.tmp")]
    assert not kept
    again = run_config(config)
    assert (again.batches_done, again.made, again.n_cutouts) == (0, (), first.n_cutouts)
    assert run_config(tmp_path / "catalog" / "config.yaml").batches_done == 0
    before = dict(zip(*Catalog.open(tmp_path / "catalog").vectors(), strict=True))

    add(tiles[3], archive, bands)
    added = run_config(config)
    assert (added.n_images, added.n_failures, added.batches_done) == (4, 0, 1)
    assert added.n_cutouts > first.n_cutouts
    catalog = Catalog.open(tmp_path / "catalog")
    ids, vectors = catalog.vectors()
    assert ids.tolist() == catalog.cutout_ids().tolist()
    assert all(np.array_equal(vector, before.get(i, vector)) for i, vector in zip(ids, vectors, strict=True))

    (new, *_) = [int(i) for i in ids if i not in before]
    labels = {"units": r"unit \d+", "imagenet-lite": r"n\d{8} \S+"}.get(way, r"prototype \d+")
    (described,) = catalog.describe_cutouts([new])
    assert described["labels"]
    assert all(re.fullmatch(labels, label) for label in described["labels"])
    assert vectors.shape[1] == {"imagenet-lite": 1600, "survey": 2304}.get(way, vectors.shape[1])
    for metric in settings.neighbors.metrics:
        found = catalog.neighbors(
            new, 3, metric, allow_overlap=True, explain="jaccard" in settings.neighbors.metrics
        )
        assert len(found) == 3
        assert new not in {row["neighbor_id"] for row in found}
    picture = tmp_path / "picture.png"
    side = (64, 64, 3) if bands else (64, 64)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, side, np.uint8)).save(picture)
    assert len(catalog.neighbors(Query.from_image(picture), k=3, metric=settings.neighbors.metrics[0])) == 3
