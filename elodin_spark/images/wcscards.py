"""Cards of a celestial WCS as archives write them, to cards that astropy builds a WCS from.

What is meant beyond doubt is written as the FITS standard has it: units, frames and axes in any
spelling, numbers that are text, the first two of more axes, an alternate WCS where the primary one is
not of the sky, cards that an extension inherits, IRAF's TNX and ZPX. What is not beyond doubt is done as
well as can be and noted; where nothing sound can be done, the reason is told.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from elodin_spark.errors import NoSkyError
from elodin_spark.images import iraf

#: Cards of one WCS by name and index, the letter of an alternate one at the end.
_OF_WCS = re.compile(
    r"(?P<name>(?:CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CNAME)\d{1,2}|(?:PC|CD|PV|PS)\d{1,2}_\d{1,3}"
    r"|WCSAXES|LONPOLE|LATPOLE|RADESYS|EQUINOX)(?P<alternate>[A-Z]?)"
    r"|(?P<primary>CROTA\d{1,2}|RADECSYS|EPOCH|(?:PC|CD)\d{6}|[AB]P?_(?:ORDER|DMAX|\d{1,2}_\d{1,2}))"
)
_SIP = re.compile(r"[AB]P?_(ORDER|DMAX|\d{1,2}_\d{1,2})")
_IRAF = re.compile(r"WAT\d_\d{3}")
_INDICES = re.compile(r"[A-Z]+(\d+)(?:_(\d+))?")
_NUMBERS = re.compile(
    r"(CRVAL|CRPIX|CDELT|CROTA)\d+|(PC|CD|PV)\d+(_\d+)?|LONPOLE|LATPOLE|[AB]P?_(ORDER|DMAX|\d+_\d+)"
)
#: Those without which a position would be wrong.
_NEEDED = re.compile(r"(CRVAL|CRPIX|CDELT|CROTA)\d+|(PC|CD|PV)\d+(_\d+)?|[AB]_(ORDER|\d+_\d+)")
_AXIS = re.compile(
    r"(RA|DEC|[A-Z]L(?:ON|AT)|[A-Z]{2}L[NT])(?:[-_]+([A-Z]{3}))?(?:[-_]+(SIP|TPV|[A-Z0-9]{3}))?"
)
_LATITUDE = {"RA": "DEC"} | {f"{c}LON": f"{c}LAT" for c in string.ascii_uppercase}
#: Systems of axes that have positions: those that astropy knows, and those that are turned to ICRS.
_EQUATORIAL, _GALACTIC = "RA", "GLON"
_TURNED = {"ELON": "barycentricmeanecliptic", "HLON": "barycentricmeanecliptic", "SLON": "supergalactic"}
_FRAME = ("RADESYS", "RADECSYS")
#: Units of an angle by the names that headers give them, without case, points and plural.
_UNITS = {
    "deg": "deg", "degree": "deg", "dg": "deg", "\u00b0": "deg",
    "arcmin": "arcmin", "arcminute": "arcmin", "amin": "arcmin",
    "arcsec": "arcsec", "arcsecond": "arcsec", "asec": "arcsec",
    "mas": "mas", "marcsec": "mas", "milliarcsec": "mas", "milliarcsecond": "mas",
    "rad": "rad", "radian": "rad",
}  # fmt: skip
#: Cards, and values of cards, of mosaics that were resampled to a plain projection.
_RECTIFIED = ("NDRIZIM", "D001DATA", "D001VER", "RESAMPT1")
_RECTIFIED_VALUES = {
    "DRIZCORR": ("COMPLETE",),
    "S_RESAMP": ("COMPLETE",),
    "SOFTNAME": ("SWARP",),
    "PROCTYPE": ("RESAMPLED", "STACKED"),
}

#: Characters of a value that messages show.
_LONGEST_VALUE = 24

Cards = dict[str, fits.Card]


class Mended(NamedTuple):
    """A WCS of two axes.

    Attributes
    ----------
    cards : list of astropy.io.fits.Card
        As the standard has them, of the primary WCS.
    notes : tuple of str
        What was assumed.
    """

    cards: list[fits.Card]
    notes: tuple[str, ...]


def is_wcs_card(keyword: str) -> bool:
    """Whether a card belongs to a WCS, or to IRAF's, in the sense of this module."""
    return bool(_OF_WCS.fullmatch(keyword) or _IRAF.fullmatch(keyword))


def candidates(header: fits.Header, primary: fits.Header | None) -> Iterator[Mended | NoSkyError]:
    """The WCS of a header that may be of the sky, the primary one first.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Of the image.
    primary : astropy.io.fits.Header or None
        Of the primary HDU, whose WCS cards count where ``INHERIT`` is true and the image has none of
        the same name; and which may tell that the image is a rectified mosaic.

    Yields
    ------
    Mended or NoSkyError
        The error says why this one gives no position.
    """
    found = _collect(header)
    if primary is not None and _inherits(header):
        _inherit(found, _collect(primary))
    if not any("CTYPE1" in cards or "CTYPE2" in cards for cards in found.values()):
        if "PLTRAH" in header:  # a plate solution of the DSS, which wcslib reads
            yield Mended(list(found.get("", {}).values()), ())
        else:
            yield NoSkyError("there is no WCS in the header")
        return
    headers = [header] if primary is None else [header, primary]
    for alternate in sorted(found):
        cards = dict(found[alternate])
        if not any(name.startswith("CTYPE") for name in cards):
            continue
        if alternate:  # distortions are of the image, whichever WCS
            cards |= {name: card for name, card in found.get("", {}).items() if _SIP.fullmatch(name)}
        notes = [f"alternate WCS {alternate}, as the primary one gives no position"] if alternate else []
        try:
            yield _mend(cards, headers, notes)
        except NoSkyError as error:
            yield error


def _collect(header: fits.Header) -> dict[str, Cards]:
    """Cards by WCS, then by name; "" is the primary one."""
    found: dict[str, Cards] = {}
    for card in header.cards:
        keyword = card.keyword.upper()
        match = _OF_WCS.fullmatch(keyword)
        if match:
            name = match["name"] or match["primary"]
            found.setdefault(match["alternate"] or "", {}).setdefault(name, card)
        elif _IRAF.fullmatch(keyword):
            found.setdefault("", {}).setdefault(keyword, card)
    return found


def _inherits(header: fits.Header) -> bool:
    try:
        return header.get("INHERIT") is True
    except (fits.VerifyError, ValueError):
        return False


def _inherit(found: dict[str, Cards], primary: Mapping[str, Cards]) -> None:
    for alternate, cards in primary.items():
        own = found.setdefault(alternate, {})
        scaled = any(_has(own, group) for group in ("CD", "PC", "CDELT", "CROTA"))
        framed = any(name in own for name in _FRAME)
        for name, card in cards.items():
            # Two ways to give one scale, or one frame, must not be mixed.
            if (framed and name in _FRAME) or (scaled and re.match(r"CD\d|PC\d|CDELT|CROTA", name)):
                continue
            own.setdefault(name, card)


def _has(cards: Mapping[str, Any], group: str) -> bool:
    return any(re.fullmatch(rf"{group}\d+(_\d+)?", name) for name in cards)


def _value(value: Any) -> Any:
    return None if isinstance(value, fits.card.Undefined) else value


def _mend(cards: Cards, headers: list[fits.Header], notes: list[str]) -> Mended:
    wat = {name: cards.pop(name) for name in list(cards) if _IRAF.fullmatch(name)}
    values = _Values(cards)
    axes = {n: _axis(str(values.get(f"CTYPE{n}") or "")) for n in values.axes()}
    longitude, latitude = _sky_axes(axes)
    system = axes[longitude].system
    for axis in (longitude, latitude):
        values[f"CTYPE{axis}"] = axes[axis].text()
    _mend_units(values, (longitude, latitude))
    _mend_numbers(values)
    longitude, latitude = _two_axes(values, longitude, latitude)
    _mend_frame(values, system, notes)
    _mend_iraf(values, wat, longitude, latitude, notes)
    _mend_sip(values, headers, notes)
    if not any(_has(values.cards, group) for group in ("CD", "PC", "CDELT")):
        notes.append("no scale in the header, 1 deg/px as FITS has it")
    if system in _TURNED:
        _turn(values, system, longitude, latitude)
    return Mended(list(values.cards.values()), tuple(notes))


class _Values:
    """Cards of one WCS, of which those that are written anew lose their old spelling."""

    def __init__(self, cards: Cards) -> None:
        self.cards = {name: _named(name, card) for name, card in cards.items()}

    def get(self, name: str) -> Any:
        """Value; None where there is none, or none that can be parsed."""
        try:
            return _value(self.cards[name].value) if name in self.cards else None
        except (fits.VerifyError, ValueError):
            return None

    def number(self, name: str, default: float) -> float:
        """Value of a card of which :func:`_mend_numbers` has made a number."""
        value = self.get(name)
        return default if value is None else float(value)

    def __setitem__(self, name: str, value: Any) -> None:
        if isinstance(value, float | int):
            value = float(value)
        if self.get(name) != value or isinstance(self.get(name), bool):
            self.cards[name] = fits.Card(name, value)

    def drop(self, *names: str) -> None:
        for name in names:
            self.cards.pop(name, None)

    def axes(self) -> list[int]:
        """Numbers of the world axes that cards name."""
        numbers = set()
        for name in self.cards:
            match = re.match(r"(?:CTYPE|CRVAL|CUNIT|CDELT|CRPIX)(\d+)", name)
            numbers |= {int(match[1])} if match else set()
        return sorted(numbers)


def _named(name: str, card: fits.Card) -> fits.Card:
    """The card by its name, which may lack the letter of an alternate WCS, or was in lower case."""
    try:
        image = str(card)
        if image[:8].rstrip() == name and "CONTINUE" not in image[80:]:
            return card
        return fits.Card(name, card.value)
    except (fits.VerifyError, ValueError):
        return card


class _Axis(NamedTuple):
    system: str
    projection: str
    distortion: str
    spelled: str

    def text(self) -> str:
        if not self.projection:
            return self.system
        end = f"-{self.distortion}" if self.distortion else ""
        return f"{self.system:-<4}-{self.projection}{end}"


def _axis(ctype: str) -> _Axis:
    """The parts of a CTYPE; of one that is not of the sky `system` is empty."""
    text = ctype.strip().upper().replace(" ", "")
    match = _AXIS.fullmatch(text)
    if not match:
        return _Axis("", "", "", text)
    return _Axis(match[1], match[2] or "", match[3] or "", text)


def _sky_axes(axes: Mapping[int, _Axis]) -> tuple[int, int]:
    """Numbers of the axes of longitude and latitude."""
    found = {axis.system: number for number, axis in axes.items() if axis.system}
    told = {number: _told(axis.spelled) for number, axis in axes.items()}
    for system, number in found.items():
        latitude = _LATITUDE.get(system, system[:2] + "LT" if system.endswith("LN") else "")
        if latitude not in found:
            continue
        if system == "TLON":
            raise NoSkyError("TLON and TLAT are places on the Earth")
        if system not in (_EQUATORIAL, _GALACTIC, *_TURNED):
            raise NoSkyError(f"of axes {system} and {latitude} no place on the sky is known")
        if axes[number].projection != axes[found[latitude]].projection:
            raise NoSkyError(f"the axes {told[number]} and {told[found[latitude]]} have two projections")
        return number, found[latitude]
    named = [text for text in told.values() if text][:2]
    if not named:
        raise NoSkyError("there is no WCS in the header")
    raise NoSkyError(f"the axes {' and '.join(named)} are not of the sky")


def _told(text: str) -> str:
    """The value of a card as messages show it: short, and without their separators."""
    return "".join(c if c.isprintable() else "?" for c in text)[:_LONGEST_VALUE].replace(";", ",")


def _mend_units(values: _Values, axes: tuple[int, int]) -> None:
    for axis in axes:
        name = f"CUNIT{axis}"
        given = values.get(name)
        spelled = str(given or "").strip().strip("'\"").strip()
        if not spelled:
            values.drop(name)
            continue
        unit = re.sub(r"[\s._-]", "", spelled).lower()
        unit = _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s")) or ""
        if not unit:
            raise NoSkyError(f"{name} {_told(spelled)} is no unit of an angle")
        values[name] = unit


def _mend_numbers(values: _Values) -> None:
    """Numbers that are text to numbers; what is none is left out, or is why there is no position."""
    for name in [name for name in values.cards if _NUMBERS.fullmatch(name)]:
        value = values.get(name)
        if isinstance(value, str):
            try:
                value = float(value.strip().upper().replace("D", "E"))
            except ValueError:
                value = None
        good = isinstance(value, float | int) and math.isfinite(value)
        if good:
            if isinstance(values.get(name), str):
                values[name] = value
        elif _NEEDED.fullmatch(name):
            raise NoSkyError(f"{name} is no number")
        else:
            values.drop(name)


def _matrix(values: _Values, size: int) -> NDArray[np.float64]:
    """From pixels to intermediate world coordinates, shape (`size`, `size`), unit of the axis per px."""
    numbers = range(1, size + 1)
    old = {f"{n}{i}_{j}": f"{n}{i:03d}{j:03d}" for n in ("PC", "CD") for i in numbers for j in numbers}
    scale = np.array([values.number(f"CDELT{i}", 1.0) for i in numbers])

    def entries(group: str, default: NDArray[np.float64]) -> NDArray[np.float64]:
        names = [[f"{group}{i}_{j}" for j in numbers] for i in numbers]
        return np.array(
            [
                [values.number(n if n in values.cards else old[n], default[i, j]) for j, n in enumerate(row)]
                for i, row in enumerate(names)
            ]
        )

    if _has(values.cards, "CD"):
        return entries("CD", np.zeros((size, size)))
    turned = np.eye(size)
    if not _has(values.cards, "PC") and _has(values.cards, "CROTA"):
        angle = math.radians(values.number("CROTA2", values.number("CROTA1", 0.0)))
        ratio = scale[1] / scale[0]
        turned[:2, :2] = [
            [math.cos(angle), -math.sin(angle) * ratio],
            [math.sin(angle) / ratio, math.cos(angle)],
        ]
    return scale[:, None] * entries("PC", turned)


def _two_axes(values: _Values, longitude: int, latitude: int) -> tuple[int, int]:
    """Leave the axes of the sky and of the image alone; further ones are at their first pixel.

    Returns
    -------
    longitude, latitude : int
        Numbers of the axes, 1 and 2 in some order.
    """
    size = max([2, *values.axes(), *_indices(values)])
    values.drop("WCSAXES")
    if size == 2:
        return longitude, latitude
    if size > 99:
        raise NoSkyError("the WCS has more than 99 axes")
    matrix = _matrix(values, size)
    kept = sorted((longitude, latitude))
    rows = matrix[[axis - 1 for axis in kept]]
    image = rows[:, :2]
    reference = np.array([values.number(f"CRPIX{i}", 0.0) for i in range(1, size + 1)])
    if not np.linalg.det(image):
        raise NoSkyError("the axes of the sky are not those of the image")
    # A further axis that the sky is not separable from shifts all pixels of the image alike.
    shift = np.linalg.solve(image, rows[:, 2:] @ (1.0 - reference[2:]))
    if np.abs(shift).max() > 1e-6:
        for axis in (1, 2):
            values[f"CRPIX{axis}"] = float(reference[axis - 1] - shift[axis - 1])
    moved = {}
    if kept != [1, 2]:
        for axis, old in enumerate(kept, 1):
            for name in list(values.cards):
                match = re.fullmatch(rf"(CTYPE|CRVAL|CUNIT|CNAME){old}|(PV|PS){old}(_\d+)", name)
                if match:
                    new = f"{match[1]}{axis}" if match[1] else f"{match[2]}{axis}{match[3]}"
                    moved[new] = fits.Card(new, values.get(name))
        for name in list(values.cards):
            if re.fullmatch(r"(CTYPE|CRVAL|CUNIT|CNAME|CDELT|CROTA)\d+|(PC|CD|PV|PS)\d+(_\d+)?", name):
                values.drop(name)
        moved |= {
            f"CD{i}_{j}": fits.Card(f"CD{i}_{j}", float(image[i - 1, j - 1])) for i in (1, 2) for j in (1, 2)
        }
    for name in list(values.cards):
        if max(_index(name), default=0) > 2:
            values.drop(name)
    values.cards |= moved
    return kept.index(longitude) + 1, kept.index(latitude) + 1


def _indices(values: _Values) -> Iterator[int]:
    for name in values.cards:
        yield from _index(name)


def _index(name: str) -> tuple[int, ...]:
    """Numbers of axes in the name of a card."""
    if re.fullmatch(r"(PC|CD)\d{6}", name):
        return int(name[2:5]), int(name[5:])
    match = _INDICES.fullmatch(name)
    if not match or name.startswith(("A", "B")):
        return ()
    second = match[2] if name.startswith(("PC", "CD")) else None
    return (int(match[1]), int(second)) if second else (int(match[1]),)


def _mend_frame(values: _Values, system: str, notes: list[str]) -> None:
    equinox = _equinox(values)
    # Where both names are there the later one counts, as in wcslib.
    names = [name for name in values.cards if name in ("RADESYS", "RADECSYS")]
    spelled = [text for text in (_told(str(values.get(name) or "").strip()) for name in names) if text]
    values.drop("RADESYS", "RADECSYS")
    if system in (_GALACTIC, "SLON"):  # have one frame; astropy would take the coordinates for equatorial
        return
    if not spelled:
        return
    given = spelled[-1]
    frame = _frame(given)
    if frame is None and equinox in (None, 2000.0):
        notes.append(f"the frame {given} is not known, taken as ICRS")
        frame = "ICRS"
    elif frame is None:
        frame = "FK4" if (equinox or 0) < 1984.0 else "FK5"
        notes.append(f"the frame {given} is not known, taken as {frame} by EQUINOX")
    elif _frame(spelled[0]) != frame:
        notes.append(f"{names[0]} {spelled[0]} and {names[-1]} {given} contradict, taken as {frame}")
    if equinox is None and "1950" in given:
        values["EQUINOX"] = 1950.0
    values["RADESYS"] = frame


def _frame(spelled: str) -> str | None:
    """The value of RADESYS by the standard; None where it is not known."""
    text = re.sub(r"[^A-Z0-9]", "", spelled.upper())
    if text.startswith(("ICRS", "ICRF")):
        return "ICRS"
    if text.startswith("FK4NOE"):
        return "FK4-NO-E"
    if text.startswith("FK4") or re.fullmatch(r"B?19500*", text):
        return "FK4"
    if text.startswith("FK5") or re.fullmatch(r"J?20000*", text):
        return "FK5"
    return None


def _equinox(values: _Values) -> float | None:
    """The equinox, yr, whose card is written anew where it is text or nonsense."""
    found = None
    for name in ("EQUINOX", "EPOCH"):
        value = values.get(name)
        if isinstance(value, str):
            match = re.fullmatch(r"[JB]?\s*(\d{4}(?:\.\d*)?)", value.strip().upper())
            value = float(match[1]) if match else None
        good = isinstance(value, float | int) and not isinstance(value, bool) and 1800 <= value <= 2200
        if good:
            values[name] = value
            found = float(value) if found is None else found
        else:
            values.drop(name)
    return found


def _mend_iraf(
    values: _Values, wat: Mapping[str, fits.Card], longitude: int, latitude: int, notes: list[str]
) -> None:
    """IRAF's TNX and ZPX to TAN and ZPN with the same polynomials as SIP."""
    ctype = str(values.get(f"CTYPE{longitude}"))
    projection = ctype[5:8]
    if projection not in iraf.PROJECTIONS:
        return
    plain = iraf.PROJECTIONS[projection]
    found = iraf.read(wat, projection)
    for power, value in found.radial.items():
        values[f"PV{latitude}_{power}"] = value
    if plain == "ZPN" and not any(name.startswith(f"PV{latitude}_") for name in values.cards):
        raise NoSkyError("the WAT cards of the ZPX projection are missing or damaged")
    if found.pole is not None:
        values["LONPOLE"] = found.pole
    values.drop(*[name for name in values.cards if _SIP.fullmatch(name)])
    suffix = ""
    if not wat:
        notes.append(f"{projection} without WAT cards, read as {plain}")
    if found.constant:
        notes.append(f"the correction of {projection} is a constant, left out: read as {plain}")
    elif found.longitude.any() or found.latitude.any():
        suffix = "-SIP"
        cards = iraf.as_sip(found, _matrix(values, 2), longitude)
        values.cards |= {name: fits.Card(name, value) for name, value in cards.items()}
    for axis in (longitude, latitude):
        values[f"CTYPE{axis}"] = str(values.get(f"CTYPE{axis}"))[:5] + plain + suffix


def _mend_sip(values: _Values, headers: list[fits.Header], notes: list[str]) -> None:
    """Tell SIP that is meant from SIP that was left over."""
    ctypes = {axis: str(values.get(f"CTYPE{axis}")) for axis in (1, 2)}
    said = any(ctype.endswith("-SIP") for ctype in ctypes.values())
    there = [name for name in values.cards if _SIP.fullmatch(name)]
    if not {"A_ORDER", "B_ORDER"} & set(there):
        if said:
            notes.append("CTYPE says SIP, but there are no SIP cards: linear")
            for axis, ctype in ctypes.items():
                values[f"CTYPE{axis}"] = ctype.removesuffix("-SIP")
        return
    if said or any(re.fullmatch(r"PV\d_([5-9]|\d\d)", name) for name in values.cards):
        return
    if rectified := _rectified(headers):
        values.drop(*there)
        notes.append(
            f"SIP cards left out, as CTYPE does not say SIP and the mosaic is rectified ({rectified})"
        )
        return
    notes.append("SIP cards followed, though CTYPE does not say SIP")
    for axis, ctype in ctypes.items():
        if len(ctype) == 8:
            values[f"CTYPE{axis}"] = f"{ctype}-SIP"


def _rectified(headers: list[fits.Header]) -> str | None:
    """The card by which an image is a mosaic that was resampled."""
    for header in headers:
        for name in _RECTIFIED:
            if name in header:
                return name
        for name, wanted in _RECTIFIED_VALUES.items():
            try:
                value = str(header.get(name) or "").strip().upper()
            except (fits.VerifyError, ValueError):
                continue
            if value.startswith(wanted):
                return name
    return None


def _turn(values: _Values, system: str, longitude: int, latitude: int) -> None:
    """Ecliptic or supergalactic axes to ICRS: the sphere is turned, no pixel moves."""
    from astropy.wcs import WCS
    from erfa import s2c  # type: ignore[import-untyped]

    equinox = values.number("EQUINOX", values.number("EPOCH", 2000.0))
    besselian = str(values.get("RADESYS") or "").startswith("FK4") or equinox < 1984.0
    values.drop("EQUINOX", "EPOCH", "RADESYS")
    for axis, name in ((longitude, "RA"), (latitude, "DEC")):
        ctype = str(values.get(f"CTYPE{axis}"))
        values[f"CTYPE{axis}"] = f"{name:-<4}{ctype[4:]}" if len(ctype) > 4 else name
    plain = fits.Header([card for name, card in values.cards.items() if not _SIP.fullmatch(name)])
    for axis in (1, 2):
        plain[f"CTYPE{axis}"] = str(plain[f"CTYPE{axis}"]).removesuffix("-SIP")
    wcs = WCS(plain, naxis=2).wcs
    wcs.set()
    pole_longitude, pole_colatitude, pole_native = np.radians(np.asarray(wcs.cel.euler)[:3])
    native = _native_to_celestial(pole_longitude, np.pi / 2 - pole_colatitude, pole_native)
    turn = _to_icrs(_TURNED[system], equinox, besselian)
    reference = turn @ s2c(*np.radians([wcs.crval[longitude - 1], wcs.crval[latitude - 1]]))
    native = turn @ native
    values[f"CRVAL{longitude}"] = math.degrees(math.atan2(reference[1], reference[0])) % 360.0
    values[f"CRVAL{latitude}"] = math.degrees(math.asin(min(1.0, max(-1.0, reference[2]))))
    values.drop(f"CUNIT{longitude}", f"CUNIT{latitude}", f"PV{longitude}_3", f"PV{longitude}_4")
    _in_degrees(values, wcs, plain)
    values["LONPOLE"] = math.degrees(math.atan2(native[2, 1], native[2, 0]))
    values["LATPOLE"] = math.degrees(math.asin(min(1.0, max(-1.0, native[2, 2]))))


def _in_degrees(values: _Values, wcs: Any, plain: fits.Header) -> None:
    """Scales of axes that were in another unit, in deg per px."""
    if all(str(plain.get(f"CUNIT{axis}", "deg")) == "deg" for axis in (1, 2)):
        return
    for name in list(values.cards):
        if re.fullmatch(r"(CDELT|CROTA)\d|(PC|CD)\d+(_\d+)?", name):
            values.drop(name)
    matrix = (
        wcs.get_pc() * wcs.get_cdelt()[:, None] if not wcs.has_cd() else wcs.cd * wcs.get_cdelt()[:, None]
    )
    for i in (1, 2):
        for j in (1, 2):
            values[f"CD{i}_{j}"] = float(matrix[i - 1, j - 1])


def _native_to_celestial(longitude: float, latitude: float, native: float) -> NDArray[np.float64]:
    """Matrix of Calabretta & Greisen (2002), eq. 2, for a native pole at (`longitude`, `latitude`), rad."""
    columns = []
    for phi, theta in ((0.0, 0.0), (math.pi / 2, 0.0), (0.0, math.pi / 2)):
        away = phi - native
        x = math.sin(theta) * math.cos(latitude) - math.cos(theta) * math.sin(latitude) * math.cos(away)
        y = -math.cos(theta) * math.sin(away)
        z = math.sin(theta) * math.sin(latitude) + math.cos(theta) * math.cos(latitude) * math.cos(away)
        cos, sin = math.cos(longitude), math.sin(longitude)
        columns.append([x * cos - y * sin, x * sin + y * cos, z])
    return np.array(columns).T


def _to_icrs(frame: str, equinox: float, besselian: bool) -> NDArray[np.float64]:
    """Rotation from a frame of astropy to ICRS, shape (3, 3)."""
    from astropy.coordinates import SkyCoord
    from astropy.time import Time

    ecliptic = frame.endswith("ecliptic")
    keywords = {"equinox": Time(equinox, format="byear" if besselian else "jyear")} if ecliptic else {}
    axes = SkyCoord([0, 90, 0], [0, 0, 90], unit="deg", frame=frame, **keywords)
    return np.asarray(axes.icrs.cartesian.xyz.value, np.float64)
