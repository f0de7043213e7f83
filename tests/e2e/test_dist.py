"""Wheel and sdist hold the package, and the command starts from the wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers.limits import HANG_S
from helpers.paths import ROOT

pytestmark = pytest.mark.e2e


def run(*command: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, timeout=HANG_S)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both, of the files that git tracks."""
    folder = tmp_path_factory.mktemp("dist")
    tree = folder / "tree"
    tree.mkdir()
    archive = run("git", "ls-files", folder=ROOT).stdout.splitlines()
    for name in archive:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes((ROOT / name).read_bytes())
    made = run(
        sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", tree, folder=folder
    )
    assert made.returncode == 0, made.stderr
    return folder / "dist"


def test_they_are_whole_and_the_command_starts(dist: Path) -> None:
    done = run(sys.executable, ROOT / "conf" / "check_dist.py", dist, folder=ROOT)
    assert done.returncode == 0, done.stderr
    assert "elodin-spark starts" in done.stdout


def test_a_wheel_without_its_weights_is_refused(dist: Path, tmp_path: Path) -> None:
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    (tmp_path / sdist.name).write_bytes(sdist.read_bytes())
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(tmp_path / wheel.name, "w") as holed:
        for name in whole.namelist():
            if not name.startswith("elodin_spark/weights/"):
                holed.writestr(name, whole.read(name))
    done = run(sys.executable, ROOT / "conf" / "check_dist.py", tmp_path, folder=ROOT)
    assert done.returncode == 1
    assert "lacks elodin_spark/weights/" in done.stderr
