"""Where a file is, by its URI."""

from __future__ import annotations

import re

_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+)://")


def is_remote(uri: str) -> bool:
    """Whether a URI has a scheme other than ``file``."""
    scheme = _SCHEME.match(uri)
    return scheme is not None and scheme.group(1).lower() != "file"
