"""One writer at a time."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elodin_spark.errors import CatalogError

log = logging.getLogger(__name__)


@contextmanager
def locked(catalog: Path) -> Iterator[None]:
    """Be the only writer of a catalog; the system releases it when the process dies.

    ``.lock`` in the folder says who writes. What a dead process left in it is taken over.

    Raises
    ------
    CatalogError
        Another process writes, or the file system has no locks.
    """
    file = catalog / ".lock"
    try:
        # A link that somebody put there is not followed: what it leads to would be emptied.
        number = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        handle = os.fdopen(number, "r+", encoding="utf-8")
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise CatalogError(f"{file} is a link, and a lock is none: delete it") from None
        raise CatalogError(f"{catalog} cannot be written: {error.strerror or error}") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise CatalogError(
                    f"{file} cannot be locked ({error.strerror}): put the catalog on a file system "
                    "with locks, or mount this one with them"
                ) from None
            handle.seek(0)
            raise CatalogError(
                f"{catalog} is being written by another run ({handle.read().strip() or 'unknown'}); "
                "wait for it or stop it"
            ) from None
        handle.seek(0)
        if dead := handle.read().strip():
            log.info("%s was writing and did not finish; this run takes over", dead)
        handle.seek(0)
        handle.truncate()
        handle.write(f"process {os.getpid()} on {socket.gethostname()}")
        handle.flush()
        try:
            yield
        finally:
            # By hand: a process that was forked inside still has the file open.
            handle.truncate(0)
            fcntl.flock(handle, fcntl.LOCK_UN)
