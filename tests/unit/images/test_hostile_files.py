"""Damaged, deceptive and odd files: each has its windows or its failure, and none does harm."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import hostile
from helpers.limits import HANG_S
from helpers.paths import ROOT

#: What each deceptive file is refused for; the others are cut.
REFUSED = {
    "jpeg-named.fits": "not_fits",
    "fits-named.jpg": "unreadable",
    "fits-named.png": "unreadable",
    "text-named.fits": "not_fits",
    "text-named.png": "unreadable",
    "gz-of-gz.fits.gz": "not_fits",
    "gz-of-nothing.fits.gz": "not_fits",
    "noise.fits": "not_fits",
    "noise.jpg": "unreadable",
    "huge.fits": "truncated",
    "beyond.fits": "too_large",
    "negative.fits": "unreadable",
    "huge.fits.fz": "unreadable",
    "zero-tiles.fits.fz": "unreadable",
    "bomb.fits.gz": "truncated",
    "bomb.png": "too_large",
    "unreadable.fits": "no_permission",
}
CUT = {"png-named.tif", "plain-named.fits.gz", "plain-named.fits.fz", "gz-named.fits"}
#: A process that has imported everything takes about 170 MiB.
MOST_MIB = 400


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What came of each file, in a process that a crash, a hang or a bomb would take down."""
    folder = tmp_path_factory.mktemp("hostile")
    hostile.write_all(folder, flips=6)
    folder.chmod(0o755)
    return cut_all(folder)


def cut_all(folder: Path) -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "helpers" / "hostile.py"), str(folder)],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["path"]: row for row in rows}


def test_good_files_and_odd_names_are_cut(outcomes: dict[str, dict[str, Any]]) -> None:
    for path in [*hostile.good_files(), *hostile.ODD_NAMES, *CUT]:
        assert outcomes[path]["windows"] == 9, path
        assert outcomes[path]["failures"] == []


def test_deceptive_files_are_refused_for_what_they_are(outcomes: dict[str, dict[str, Any]]) -> None:
    kinds = {path: [failure["kind"] for failure in outcomes[path]["failures"]] for path in REFUSED}
    assert kinds == {path: [kind] for path, kind in REFUSED.items()}
    assert hostile.deceptive().keys() == (REFUSED.keys() | CUT) - {"unreadable.fits"}


def test_a_file_that_ends_early_is_never_cut(outcomes: dict[str, dict[str, Any]]) -> None:
    cut = {path: row for path, row in outcomes.items() if path.startswith("cut")}
    assert len(cut) == 10 * len(hostile.good_files())
    assert [path for path, row in cut.items() if row["windows"] or len(row["failures"]) != 1] == []
    empty = [row["failures"][0]["kind"] for path, row in cut.items() if path.startswith("cut0-")]
    assert set(empty) == {"empty_file"}


def test_every_refusal_says_why(outcomes: dict[str, dict[str, Any]]) -> None:
    for path, row in outcomes.items():
        assert row["windows"] or row["failures"], path
        for failure in row["failures"]:
            assert failure["uri"].endswith(path)
            assert len(failure["message"]) > 15
            assert failure["kind"].isidentifier()


def test_links_pipes_and_devices_are_refused_for_what_they_are(outcomes: dict[str, dict[str, Any]]) -> None:
    words = {
        "round.fits": "leads back to itself",
        "dangling.fits": "leads nowhere",
        "endless.fits": "pipe or device",
        "pipe.fits": "pipe or device",
    }
    for path, said in words.items():
        (failure,) = outcomes[path]["failures"]
        assert said in failure["message"]
    assert "folder.fits" not in outcomes
    assert not any(path.startswith("loop/") for path in outcomes)


def test_memory_stays_bounded(outcomes: dict[str, dict[str, Any]]) -> None:
    assert max(row["peak_mib"] for row in outcomes.values()) < MOST_MIB


def test_damaged_files_of_real_instruments_do_no_harm(shared_data: Path, tmp_path: Path) -> None:
    hostile.write_damaged(tmp_path, shared_data / "fits", flips=3)
    outcomes = cut_all(tmp_path)
    assert len(outcomes) == 41 * 13
    assert [path for path, row in outcomes.items() if not (row["windows"] or row["failures"])] == []
    # Tenths of this file lie between two HDUs, where what is left is a whole file.
    between = {f"cut{tenth}-test0.fits" for tenth in (4, 6, 8)}
    assert {path for path, row in outcomes.items() if path.startswith("cut") and row["windows"]} == between
    assert max(row["peak_mib"] for row in outcomes.values()) < MOST_MIB
