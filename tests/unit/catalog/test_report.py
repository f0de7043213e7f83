"""Images without a position on the sky: a column, and one line of a run, a plan and ``info``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from helpers.smallcatalog import tables, write_catalog
from PIL import Image

from elodin_spark.catalog.build.run import RunReport
from elodin_spark.catalog.catalog import Catalog
from elodin_spark.catalog.report import SkyCounts, info_text, network_lines, sky_lines
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.load import parse_settings
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.planning.plan import plan_config
from elodin_spark.planning.report import plan_text
from elodin_spark.provenance import make_recipe
from elodin_spark.stage import run_plain

SKY = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0,
    "CRPIX1": 20.0, "CRPIX2": 20.0,
    "CD1_1": -1e-4, "CD2_2": 1e-4,
}  # fmt: skip
#: File to its cards, the reason and the note.
FILES: dict[str, tuple[dict[str, Any], str | None, str | None]] = {
    "good.fits": (SKY, None, None),
    "none.fits": ({}, "there is no WCS in the header", None),
    "none2.fits": ({"OBJECT": "M 1"}, "there is no WCS in the header", None),
    "earth.fits": (
        SKY | {"CTYPE1": "TLON-CAR", "CTYPE2": "TLAT-CAR"}, "TLON and TLAT are places on the Earth", None,
    ),
    "other.fits": (SKY | {"RADESYS": "OTHER"}, None, "the frame OTHER is not known, taken as ICRS"),
    "two.fits": (
        SKY | {"RADESYS": "GAPPT", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-6, "NDRIZIM": 3},
        None,
        "the frame GAPPT is not known, taken as ICRS; "
        "SIP cards left out, as CTYPE does not say SIP and the mosaic is rectified (NDRIZIM)",
    ),
}  # fmt: skip
LINES = [
    "4 of 7 images have no position on the sky: 2 x there is no WCS in the header; "
    "1 x TLON and TLAT are places on the Earth; 1 x the picture has no metadata (AVM)",
    "assumed of the WCS of images: 1 x the frame OTHER is not known, taken as ICRS; "
    "1 x the frame GAPPT is not known, taken as ICRS; "
    "1 x SIP cards left out, as CTYPE does not say SIP and the mosaic is rectified (NDRIZIM)",
]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sky")
    for name, (cards, _, _) in FILES.items():
        fits.PrimaryHDU(np.ones((40, 40), np.float32), fits.Header(list(cards.items()))).writeto(
            folder / name
        )
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(folder / "picture.png")
    (folder / "broken.fits").write_bytes(b"nothing")  # refused, so not counted
    return folder


@pytest.fixture(scope="module")
def described(archive: Path) -> pa.Table:
    return run_plain(DescribeSpec(), files_to_batches(list_files([str(archive)])))


def test_the_columns_say_why(described: pa.Table) -> None:
    rows = {row["path"]: row for row in described.to_pylist()}
    for name, (_, reason, note) in FILES.items():
        assert (rows[name]["no_sky_reason"], rows[name]["sky_note"]) == (reason, note)
        assert (rows[name]["wcs"] is None) == (reason is not None)
    assert rows["picture.png"]["no_sky_reason"] == "the picture has no metadata (AVM)"


def sorted_words(lines: list[str]) -> list[list[str]]:
    """Lines whose items of equal count may come in any order."""
    return [sorted(line.replace(": ", "; ", 1).split("; ")) for line in lines]


def test_counts_in_two_lines(described: pa.Table) -> None:
    facts = SkyCounts().add(described.slice(0, 3)).add(described.slice(3)).facts()
    assert facts["images"] == 7
    assert sorted_words(sky_lines(facts)) == sorted_words(LINES)
    assert sky_lines(SkyCounts().add(described.slice(0, 0)).facts()) == []


def test_a_run_and_info_say_it(described: pa.Table, tmp_path: Path) -> None:
    rows = tables(images=7, across=2)
    used = [row for row in described.to_pylist() if row["status"] == "ok"]
    for image, row in zip(rows["images"], used, strict=True):
        image |= {name: row[name] for name in ("no_sky_reason", "sky_note")}
    catalog = write_catalog(tmp_path / "catalog", rows)
    facts = catalog.info()
    shown = info_text(facts).splitlines()
    assert sorted_words([line for line in shown if "position on the sky" in line or "assumed" in line]) == (
        sorted_words(LINES)
    )
    report = RunReport(7, 28, 0, 1, (), 1.0, facts["sky"])
    assert sorted_words(report.text().splitlines()[1:]) == sorted_words(LINES)
    assert RunReport(7, 28, 0, 1, (), 1.0).text().count("\n") == 0


def test_a_plan_says_it(archive: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        f"images: {{paths: {archive}}}\ncutouts: {{generator: {{kind: sliding_window, size: 16}}}}\n"
    )
    facts = plan_config(config, sample=0)
    assert facts["sky"]["images"] == 7
    shown = [line.removeprefix("sky").strip() for line in plan_text(facts).splitlines()]
    assert sorted_words([line for line in shown if "position on" in line or "assumed" in line]) == (
        sorted_words(LINES)
    )


def test_networks_are_told_with_what_they_see_and_their_factors(tmp_path: Path) -> None:
    further = {"weights": "random:2", "backbone": "mobilenet", "input_px": 48, "factor": 0.7}
    chosen = {"weights": "survey", "augmentations": 4, "transform": "standardize", "networks": [further]}
    settings = parse_settings({"images": {"paths": "/data"}, "fingerprints": chosen})
    recipe = make_recipe(settings, "survey", "1" * 64, joined=[("random:2", "2" * 64, None)])
    layer = settings.fingerprints.layer
    lines = [
        f"ResNet50 of survey: 64 px, layer {layer}, augmentations 4, factor 1",
        "MobileNet of random:2: 48 px, augmentations 1, factor 0.7",
    ]
    assert network_lines(recipe) == lines
    weights = Weights("survey", "/w", "1" * 64, "resnet50")
    store = Store.create(tmp_path / "joined", settings, recipe, weights, "/data")
    catalog = Catalog(store, settings, weights)
    assert f"networks   {lines[0]}\n           {lines[1]}\n" in info_text(catalog.info())
    assert all(line in catalog._repr_html_() for line in lines)
    alone = parse_settings({"images": {"paths": "/data"}, "fingerprints": {"weights": "random:1"}})
    assert network_lines(make_recipe(alone, "random:1", "1" * 64)) == [
        "ResNet50 of random:1: 224 px, augmentations 1"
    ]
    assert network_lines({"fingerprints": {"backbone": "resnet50", "weights": "w", "mode": "dense"}}) == [
        "ResNet50 of w: mode dense, augmentations 1"
    ]
