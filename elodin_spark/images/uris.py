"""Where a file is and of what kind, by its name."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from elodin_spark.errors import InputError

#: Extensions read as FITS, before an extension of :data:`COMPRESSIONS`.
FITS_EXTENSIONS = (".fits", ".fit", ".fts", ".ftz", ".img")
#: Extensions that may follow one of :data:`FITS_EXTENSIONS`.
COMPRESSIONS = (".fz", ".gz", ".bz2", ".xz")
#: Extensions read as pictures.
RASTER_EXTENSIONS = (".jpg", ".jpeg", ".png", ".tif", ".tiff")

_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+)://")


def is_remote(uri: str) -> bool:
    """Whether a URI has a scheme other than ``file``."""
    scheme = _SCHEME.match(uri)
    return scheme is not None and scheme.group(1).lower() != "file"


def public(uri: str) -> str:
    """A URI as it may be shown: without a password, and without what follows ``?``."""
    if not is_remote(uri):
        return uri
    scheme, _, rest = uri.partition("://")
    if scheme.lower() in ("http", "https") and "?" in rest:  # of S3 it is part of a name, or a wildcard
        rest = rest.partition("?")[0] + "?..."
    host, slash, path = rest.partition("/")
    user, at, name = host.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}{at}{name}{slash}{path}"


def has_password(uri: str) -> bool:
    """Whether a URI holds a password, as in ``https://user:password@host/``."""
    if not is_remote(uri):
        return False
    user, at, _ = uri.partition("://")[2].partition("/")[0].rpartition("@")
    return bool(at) and ":" in user


def local_path(uri: str) -> str:
    """Path on this machine of a path or ``file://`` URI.

    Raises
    ------
    InputError
        The URI has another scheme or names another host.
    """
    scheme = _SCHEME.match(uri)
    if scheme is None:
        return uri
    if scheme.group(1).lower() != "file":
        raise InputError(
            f"{uri}: {scheme.group(1)}:// cannot be read; copy or mount the files and give a local path"
        )
    parts = urlsplit(uri.replace("?", "%3F").replace("#", "%23"))
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"{uri} names the host {parts.netloc!r}; a local file is file:///folder/name")
    return unquote(parts.path, errors="surrogateescape")


def is_fits(path: str) -> bool:
    """Whether the name has an extension that is read as FITS."""
    name = path.lower()
    while name.endswith(COMPRESSIONS):  # .fits.fz.gz
        name = name.rpartition(".")[0]
    return name.endswith(FITS_EXTENSIONS)


def is_raster(path: str) -> bool:
    """Whether the name has an extension that is read as a picture."""
    return path.lower().endswith(RASTER_EXTENSIONS)
