"""Check the wheel and the sdist in the folder named first: files, metadata, and a start of the command.

What git tracks of the package must be in both, and nothing else of it. The wheel is installed into an
environment of its own without its dependencies, which come from the interpreter that runs this.
"""

from __future__ import annotations

import email
import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from email.message import Message
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Of the package, what of it is of others, and theirs.
LICENSES = ("LICENSE", "NOTICE", "LICENSES/Apache-2.0.txt", "LICENSES/WordNet-3.0.txt")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def main(folder: Path) -> None:
    """Check both; say what is wrong with code 1."""
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        check_files(wheel.name, archive.namelist())
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        check_metadata(wheel.name, email.message_from_bytes(archive.read(name)))
        folder = name.removesuffix("METADATA") + "licenses/"
        check_licenses(
            wheel.name,
            {each: archive.read(folder + each) for each in LICENSES if folder + each in archive.namelist()},
        )
    with tarfile.open(sdist) as archive:
        names = {each.name.partition("/")[2]: each.name for each in archive if each.isfile()}
        check_files(sdist.name, names)
        if missing := {"README.md", "pyproject.toml", "setup.py", "PKG-INFO"} - set(names):
            raise SystemExit(f"{sdist.name} lacks {', '.join(sorted(missing))}")
        check_licenses(
            sdist.name, {each: content(archive, names[each]) for each in LICENSES if each in names}
        )
        check_metadata(sdist.name, email.message_from_bytes(content(archive, names["PKG-INFO"])))
    start(wheel)
    print(f"{wheel} and {sdist.name} are whole, and elodin-spark starts")


def check_files(what: str, names: Iterable[str]) -> None:
    """Refuse other files of the package than git tracks."""
    listed = subprocess.run(
        ["git", "ls-files", "elodin_spark"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    tracked = set(listed.stdout.splitlines())
    packed = {name for name in names if name.startswith("elodin_spark/") and not name.endswith("/")}
    for problem, files in (("lacks", tracked - packed), ("has besides", packed - tracked)):
        if files:
            raise SystemExit(
                f"{what} {problem} {', '.join(sorted(files))}: see package-data in pyproject.toml"
            )


def content(archive: tarfile.TarFile, name: str) -> bytes:
    """One file of the sdist."""
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


def check_licenses(what: str, found: Mapping[str, bytes]) -> None:
    """Refuse other licenses than those here, of which NOTICE says what they are of."""
    for name in LICENSES:
        if found.get(name) != (ROOT / name).read_bytes():
            raise SystemExit(f"{what} lacks {name}, or has another: see license-files in pyproject.toml")


def check_metadata(what: str, metadata: Message) -> None:
    """Refuse metadata that an index would, or that are not those of pyproject.toml."""
    expected = {
        "Name": PROJECT["name"],
        "Version": PROJECT["version"],
        "Summary": PROJECT["description"],
        "License-Expression": PROJECT["license"],
        "Description-Content-Type": "text/markdown",
    }
    for field, value in expected.items():
        if metadata[field] != value:
            raise SystemExit(f"{what}: {field} is {metadata[field]!r}, not {value!r}")
    extras = set(metadata.get_all("Provides-Extra", []))
    if extras != set(PROJECT["optional-dependencies"]):
        raise SystemExit(f"{what} has the extras {', '.join(sorted(extras))}")
    required = [each for each in metadata.get_all("Requires-Dist", []) if "extra ==" not in each]
    if len(required) != len(PROJECT["dependencies"]):
        raise SystemExit(f"{what} requires {', '.join(required)}")
    if "# elodin_spark" not in str(metadata.get_payload()):
        raise SystemExit(f"{what} does not show the README")


def start(wheel: Path) -> None:
    """Install the wheel alone, and ask its command for help."""
    with tempfile.TemporaryDirectory(prefix="elodin-dist-") as folder:
        venv = Path(folder) / "venv"
        run(sys.executable, "-m", "venv", "--without-pip", str(venv))
        python = str(venv / "bin" / "python")
        pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
        run(*pip, "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel.resolve()))
        others = {"PYTHONPATH": sysconfig.get_path("purelib")}
        code = "import elodin_spark; print(elodin_spark.__file__)"
        module = Path(run(python, "-c", code, cwd=folder, **others).strip())
        if not module.is_relative_to(venv):
            raise SystemExit(f"{module} was imported in place of the wheel")
        said = run(str(venv / "bin" / "elodin-spark"), "--help", cwd=folder, **others)
        if "neighbors" not in said:
            raise SystemExit(f"elodin-spark --help says:\n{said}")


def run(*command: str, cwd: str | None = None, **environment: str) -> str:
    """What a command prints; its errors are shown, and are the end."""
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]))
