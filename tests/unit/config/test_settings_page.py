"""The guide has every setting with what it may be, made from the code."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import yaml
from helpers.paths import ROOT
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from elodin_spark.config.base import models_in
from elodin_spark.config.feed import FeedSettings
from elodin_spark.config.mistakes import known_settings
from elodin_spark.config.pretrain import PretrainSettings, Stretch
from elodin_spark.config.settings import STEPS, Settings

GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([\w.]+)` \| ([^|\n]*) \| ([^|\n]*) \| ([^|\n]+) \|$", re.MULTILINE)
#: What a description says where the name ends so.
UNITS = {
    "_px": ("px", "pixels"),
    "_arcsec": ("arcsec",),
    "_gb": ("GB",),
    "_sigma": ("noise",),
    "mjd": ("d,",),
}


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("list_settings", ROOT / "docs" / "list_settings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for below in models_in(field.annotation):
            yield from models(below)


MODELS = dict.fromkeys([*models(Settings), *STEPS.values(), FeedSettings, PretrainSettings, Stretch])


@pytest.mark.parametrize("page", ["guide.md", "learning.md"])
def test_the_page_is_what_the_code_says(program: ModuleType, page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert "<!-- settings " in text
    assert program.page(text) == text, "run: python docs/list_settings.py docs/guide.md docs/learning.md"


def test_every_setting_that_can_be_typed_has_a_row() -> None:
    """Those that hold others are rows or headings of their own."""
    known = {known.path for known in known_settings(Settings)}
    below = {path for path in known if any(other.startswith(f"{path}.") for other in known)}
    rows = {row[0] for row in ROW.findall(GUIDE)}
    assert rows <= known
    assert {path for path in known - below - rows if not path.endswith(".kind")} == set()
    for path in ("cutouts.generator.catalog", "cutouts.generator.min_area_px", "images.color.stretch.q"):
        assert path in rows


def test_every_kind_of_a_section_is_described() -> None:
    kinds = {model.model_fields["kind"].default for model in MODELS if "kind" in model.model_fields}
    assert len(kinds) > 8
    assert {kind for kind in kinds if f"of `kind: {kind}`: " not in GUIDE} == set()


def test_defaults_are_those_of_the_code() -> None:
    defaults: dict[str, list[Any]] = {}
    for path, default in default_of(Settings):
        defaults.setdefault(path, []).append(default)
    rows = [(path, yaml.safe_load(default)) for path, default, _, _ in ROW.findall(GUIDE)]
    assert len(rows) > 90
    assert [(path, default) for path, default in rows if default not in defaults[path]] == []


def default_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        default = default.model_dump().get("kind") if isinstance(default, BaseModel) else default
        yield (
            f"{prefix}{name}",
            "required" if default is PydanticUndefined else json.loads(json.dumps(default)),
        )
        for below in models_in(field.annotation):
            yield from default_of(below, f"{prefix}{name}.")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("seed", "whole number from 0 below 2147483648"),
        ("images.mjd", "2 numbers"),
        ("cutouts.generator.step", "1 to 16384 px, or an angle"),
        ("cutouts.quality.nodata.fill_above", "number from 0 to 1"),
        ("fingerprints.augmentations", "`1`, `4` or `8`"),
        ("fingerprints.power", "number above 0 to 1"),
        ("run.figures", "`true` or `false`"),
        ("images.color.stretch.stretch", "`auto` or number above 0"),
        ("images.color.channels", "3 lists of texts"),
    ],
)
def test_what_a_setting_may_be_is_said(path: str, said: str) -> None:
    assert {row[2] for row in ROW.findall(GUIDE) if row[0] == path} == {said}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_setting_is_described_with_its_unit(model: type[BaseModel]) -> None:
    assert model.__doc__
    for name, field in model.model_fields.items():
        if name == "kind":  # the section's own description
            continue
        assert field.description, name
        for ending, words in UNITS.items():
            if name.endswith(ending):
                assert any(word in field.description for word in words), name


def test_every_step_has_its_parameters() -> None:
    block = re.search(r"<!-- settings steps -->(.*?)<!-- end", GUIDE, re.DOTALL)
    assert block is not None
    found: dict[str, list[str]] = {}
    step = ""
    for line in block[1].strip().splitlines()[2:]:
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        step = cells[0] or step
        found.setdefault(step, []).extend([cells[2]] if cells[2] != "none" else [])
    assert found == {name: list(model.model_fields) for name, model in STEPS.items()}


def test_what_more_is_written_about_is_a_setting(program: ModuleType) -> None:
    assert set(program.READ_MORE) <= {known.path for known in known_settings(Settings)}
