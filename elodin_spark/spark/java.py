"""Finding the Java that Spark runs on, and saying how to get one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from elodin_spark.errors import MissingDependencyError

#: Spark 4 needs at least this.
MINIMUM_JAVA = 17

HOW_TO_GET = (
    "Install one: 'sudo apt install openjdk-17-jre-headless' (Debian, Ubuntu), "
    "'sudo dnf install java-17-openjdk-headless' (Fedora, Rocky), 'brew install openjdk@17' (macOS), "
    "or 'conda install -c conda-forge openjdk=17'; then set JAVA_HOME if 'java' is not on PATH."
)


def java_version(text: str) -> int | None:
    """Major version from what ``java -version`` prints; None where it names none.

    >>> java_version('openjdk version "17.0.15" 2025-04-15')
    17
    >>> java_version('java version "1.8.0_392"')
    8
    """
    match = re.search(r'version "(\d+)(?:\.(\d+))?', text)
    if match is None:
        return None
    major = int(match.group(1))
    return int(match.group(2) or 0) if major == 1 else major


def check_java() -> str:
    """Return the path of a Java that Spark can use.

    Raises
    ------
    MissingDependencyError
        There is none, or it is older than :data:`MINIMUM_JAVA`; the message says how to
        get one.
    """
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None or not Path(java).exists():
        where = f"at JAVA_HOME={home}" if home else "on PATH"
        raise MissingDependencyError(
            f"Spark needs Java {MINIMUM_JAVA} or newer and there is no java {where}. {HOW_TO_GET}"
        )
    printed = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    version = java_version(printed.stderr + printed.stdout)
    if version is None or version < MINIMUM_JAVA:
        raise MissingDependencyError(
            f"Spark needs Java {MINIMUM_JAVA} or newer and {java} is {version or 'of unknown version'}. "
            f"{HOW_TO_GET}"
        )
    return java
