"""Ctrl-C ends a run at once, with one line and code 130, whatever it is doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from helpers.limits import HANG_S

from elodin_spark import Catalog
from elodin_spark.config.load import dump_settings
from elodin_spark.exits import STOPPED

pytestmark = pytest.mark.e2e

Moment = Callable[[subprocess.Popen[str], Path], bool]


def packages_are_imported(process: subprocess.Popen[str], catalog: Path) -> bool:
    return "pydantic_core" in Path(f"/proc/{process.pid}/maps").read_text()


def spark_starts(process: subprocess.Popen[str], catalog: Path) -> bool:
    names = {child.name() for child in psutil.Process(process.pid).children(recursive=True)}
    return "java" in names


def a_job_runs(process: subprocess.Popen[str], catalog: Path) -> bool:
    return any((catalog / "tables/cutouts").glob("*"))


def the_index_is_made(process: subprocess.Popen[str], catalog: Path) -> bool:
    return any(folder.is_dir() for folder in (catalog / "products").glob("index-*"))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_ctrl_c_is_one_line_and_code_130_at_any_point_of_a_run(survey, small_settings, tmp_path):
    """One catalog: what was done before the signal stays done, so each moment comes in turn."""
    settings = small_settings(
        survey.tiles[0].parent,
        images={"paths": str(survey.tiles[0].parent), "hdu": "IMAGE"},
        spark={"master": "local[1]"},
    )
    config, catalog = tmp_path / "run.yaml", tmp_path / "catalog"
    config.write_text(dump_settings(settings))
    command = [sys.executable, "-m", "elodin_spark", "run", str(config), "--set", f"catalog={catalog}"]
    moments: tuple[Moment, ...] = (packages_are_imported, spark_starts, a_job_runs, the_index_is_made)
    for moment in moments:
        process = subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        while not moment(process, catalog):
            assert process.poll() is None, f"ended before {moment.__name__}: {process.communicate()[1]}"
            time.sleep(0.005)
        below = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the children too
        out, printed = process.communicate(timeout=HANG_S)
        lines = printed.splitlines()
        assert process.returncode == 130, printed
        assert out == ""
        assert lines[-1] == STOPPED, moment.__name__
        told = [line for line in lines if STOPPED in line or "Error" in line or "Traceback" in line]
        assert told == [STOPPED], moment.__name__
        psutil.wait_procs(below, timeout=HANG_S)
        assert not [child for child in below if child.is_running()], f"{moment.__name__}: left behind"
    subprocess.run(command, check=True, capture_output=True, timeout=HANG_S)
    assert len(Catalog.open(catalog).cutout_ids()) == 100
