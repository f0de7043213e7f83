"""What all settings share."""

from __future__ import annotations

import re
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
