"""Scripts that ask many questions end as they should."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.limits import HANG_S
from helpers.paths import ROOT
from helpers.smallcatalog import tables, write_catalog

SCRIPT = """
import sys
from elodin_spark import Catalog
catalog = Catalog.open(sys.argv[1])
ids = catalog.vectors()[0].tolist()
for number in range(80):
    catalog.neighbors(ids[number % len(ids)], 3)
"""


def test_scripts_that_ask_many_questions_at_once_all_end_well(tmp_path: Path) -> None:
    write_catalog(tmp_path / "catalog", tables(6, 5))
    # Several, so that threads of one wait for the others when it ends.
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "catalog")]
    asked = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(5)]
    ended = [(script.communicate(timeout=HANG_S)[1], script.returncode) for script in asked]
    assert [code for _, code in ended] == [0] * 5, [said for said, _ in ended]


@pytest.mark.parametrize("file", sorted((ROOT / "elodin_spark").rglob("*.py")), ids=lambda file: file.stem)
def test_ids_are_given_to_filters_of_arrow_in_memory_of_its_own(file: Path) -> None:
    found = re.findall(r"field\([^\n]*\)\.isin\((?!paths\))", file.read_text(encoding="utf-8"))
    assert len(found) == (file.name == "rowfilter.py")
