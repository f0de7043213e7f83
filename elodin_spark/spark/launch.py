"""What the JVM prints while it starts, before Spark's own logging can be told to be quiet."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Notices of Java and Hadoop that tell an astronomer nothing and cannot be turned off.
NOTICES = re.compile(
    rb"WARNING: Using incubator modules: .*|.*NativeCodeLoader.*|Using Spark's default log4j profile: .*"
    rb"|Setting default log level to .*|To adjust logging level use .*"
    rb"|WARNING: .*(?:sun\.misc\.Unsafe|restricted method|enable-native-access|will be blocked in a future).*"
    rb"|WARNING: Please consider reporting this to the maintainers .*"
)


@contextmanager
def quiet_launch() -> Iterator[None]:
    """Leave :data:`NOTICES` out of what a program started inside writes to standard error.

    The program writes to a pipe for as long as it lives; a thread passes on every other line.
    """
    try:
        kept = os.dup(2)
    except OSError:  # no standard error
        yield
        return
    reading, writing = os.pipe()
    sys.stderr.flush()
    os.dup2(writing, 2)
    os.close(writing)
    threading.Thread(target=_pass_on, args=(reading, os.dup(kept)), name="jvm-stderr", daemon=True).start()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


def _pass_on(reading: int, writing: int) -> None:
    with os.fdopen(reading, "rb") as lines, os.fdopen(writing, "wb", buffering=0) as out:
        for line in lines:
            if not NOTICES.fullmatch(line.rstrip(b"\r\n")):
                out.write(line)
