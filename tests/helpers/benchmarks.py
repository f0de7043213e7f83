"""Benchmarks run as programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from helpers.limits import HANG_S
from helpers.paths import ROOT


def result(program: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / program, *arguments, "--json"],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert {"cpu", "cores", "python", "OPENBLAS_CORETYPE"} <= set(found["machine"])
    assert {"machine", "settings", "rows"} <= set(found)
    return found
