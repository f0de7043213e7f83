"""The quality of fingerprints is measured on sets of any user."""

from __future__ import annotations

import csv
import importlib
import json
import re
import sys
import tracemalloc
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from helpers.benchmarks import result
from helpers.paths import ROOT
from PIL import Image

from elodin_spark.config.pretrain import PretrainSettings
from elodin_spark.errors import ElodinError

pytestmark = pytest.mark.e2e


@pytest.fixture
def benchmark_module(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    sys.modules.pop("quality_recipes", None)


def write_set(folder: Path, each: int = 12) -> None:
    """Disks and bars of random places, 40 px, noise on a dark sky; a CSV of the same, two files an object."""
    rng = np.random.default_rng(0)
    y, x = np.indices((40, 40))
    rows = []
    for label in ("disk", "bar"):
        (folder / label).mkdir(parents=True)
        for i in range(each):
            cy, cx = rng.uniform(15, 25, 2)
            inside = (
                np.hypot(y - cy, x - cx) < 8 if label == "disk" else (abs(y - cy) < 2) & (abs(x - cx) < 14)
            )
            picture = rng.normal(30, 5, (40, 40, 3)) + 150 * inside[..., None]
            Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(folder / label / f"{i}.png")
            rows.append({"file": f"{label}/{i}.png", "label": label, "object": f"{label} {i // 2}"})
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "label", "object"])
        writer.writeheader()
        writer.writerows(rows)


def test_a_folder_and_a_csv_are_scored_by_baselines_and_a_network(tmp_path: Path) -> None:
    write_set(tmp_path / "shapes")
    arguments = [
        *("--set", f"folder={tmp_path / 'shapes'}", "--set", f"csv={tmp_path / 'shapes' / 'labels.csv'}"),
        *("--recipes", "pca", "haralick", "random:0:transform=auto,augmentations=4", "pca:px=16"),
        *("--px", "32", "--top", "3", "--k", "3", "--found", "10", "--cache", str(tmp_path / "cache")),
        *("--figure", str(tmp_path / "scores.svg")),
    ]
    found = result("fingerprint_quality.py", *arguments)
    assert [(row["set"], row["recipe"], row["px"]) for row in found["rows"]] == [
        (name, recipe, px)
        for name in ("folder", "csv")
        for recipe, px in (("pca", 32), ("haralick", 32), ("random:0 4 augmentations", 32), ("pca", 16))
    ]
    assert found["sets"]["csv"] == {"cutouts": 24, "classes": 2}
    for row in found["rows"]:
        for name, score in row["scores"].items():
            least = -1 if name == "over the first" else 0
            assert least <= score["low"] <= score["value"] <= score["high"] <= 1
    network = found["rows"][2]["scores"]
    kinds = ("units", "transformed units", "prototypes")
    assert {f"jaccard {kind} 3" for kind in kinds} <= set(network)
    # Disks and bars are easy.
    assert network["precision"]["value"] > 0.7
    assert "precision" in (tmp_path / "scores.svg").read_text(encoding="utf-8")
    again = result("fingerprint_quality.py", *arguments)
    assert json.dumps(again["rows"]) == json.dumps(found["rows"])


def test_no_picture_is_held_and_recipes_are_timed(
    benchmark_module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, side = 256, 300
    for i in range(count):
        file = tmp_path / "ab"[i % 2] / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        picture = np.full((side, side, 3), i // 2, np.uint8)
        picture[: 12 * (i % 7 + 1), :60] = 200
        Image.fromarray(picture).save(file, compress_level=1)
    quality = benchmark_module("fingerprint_quality")
    recipes = ["pca:px=16", "imagenet-lite:px=32,augmentations=1"]
    given = ["--set", f"mine={tmp_path}", "--recipes", *recipes, "--transforms", "auto", "--k", "3"]
    monkeypatch.setattr(sys, "argv", ["quality", *given, "--found", "8", "--cost", "2"])
    options = quality.parse()
    quality.run(options)  # which builds the network
    tracemalloc.start()
    facts, rows = quality.run(options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.6 * count * side * side * 3
    assert facts["peak, MiB"] > 100
    assert [row["CPU, ms"] > 0 for row in rows] == [True, True]
    assert "CPU, ms" in quality.table_row(rows[1], [])


def test_recipes_are_read_and_misspelt_ones_refused(benchmark_module) -> None:
    recipes = benchmark_module("quality_recipes")
    given = recipes.Recipe.parse("s3://bucket/model.weights.h5:px=96,transform=whiten64+l2,metric=cosine", 64)
    assert (given.source, given.px, given.transform, given.metric, given.name) == (
        "s3://bucket/model.weights.h5",
        96,
        "whiten64+l2",
        "cosine",
        "model.weights.h5",
    )
    assert recipes.Recipe.parse("random:7", 64) == recipes.Recipe("random:7")
    assert recipes.Recipe.parse("https://x.org/m.h5", 32).source == "https://x.org/m.h5"
    for text, wrong in [
        ("random:side=96", "there is no option side"),
        ("random:transform=whitened", "whitened is none of"),
        ("random:metric=l1", "metric is l2 or cosine"),
        ("random:px=many", "px is a whole number"),
        ("random:augmentations=3", "augmentations is 1, 4 or 8"),
        ("random:transform=auto+l2", "auto is a transform by itself"),
    ]:
        with pytest.raises(ElodinError, match=re.escape(wrong)):
            recipes.Recipe.parse(text, 64)


def test_transforms_do_what_their_names_say(benchmark_module) -> None:
    recipes = benchmark_module("quality_recipes")
    vectors = np.random.default_rng(0).gamma(2, [1, 5, 50, 0], (500, 4)).astype(np.float32)

    def transformed(name: str) -> np.ndarray:
        return recipes.fit_transform(recipes.Recipe("random:0", transform=name), vectors, 0)(vectors)

    assert transformed("none") is vectors
    standard = transformed("standardize")
    assert standard.mean(axis=0) == pytest.approx(0, abs=1e-5)
    assert standard.std(axis=0) == pytest.approx([1, 1, 1, 0], abs=1e-5)
    assert np.cov(transformed("whiten3").T) == pytest.approx(np.eye(3), abs=1e-4)
    assert transformed("power") == pytest.approx(np.sqrt(vectors))
    assert np.linalg.norm(transformed("standardize+l2"), axis=1) == pytest.approx(1)
    vectors = np.random.default_rng(0).gamma(2, 1, (50, 2048)).astype(np.float32)  # as long as the network's
    assert transformed("auto") == pytest.approx(transformed("standardize+power"), abs=1e-4)


def test_the_held_third_of_a_set_is_what_a_training_by_the_same_seed_does_not_see(
    benchmark_module, tmp_path: Path
) -> None:
    (tmp_path / "efigi").mkdir()
    rows = [f"{i}.jpg,{'ab'[i % 3 == 0]}" for i in range(27)]
    (tmp_path / "efigi" / "labels.csv").write_text("\n".join(["file,label", *rows]), encoding="utf-8")
    options = Namespace(data=tmp_path, set=[], sets=["efigi-held", "efigi"], limit=None)
    held, whole = benchmark_module("fingerprint_quality").read_sets(options)
    settings = PretrainSettings()
    expected = whole.split(settings.held_out, settings.seed)[1]
    assert (held.name, held.labels) == ("efigi-held", expected.labels)
    assert held.pictures._files == expected.pictures._files
    assert (held.labels.count("a"), held.labels.count("b")) == (6, 3)
