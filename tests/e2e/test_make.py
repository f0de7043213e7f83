"""The Makefile, from a machine with nothing installed to one with everything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import browser
from helpers.limits import HANG_S
from helpers.order import EVERY_DAY, SECONDS
from helpers.paths import ROOT

JAVA_ADVICE = "Install one: 'sudo apt install openjdk-17-jre-headless'"

pytestmark = pytest.mark.e2e


def make(*targets: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    # One stream, because the order of lines is what a user sees.
    return subprocess.run(
        ["make", *targets],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key != "JAVA_HOME"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=HANG_S,
    )


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH with the plain tools of any machine, without Java and Python."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "cat", "cksum", "sed", "head", "make", "rm", "echo"):
        found = shutil.which(name)
        assert found, name
        (tools / name).symlink_to(found)
    return tools


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the Makefile needs of the project, in another folder, without an environment."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "conf", folder / "conf")
    for name in ("Makefile", "setup.py", "pyproject.toml", "README.md"):
        shutil.copy2(ROOT / name, folder)
    return folder


def java_of(folder: Path, version_line: str) -> Path:
    """A JAVA_HOME whose java prints what that version prints."""
    java = folder / "home" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho '{version_line}' >&2\n")
    java.chmod(0o755)
    return java.parents[1]


def test_a_make_that_runs_the_tests_does_not_show_in_what_they_call() -> None:
    inherited = {"MAKEFLAGS": "w", "MAKELEVEL": "1", "VENV": "/none", "DEMO": "/none", "PYTHON": "/none"}
    asked = f"{Path(__file__)}::test_help_lists_every_target_a_user_may_type"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", asked],
        cwd=ROOT,
        env=os.environ | inherited,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=HANG_S,
    )
    assert done.returncode == 0, done.stdout


def test_every_test_is_run_by_test_or_by_test_slow_and_all_by_test_all() -> None:
    asked = {target: make("--dry-run", target).stdout for target in ("test", "test-slow", "test-all")}
    marks = {target: re.findall(r"-m pytest -m (\"not slow\"|slow)", text) for target, text in asked.items()}
    assert marks == {"test": ['"not slow"'], "test-slow": ["slow"], "test-all": ['"not slow"', "slow"]}
    for text in asked.values():
        assert not re.search(r" -k |--deselect|--ignore| tests/", text)
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    expected = ["lint", "dist", "test-all", "docs", "test-petastorm"]
    assert re.findall(r"^(?:exec )?make (.*)$", ci, re.MULTILINE) == expected


def test_files_named_in_the_order_of_tests_are_there() -> None:
    tests = ROOT / "tests"
    for file in {*EVERY_DAY, *SECONDS}:
        assert (tests / file).is_file(), file
    kinds = {file.relative_to(tests).parts[0] for file in tests.rglob("test_*.py")}
    assert {file.split("/")[0] for file in EVERY_DAY} | {"unit", "cluster"} == kinds


def test_help_lists_every_target_a_user_may_type() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split()) - {"java"}
    printed = make().stdout
    assert {line.split()[0] for line in printed.splitlines()} == targets
    assert printed == make("help").stdout


@pytest.mark.parametrize("target", ["demo", "test"])
def test_without_java_the_first_line_says_how_to_get_it(target: str, bare_path: Path, checkout: Path) -> None:
    done = make(target, folder=checkout, PATH=str(bare_path))
    assert done.returncode != 0
    first = done.stdout.splitlines()[0]
    assert first.startswith("Spark needs Java 17 or newer and there is no java on PATH. " + JAVA_ADVICE)
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("version_line", "version"),
    [('openjdk version "11.0.2" 2019-01-15', "11"), ('java version "1.8.0_392"', "8")],
)
def test_an_old_java_is_named_with_its_version(
    version_line: str, version: str, tmp_path: Path, checkout: Path
) -> None:
    home = java_of(tmp_path, version_line)
    done = make("demo", folder=checkout, JAVA_HOME=str(home))
    assert done.returncode != 0
    assert done.stdout.startswith(
        f"Spark needs Java 17 or newer and {home}/bin/java is {version}. {JAVA_ADVICE}"
    )


def test_a_wrong_java_home_is_named(checkout: Path) -> None:
    done = make("demo", folder=checkout, JAVA_HOME="/no/such/java")
    assert done.stdout.startswith(
        "Spark needs Java 17 or newer and there is no java at JAVA_HOME=/no/such/java."
    )


@pytest.mark.parametrize(
    "version_line", ['openjdk version "17.0.15" 2025-04-15', 'openjdk version "25" 2025-09-16']
)
def test_a_new_java_is_passed_over_in_silence(version_line: str, tmp_path: Path) -> None:
    done = make("java", JAVA_HOME=str(java_of(tmp_path, version_line)))
    assert (done.returncode, done.stdout) == (0, "")


def test_without_python_the_first_line_says_how_to_get_it(bare_path: Path, checkout: Path) -> None:
    done = make("venv", folder=checkout, PATH=str(bare_path))
    assert done.returncode != 0
    assert done.stdout.startswith("Python 3.11, 3.12 or 3.13 is needed")
    assert "sudo apt install python3.12" in done.stdout.splitlines()[0]


def test_without_the_python_of_petastorm_the_first_line_says_how_to_get_it(
    tmp_path: Path, bare_path: Path, checkout: Path
) -> None:
    java = java_of(tmp_path, 'openjdk version "17.0.15" 2025-04-15')
    done = make("test-petastorm", folder=checkout, PATH=str(bare_path), JAVA_HOME=str(java))
    assert done.returncode != 0
    assert done.stdout.startswith("Python 3.11 is needed for petastorm")
    assert "sudo apt install python3.11" in done.stdout.splitlines()[0]
    assert not list(checkout.glob(".venv*"))


def python_of(folder: Path, name: str, minor: int) -> None:
    """A Python of that version which cannot make environments."""
    (folder / name).write_text(
        '#!/bin/sh\ncase $2 in "import ensurepip, venv") exit 1 ;; esac\n'
        f'limit=$(echo "$2" | sed "s/.*<= (3, //;s/).*//")\n[ {minor} -ge 11 ] && [ {minor} -le "$limit" ]\n'
    )
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("lock", "there", "taken"),
    [
        ("requirements", {"python3.13": 13, "python3.12": 12, "python3.11": 11}, "python3.12"),
        ("requirements", {"python3.11": 11, "python3.13": 13, "python3": 12}, "python3.13"),
        ("requirements", {"python3.11": 11, "python3": 14}, "python3.11"),
        ("requirements", {"python3": 12}, "python3"),
        ("petastorm", {"python3.12": 12, "python3.11": 11}, "python3.11"),
    ],
)
def test_an_environment_is_made_with_the_python_that_is_preferred(
    lock: str, there: dict[str, int], taken: str, bare_path: Path, checkout: Path
) -> None:
    for name, minor in there.items():
        python_of(bare_path, name, minor)
    done = subprocess.run(
        ["sh", "conf/make-venv.sh", ".venv", f"conf/{lock}.lock"],
        cwd=checkout,
        env={"PATH": str(bare_path)},
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    assert done.returncode == 4
    assert done.stderr.startswith(f"{taken} cannot make environments")


def test_an_environment_that_is_up_to_date_is_left_alone(checkout: Path, bare_path: Path) -> None:
    venv = checkout / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    built_from = 'echo "$(cat conf/requirements.lock pyproject.toml | cksum) $PWD" > .venv/.built-from'
    subprocess.run(["sh", "-c", built_from], cwd=checkout, check=True)
    # Without Python on PATH nothing could be installed.
    done = make("venv", folder=checkout, PATH=str(bare_path))
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    "target",
    [
        "demo",
        "test",
        "test-slow",
        "test-all",
        "test-petastorm",
        "lint",
        "dist",
        "lock",
        "lock-check",
        "figures",
        "clean",
    ],
)
def test_every_target_is_made_of_commands_that_make_understands(target: str) -> None:
    done = make("--dry-run", target)
    assert done.returncode == 0, done.stdout


def test_a_missing_chromium_is_named_and_any_of_its_names_is_taken(bare_path: Path) -> None:
    command = [str(bare_path / "sh"), str(ROOT / "conf" / "check-browser.sh")]

    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env={"PATH": str(bare_path)}, capture_output=True, text=True)

    done = check()
    assert done.returncode == 4
    assert done.stderr.startswith("There is no Chromium on PATH")
    assert "sudo apt install chromium" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    for name in browser.NAMES:
        (bare_path / name).symlink_to("/bin/true")
        assert check().returncode == 0
        (bare_path / name).unlink()
