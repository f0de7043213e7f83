"""Where a file is, by its URI."""

from __future__ import annotations

import re

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
