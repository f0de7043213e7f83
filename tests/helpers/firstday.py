"""Where a user works on the first day, and what must hold of the catalog at any time of it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from elodin_spark import Catalog
from elodin_spark.datasets import simulate
from helpers.limits import HANG_S
from helpers.paths import ROOT

WINDOWS = 4  # of each tile: two in each direction


@dataclass(frozen=True)
class Day:
    """Where a user works: a folder with images, more of them for later, and a configuration."""

    folder: Path
    more: list[Path]

    def type(self, *arguments: object, python: tuple[str, ...] = ("-m", "elodin_spark")) -> Any:
        """Run the command in a process of its own."""
        command = [sys.executable, *python, *map(str, arguments)]
        return subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, timeout=HANG_S, check=False
        )

    def run(self) -> Any:
        """The main job, which must not fail."""
        done = self.type("run", "mine.yaml")
        assert done.returncode == 0, done.stderr
        return done

    @property
    def catalog(self) -> Catalog:
        return Catalog.open(self.folder / "runs" / "mine")


def begin(folder: Path) -> Day:
    """Three tiles in a folder, one beside, and the configuration of the README."""
    (config,) = re.findall(r"cat > mine\.yaml <<'END'\n(.*?)END\n", (ROOT / "README.md").read_text(), re.S)
    (folder / "mine.yaml").write_text(config)
    made = simulate(folder / "made", tiles=4, size_px=336, seed=3)
    (folder / "my_images").mkdir()
    for tile in made.tiles[:3]:
        shutil.move(tile, folder / "my_images")
    return Day(folder, made.tiles[3:])


def is_whole(catalog: Catalog, tiles: int) -> None:
    """Each window of each tile is there once, with a finite vector, and in the index."""
    cutouts, fingerprints = catalog.table("cutouts"), catalog.table("fingerprints")
    assert catalog.table("images").num_rows == tiles
    ids = sorted(cutouts["cutout_id"].to_pylist())
    assert len(set(ids)) == len(ids) == tiles * WINDOWS
    assert sorted(fingerprints["cutout_id"].to_pylist()) == ids == catalog.cutout_ids().tolist()
    assert np.isfinite(catalog.vectors()[1]).all()
    assert catalog.info()["labels"] == "prototypes"
    labels = {label for row in catalog.describe_cutouts(ids) for label in row["labels"]}
    assert labels
    assert all(label.startswith("prototype ") for label in labels)
    assert {path.name for path in catalog.figures()} >= {"map_tsne.png", "sky.png"}
    found = catalog.neighbors(ids[0], k=len(ids), allow_overlap=True)
    assert {row["neighbor_id"] for row in found} == set(ids[1:])
