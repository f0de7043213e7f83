"""What one unit of a pixel is worth in flux, by the headers of many archives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from astropy.io import fits

#: Flux of magnitude 0, AB, micro-Jansky.
_AB_ZERO_UJY = 3631e6
#: Units of pixels that are fluxes, as BUNIT spells them without blanks, micro-Jansky. Of milli and mega
#: the case decides.
_FLUXES = {"nJy": 1e-3, "uJy": 1.0, "mJy": 1e3, "Jy": 1e6, "nanomaggy": 3.631, "nanomaggies": 3.631}
_SURFACES = {"MJy/sr": 1.0, "MJy/steradian": 1.0, "MJy.sr-1": 1.0}
#: Magnitude of one unit of a pixel: NOAO and DES, ZTF and unWISE, CFHT, others.
_ZERO_POINTS = ("MAGZERO", "MAGZP", "PHOTZP", "ZEROPNT", "ABMAGZP", "MAG0", "ZEROPOINT")
_COUNTS = ("ELECTRONS", "COUNTS", "ADU", "DN")


class FluxUnit(NamedTuple):
    """What one unit of a pixel is worth.

    Attributes
    ----------
    value : float
        Micro-Jansky; of a surface brightness in a unit that bands share.
    surface : bool
        Whether it is of a surface brightness, so the same for pixels of any size.
    """

    value: float
    surface: bool


def flux_unit(headers: Sequence[fits.Header]) -> FluxUnit | None:
    """Worth of one unit of a pixel, None where the headers do not say.

    By BUNIT (nanomaggy, nJy, MJy/sr and the like); FLUXMAG0, the pixel value of magnitude 0 (Rubin); a
    magnitude of one unit (MAGZERO, MAGZP, PHOTZP and others); PHOTFLAM with PHOTPLAM (HST), by the exposure
    time where BUNIT is ELECTRONS or COUNTS; or FPA.ZP, of one unit a second (Pan-STARRS).

    Parameters
    ----------
    headers : sequence of astropy.io.fits.Header
        Of the image, then of the primary HDU; the first that has a keyword decides.
    """
    unit = "".join(_text(headers, "BUNIT").split())
    if unit in _SURFACES:
        return FluxUnit(_SURFACES[unit], True)
    flux = _FLUXES.get(unit.split("/pix")[0])
    if flux is None:
        flux = _calibrated(headers, unit)
    return FluxUnit(flux, False) if flux is not None and math.isfinite(flux) and flux > 0 else None


def _calibrated(headers: Sequence[fits.Header], unit: str) -> float | None:
    zero = _number(headers, "FLUXMAG0")
    if zero is not None:
        return _AB_ZERO_UJY / zero
    for keyword in _ZERO_POINTS:
        magnitude = _number(headers, keyword)
        if magnitude is not None:
            return _ujy(magnitude)
    seconds = _number(headers, "EXPTIME")
    flam, pivot = _number(headers, "PHOTFLAM"), _number(headers, "PHOTPLAM")
    if flam is not None and pivot is not None:
        # F_nu = F_lambda lambda^2 / c, from erg/s/cm2/A and A.
        a_second = flam * pivot**2 / 2.99792458e18 * 1e29
        return a_second / (seconds or 1.0) if unit.upper() in _COUNTS else a_second
    magnitude = _number(headers, "FPA.ZP")
    return _ujy(magnitude) / seconds if magnitude is not None and seconds is not None else None


def _ujy(magnitude: float) -> float:
    return float(_AB_ZERO_UJY * 10 ** (-0.4 * min(max(magnitude, -100.0), 100.0)))


def _number(headers: Sequence[fits.Header], keyword: str) -> float | None:
    """A number above 0, which stands for "not known" where it is 0."""
    for header in headers:
        try:
            value = float(header.get(keyword))  # type: ignore[arg-type]
        except (TypeError, ValueError, fits.VerifyError):
            continue
        if math.isfinite(value) and value > 0:
            return value
    return None


def _text(headers: Sequence[fits.Header], keyword: str) -> str:
    for header in headers:
        try:
            value: Any = header.get(keyword)
        except (ValueError, fits.VerifyError):
            continue
        if isinstance(value, str) and value.strip():
            return value.strip()
    return ""
