"""Every command of the README, in its order, in a copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.limits import HANG_S
from helpers.paths import ROOT

from elodin_spark.datasets import simulate

README = (ROOT / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.cluster]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose .venv is the running environment, and the reader's images in it.

    The environment is not built again: that it is up to date is what its note says.
    """
    folder = tmp_path_factory.mktemp("readme") / "elodin_spark"
    for name in ("conf", "jobs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "README.md", "setup.py", "pyproject.toml"):
        shutil.copy2(ROOT / name, folder)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(BIN)
    built_from = 'echo "$(cat conf/requirements.lock pyproject.toml | cksum) $PWD" > .venv/.built-from'
    subprocess.run(["sh", "-c", built_from], cwd=folder, check=True)
    simulate(folder / "my_images", tiles=2, size_px=340, seed=5)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a reader's shell holds after ``source .venv/bin/activate``."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYSPARK", "SPARK"))}
    return inherited | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        # A machine of one's own: its name need not resolve.
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(tmp_path_factory.mktemp("scratch")),
    }


@pytest.fixture(scope="module")
def spark_master(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A standalone master with one worker, from the classes of the pyspark package."""
    folder = tmp_path_factory.mktemp("standalone")
    port = free_port()
    url = f"spark://127.0.0.1:{port}"
    own = ["--host", "127.0.0.1", "--webui-port", "0"]
    commands = {
        "Master": ["master.Master", *own, "--port", str(port)],
        # Sized like a small node: the job asks for what conf/spark-defaults.conf says.
        "Worker": ["worker.Worker", *own, "--cores", "2", "--memory", "10g", "--work-dir", str(folder), url],
    }
    started = []
    try:
        for name, (kind, *arguments) in commands.items():
            log = (folder / f"{name}.log").open("w")
            command = [str(BIN / "spark-class"), f"org.apache.spark.deploy.{kind}", *arguments]
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT))
        deadline = time.monotonic() + HANG_S
        while "Registering worker" not in (folder / "Master.log").read_text(encoding="utf-8"):
            logs = "\n".join(file.read_text(encoding="utf-8") for file in folder.glob("*.log"))
            assert time.monotonic() < deadline, f"the worker did not reach the master:\n{logs}"
            assert all(process.poll() is None for process in started), f"no cluster:\n{logs}"
            time.sleep(0.3)
        yield url
    finally:
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            process.wait(HANG_S)


def run(block: tuple[str, str], folder: Path, environment: dict[str, str]) -> str:
    language, text = block
    command = ["bash", "-euo", "pipefail", "-c", text] if language == "bash" else [sys.executable, "-c", text]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=HANG_S,
    )  # fmt: skip
    assert done.returncode == 0, f"{text}\n--- output\n{done.stdout}\n--- errors\n{done.stderr}"
    return done.stdout


def page_of(text: str, folder: Path, environment: dict[str, str]) -> str:
    """What the server of a command shows at its address, until Ctrl-C."""
    # In place of a browser, which would stay.
    environment = environment | {"BROWSER": "true"}
    started = subprocess.Popen(
        ["bash", "-c", f"exec {text.strip()}"], cwd=folder, env=environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        assert started.stdout is not None
        said = []
        for line in started.stdout:
            said.append(line)
            if found := re.search(r"http://[\d.:]+", line):
                with urllib.request.urlopen(found[0], timeout=HANG_S) as answer:
                    page = answer.read().decode()
                started.send_signal(signal.SIGINT)
                break
        else:
            pytest.fail(f"{text}\n--- output\n{''.join(said)}")
    finally:
        started.terminate()
        started.communicate(timeout=HANG_S)
    return page


def test_the_readme_shows_no_command_that_is_not_run_here() -> None:
    fences = re.findall(r"^```(\w*)$", README, re.MULTILINE)
    assert [fence for fence in fences if fence] == [language for language, _ in BLOCKS]
    assert len(BLOCKS) >= 7


def test_every_command_of_the_readme_runs_in_its_order(
    checkout: Path, environment: dict[str, str], request: pytest.FixtureRequest
) -> None:
    printed = {}
    for block in BLOCKS:
        text = block[1]
        if text.strip() == "make test":
            # In earnest it would start this very test again, without an end.
            printed["test"] = run(("bash", "make --dry-run test"), checkout, environment)
            continue
        if "SPARK_MASTER" in text:
            # Started only now, so that it does not slow down what comes before.
            environment = environment | {"SPARK_MASTER": request.getfixturevalue("spark_master")}
            printed["cluster"] = run(block, checkout, environment)
            continue
        if text.startswith("elodin-spark explore"):
            printed["page"] = page_of(text, checkout, environment)
            continue
        printed[text.split("\n")[0]] = run(block, checkout, environment)

    assert "pytest" in printed["test"]
    assert "explorer" in printed["page"]
    assert "holds" in printed["make demo"]  # its neighbors, held against the truth
    for kind in ("spirals?", "edge-on disks?", "lens(?:es)?", "satellite trails?"):
        assert re.search(
            rf"^\d+ of 10 (?:is|are) (?:an? )?{kind}; \d+% of all cutouts are$", printed["make demo"], re.M
        )
    assert len(list((checkout / "demo" / "figures").glob("*.png"))) >= 5
    assert (checkout / "demo" / "figures" / "demo.png").read_bytes().startswith(b"\x89PNG")
    for figure in ("similar.png", "similar_jaccard.png"):
        assert (checkout / figure).read_bytes().startswith(b"\x89PNG")
    local, clustered = (checkout / "runs" / name for name in ("mine", "cluster"))
    assert "images, " in printed["cluster"]
    assert ids(clustered) == ids(local)


def ids(catalog: Path) -> list[int]:
    from elodin_spark import Catalog

    found = Catalog.open(catalog).cutout_ids().tolist()
    assert found
    return found
