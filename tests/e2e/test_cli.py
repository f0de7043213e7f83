"""The command line as a new user types it."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.limits import HANG_S

from elodin_spark import Catalog
from elodin_spark.cli.main import run_command
from elodin_spark.config.load import dump_settings
from elodin_spark.schema import ANSWERS

pytestmark = pytest.mark.e2e


def elodin(*arguments: object, timeout: float = HANG_S) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "elodin_spark", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(scope="module")
def transformed(survey, small_settings, tmp_path_factory) -> tuple[Path, Path]:
    """A configuration and the catalog it made."""
    folder = tmp_path_factory.mktemp("cli")
    settings = small_settings(
        survey.tiles[0].parent,
        catalog=str(folder / "catalog"),
        images={"paths": str(survey.tiles[0].parent), "hdu": "IMAGE"},
        spark={"master": "local[1]"},  # one worker, one network to start
    )
    (folder / "run.yaml").write_text(dump_settings(settings))
    done = elodin("run", folder / "run.yaml")
    assert done.returncode == 0, done.stderr
    assert "4 images, 100 cutouts, 0 refused" in done.stdout
    assert "cutting and fingerprinting: 4 of 4 files" in done.stderr
    assert "\r" not in done.stderr, "a log file gets lines, not a bar"
    return folder / "run.yaml", folder / "catalog"


@pytest.fixture(scope="module")
def query(transformed) -> int:
    return int(Catalog.open(transformed[1]).cutout_ids()[0])


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command prints when it runs in this process, which spares seconds of imports."""

    def run(*arguments: object) -> str:
        assert run_command([str(argument) for argument in arguments]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "run",
        "plan",
        "neighbors",
        "cutout",
        "explore",
        "info",
        "remove",
        "compact",
        "simulate",
        "weights pack",
        "weights show",
        "weights compare",
    ],
)
def test_every_command_explains_itself_with_an_example(command, typed):
    shown = typed(*command.split(), "--help")
    assert f"elodin-spark {command}" in shown
    assert "Example:" in shown


def test_neighbors_as_json_csv_and_table_say_the_same(transformed, query, typed):
    as_json = json.loads(elodin("neighbors", transformed[1], query, "-k", 4, "--format", "json").stdout)
    assert [row["rank"] for row in as_json] == [1, 2, 3, 4]
    assert all(list(row) == ANSWERS.names for row in as_json)
    printed = typed("neighbors", transformed[1], query, "-k", 4, "--format", "csv")
    as_csv = list(csv.DictReader(io.StringIO(printed)))
    assert list(as_csv[0]) == ANSWERS.names
    assert [int(row["neighbor_id"]) for row in as_csv] == [row["neighbor_id"] for row in as_json]
    table = typed("neighbors", transformed[1], query, "-k", 4)
    assert all(str(row["neighbor_id"]) in table for row in as_json)
    assert "random weights (seed 1): not trained" in table


def test_neighbors_are_drawn(transformed, query, tmp_path, typed):
    typed("neighbors", transformed[1], query, "--metric", "jaccard", "--plot", tmp_path / "near.png")
    assert (tmp_path / "near.png").read_bytes().startswith(b"\x89PNG")


def test_overlapping_windows_come_back_only_when_allowed(transformed, query, typed):
    def windows(*options: str) -> list[dict[str, Any]]:
        return json.loads(typed("neighbors", transformed[1], query, "-k", 99, "--format", "json", *options))

    assert len(windows("--allow-overlap")) == 99
    assert len(windows()) < 99


def test_info_shows_tables_recipe_and_timings(transformed, typed):
    shown = typed("info", transformed[1])
    for word in (
        "fingerprints",
        "100",
        "random weights (seed 1): not trained",
        "cutting and fingerprinting",
        "refused",
    ):
        assert word in shown
    facts = json.loads(typed("info", transformed[1], "--json"))
    assert facts["tables"]["cutouts"]["rows"] == 100
    assert facts["disk_bytes"] > 100 * 2048 * 4


def test_a_second_run_does_nothing(transformed):
    again = elodin("run", transformed[0])
    assert again.returncode == 0
    assert again.stdout.startswith("nothing to do")


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command in this process; it must fail with code 2 and one clear line."""

    def run(*arguments: object) -> str:
        code = run_command([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert (code, printed.out) == (2, "")
        assert "Traceback" not in printed.err
        return printed.err

    return run


def test_bad_input_is_refused_in_one_clear_line(transformed, query, tmp_path, refused):
    config, catalog = transformed
    new = ("--set", f"catalog={tmp_path / 'new'}")
    (tmp_path / "empty").mkdir()
    empty, gone = tmp_path / "empty", tmp_path / "gone"
    assert f"{empty} holds no image files" in refused("run", config, *new, "--set", f"images.paths={empty}")
    assert str(gone) in refused("run", config, *new, "--set", f"images.paths={gone}")
    assert "did you mean 'cutouts.generator.step'" in refused(
        "run", config, "--set", "cutouts.generator.stepp=3"
    )
    assert "no configuration file" in refused("run", tmp_path / "missing.yaml")
    assert "another recipe" in refused("run", config, "--set", "cutouts.generator.step=16")
    assert "not an empty folder" in refused("run", config, "--set", f"catalog={config.parent}")
    assert "holds no catalog" in refused("neighbors", tmp_path, query)
    assert "holds no catalog" in refused("info", tmp_path / "nowhere")
    assert str(query + 1) in refused("neighbors", catalog, query + 1)
    assert "'k': Input should be greater than or equal to 1" in refused("neighbors", catalog, query, "-k", 0)
    assert "CUTOUT_ID" in refused("neighbors", catalog, "spiral")
    assert "No such command" in refused("neighbours", catalog, query)
    assert not (tmp_path / "new").exists()


def test_create_refuses_a_folder_that_holds_a_catalog(transformed, small_settings, survey):
    from elodin_spark.errors import CatalogError

    with pytest.raises(CatalogError, match="already holds a catalog"):
        Catalog.create(transformed[1], small_settings(survey.tiles[0].parent))


def test_images_smaller_than_the_window_end_with_a_reason(transformed, tmp_path):
    sizes = ("--set", "cutouts.generator.size=500", "--set", "cutouts.generator.step=500")
    done = elodin("run", transformed[0], "--set", f"catalog={tmp_path / 'new'}", *sizes)
    assert done.returncode == 3
    assert "none of 4 images could be used: 4 x smaller_than_window" in done.stderr
