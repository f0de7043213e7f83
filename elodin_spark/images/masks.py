"""Which planes of a FITS file belong to an image, and what the bits of its mask mean."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from elodin_spark.images import dqbits
from elodin_spark.images.lookups import TABLE_NAMES

VarianceKind = Literal["variance", "sigma", "inverse"]

#: Names of mask planes: Rubin, HST, JWST and Roman, SDSS, DES, Euclid and other pipelines.
MASK_NAMES = ("MASK", "MSK", "DQ", "DMASK", "DQMASK", "BPM", "FLAGS", "FLAG", "FLG", "MASKBITS")
#: Names of planes that say how uncertain the pixels are, and in which way.
VARIANCE_NAMES: dict[str, VarianceKind] = {
    "VARIANCE": "variance",
    "VAR": "variance",
    "ERR": "sigma",
    "ERROR": "sigma",
    "UNCERT": "sigma",
    "UNC": "sigma",
    "SIGMA": "sigma",
    "RMS": "sigma",
    "WEIGHT": "inverse",
    "WEIGHTS": "inverse",
    "WTMAP": "inverse",
    "WGT": "inverse",
    "WHT": "inverse",
    "IVAR": "inverse",
    "INVVAR": "inverse",
}
#: Planes that go with an image but show no sky: models of the point spread function (Rubin), tables
#: of distortions, samples, exposure times and contexts (HST), areas and parts of the variance (JWST).
NOT_SKY_NAMES = (
    *("PSF", "PSFIMAGE", "SAMP", "TIME", "CTX", "CON", "AREA", "WAVELENGTH", "EXPMAP", "NEXP"),
    *("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"),
    *TABLE_NAMES,
)
#: Last words of names that follow the name of a detector: Euclid's ``CCDID 1-1.SCI`` has
#: ``CCDID 1-1.RMS`` and ``CCDID 1-1.FLG``, TESS ``CAMERA.CCD 1.1 cal`` has ``CAMERA.CCD 1.1 uncert``.
_SKY_ENDINGS = frozenset(("SCI", "CAL", "IMAGE", "IMG", "DATA"))
#: Cards that say what a plane or file holds: DES, and the NOIRLab Community Pipeline.
_PRODUCT_CARDS = ("DES_EXT", "PRODTYPE")
#: What UTYPE, astropy's word for it, says of a plane whatever its name.
_UTYPES: dict[str, VarianceKind] = {
    "VARIANCEUNCERTAINTY": "variance",
    "STDDEVUNCERTAINTY": "sigma",
    "INVERSEVARIANCE": "inverse",
}


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

    A plane belongs to an image when its EXTNAME, or its last word after the name of a detector, or a card
    DES_EXT or PRODTYPE, is one of :data:`MASK_NAMES` or :data:`VARIANCE_NAMES`, and EXTVER (1 where
    absent) and shape are those of the image; of several such images it belongs to that of the same
    detector, else to the last before it, else to the first after it.

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
            if role is None or _owner(hdulist, i, science) != index:
                continue
            if role == "mask":
                mask = i if mask is None else mask
            elif variance is None:
                variance = (i, role)
    return Companions(mask, *(variance or (None, None)))


def _owner(hdulist: fits.HDUList, plane: int, science: Sequence[int]) -> int:
    """The image, of several, that a plane belongs to."""
    detector = _detector(hdulist[plane])
    same = [j for j in science if _detector(hdulist[j]) == detector] if detector else []
    near = same or science
    return max((j for j in near if j < plane), default=near[0])


def shows_no_sky(hdu: Any) -> bool:
    """Whether a plane is no image by its EXTNAME or its cards: of :data:`NOT_SKY_NAMES`, a mask, a weight."""
    return str(hdu.name).strip().upper() in NOT_SKY_NAMES or _role(hdu) is not None


def product(headers: Sequence[fits.Header]) -> str | None:
    """What a file holds instead of sky, by the first card that says so; None where none does.

    Parameters
    ----------
    headers : sequence of astropy.io.fits.Header
        Of the plane, then of the primary HDU.
    """
    for header in headers:
        for keyword in _PRODUCT_CARDS:
            value = str(_value(header, keyword) or "").strip()
            if (
                value.upper() in MASK_NAMES
                or value.upper() in VARIANCE_NAMES
                or value.upper() in NOT_SKY_NAMES
            ):
                return f"{keyword} {value}"
    return None


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


class Meaning(NamedTuple):
    """What the bits of a mask mean.

    Attributes
    ----------
    bits : dict of str to int
        Bit numbers from 0 (the lowest).
    bad : tuple of str
        Bits that spoil a pixel unless settings say otherwise; empty where nobody says what bits mean.
    codes : bool
        Pixels hold the number of one flag instead of bits: code ``n`` stands for bit ``n - 1``.
    """

    bits: dict[str, int]
    bad: tuple[str, ...]
    codes: bool = False


def meaning_of(mask: fits.Header, headers: Sequence[fits.Header], bits: int) -> Meaning:
    """What the bits of a mask mean, by its own header, else by those of the image.

    Rubin lists them as ``MP_<name>`` (the bit number), or ``MSKNnnnn`` and ``MSKMnnnn`` (the bit's
    value), Pan-STARRS as ``MSKNAMnn`` and ``MSKVALnn``, the Legacy Surveys as ``MBIT_n``, ZTF in the
    comments of ``BITnn``; of others they are those of :mod:`elodin_spark.images.dqbits`. Bits of which
    nobody tells the names are called ``BIT<n>``.

    Parameters
    ----------
    mask : astropy.io.fits.Header
        Of the mask plane.
    headers : sequence of astropy.io.fits.Header
        Where else INSTRUME and the like are looked for: of the primary HDU of its file, of the image.
    bits : int
        How many bits a pixel of the mask has.
    """
    named = {name: bit for name, bit in _named_bits(mask).items() if 0 <= bit < bits}
    if named:
        return Meaning(named, tuple(name for name in dqbits.BAD_NAMES if name in named))
    table = _bit_table(mask, (mask, *headers))
    if table is None:
        return Meaning({f"BIT{bit}": bit for bit in range(bits)}, ())
    return Meaning({name: bit for name, bit in table.bits.items() if bit < bits}, table.bad, table.codes)


def mask_bits(mask: fits.Header, headers: Sequence[fits.Header], bits: int) -> dict[str, int]:
    """Names of the bits of a mask, as :func:`meaning_of` finds them; numbers from 0 (the lowest)."""
    return meaning_of(mask, headers, bits).bits


def _named_bits(mask: fits.Header) -> dict[str, int]:
    """Bits that the header of a mask names."""
    named: dict[str, Any] = {}
    for keyword in mask:
        if keyword.startswith("MP_") and len(keyword) > 3:
            named[keyword.removeprefix("MP_")] = _value(mask, keyword)
        elif match := re.fullmatch(r"MSKN(AM)?(\d+)", keyword):
            value = _value(mask, f"MSK{'VAL' if match[1] else 'M'}{match[2]}")
            power = isinstance(value, int) and value > 0 and value & (value - 1) == 0
            named[str(_value(mask, keyword)).strip()] = value.bit_length() - 1 if power else None
        elif match := re.fullmatch(r"MBIT_(\d+)", keyword):
            named[str(_value(mask, keyword)).strip()] = int(match[1])
        elif (match := re.fullmatch(r"BIT(\d+)", keyword)) and _value(mask, keyword) == int(match[1]):
            words = re.findall(r"[A-Z]+", str(mask.comments[keyword]).upper().partition("(")[0])
            if words and "RESERVED" not in words:
                named["_".join(words)] = int(match[1])
    return {name: bit for name, bit in named.items() if isinstance(bit, int) and not isinstance(bit, bool)}


def _bit_table(mask: fits.Header, headers: Sequence[fits.Header]) -> dqbits.BitTable | None:
    """The published table of the flags of a mask, by its archive or instrument."""
    if _first(headers, "DES_EXT"):
        return dqbits.DES
    if _first(headers, "PRODTYPE") == "DQMASK":
        version = re.match(r"\D*(\d+)\.(\d+)", _first(headers, "PLVER"))
        old = version is not None and (int(version[1]), int(version[2])) < (3, 5)
        return dqbits.COMMUNITY_BITS if old else dqbits.COMMUNITY_CODES
    if str(_value(mask, "EXTNAME")).strip().upper().rpartition(".")[2] != "DQ":
        return None
    telescope, instrument, detector = (_first(headers, key) for key in ("TELESCOP", "INSTRUME", "DETECTOR"))
    if telescope == "JWST":
        return dqbits.JWST
    if telescope.startswith("ROMAN"):
        return dqbits.ROMAN
    return dqbits.HST.get(f"{instrument}/{detector}", dqbits.HST.get(instrument))


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
    named = (_last_word(hdu), *(str(_value(hdu.header, card)).strip().upper() for card in _PRODUCT_CARDS))
    for name in named:
        if name in MASK_NAMES:
            return "mask"
        if name in VARIANCE_NAMES:
            return _UTYPES.get(str(_value(hdu.header, "UTYPE")).strip().upper(), VARIANCE_NAMES[name])
    return None


def _split(hdu: Any) -> tuple[str, str]:
    """The name of the detector and the last word of an EXTNAME; no detector in a name of one word."""
    name = str(hdu.name).strip().upper()
    match = re.fullmatch(r"(.+)[ ._]([A-Z]+)", name)
    if match and (match[2] in MASK_NAMES or match[2] in VARIANCE_NAMES or match[2] in _SKY_ENDINGS):
        return match[1], match[2]
    return "", name


def _detector(hdu: Any) -> str:
    return _split(hdu)[0]


def _last_word(hdu: Any) -> str:
    return _split(hdu)[1]


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
