"""The errors elodin_spark raises on purpose.

Every message says what was wrong, where, and what to do about it. Anything else that
escapes is a defect of ours. ``exit_code`` is what the command line and the Spark jobs
return to the shell.
"""

from __future__ import annotations

import errno
import importlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from elodin_spark.redaction import without_secrets


class ElodinError(Exception):
    """Base of all errors raised on purpose; its message holds no secret of a remote store.

    Examples
    --------
    >>> from elodin_spark import ElodinError, load_config
    >>> try:
    ...     load_config("nowhere.yaml")
    ... except ElodinError as error:
    ...     print(error, error.exit_code)
    no configuration file at nowhere.yaml 2
    """

    exit_code = 1

    def __init__(self, *args: object) -> None:
        super().__init__(*(without_secrets(arg) if isinstance(arg, str) else arg for arg in args))


class ConfigError(ElodinError):
    """A setting is misspelt, missing or out of range."""

    exit_code = 2


class InputError(ElodinError):
    """The input as a whole cannot be used: a missing path, an empty folder."""

    exit_code = 2


#: Advice at the end of messages on files of an archive; it is none for a file that is asked with.
LEAVE_OUT = "; leave the file out of images.paths"


class ImageError(ElodinError):
    """One image cannot be read or cut; it becomes a row of the ``failures`` table.

    Parameters
    ----------
    message : str
        What was wrong with the image.
    kind : str, optional
        Short machine-readable reason, the ``kind`` column of ``failures``.
    """

    def __init__(self, message: str, kind: str = "unreadable") -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str]]:
        return (type(self), (str(self), self.kind))


class NoSkyError(ElodinError):
    """An image has no position on the sky; the message is the column ``no_sky_reason`` of ``images``."""


class WeightsError(ElodinError):
    """Network weights cannot be found, downloaded or do not fit the backbone."""

    exit_code = 2


class CatalogError(ElodinError):
    """A catalog is missing, damaged, busy, or was made by another recipe."""

    exit_code = 2


class UnknownCutoutError(CatalogError):
    """A cutout ID that the catalog does not hold."""


class TooManyFailuresError(ElodinError):
    """More inputs failed than ``run.max_failures`` allows."""

    exit_code = 3


class MissingDependencyError(ElodinError):
    """A program or package that this step needs is not installed."""

    exit_code = 4


#: The extra of pyproject.toml that brings a package.
EXTRAS = {
    "aiohttp": "http",
    "anywidget": "notebooks",
    "galsim": "simulate",
    "jax": "jax",
    "keras": "cpu",
    "mahotas": "texture",
    "mocpy": "moc",
    "nncf": "openvino",
    "openvino": "openvino",
    "playwright": "browser",
    "pyavm": "pictures",
    "reproject": "color",
    "s3fs": "s3",
    "sep": "sources",
    "skimage": "equalize",
    "starlette": "explore",
    "tensorflow": "cpu",
    "tifffile": "pictures",
    "torch": "torch",
    "uvicorn": "explore",
}


def missing_extra(
    packages: str | Sequence[str], needed_by: str, *, instead: str = "", error: ImportError | None = None
) -> MissingDependencyError:
    """The error that names the extra to install.

    Parameters
    ----------
    packages : str or sequence of str
        What is lacking, or several of which one would do; the extra is that of the first.
    needed_by : str
        As for :func:`import_extra`.
    instead : str, optional
        What to do instead.
    error : ImportError, optional
        It is told where it says more than that the package is not there.
    """
    names = [packages] if isinstance(packages, str) else list(packages)
    lacking = error.name if isinstance(error, ModuleNotFoundError) else None
    absent = error is None or (lacking or "").partition(".")[0] in names
    return MissingDependencyError(
        f"{needed_by} needs {' or '.join(names)}{'' if absent else f' ({error})'}: "
        f"pip install 'elodin_spark[{EXTRAS[names[0]]}]'{f', or {instead}' if instead else ''}"
    )


def import_extra(module: str, needed_by: str, *, instead: str = "") -> Any:
    """Import a module of one of :data:`EXTRAS`.

    Parameters
    ----------
    module : str
        Such as ``skimage.exposure``.
    needed_by : str
        What needs it, as a user knows it: the start of the message.
    instead : str, optional
        What to do instead: the end of the message.

    Returns
    -------
    module

    Raises
    ------
    MissingDependencyError
        It is not installed, or is broken.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing_extra(module.partition(".")[0], needed_by, instead=instead, error=error) from error


class ResourceError(ElodinError):
    """Memory or a disk ran out; what was committed is kept."""


_DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded")
#: What Spark says of a Python worker whose process is gone, and of an executor that was killed.
_KILLED = re.compile(
    r"Python worker exited unexpectedly|Python worker process terminated|exited with code 137|exit code:? 137"
    r"|Container killed by|OOMKilled"
)
_HEAP = re.compile(r"java\.lang\.OutOfMemoryError|Java heap space|GC overhead limit exceeded")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_GO_ON = "then run the same command again: what is committed is kept"


def resource_error(error: BaseException) -> ResourceError | None:
    """What ran out, where an error or what caused it says so; None where it says nothing of the kind."""
    if isinstance(error, ElodinError):
        return None
    chain = list(_causes(error))
    text = "\n".join(str(link) for link in chain)
    full = [link for link in chain if isinstance(link, OSError) and link.errno in _NO_ROOM]
    if full or _DISK_FULL.search(text):
        place = next((f" ({link.filename})" for link in full if link.filename), "")
        return ResourceError(
            f"a disk is full{place}: free some space where the catalog lies and where Spark keeps its "
            f"temporary files ({tempfile.gettempdir()}, or spark.conf.spark.local.dir), {_GO_ON}"
        )
    if _KILLED.search(text):
        return ResourceError(
            "a Python worker of Spark was killed: out of memory? Each of them holds a network and an image. "
            "Take fewer at once (spark.master=local[2]; on a cluster fewer spark.executor.cores or more "
            "spark.executor.memoryOverhead), or less in each (fingerprints.batch_size), "
            f"as 'elodin-spark plan' works out; {_GO_ON}"
        )
    if _HEAP.search(text):
        return ResourceError(f"the heap of Spark's JVM is too small: raise spark.driver_memory, {_GO_ON}")
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
