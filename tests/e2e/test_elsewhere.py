"""Some tests of each kind, as on plainer machines: fewer instructions, LANG=C, no home, no data beside."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from helpers.limits import HANG_S
from helpers.paths import ROOT

from elodin_spark.fingerprints.runtimes.cpu import BEYOND, cpu_flags

pytestmark = pytest.mark.e2e

FILES = ("fingerprints/runtimes/test_network.py", "test_foundation.py", "images/test_raster.py")


@pytest.mark.parametrize("isa", ["AVX2", "AVX512_CORE", "AVX512_CORE_BF16"])
def test_some_of_each_kind_pass_on_a_plainer_machine(isa: str) -> None:
    beyond = sorted(flag for flag in cpu_flags() if flag.startswith(BEYOND[isa]))
    if isa != "AVX2" and not beyond:
        pytest.skip(f"this CPU has nothing beyond {isa}")
    done = subprocess.run(
        ["sh", "conf/test-elsewhere.sh", sys.prefix, "-q", *(f"tests/unit/{file}" for file in FILES)],
        cwd=ROOT,
        env=os.environ | {"ISA": isa},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert re.search(r"\d+ passed", done.stdout)
