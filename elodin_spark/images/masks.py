"""Which planes of a FITS file belong to an image, and what the bits of its mask mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from elodin_spark.images.lookups import TABLE_NAMES

VarianceKind = Literal["variance", "sigma", "inverse"]

#: Names of mask planes: Rubin, HST and JWST, SDSS and DECam pipelines.
MASK_NAMES = ("MASK", "DQ", "DMASK", "BPM", "FLAGS")
#: Names of planes that say how uncertain the pixels are, and in which way.
VARIANCE_NAMES: dict[str, VarianceKind] = {
    "VARIANCE": "variance",
    "VAR": "variance",
    "ERR": "sigma",
    "ERROR": "sigma",
    "UNCERT": "sigma",
    "SIGMA": "sigma",
    "WEIGHT": "inverse",
    "WHT": "inverse",
    "IVAR": "inverse",
    "INVVAR": "inverse",
}
#: Planes that go with an image but show no sky: models of the point spread function (Rubin), tables
#: of distortions, samples, exposure times and contexts (HST), areas and parts of the variance (JWST).
NOT_SKY_NAMES = (
    *("PSF", "PSFIMAGE", "SAMP", "TIME", "CTX", "CON", "AREA", "WAVELENGTH"),
    *("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"),
    *TABLE_NAMES,
)
#: What UTYPE, astropy's word for it, says of a plane whatever its name.
_UTYPES: dict[str, VarianceKind] = {
    "VARIANCEUNCERTAINTY": "variance",
    "STDDEVUNCERTAINTY": "sigma",
    "INVERSEVARIANCE": "inverse",
}

#: Bits of DQ planes by INSTRUME, or INSTRUME/DETECTOR, named in a word from the flag definitions of
#: the ACS, WFC3 and WFPC2 Data Handbooks (of ACS: stsci.edu/hst/instrumentation/acs/data-analysis/
#: dq-flag-definitions).
DQ_BITS: dict[str, dict[str, int]] = {
    "ACS": {
        "LOST": 0, "FILLED": 1, "BADPIX": 2, "MASKED": 3, "HOT": 4, "UNSTABLE": 5, "WARM": 6,
        "BIAS": 7, "SATURATED": 8, "BADREF": 9, "TRAP": 10, "ATODSAT": 11, "CRDRIZ": 12,
        "CRREJ": 13, "USER": 14,
    },
    "WFC3": {
        "LOST": 0, "FILLED": 1, "BADPIX": 2, "ZEROREAD": 3, "HOT": 4, "UNSTABLE": 5, "WARM": 6,
        "BADREF": 7, "SATURATED": 8, "BADFLAT": 9, "TRAP": 10, "ATODSAT": 11, "CRDRIZ": 12,
        "CRREJ": 13, "GHOST": 14,
    },
    "WFC3/IR": {
        "LOST": 0, "FILLED": 1, "BADPIX": 2, "ZEROREAD": 3, "HOT": 4, "UNSTABLE": 5, "WARM": 6,
        "BADREF": 7, "SATURATED": 8, "BADFLAT": 9, "ZEROSIG": 11, "CRDRIZ": 12, "CRREJ": 13,
        "GHOST": 14,
    },
    "WFPC2": {
        "LOST": 0, "BADREF": 1, "BADPIX": 2, "ATODSAT": 3, "MISSING": 4, "OTHER": 5,
        "TRAP": 7, "QUESTIONABLE": 8, "WARM": 9, "WARM_REPAIRED": 10, "CHIP": 11,
    },
}  # fmt: skip


class Companions(NamedTuple):
    """Indices of the HDUs that belong to an image.

    Attributes
    ----------
    mask : int or None
    variance : int or None
    variance_kind : {"variance", "sigma", "inverse"} or None
        What the plane holds: sigma squared, sigma, or one over sigma squared.
    """

    mask: int | None
    variance: int | None
    variance_kind: VarianceKind | None


def companions(hdulist: fits.HDUList, index: int) -> Companions:
    """Find the mask and variance planes of an image.

    A plane belongs to an image when its EXTNAME is one of :data:`MASK_NAMES` or
    :data:`VARIANCE_NAMES`, and EXTVER (1 where absent) and shape are those of the image; of several
    such images it belongs to the last before it, else to the first after it.

    Parameters
    ----------
    hdulist : astropy.io.fits.HDUList
    index : int
        Of the image.
    """
    image = hdulist[index]
    mask: int | None = None
    variance: tuple[int, VarianceKind] | None = None
    if _role(image) is None:
        kin = [i for i, hdu in enumerate(hdulist) if plane_shape(hdu) == plane_shape(image)]
        kin = [i for i in kin if _version(hdulist[i]) == _version(image)]
        science = [i for i in kin if _role(hdulist[i]) is None]
        for i in kin:
            role = _role(hdulist[i])
            owner = max((j for j in science if j < i), default=science[0])
            if role is None or owner != index:
                continue
            if role == "mask":
                mask = i if mask is None else mask
            elif variance is None:
                variance = (i, role)
    return Companions(mask, *(variance or (None, None)))


def shows_no_sky(hdu: Any) -> bool:
    """Whether the EXTNAME of a plane is one of :data:`NOT_SKY_NAMES`."""
    return str(hdu.name).strip().upper() in NOT_SKY_NAMES


def plane_shape(hdu: Any) -> tuple[int, int] | None:
    """(ny, nx) of an HDU that holds one plane of pixels, None of any other.

    HST writes a plane of one value without pixels: NPIX1, NPIX2 and PIXVALUE.
    """
    if not getattr(hdu, "is_image", False) or isinstance(hdu, fits.GroupsHDU):
        return None
    shape = tuple(hdu.shape)
    if not shape and constant_value(hdu) is not None:
        shape = (hdu.header.get("NPIX2"), hdu.header.get("NPIX1"))
        if not all(isinstance(n, int) and n > 0 for n in shape):
            return None
    if len(shape) < 2 or 0 in shape or any(n != 1 for n in shape[:-2]):
        return None
    return (int(shape[-2]), int(shape[-1]))


def constant_value(hdu: Any) -> int | float | None:
    """PIXVALUE of a plane without pixels."""
    value = hdu.header.get("PIXVALUE") if not hdu.shape else None
    return value if isinstance(value, int | float) else None


def mask_bits(mask: fits.Header, headers: Sequence[fits.Header], bits: int) -> dict[str, int]:
    """Names of the bits of a mask.

    Rubin lists them as ``MP_<name>`` (the bit number), Pan-STARRS as ``MSKNAMnn`` and ``MSKVALnn``
    (the bit's value); of an HST DQ plane they are those of the instrument (:data:`DQ_BITS`).
    Bits without any such name are called ``BIT<n>`` when none has one.

    Parameters
    ----------
    mask : astropy.io.fits.Header
        Of the mask plane.
    headers : sequence of astropy.io.fits.Header
        Where INSTRUME is looked for after `mask`: of the image, of the primary HDU.
    bits : int
        How many bits a pixel of the mask has.

    Returns
    -------
    dict of str to int
        Bit numbers from 0 (the lowest).
    """
    named: dict[str, int] = {}
    for keyword in mask:
        if keyword.startswith("MP_") and len(keyword) > 3:
            number = _value(mask, keyword)
        elif keyword.startswith("MSKNAM"):
            value = _value(mask, f"MSKVAL{keyword.removeprefix('MSKNAM')}")
            power = isinstance(value, int) and value > 0 and value & (value - 1) == 0
            number = value.bit_length() - 1 if power and isinstance(value, int) else None
            keyword = f"MP_{str(_value(mask, keyword)).strip()}"
        else:
            continue
        if isinstance(number, int) and 0 <= number < bits:
            named[keyword.removeprefix("MP_")] = number
    if named:
        return named
    if str(_value(mask, "EXTNAME")).strip().upper() == "DQ":
        instrument, detector = (_first((mask, *headers), key) for key in ("INSTRUME", "DETECTOR"))
        table = DQ_BITS.get(f"{instrument}/{detector}", DQ_BITS.get(instrument))
        if table is not None:
            return {name: bit for name, bit in table.items() if bit < bits}
    return {f"BIT{bit}": bit for bit in range(bits)}


def saturation_level(headers: Sequence[fits.Header]) -> float | None:
    """Pixel value from which pixels are saturated: SATURATE or SATLEVEL, as the first header gives it.

    Parameters
    ----------
    headers : sequence of astropy.io.fits.Header
        Of the image, then of the primary HDU.
    """
    for header in headers:
        for keyword in ("SATURATE", "SATLEVEL"):
            value = _value(header, keyword)
            if isinstance(value, int | float) and math.isfinite(value) and value > 0:
                return float(value)
    return None


def to_variance(values: NDArray[np.float32], kind: VarianceKind) -> NDArray[np.float32]:
    """Variance of the pixels, infinite where an inverse variance is not positive.

    A weight map is taken as inverse variance, which some are up to a factor.
    """
    with np.errstate(over="ignore", divide="ignore"):
        if kind == "sigma":
            return np.square(values)
        if kind == "inverse":
            return np.where(values > 0, np.float32(1) / values, np.where(np.isnan(values), values, np.inf))
    return values


def _role(hdu: Any) -> Literal["mask"] | VarianceKind | None:
    name = str(hdu.name).strip().upper()
    if name in MASK_NAMES:
        return "mask"
    if name not in VARIANCE_NAMES:
        return None
    return _UTYPES.get(str(_value(hdu.header, "UTYPE")).strip().upper(), VARIANCE_NAMES[name])


def _version(hdu: Any) -> Any:
    version = _value(hdu.header, "EXTVER")
    return 1 if version is None else version


def _first(headers: Sequence[fits.Header], keyword: str) -> str:
    values = (_value(header, keyword) for header in headers)
    return next((str(value).strip().upper() for value in values if value is not None), "")


def _value(header: fits.Header, keyword: str) -> Any:
    try:
        value = header.get(keyword)
    except (fits.VerifyError, ValueError):  # a card that cannot be parsed
        return None
    return None if isinstance(value, fits.card.Undefined) else value
