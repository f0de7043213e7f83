"""One YAML file to validated, frozen :class:`~elodin_spark.settings.Settings`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from elodin_spark.errors import ConfigError
from elodin_spark.settings import Settings
from elodin_spark.settings.base import near_miss

M = TypeVar("M", bound=BaseModel)


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Settings:
    """Read a configuration file.

    Parameters
    ----------
    path : str or Path
        YAML; the sections are the fields of :class:`~elodin_spark.settings.Settings`.
    overrides : iterable of str
        ``section.key=value``, the value read as YAML, applied in order.

    Returns
    -------
    Settings

    Raises
    ------
    ConfigError
        The file is missing or is not YAML, a key is misspelt (the near miss is named), or
        a value is out of range.
    """
    path = Path(path)
    values = read_values(path)
    for override in overrides:
        apply_override(values, override)
    return parse_settings(values, source=str(path))


def load_model(model: type[M], path: Path | None, overrides: Iterable[str] = ()) -> M:
    """Read settings other than those of a run, from a file of their own or from defaults.

    Parameters
    ----------
    model : type
        Of the settings.
    path : Path or None
        YAML; without it there are only the overrides.
    overrides : iterable of str
        As for :func:`load_config`.

    Raises
    ------
    ConfigError
        As :func:`load_config`.
    """
    values = {} if path is None else read_values(path)
    for override in overrides:
        apply_override(values, override)
    return _validated(model, values, "settings" if path is None else str(path))


def read_values(path: Path) -> dict[str, Any]:
    """What a YAML file holds, not looked at; ConfigError as :func:`load_config`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"no configuration file at {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold names and values, as 'images:', got {type(values).__name__}")
    return values


def parse_settings(values: Mapping[str, Any], source: str = "settings") -> Settings:
    """Validate settings given as nested mappings.

    Raises
    ------
    ConfigError
        Naming every misspelt key and every bad value, and `source`.
    """
    return _validated(Settings, values, source)


def _validated(model: type[M], values: Mapping[str, Any], source: str) -> M:
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        lines = [_explain(item, model) for item in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(lines)) from None


def dump_settings(settings: Settings) -> str:
    """Settings as YAML that :func:`load_config` reads back unchanged."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set one value, ``section.key=value``; ConfigError where it is not of that form."""
    key, equals, text = override.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(f"--set takes section.key=value, got {override!r}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is not YAML: {error}") from None
    section = values
    for name in names[:-1]:
        below = section.setdefault(name, {})
        if below is None:
            below = section[name] = {}
        if not isinstance(below, dict):
            raise ConfigError(f"--set {override}: {name} is not a section")
        section = below
    section[names[-1]] = value


def _explain(item: Any, model: type[BaseModel]) -> str:
    location = [str(part) for part in item["loc"]]
    where = ".".join(location)
    if item["type"] == "extra_forbidden":
        known = _fields_at(location[:-1], model)
        return f"unknown key {where!r}: {near_miss(location[-1], known)}"
    if not location:  # a rule about several of them
        return str(item["msg"].removeprefix("Value error, "))
    if item["type"] == "missing":
        return f"{where!r} is missing"
    message = item["msg"].removeprefix("Value error, ")
    return f"{where!r}: {message} (got {item['input']!r})"


def _fields_at(location: list[str], root: type[BaseModel]) -> set[str]:
    """Names of the settings below a path such as ``['cutouts', 'generator', 'blobs']``."""
    models: set[type[BaseModel]] = {root}
    for name in location:
        if name.isdigit():
            continue
        nested: set[type[BaseModel]] = set()
        for model in models:
            field = model.model_fields.get(name)
            if field is not None:
                nested |= _models_in(field.annotation)
            elif model.model_fields.get("kind") is not None and model.model_fields["kind"].default == name:
                nested.add(model)
        models = nested or models
    return {name for model in models for name in model.model_fields}


def _models_in(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for part in get_args(annotation) for model in _models_in(part)}
