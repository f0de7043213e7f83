"""Text for a terminal: what files and headers say cannot move its cursor, and commands can be pasted."""

from __future__ import annotations

import os
import shlex
import unicodedata


def plain(text: str, lines: bool = False) -> str:
    r"""Text in which all that is not shown as a character is spelled out: ``\x1b`` for an escape.

    Parameters
    ----------
    text : str
    lines : bool, optional
        Keep ends of lines.
    """
    return "".join(
        char if _is_shown(char) or (lines and char == "\n") else _spelled(char) for char in str(text)
    )


def quoted(word: object) -> str:
    """A word of a command as a shell takes it; one with control characters as bash does, ``$'...'``."""
    text = str(word)
    if plain(text) == text:
        return shlex.quote(text)
    shown = set(range(32, 127)) - set(b"'\\")
    inside = (chr(byte) if byte in shown else f"\\x{byte:02x}" for byte in os.fsencode(text))
    return f"$'{''.join(inside)}'"


def command(*words: object) -> str:
    """A command of ``elodin-spark`` that can be pasted."""
    return " ".join(["elodin-spark", *map(quoted, words)])


def _is_shown(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) in ("Zs", "Co", "Cn")


def _spelled(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
