"""What all settings share."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError


class Model(BaseModel):
    """Frozen; a key it does not know is an error.

    A section without content is its defaults, one of several kinds without ``kind`` is of the default kind,
    and ``true`` is no number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _as_meant(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        fields = cls.model_fields
        return {
            name: _as_meant(name, value, fields[name]) if name in fields else value
            for name, value in values.items()
        }


def _as_meant(name: str, value: Any, field: FieldInfo) -> Any:
    parts, default = set(parts_of(field.annotation)), field.default
    if isinstance(value, bool) and not parts & {bool, Any}:
        raise _mistake(name, "true and false are no value of it")
    if value is None and default is not None and not parts & {type(None), Any}:
        if not models_in(field.annotation):
            raise _mistake(name, "it has no value: give one, or leave it out")
        # A section with nothing below it.
        return {} if field.is_required() else field.get_default(call_default_factory=True)
    if isinstance(value, dict) and field.discriminator and "kind" not in value:
        if not isinstance(default, BaseModel):
            kinds = [model.model_fields["kind"].default for model in models_in(field.annotation)]
            raise _mistake(name, f"its kind is missing: one of {', '.join(kinds)}")
        return {"kind": default.kind, **value}  # type: ignore[attr-defined]
    return value


def _mistake(name: str, message: str) -> PydanticCustomError:
    """Of one setting of a section."""
    return PydanticCustomError("of_setting", "{message}", {"message": message, "name": name})


def parts_of(annotation: Any) -> Iterator[Any]:
    """The types that a union is made of, or the one that it is; what is in containers is not among them."""
    args = get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        yield from parts_of(args[0])
    elif (
        args
        and not isinstance(annotation, type)
        and getattr(annotation, "__origin__", None) not in _CONTAINERS
    ):
        for part in args:
            yield from parts_of(part)
    else:
        yield annotation


_CONTAINERS = (tuple, list, dict)


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a setting may be, where it is no list of them."""
    return [part for part in parts_of(annotation) if isinstance(part, type) and issubclass(part, BaseModel)]


_ARCSEC = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(arcsec|arcmin|px)\s*")


def _length(value: int | str) -> int | str:
    if isinstance(value, int):
        if not 1 <= value <= 16384:
            raise ValueError(f"{value} px is not between 1 and 16384 px")
        return value
    match = _ARCSEC.fullmatch(value)
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"a length is a number of px, or reads '30 arcsec' or '2 arcmin'; got {value!r}")
    if match[2] == "px":
        return _length(round(float(match[1])))
    return f"{float(match[1]):g} {match[2]}"


#: A number of px, or an angle such as ``30 arcsec``.
Length = Annotated[int | str, Field(union_mode="left_to_right"), AfterValidator(_length)]


def length_px(length: int | str, pixel_scale: float | None) -> int | None:
    """A length in px; None where it is an angle and the pixel scale (arcsec/px) is not known."""
    if isinstance(length, int):
        return length
    if pixel_scale is None:
        return None
    number, unit = length.split()
    return round(float(number) * (60.0 if unit == "arcmin" else 1.0) / pixel_scale)


def near_misses(name: str, known: Iterable[str]) -> str:
    """The three nearest of many names, or the last three, which for layers are the deepest."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"the nearest are {', '.join(near)}" if near else f"the last are {', '.join(names[-3:])}"


def near_miss(name: str, known: Iterable[str]) -> str:
    """What a misspelt name may have meant: the nearest of `known`, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"one of {', '.join(names)}"
