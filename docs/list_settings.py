"""Write the tables of settings of a page: their defaults, what they may be, and what they mean.

python docs/list_settings.py docs/guide.md docs/learning.md

A table stands between the comments ``settings NAME`` and ``end of settings``, where NAME is a section such as
``images.color``, ``steps``, ``top level``, or ``pretrain``. The prose around the tables is kept.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from elodin_spark.config.base import models_in
from elodin_spark.config.pretrain import PretrainSettings
from elodin_spark.config.settings import STEPS, Length, Settings, Step

BLOCK = re.compile(r"(<!-- settings ([\w. ]+) -->\n).*?(<!-- end of settings -->\n)", re.DOTALL)
#: Blocks that are no section of the settings of a run.
ROOTS: dict[str, type[BaseModel]] = {"top level": Settings, "pretrain": PretrainSettings}
STEPS_BLOCK = "steps"
HEAD = "| setting | default | values | meaning |\n|---|---|---|---|\n"
STEPS_HEAD = "| step | what it does | parameter | default | values | meaning |\n|---|---|---|---|---|---|\n"

#: Where more is written about a setting.
READ_MORE = {
    "images.color": "images_and_cutouts.md#bands-to-color",
    "images.storage": "images_and_cutouts.md#remote-archives",
    "cutouts.generator": "images_and_cutouts.md#where-windows-are-laid",
    "fingerprints.backbone": "fingerprints.md#backbones",
    "fingerprints.weights": "model-card.md",
    "fingerprints.layer": "fingerprints.md#layers",
    "fingerprints.augmentations": "fingerprints.md#test-time-augmentation",
    "fingerprints.networks": "fingerprints.md#several-networks",
    "fingerprints.top_labels": "fingerprints.md#labels",
    "fingerprints.runtime": "fingerprints.md",
    "fingerprints.precision": "fingerprints.md#the-gate",
    "fingerprints.int8.method": "fingerprints.md#int8",
    "fingerprints.int8_model": "fingerprints.md#int8",
    "fingerprints.mode": "fingerprints.md#dense-mode",
    "fingerprints.transform": "fingerprints.md#vector-transform",
    "fingerprints.pca": "fingerprints.md#vectors-stored-small",
    "fingerprints.labels": "fingerprints.md#labels",
    "neighbors.metrics": "neighbors.md#metrics",
    "neighbors.index_config": "neighbors.md",
    "run.repeats_arcsec": "#asking",
    "spark.gpus": "cluster.md#gpus",
}


def page(text: str) -> str:
    """A page with its tables written anew."""
    own = [match[2] for match in BLOCK.finditer(text)]
    return BLOCK.sub(lambda match: f"{match[1]}\n{block(match[2], own)}\n{match[3]}", text)


def block(name: str, own: list[str]) -> str:
    """The tables of one block, as Markdown.

    Parameters
    ----------
    name : str
        Of the block.
    own : list of str
        Sections that have a block of their own, which are not repeated here.
    """
    if name == STEPS_BLOCK:
        return STEPS_HEAD + "".join(f"{line}\n" for line in _steps())
    model, prefix = ROOTS.get(name, Settings), ""
    for part in () if name in ROOTS else name.split("."):
        (model,) = models_in(model.model_fields[part].annotation)
        prefix += f"{part}."
    kinds: list[str] = []
    rows = "".join(f"{line}\n" for line in _rows(model, prefix, own, kinds))
    return HEAD + rows + "".join(kinds)


def _rows(
    model: type[BaseModel], prefix: str, own: list[str], kinds: list[str], of: str = ""
) -> Iterator[str]:
    fields = model.model_fields
    for name in sorted(fields, key=lambda name: name not in model.__annotations__):  # inherited ones last
        field = fields[name]
        path, below = f"{prefix}{name}", models_in(field.annotation)
        if name == "kind" or (path in own and field.is_required() | isinstance(_default(field), BaseModel)):
            continue
        if len(below) == 1 and path not in own:
            several = sum(other.annotation is field.annotation for other in fields.values()) > 1
            yield from _rows(below[0], f"{path}.", own, kinds, f"{field.description}: " if several else "")
            continue
        yield f"| `{path}` | {shown(field)} | {values(field)} | {of}{_meaning(path, field)} |"
        if len(below) > 1:
            kinds += [_of_kind(section, path, own) for section in below]


def _of_kind(section: type[BaseModel], path: str, own: list[str]) -> str:
    nested: list[str] = []
    rows = list(_rows(section, f"{path}.", own, nested))
    head = f"\n`{path}` of `kind: {section.model_fields['kind'].default}`: {summary(section)}"
    if not rows:
        return f"{head} No settings.\n"
    return f"{head}\n\n{HEAD}" + "".join(f"{row}\n" for row in rows) + "".join(nested)


def _steps() -> Iterator[str]:
    for name, model in STEPS.items():
        first = f"`{name}` | {summary(model)}"
        if not model.model_fields:
            yield f"| {first} | none | | | |"
        for parameter, field in model.model_fields.items():
            cells = (first, f"`{parameter}`", shown(field), values(field), field.description or "")
            yield f"| {' | '.join(cells)} |"
            first = "|"


def summary(model: type[BaseModel]) -> str:
    """The first sentence of what is written about a section."""
    return " ".join(inspect.cleandoc(model.__doc__ or "").split("\n\n")[0].split())


def _meaning(path: str, field: FieldInfo) -> str:
    more = f" ([more]({READ_MORE[path]}))" if path in READ_MORE else ""
    return f"{field.description}{more}"


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True)


def shown(field: FieldInfo) -> str:
    """The default of a setting, in words."""
    default = _default(field)
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, BaseModel):
        return str(default.kind)  # type: ignore[attr-defined]
    return default if isinstance(default, str) else json.dumps(default, default=BaseModel.model_dump)


def values(field: FieldInfo) -> str:
    """What a setting may be, in words."""
    limits = {name: getattr(item, name) for item in field.metadata for name in _LIMITS if hasattr(item, name)}
    return _words(field.annotation, limits)


_LIMITS = ("ge", "gt", "le", "lt", "pattern")


def _words(annotation: Any, limits: dict[str, Any]) -> str:
    args = get_args(annotation)
    if annotation == Length:
        return "1 to 16384 px, or an angle"
    if hasattr(annotation, "__metadata__"):
        found = FieldInfo.from_annotation(annotation)
        if models_in(annotation):
            return _words(args[0], limits)
        return values(found)
    if get_origin(annotation) is Literal:
        return _or([f"`{json.dumps(arg) if not isinstance(arg, str) else arg}`" for arg in args])
    if get_origin(annotation) is tuple:
        if args[-1] is Ellipsis:
            return f"list of {_several(args[0])}"
        return f"{len(args)} {_several(args[0])}"
    if get_origin(annotation) is dict:
        return f"names to {_several(args[1])}"
    if args:  # a union
        return _or(list(dict.fromkeys(_words(arg, limits) for arg in args if arg is not type(None))))
    if annotation is bool:
        return "`true` or `false`"
    if annotation in (int, float):
        return _number("whole number" if annotation is int else "number", limits)
    if annotation is Step:
        return "step"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if "kind" in annotation.model_fields:
            return f"`{annotation.model_fields['kind'].default}`"
        return f"section of {_or([f'`{name}`' for name in annotation.model_fields], 'and')}"
    if annotation is str:
        return f"text of the form `{limits['pattern']}`" if "pattern" in limits else "text"
    return "value"


def _several(annotation: Any) -> str:
    return re.sub(r"\b(text|number|list|step|value|section)\b", r"\1s", _words(annotation, {}))


def _number(word: str, limits: dict[str, Any]) -> str:
    low = [f"from {_short(limits['ge'])}"] if "ge" in limits else []
    low += [f"above {_short(limits['gt'])}"] if "gt" in limits else []
    high = [f"to {_short(limits['le'])}"] if "le" in limits else []
    high += [f"below {_short(limits['lt'])}"] if "lt" in limits else []
    return " ".join([word, *low, *high])


def _short(value: float) -> str:
    return f"{value:d}" if isinstance(value, int) else f"{value:g}"


def _or(words: list[str], last: str = "or") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def main() -> None:
    """Write the pages; see the module."""
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    for file in map(Path, sys.argv[1:]):
        file.write_text(page(file.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
