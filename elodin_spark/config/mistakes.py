"""What is wrong with settings, by the names that were typed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ValidationError

from elodin_spark.config.base import models_in, parts_of
from elodin_spark.errors import ElodinError

#: Sections that may hold secrets: their values are never shown.
_SECRET = ("images.storage", "fingerprints.weights_storage")
_LONGEST_SHOWN = 120
#: Before the settings that each network has.
_OF_NETWORK = re.compile(
    r"\bfingerprints(?=\.(weights|backbone|weights_sha256|input_px|layer|augmentations|int8_model)\b)"
)
#: What pydantic says of a value of another form, and what it means in YAML.
_FORMS = {
    "tuple_type": "Input should be a list, such as [a, b]",
    "model_type": "Input should be a section, such as {name: value}",
    "model_attributes_type": "Input should be a section, such as {name: value}",
    "dict_type": "Input should be a section, such as {name: value}",
}


class Known(NamedTuple):
    """A setting that exists.

    Attributes
    ----------
    path : str
        Dotted, as it is typed.
    kind : str or None
        Of the section it belongs to, where that is of several kinds.
    """

    path: str
    kind: str | None


@contextmanager
def of_network(number: int) -> Iterator[None]:
    """Let what is wrong with one network of ``fingerprints`` be told by the names of its own settings.

    Parameters
    ----------
    number : int
        0: the first, whose settings are those of the section; else that of a further one, from 1.
    """
    try:
        yield
    except ElodinError as error:
        own = f"fingerprints.networks.{number - 1}"
        if number and own not in str(error):
            said = _OF_NETWORK.sub(own, str(error))
            error.args = (said if said.startswith(own) else f"{own}: {said}",)
        raise


def explain(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """Every mistake in one line.

    Parameters
    ----------
    error : ValidationError
    model : type
        Of the settings.
    prefix : str, optional
        Dotted path of the model in what was typed.
    """
    found: dict[str, list[Any]] = {}
    for item in error.errors():
        names = [item["ctx"]["name"]] if item["type"] == "of_setting" else []
        path = ".".join(filter(None, [prefix, *_typed(item["loc"], model), *names]))
        found.setdefault(path, []).append(item)
    # A union reports each form that it might have had: only what is wrong deepest within is meant.
    deepest = {path: items for path, items in found.items() if not _is_above(path, found)}
    return "; ".join(_explain(path, items, model, prefix) for path, items in deepest.items())


def known_settings(model: type[BaseModel], prefix: str = "", kind: str | None = None) -> Iterator[Known]:
    """Every setting and section below a model."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        yield Known(path, kind)
        below = models_in(field.annotation)
        for section in below:
            yield from known_settings(section, f"{path}.", _kind(section) if len(below) > 1 else None)


def _is_above(path: str, found: Mapping[str, object]) -> bool:
    return bool(path) and any(other.startswith(f"{path}.") for other in found)


def _explain(path: str, items: Sequence[Any], model: type[BaseModel], prefix: str) -> str:
    item = items[0]
    if item["type"] == "extra_forbidden":
        return f"unknown key {path!r}: {_meant(item['loc'], path, model, prefix)}"
    if item["type"] == "missing":
        return f"{path!r} is missing"
    message = " or ".join(dict.fromkeys(_message(item) for item in items))
    if path == prefix:  # a rule about several of them
        return f"{path!r}: {message}" if prefix else message
    if path.startswith(_SECRET):
        return f"{path!r}: {message}"
    got = repr(item["input"].get(item["ctx"]["name"]) if item["type"] == "of_setting" else item["input"])
    got = got if len(got) <= _LONGEST_SHOWN else f"{got[:_LONGEST_SHOWN]}..."
    return f"{path!r}: {message} (got {got})"


def _message(item: Any) -> str:
    if item["type"] == "union_tag_invalid":
        return f"unknown kind {item['ctx']['tag']!r}: one of {item['ctx']['expected_tags']}"
    if item["type"] in _FORMS:
        return _FORMS[item["type"]]
    return " ".join(str(item["msg"]).removeprefix("Value error, ").split())


def _meant(location: Sequence[int | str], path: str, model: type[BaseModel], prefix: str) -> str:
    name, parent = _plain(str(location[-1])), path.removesuffix(str(location[-1]))
    siblings = [
        parent + field for section in _sections_at(location[:-1], model) for field in section.model_fields
    ]
    everywhere = list(known_settings(model, f"{prefix}." if prefix else ""))
    if kinds := [known.kind for known in everywhere if known.path == path and known.kind]:
        return f"it goes with kind: {' or '.join(dict.fromkeys(kinds))}"
    same_name = dict.fromkeys(known.path for known in everywhere if _plain(_last(known.path)) == name)
    ratio, nearest = max(((_likeness(name, _last(known)), known) for known in siblings), default=(0.0, ""))
    if ratio >= (0.75 if same_name else 0.6):
        return f"did you mean {nearest!r}?"
    if same_name:
        return f"did you mean {' or '.join(map(repr, same_name))}?"
    paths = {_plain(known.path): known.path for known in everywhere}
    if close := difflib.get_close_matches(_plain(path), paths, n=1, cutoff=0.7):
        return f"did you mean {paths[close[0]]!r}?"
    return f"one of {', '.join(sorted(siblings))}"


def _likeness(name: str, known: str) -> float:
    """From 0 to 1; what is the beginning of a name is likely meant."""
    ratio = difflib.SequenceMatcher(None, name, _plain(known)).ratio()
    return max(ratio, 0.7) if len(name) > 2 and _plain(known).startswith(name) else ratio


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _typed(location: Sequence[int | str], model: type[BaseModel]) -> Iterator[str]:
    """Without the names of kinds and of types that a union tried."""
    annotations: list[Any] = [model]
    for part in location:
        below, is_name = _step(annotations, part)
        if is_name:
            yield str(part)
        annotations = below


def _sections_at(location: Sequence[int | str], model: type[BaseModel]) -> list[type[BaseModel]]:
    annotations: list[Any] = [model]
    for part in location:
        annotations, _ = _step(annotations, part)
    return [section for annotation in annotations for section in models_in(annotation)]


def _step(annotations: list[Any], part: int | str) -> tuple[list[Any], bool]:
    """What is below a part of a location, and whether that part was typed."""
    forms = [form for annotation in annotations for form in parts_of(annotation) if form is not type(None)]
    sections = [section for annotation in annotations for section in models_in(annotation)]
    if isinstance(part, int):
        return [
            arg
            for form in forms
            if get_origin(form) in (tuple, list)
            for arg in get_args(form)
            if arg is not ...
        ], True
    of_kind = [section for section in sections if part == _kind(section)]
    if of_kind and len(sections) > 1:
        return list(of_kind), False
    fields = [section.model_fields[part].annotation for section in sections if part in section.model_fields]
    if fields:
        return fields, True
    values = [get_args(form)[1] for form in forms if get_origin(form) is dict]
    if values:
        return values, True
    # A misspelt name, or the name of a type that a union tried.
    return ([], True) if sections and len(sections) == len(forms) else (annotations, False)


def _kind(section: type[BaseModel]) -> Any:
    return section.model_fields["kind"].default if "kind" in section.model_fields else None
