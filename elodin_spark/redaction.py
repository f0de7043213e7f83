"""Secrets of remote stores, kept out of every message.

Libraries repeat what they were given in the texts of their errors. The secrets among the options of a store
are remembered, in each process that opens it, before they are used; every error of ours, the lines of the log
and what the command line prints are written without them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

#: Names of options of remote stores that hold secrets.
SECRET_NAMES = re.compile(r"secret|passw|token|key|credential|sas|auth|headers|cookie", re.IGNORECASE)
#: Characters of a secret, at least: to take a shorter one out would take words out of messages.
SHORTEST = 6
HIDDEN = "[secret]"

_known: set[str] = set()


def remember_secrets(options: Mapping[str, Any]) -> None:
    """Remember what is secret among the options of a remote store, for :func:`without_secrets`."""
    for name, value in options.items():
        if SECRET_NAMES.search(name):
            _remember(value)
        elif isinstance(value, Mapping):
            remember_secrets(value)


def _remember(value: object) -> None:
    if isinstance(value, str) and len(value) >= SHORTEST:
        _known.update((value, quote(value, safe="")))
    elif isinstance(value, Mapping):
        for below in value.values():
            _remember(below)
    elif isinstance(value, list | tuple):
        for below in value:
            _remember(below)


def without_secrets(text: str) -> str:
    """A text without the secrets that this process remembers."""
    for secret in sorted(_known, key=len, reverse=True):  # one may be part of another
        text = text.replace(secret, HIDDEN)
    return text
