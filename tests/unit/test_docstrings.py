"""What a user meets first is documented in full, and its examples that need no Spark run."""

from __future__ import annotations

import doctest
import importlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.docexamples import MODULES, failed_examples
from numpydoc.docscrape import FunctionDoc
from pydantic import BaseModel

import elodin_spark
from elodin_spark import Catalog, display
from elodin_spark.config.settings import STEPS, Blobs, FullImage, Positions, SlidingWindow, Sources


def public() -> Iterator[tuple[str, Any]]:
    for name in elodin_spark.__all__:
        yield name, getattr(elodin_spark, name)
    for name in display.__all__:
        yield name, getattr(display, name)
    for model in (FullImage, SlidingWindow, Blobs, Positions, Sources, *STEPS.values()):
        yield model.__name__, model
    for module in ("cutouts.generators", "cutouts.steps"):
        home = importlib.import_module(f"elodin_spark.{module}")
        for name, value in vars(home).items():
            if inspect.isfunction(value) and value.__module__ == home.__name__ and not name.startswith("_"):
                yield name, value


def methods() -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, value in inspect.getmembers(Catalog, callable):
        if not name.startswith("_"):
            yield f"Catalog.{name}", value


PUBLIC = {**dict(public()), **dict(methods())}
FUNCTIONS = {name: value for name, value in PUBLIC.items() if not isinstance(value, type)}


@pytest.mark.parametrize("name", PUBLIC)
def test_it_says_what_it_is_in_one_line_and_has_an_example(name: str) -> None:
    text = inspect.getdoc(PUBLIC[name])
    assert text
    assert text.splitlines()[0].endswith((".", ":", "?"))
    if not (
        isinstance(PUBLIC[name], type) and PUBLIC[name] in (elodin_spark.RunReport, elodin_spark.Settings)
    ):
        assert any(not example.options for example in doctest.DocTestParser().get_examples(text))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_parameter_and_result_is_described(name: str) -> None:
    function = FUNCTIONS[name]
    options = elodin_spark.SearchOptions.model_fields
    parameters = [
        f"{'*' * stars}{one.name}"
        for one in inspect.signature(function).parameters.values()
        if one.name not in ("self", "cls")
        for stars in [{one.VAR_POSITIONAL: 1, one.VAR_KEYWORD: 2}.get(one.kind, 0)]
    ]
    found = FunctionDoc(function)
    described = [
        part.strip() for one in found["Parameters"] for part in one.name.replace("\\", "").split(",")
    ]
    if (
        "**options" not in parameters and "**options" in described
    ):  # of a search, which SearchOptions describes
        described.remove("**options")
        parameters = [one for one in parameters if one in described or one not in options]
    assert [one for one in parameters if one not in described] == []
    assert [one for one in described if one not in parameters] == []
    returns = str(inspect.signature(function).return_annotation)
    assert bool(found["Returns"] or found["Yields"]) == (returns != "None"), returns


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert failed_examples(importlib.import_module(name)) == []


def test_a_wrong_example_is_seen() -> None:
    def wrong() -> None:
        """Say.

        >>> 1 + 1
        3
        """

    assert len(failed_examples(wrong)) == 1


def test_the_models_of_settings_are_described_field_by_field() -> None:
    for name, value in PUBLIC.items():
        if isinstance(value, type) and issubclass(value, BaseModel):
            fields = (field for key, field in value.model_fields.items() if key != "kind")
            assert all(field.description for field in fields), name
