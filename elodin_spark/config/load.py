"""One YAML file to validated, frozen :class:`~elodin_spark.config.settings.Settings`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from elodin_spark.config.base import models_in, parts_of
from elodin_spark.config.mistakes import explain
from elodin_spark.config.settings import Settings
from elodin_spark.config.yamltext import MOST_BYTES, TextError, read_file, read_value, write_yaml
from elodin_spark.errors import ConfigError
from elodin_spark.redaction import SECRET_NAMES

M = TypeVar("M", bound=BaseModel)


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Settings:
    """Read a configuration file.

    Parameters
    ----------
    path : str or Path
        YAML; the sections are the fields of :class:`~elodin_spark.config.settings.Settings`.
    overrides : iterable of str
        ``section.key=value``, applied in order; for the value see
        :func:`~elodin_spark.config.yamltext.read_value`.

    Returns
    -------
    Settings

    Raises
    ------
    ConfigError
        The file is missing or is not YAML, a key is given twice or misspelt (the near miss is named), or
        a value is out of range.

    Examples
    --------
    >>> from pathlib import Path
    >>> from elodin_spark import load_config
    >>> _ = Path("mine.yaml").write_text("images: {paths: survey/tiles}")
    >>> settings = load_config("mine.yaml", ["cutouts.generator.step=32"])
    >>> settings.images.paths, settings.cutouts.generator.step
    (('survey/tiles',), 32)
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
        apply_override(values, override, model)
    return _validated(model, values, "settings" if path is None else str(path))


def read_values(path: Path) -> dict[str, Any]:
    """What a YAML file holds, not looked at; ConfigError as :func:`load_config`."""
    try:
        with path.open("rb") as file:
            values = read_file(file.read(MOST_BYTES + 1))
    except FileNotFoundError:
        raise ConfigError(f"no configuration file at {path}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from None
    except TextError as error:
        raise ConfigError(f"{path}: {error}") from None
    if values is None:
        raise ConfigError(f"{path} is empty: it must hold names and values, as 'images: {{paths: FOLDER}}'")
    if not isinstance(values, dict):
        what = {"list": "a list", "str": "a text"}.get(type(values).__name__, repr(values)[:50])
        raise ConfigError(
            f"{path} holds {what}: it must hold names and values, as 'images: {{paths: FOLDER}}'"
        )
    return values


def parse_settings(values: Mapping[str, Any], source: str = "settings") -> Settings:
    """Validate settings given as nested mappings.

    Parameters
    ----------
    values : mapping
        Sections and their settings, as in a YAML file.
    source : str
        Where they come from, for messages.

    Returns
    -------
    Settings

    Raises
    ------
    ConfigError
        Naming every misspelt key and every bad value, and `source`.

    Examples
    --------
    >>> from elodin_spark import parse_settings
    >>> parse_settings({"images": {"paths": "survey/tiles"}}).neighbors.k
    9
    >>> parse_settings({"images": {"paths": "survey/tiles", "hdus": 1}})
    Traceback (most recent call last):
    elodin_spark.errors.ConfigError: settings: unknown key 'images.hdus': did you mean 'images.hdu'?
    """
    return _validated(Settings, values, source)


def _validated(model: type[M], values: Mapping[str, Any], source: str) -> M:
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(f"{source}: {explain(error, model)}") from None


def dump_settings(settings: Settings) -> str:
    """Settings as YAML that :func:`load_config` reads back, unchanged but for secrets, which are left out.

    These are the options of remote stores whose names say so, such as ``key``, ``secret`` and ``token``.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    str
        Every setting, those that have their defaults too.

    Examples
    --------
    >>> settings = parse_settings({"images": {"paths": "survey/tiles"}})
    >>> "paths:" in dump_settings(settings)
    True
    """
    values = settings.model_dump(mode="json")
    for section, name in (("images", "storage"), ("fingerprints", "weights_storage")):
        values[section][name] = _without_secrets(values[section][name])
    return write_yaml(values)


def _without_secrets(options: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_secrets(value) if isinstance(value, dict) else value
        for name, value in options.items()
        if not SECRET_NAMES.search(name)
    }


def apply_override(values: dict[str, Any], override: str, model: type[BaseModel] = Settings) -> None:
    """Set one value, ``section.key=value``; ConfigError where it is not of that form.

    What follows a setting that holds free names, as ``spark.conf``, is one name with all of its dots.

    Parameters
    ----------
    values : dict
        Changed in place.
    override : str
    model : type, optional
        Of the settings.
    """
    key, equals, text = override.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(f"--set takes section.key=value, got {key!r}")
    try:
        value = read_value(text)
    except TextError as error:
        raise ConfigError(f"--set {key}: the value {error}") from None
    names = _whole_names(names, model)
    section = values
    for depth, name in enumerate(names[:-1], 1):
        below = section.setdefault(name, {})
        if below is None:
            below = section[name] = {}
        if not isinstance(below, dict):
            raise ConfigError(f"--set {key}: {'.'.join(names[:depth])} is not a section")
        section = below
    section[names[-1]] = value


def _whole_names(names: list[str], model: type[BaseModel]) -> list[str]:
    """Put the parts of a free name together: that of a plain value has dots of its own."""
    annotations: list[Any] = [model]
    for depth, name in enumerate(names):
        sections = [section for annotation in annotations for section in models_in(annotation)]
        forms = [form for annotation in annotations for form in parts_of(annotation)]
        free = [get_args(form)[1] for form in forms if get_origin(form) is dict]
        if free and not any(models_in(value) or value is Any for value in free):
            return [*names[:depth], ".".join(names[depth:])]
        annotations = free or [
            section.model_fields[name].annotation for section in sections if name in section.model_fields
        ]
    return names
