"""The first day of a user whose machine goes down again and again."""

from __future__ import annotations

import signal

import pytest
from helpers.firstday import begin, is_whole

pytestmark = pytest.mark.e2e

#: The command line, in a process that is killed as it is about to declare something done.
KILLED = """
import os, signal, sys
from elodin_spark.catalog.storage import store
write, left = store.write_json, int(sys.argv[2])
def write_or_die(path, value):
    global left
    left -= str(path).endswith(sys.argv[1])
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, value)
store.write_json = write_or_die
from elodin_spark.cli.main import run_command
sys.exit(run_command(sys.argv[3:]))
"""
#: What each run dies over, in order, and how often it was written before.
MOMENTS = [
    ("catalog.json", 1),
    ("catalog.json", 2),
    ("commits/000000.json", 1),
    ("products/index.json", 1),
    ("products/projection.json", 1),
    ("products/figures.json", 1),
]


def test_a_run_that_is_killed_in_each_stage_is_taken_up(tmp_path):
    day = begin(tmp_path)
    for moment in MOMENTS:
        killed = day.type(*moment, "run", "mine.yaml", python=("-c", KILLED))
        assert killed.returncode == -signal.SIGKILL, (moment, killed.stdout, killed.stderr)
    done = day.run()
    assert "3 images, 12 cutouts, 0 refused; 0 batches done; made figures" in done.stdout
    is_whole(day.catalog, 3)
