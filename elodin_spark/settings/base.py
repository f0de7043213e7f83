"""What all settings share."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Model(BaseModel):
    """Frozen; a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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
