"""YAML read strictly: nothing that is written is dropped, or means what nobody would guess.

A key given twice, a key that is no text, an alias that unfolds without end and nesting without end are errors
with their line. Plain words follow the core schema of YAML 1.2: ``no`` and ``1:30`` are texts, ``010`` is 10
and ``1e-3`` a number.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

#: Bytes of a file of settings, at most: longer lists of files belong into an ``@list.txt``.
MOST_BYTES = 2**24
#: Sections within sections, at most.
DEEPEST = 40
#: Values that aliases may stand for, together.
MOST_ALIASED = 10_000

_TAG = "tag:yaml.org,2002:"
#: The core schema of YAML 1.2, and the merge key of YAML 1.1, by the characters that a word may begin with.
_WORDS: tuple[tuple[str, str, str], ...] = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("merge", "<<", "<"),
)


class TextError(ValueError):
    """What is wrong with a text, in one line."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # the words below, not those of YAML 1.1

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        if self._depth == DEEPEST:
            raise _at(self.peek_event(), f"is nested more than {DEEPEST} levels deep")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def get_single_node(self) -> Node | None:
        node = super().get_single_node()
        if node is not None:
            _require_bounded(node)
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag == f"{_TAG}merge":
                continue
            if not isinstance(key, ScalarNode):
                raise _at(key, "has a list or a section for a name: a path in brackets needs quotes")
            if key.tag != f"{_TAG}str":
                raise _at(
                    key, f"has {key.value!r} for a name, which YAML reads as no text: put quotes around it"
                )
            line = key.start_mark.line + 1
            if key.value in seen:
                raise _at(key, f"gives {key.value!r} again, after line {seen[key.value]}: keep one of them")
            seen[key.value] = line
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what :class:`_Loader` would not read back as the same text."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


for _name, _pattern, _first in _WORDS:
    for _kind in (_Loader, _Dumper):
        _kind.add_implicit_resolver(
            f"{_TAG}{_name}",
            re.compile(f"(?:{_pattern})\\Z"),
            ["" if letter == "\0" else letter for letter in _first],
        )


def _integer(loader: _Loader, node: Any) -> int:
    text = str(loader.construct_scalar(node))
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    try:
        return int(text[2:] if base != 10 else text, base)
    except ValueError:
        raise _at(node, f"holds {text[:20]!r}..., more digits than any number here has") from None


_Loader.add_constructor(f"{_TAG}int", _integer)


def read_yaml(text: str) -> Any:
    """What a YAML document says; None where it is empty.

    Raises
    ------
    TextError
        It is no YAML, or says something twice, without end, or by a name that is no text.
    """
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        raise TextError(_explain(error)) from None
    except yaml.YAMLError as error:
        raise TextError(f"is no text: {' '.join(str(error).split())[:200]}") from None


def read_value(text: str) -> Any:
    """The value of one setting, as it is given on a command line.

    Lists, sections and quoted texts are YAML. Anything else is taken whole: a plain word for a number,
    ``true``, ``false`` or ``null`` where it reads so, else as a text with all of its ``#``, ``:`` and
    ``@``.

    Raises
    ------
    TextError
        It begins like a list, a section or a quoted text and is none, or goes on after it.
    """
    text = text.strip()
    if not text.startswith(("[", "{", '"', "'")):
        tag = yaml.resolver.BaseResolver.resolve(_Loader(""), ScalarNode, text, (True, False))
        plain = tag in (f"{_TAG}str", f"{_TAG}merge") or any(character in text for character in "\r\n")
        return text if plain else read_yaml(text)
    what = {"[": "a list", "{": "a section"}.get(text[0], "a quoted text")
    try:
        value, rest = read_yaml(text), _comment(text)
    except TextError as error:
        reason = str(error).removeprefix("line 1 ").removeprefix("is not valid YAML: ")
        raise TextError(f"begins like {what} and is none ({reason}): put quotes around a text") from None
    if rest:
        raise TextError(f"is {what} with {rest!r} after it: put quotes around a text")
    return value


def read_file(content: bytes) -> Any:
    """What a YAML file says, by its bytes: UTF-8, or UTF-16 with a byte order mark.

    Raises
    ------
    TextError
        As :func:`read_yaml`, or it is too large, or no text.
    """
    if len(content) > MOST_BYTES:
        raise TextError(
            f"has more than {MOST_BYTES >> 20} MiB, so it is no file of settings; "
            "long lists of images go into a text file: images.paths=@list.txt"
        )
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise TextError(f"is not text in UTF-8 (byte {error.start}): save it as UTF-8") from None
    return read_yaml(text)


def write_yaml(values: Any) -> str:
    """YAML that :func:`read_yaml` reads back unchanged."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _require_bounded(root: Node) -> None:
    """Refuse aliases that lead back to themselves, or stand for more values than :data:`MOST_ALIASED`."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()
    aliased = 0

    def size(node: Node) -> int:
        nonlocal aliased
        if id(node) in open_nodes:
            raise _at(node, "holds itself by an alias")
        if id(node) in sizes:
            aliased += sizes[id(node)]
            if aliased > MOST_ALIASED:
                raise _at(node, f"stands for more than {MOST_ALIASED:,} values by aliases")
            return sizes[id(node)]
        open_nodes.add(id(node))
        below: list[Node] = []
        if isinstance(node, SequenceNode):
            below = node.value
        elif isinstance(node, MappingNode):
            below = [part for pair in node.value for part in pair]
        sizes[id(node)] = 1 + sum(map(size, below))
        open_nodes.discard(id(node))
        return sizes[id(node)]

    size(root)


def _comment(text: str) -> str:
    """What a text of one value has after it: a comment."""
    end = 0
    for token in yaml.scan(text, _Loader):  # type: ignore[arg-type]
        if not isinstance(token, yaml.StreamEndToken | yaml.BlockEndToken):
            end = token.end_mark.index
    return text[end:].strip()


def _at(place: Any, message: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, message, place.start_mark)


def _explain(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return f"is not valid YAML: {error.problem or error.context}"
    where = f"line {mark.line + 1}"
    if type(error) is yaml.MarkedYAMLError:  # one of ours
        return f"{where} {error.problem}"
    if "'\\t'" in str(error.problem):
        return f"{where} is indented with a tab: YAML takes blanks"
    if "expected a single document" in str(error.context):
        return f"{where} begins a second document: keep one"
    problem = str(error.problem)
    if "could not determine a constructor" in problem:
        tag = problem.rpartition("'tag:yaml.org,2002:")[2].rstrip("'") if "yaml.org" in problem else problem
        return f"{where} has the tag {tag.split(' ')[-1]!r}: only texts, numbers, lists and sections are read"
    return f"{where} is not valid YAML: {problem}" + (f", {error.context}" if error.context else "")
