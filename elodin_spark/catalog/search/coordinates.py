"""Positions and angles as people give them: plain numbers, or those of Astropy."""

from __future__ import annotations

from typing import Any

from elodin_spark.errors import InputError


def degrees_of(position: Any) -> tuple[float, float]:
    """RA and Dec of a position, ICRS, deg.

    Parameters
    ----------
    position : SkyCoord, or (float, float), or (Quantity, Quantity)
        One position; plain numbers are ICRS degrees.

    Raises
    ------
    InputError
        It is none, or several.
    """
    if hasattr(position, "icrs"):
        if not position.isscalar:
            raise InputError(f"one position is asked for, got a SkyCoord of {len(position)}")
        return float(position.icrs.ra.deg), float(position.icrs.dec.deg)
    try:
        ra, dec = (_number(value, "deg") for value in position)
    except (TypeError, ValueError):
        raise InputError(f"a position is a SkyCoord, or RA and Dec in degrees, got {position!r}") from None
    return ra, dec


def arcsec_of(angle: Any) -> float:
    """An angle in arcsec.

    Parameters
    ----------
    angle : Quantity or float
        A plain number is arcsec.

    Raises
    ------
    InputError
        It is no angle.
    """
    try:
        return _number(angle, "arcsec")
    except (TypeError, ValueError):
        raise InputError(f"an angle is a Quantity, or a number of arcsec, got {angle!r}") from None


def _number(value: Any, unit: str) -> float:
    if isinstance(value, bool | str):
        raise TypeError
    # Asked of the value, so that who gives plain numbers waits for no Astropy.
    return float(value.to_value(unit) if hasattr(value, "to_value") else value)
