"""Folders and files named as nobody should: brackets, colons, blanks, percent signs, hashes, quotes."""

from __future__ import annotations

import csv
import io

import pytest

from elodin_spark import Catalog
from elodin_spark.cli.main import run_command
from elodin_spark.config.yamltext import write_yaml
from elodin_spark.datasets import simulate

pytestmark = pytest.mark.spark

#: What shells, globs, URIs, YAML and Hadoop read as something else, in names of folders and images.
ODD = "a [b] {c,d} 50%25 #1: x? *y, 'z' = @é"


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, str]]:
    capsys.readouterr()
    assert run_command(["neighbors", *arguments, "-k", "3", "--format", "csv"]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_a_catalog_of_odd_paths_is_made_grown_and_asked(spark, tmp_path, monkeypatch, capsys) -> None:
    place = tmp_path / ODD
    images, catalog, config = place / f"images {ODD}", place / f"catalog {ODD}", place / f"config {ODD}.yaml"
    images.mkdir(parents=True)
    monkeypatch.setenv("ELODIN_CACHE", str(place / "cache"))
    tiles = simulate(tmp_path / "survey", tiles=3, size_px=128, seed=5).tiles
    for number, tile in enumerate(tiles[:2]):
        (images / f"{number} {ODD}.fits").write_bytes(tile.read_bytes())
    settings = {
        "catalog": str(catalog),
        "images": {"paths": str(images), "root": str(place)},
        "cutouts": {"generator": {"size": 32, "step": 32}},
        "fingerprints": {"weights": "random:1", "input_px": 32, "pca": 4, "labels": "prototypes"},
        "projection": {"methods": []},
        "run": {"figures": False},
    }
    config.write_text(write_yaml(settings), encoding="utf-8")

    assert run_command(["run", str(config)]) == 0
    assert len(Catalog.open(catalog).cutout_ids()) == 32
    assert run_command(["run", str(config)]) == 0  # nothing to do
    (images / f"2 {ODD}.fits").write_bytes(tiles[2].read_bytes())
    assert run_command(["run", str(config)]) == 0  # appended
    made = Catalog.open(catalog)
    assert len(made.cutout_ids()) == 48
    assert sorted(made.table("images").column("path").to_pylist()) == [
        f"images {ODD}/{number} {ODD}.fits" for number in range(3)
    ]

    cutout = made.cutout_ids()[0]
    by_id = ask(capsys, str(catalog), str(cutout), "--plot", str(place / f"figure {ODD}.png"))
    assert len(by_id) == 3
    assert (place / f"figure {ODD}.png").stat().st_size > 0
    assert len(ask(capsys, str(catalog), "--at", f"2 {ODD}.fits:5,5")) == 3
    by_image = ask(capsys, str(catalog), "--image", str(images / f"1 {ODD}.fits"))
    assert len(by_image) == 3
