"""The errors elodin_spark raises on purpose.

Every message says what was wrong, where, and what to do about it. Anything else that
escapes is a defect of ours. ``exit_code`` is what the command line and the Spark jobs
return to the shell.
"""

from __future__ import annotations


class ElodinError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class ConfigError(ElodinError):
    """A setting is misspelt, missing or out of range."""

    exit_code = 2


class InputError(ElodinError):
    """The input as a whole cannot be used: a missing path, an empty folder."""

    exit_code = 2


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
