"""The command that compares the networks of the package on an archive."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.shapes import write_shapes

from elodin_spark.cli.main import run_command

pytestmark = pytest.mark.e2e


def test_the_networks_of_the_package_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classes = write_shapes(tmp_path / "images", each=10)
    (tmp_path / "labels.csv").write_text(
        "path,label\n" + "".join(f"{path},{label}\n" for path, label in classes.items())
    )
    config = tmp_path / "mine.yaml"
    config.write_text(
        f"images: {{paths: {tmp_path / 'images'}}}\ncutouts: {{generator: {{kind: full_image}}}}\n"
        "fingerprints: {weights: random:5, input_px: 32}\n"
    )
    arguments = ["weights", "compare", str(config), "--labels", str(tmp_path / "labels.csv")]
    out = tmp_path / "out"
    assert run_command([*arguments, "--sample", "20", "--out", str(out), "--set", "seed=3"]) == 0
    printed = capsys.readouterr()
    facts = json.loads((out / "comparison.json").read_text())
    names = [row["choice"] for row in facts["rows"]]
    assert names == ["survey", "imagenet-lite", "survey + imagenet-lite", "random:5"]
    assert [row["vector_length"] for row in facts["rows"]] == [2304, 1600, 3904, 2048]
    assert facts["seed"] == 3
    for name in names:
        assert f"\n{name} " in printed.out
    assert f"written: {out / 'comparison.png'}" in printed.out
    assert "fingerprinting by imagenet-lite: 120 of 120 windows" in printed.err
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_mistakes_are_told_before_anything_is_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, labels = tmp_path / "mine.yaml", tmp_path / "labels.csv"
    config.write_text(f"images: {{paths: {tmp_path}}}\n")
    labels.write_text("file,label\na.png,lens\n")
    assert run_command(["weights", "compare", str(config), "--labels", str(labels)]) == 2
    assert "no column path or cutout_id" in capsys.readouterr().err
    assert run_command(["weights", "compare", str(config), "--set", "seedd=1"]) == 2
    assert "seedd" in capsys.readouterr().err
    assert run_command(["weights", "compare", str(config), "--out", str(labels)]) == 2
    assert "is a file, and --out takes a folder" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "compare").exists()
