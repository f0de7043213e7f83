"""The first day of a user, who sets what the README sets and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from limits import HANG_S

from elodin_spark import Catalog
from elodin_spark.cli import run_command
from elodin_spark.simulate import simulate

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
WINDOWS = 4  # of each tile: two in each direction
#: The command line, in a process that is killed as it is about to declare something done.
KILLED = """
import os, signal, sys
from elodin_spark.catalog import store
write, left = store.write_json, int(sys.argv[2])
def write_or_die(path, value):
    global left
    left -= str(path).endswith(sys.argv[1])
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, value)
store.write_json = write_or_die
from elodin_spark.cli import run_command
sys.exit(run_command(sys.argv[3:]))
"""
#: What each run dies over, in order, and at the how manieth time: the catalog, the finish, a batch, products.
MOMENTS = [
    ("catalog.json", 1),
    ("catalog.json", 2),
    ("commits/000000.json", 1),
    ("products/index.json", 1),
    ("products/projection.json", 1),
    ("products/figures.json", 1),
]


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


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    folder = tmp_path_factory.mktemp("day")
    (config,) = re.findall(r"cat > mine\.yaml <<'END'\n(.*?)END\n", (ROOT / "README.md").read_text(), re.S)
    (folder / "mine.yaml").write_text(config)
    made = simulate(folder / "made", tiles=4, size_px=336, seed=3)
    (folder / "my_images").mkdir()
    for tile in made.tiles[:3]:
        shutil.move(tile, folder / "my_images")
    return Day(folder, made.tiles[3:])


@pytest.fixture
def ask(day: Day, monkeypatch, capsys) -> Callable[..., list[dict[str, Any]]]:
    """What ``neighbors`` answers, in this process."""

    def run(*arguments: object) -> list[dict[str, Any]]:
        monkeypatch.chdir(day.folder)
        typed = ["neighbors", "runs/mine", *map(str, arguments), "-k", "3", "--format", "json"]
        assert run_command(typed) == 0, capsys.readouterr().err
        answer: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
        return answer

    return run


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
    assert {row["cutout_id"] for row in found} == set(ids[1:])


def test_a_run_that_is_killed_in_each_stage_is_taken_up(day: Day):
    for moment in MOMENTS:
        killed = day.type(*moment, "run", "mine.yaml", python=("-c", KILLED))
        assert killed.returncode == -signal.SIGKILL, (moment, killed.stdout, killed.stderr)
    done = day.run()
    assert "3 images, 12 cutouts, 0 refused; 0 batches done; made figures" in done.stdout
    is_whole(day.catalog, 3)


def test_a_second_run_has_nothing_to_do(day: Day):
    before = {path: path.stat().st_mtime_ns for path in (day.folder / "runs").rglob("*.*") if path.is_file()}
    assert day.run().stdout == "nothing to do: 3 images, 12 cutouts, 0 refused\n"
    after = {path: path.stat().st_mtime_ns for path in (day.folder / "runs").rglob("*.*") if path.is_file()}
    assert {path for path in before if path.name != ".lock" and before[path] != after.get(path)} == set()
    planned = day.type("plan", "mine.yaml", "--headers-only")
    assert planned.returncode == 0, planned.stderr


def test_files_that_are_added_are_worked_on_alone(day: Day):
    ids, before = day.catalog.vectors()
    for tile in day.more:
        shutil.move(tile, day.folder / "my_images")
    done = day.run()
    assert "4 images, 16 cutouts, 0 refused; 1 batch done; made index, projection, figures" in done.stdout
    assert "3 of 4 files are in the catalog already" in done.stderr
    is_whole(day.catalog, 4)
    assert np.array_equal(day.catalog.vectors(ids.tolist())[1], before), "made once, with one finish"


def test_neighbors_are_found_in_every_way_there_is_to_ask(day: Day, ask):
    catalog = day.catalog
    row = catalog.table("cutouts").sort_by("cutout_id").to_pylist()[5]
    query, others = row["cutout_id"], set(catalog.cutout_ids().tolist()) - {row["cutout_id"]}
    by_id = ask(query)
    vectors = dict(zip(catalog.vectors()[0].tolist(), catalog.vectors()[1].astype(float), strict=True))
    for found in by_id:
        apart = np.linalg.norm(vectors[query] - vectors[found["cutout_id"]])
        assert found["distance"] == pytest.approx(apart, rel=1e-4)
    assert {found["cutout_id"] for found in ask(query, "--metric", "jaccard")} <= others
    assert [found["cutout_id"] for found in ask("--position", row["ra"], row["dec"])] == [
        found["cutout_id"] for found in by_id
    ]
    np.save(day.folder / "vector.npy", vectors[query].astype(np.float32))
    (nearest, *_) = ask("--vector", "vector.npy")
    assert (nearest["cutout_id"], nearest["distance"]) == (query, pytest.approx(0, abs=1e-3))
    (image,) = [each for each in catalog.table("images").to_pylist() if each["image_id"] == row["image_id"]]
    with fits.open(day.folder / "my_images" / image["path"]) as file:
        whole = file[image["hdu"]].data
    # Of the whole image the stretch of the window is made; one of the window alone is a little another.
    fits.writeto(day.folder / "window.fits", whole[row["y0"] : row["y1"], row["x0"] : row["x1"]])
    assert len(ask("--image", "window.fits")) == 3
    kept = ask(query, "--where", f"path <> '{image['path']}'")
    assert kept
    assert image["path"] not in {found["image"] for found in kept}


def test_what_is_removed_is_gone_and_compacting_keeps_the_rest(day: Day):
    gone = day.catalog.table("images").to_pylist()[0]["path"]
    assert day.type("remove", "runs/mine", "--image", gone).returncode == 0
    assert len(day.catalog.cutout_ids()) == 3 * WINDOWS
    compacted = day.type("compact", "runs/mine")
    assert compacted.returncode == 0, compacted.stderr
    assert "dropped 9 rows of tables and 4 vectors of the index" in compacted.stdout
    day.run()
    is_whole(day.catalog, 3)
    assert day.run().stdout.startswith("nothing to do: 3 images, 12 cutouts")


def test_a_plan_of_a_finished_catalog_is_one_of_what_is_left(day: Day):
    planned = day.type("plan", "mine.yaml", "--json")
    assert planned.returncode == 0, planned.stderr
    facts = json.loads(planned.stdout)
    assert (facts["files"], facts["files_left"]) == (4, 0)
    shown = day.type("info", "runs/mine")
    assert shown.returncode == 0, shown.stderr
    assert "prototypes" in shown.stdout
    assert "unit" not in shown.stdout
