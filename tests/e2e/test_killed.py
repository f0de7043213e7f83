"""A run that is killed goes on where it stopped and ends with the same rows."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.limits import HANG_S

from elodin_spark import Catalog
from elodin_spark.config.load import dump_settings

pytestmark = pytest.mark.e2e

COMMAND = [sys.executable, "-m", "elodin_spark", "run"]


@pytest.fixture(scope="module")
def config(survey, small_settings, tmp_path_factory) -> Path:
    settings = small_settings(
        survey.tiles[0].parent,
        images={"paths": str(survey.tiles[0].parent), "hdu": "IMAGE"},
        spark={"master": "local[1]"},  # one worker, one network to start
        projection={"methods": ["tsne"], "perplexity": 5},
        run={"batch_images": 1},
    )
    file = tmp_path_factory.mktemp("config") / "run.yaml"
    file.write_text(dump_settings(settings))
    return file


def command(config: Path, catalog: Path) -> list[str]:
    return [*COMMAND, str(config), "--set", f"catalog={catalog}"]


@pytest.fixture(scope="module")
def undisturbed(config, tmp_path_factory) -> Catalog:
    folder = tmp_path_factory.mktemp("undisturbed") / "catalog"
    subprocess.run(command(config, folder), check=True, timeout=HANG_S)
    return Catalog.open(folder)


def second_batch_is_written(catalog: Path) -> bool:
    return (catalog / "commits/000000.json").exists() and any((catalog / "tables/cutouts").glob("000001-*"))


def index_is_being_made(catalog: Path) -> bool:
    return any(folder.is_dir() for folder in (catalog / "products").glob("index-*"))


def maps_are_being_made(catalog: Path) -> bool:
    return any(folder.is_dir() for folder in (catalog / "products").glob("projection-*"))


@pytest.mark.parametrize("moment", [second_batch_is_written, index_is_being_made, maps_are_being_made])
def test_a_killed_run_ends_like_an_undisturbed_one(
    config: Path, undisturbed: Catalog, moment: Callable[[Path], bool], tmp_path: Path
):
    folder = tmp_path / "catalog"
    process = subprocess.Popen(command(config, folder), start_new_session=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + HANG_S
    while not moment(folder):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "products/figures.json").exists()
    second = subprocess.run(
        command(config, folder), check=True, capture_output=True, text=True, timeout=HANG_S
    )
    assert_equal(Catalog.open(folder), undisturbed)
    if moment is second_batch_is_written:
        assert "files are in the catalog already" in second.stderr
    third = subprocess.run(
        command(config, folder), check=True, capture_output=True, text=True, timeout=HANG_S
    )
    assert "nothing to do" in third.stdout
    named = [entry.name for entry in (folder / "products").iterdir() if entry.is_dir()]
    assert sorted(name.split("-")[0] for name in named) == ["examples", "figures", "index", "projection"], (
        named
    )


def assert_equal(ours: Catalog, theirs: Catalog) -> None:
    for table, key in (("images", "image_id"), ("cutouts", "cutout_id"), ("fingerprints", "cutout_id")):
        assert ours.table(table).sort_by(key).equals(theirs.table(table).sort_by(key)), table
    query = int(theirs.cutout_ids()[7])
    for metric in ("l2", "jaccard"):
        assert ours.neighbors(query, metric=metric) == theirs.neighbors(query, metric=metric)
    for mine, other in zip(ours.figures(), theirs.figures(), strict=True):
        assert mine.read_bytes() == other.read_bytes(), mine.name
