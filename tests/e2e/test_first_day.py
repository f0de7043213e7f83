"""The first day of a user, who sets what the README sets and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from helpers.firstday import WINDOWS, Day, begin, is_whole

from elodin_spark.cli.main import run_command

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    return begin(tmp_path_factory.mktemp("day"))


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


def test_the_first_run_makes_all_there_is(day: Day):
    done = day.run()
    assert "3 images, 12 cutouts, 0 refused; 1 batch done; made index, projection, figures" in done.stdout
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
    assert np.array_equal(day.catalog.vectors(ids.tolist())[1], before), "made once, with one transform"


def test_neighbors_are_found_in_every_way_there_is_to_ask(day: Day, ask):
    catalog = day.catalog
    row = catalog.table("cutouts").sort_by("cutout_id").to_pylist()[5]
    query, others = row["cutout_id"], set(catalog.cutout_ids().tolist()) - {row["cutout_id"]}
    by_id = ask(query)
    vectors = dict(zip(catalog.vectors()[0].tolist(), catalog.vectors()[1].astype(float), strict=True))
    for found in by_id:
        apart = np.linalg.norm(vectors[query] - vectors[found["neighbor_id"]])
        assert found["distance"] == pytest.approx(apart, rel=1e-4)
    assert {found["neighbor_id"] for found in ask(query, "--metric", "jaccard")} <= others
    assert [found["neighbor_id"] for found in ask("--position", row["ra"], row["dec"])] == [
        found["neighbor_id"] for found in by_id
    ]
    np.save(day.folder / "vector.npy", vectors[query].astype(np.float32))
    (nearest, *_) = ask("--vector", "vector.npy")
    assert (nearest["neighbor_id"], nearest["distance"]) == (query, pytest.approx(0, abs=1e-3))
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
