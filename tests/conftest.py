"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers import javastart, order
from hypothesis import settings

from elodin_spark.config.load import parse_settings
from elodin_spark.config.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from elodin_spark.datasets import SimulatedSurvey

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
SHARED = ROOT.parent / "shared" / "data"

# What 'make test' hands down, and its variables, are not what a test that calls make itself is about.
_VARIABLES = re.findall(r"^(\w+) \?=", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
for _name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "GNUMAKEFLAGS", "MAKEOVERRIDES", "PYTHON", *_VARIABLES):
    os.environ.pop(_name, None)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that records durations."""
    parser.addoption("--store-durations", action="store_true", help="record seconds in tests/durations.json")


def pytest_configure(config: pytest.Config) -> None:
    """Let Java start quickly: what that takes is made once, by the first run of many processes."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        with tempfile.TemporaryDirectory() as scratch:
            javastart.make_archive(Path(scratch))
    os.environ.setdefault("SPARK_SUBMIT_OPTS", javastart.options())
    if config.getoption("store_durations") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(order.Recorder())


# A loaded machine is no defect: time is measured by benchmarks, never by tests.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def file_of(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).as_posix()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests, and put slow files first; the order within a file, and of all others, stays."""
    for item in items:
        if order.is_slow(file_of(item)):
            item.add_marker("slow")
    items.sort(key=lambda item: order.rank(file_of(item)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images, where they are at hand."""
    if not SHARED.is_dir():
        pytest.skip(f"no real images at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def survey(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSurvey:
    """Four small tiles with known truth; read only."""
    from elodin_spark.datasets import simulate

    return simulate(tmp_path_factory.mktemp("survey") / "small", tiles=4, size_px=192, seed=3)


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """A local session with two cores, as a user on a laptop gets it."""
    from elodin_spark.config.settings import SparkSettings
    from elodin_spark.spark.session import start_session

    session = start_session(SparkSettings(master="local[2]", driver_memory="1g"))
    yield session
    session.stop()


@pytest.fixture(autouse=True)
def _active_session(request: pytest.FixtureRequest) -> None:
    """Make the session the active one again, whichever session an earlier test used last."""
    if "spark" in request.fixturenames:
        request.getfixturevalue("spark").createDataFrame([], "nothing INT")


@pytest.fixture(scope="session")
def small_settings() -> Callable[..., Settings]:
    """Settings of a quick run over some images; sections are merged in."""

    def make(paths: str | Path, **sections: Any) -> Settings:
        values: dict[str, Any] = {
            "images": {"paths": str(paths)},
            "cutouts": {"generator": {"kind": "sliding_window", "size": 64, "step": 32}},
            # Vectors and labels as the network gives them: what is fitted has tests of its own.
            "fingerprints": {
                "weights": "random:1",
                "input_px": 32,
                "batch_size": 16,
                "transform": "none",
                "labels": "units",
            },
            "projection": {"methods": []},
            "spark": {"master": "local[2]"},
        }
        for name, section in sections.items():
            if isinstance(section, dict):
                values[name] = {**values.get(name, {}), **section}
            else:
                values[name] = section
        return parse_settings(values)

    return make
