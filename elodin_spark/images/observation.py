"""Through which filter an image was taken and when, by the cards of many archives."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from astropy.io import fits

from elodin_spark.images.sky import quiet

#: Where filters are named, the first that does decides; of the cards of one entry all count, as of the
#: wheels of one camera.
_FILTERS: tuple[tuple[str, ...], ...] = (
    ("FILTER",),
    tuple(f"FILTNAM{n}" for n in range(1, 3)),  # WFPC2, whose FILTER1 is a number
    tuple(f"FILTER{n}" for n in range(1, 5)),  # ACS, Gemini
    tuple(f"FILTER{n:02}" for n in range(1, 5)),  # Subaru
    tuple(f"FILT{n}" for n in range(1, 5)),
    ("BAND",),
    ("BANDS",),
    ("FILTERS",),
    ("FILTNAME",),
    ("BANDNAME",),
    ("FPA.FILTERID",),  # Pan-STARRS
    ("FILT_ID",),
    tuple(f"ESO INS FILT{n} NAME" for n in range(1, 10)),  # HIERARCH cards
    tuple(f"ESO INS OPTI{n} NAME" for n in range(1, 10)),
)
#: What a slot of a wheel is called that holds no filter, whatever numbers and letters follow.
_NO_FILTER = re.compile(
    r"((CLEAR|CLEARP|OPEN|FREE|EMPTY|NONE|NULL|N/A|UNKNOWN|AIR|HOLE)[-_ ]*[\dLS]*([-_]\d+)?)?"
)
#: JWST's second wheel also holds grisms, masks and lenses; what is a filter there decides over FILTER,
#: which only blocks.
_PUPIL_FILTER = re.compile(r"F\d{3}[WMN]2?")

#: Start of the observation with its time, then other times within it, then a date alone.
_STARTS = ("MJD-OBS", "MJD-BEG", "DATE-OBS", "DATE-BEG", "MJD-STR", "OBSMJD", "MJD_OBS", "EXPSTART")
_WITHIN = ("MJD-AVG", "DATE-AVG", "MJD-MID", "MJD")
_DATES = ("DATE-OBS", "DATE-BEG", "DATE-AVG")
#: What TIMESYS says, in astropy's words (FITS 4.0, table 30). UT1 differs from UTC by less than a second.
_SCALES = {
    **dict.fromkeys(("UTC", "UT", "GMT", "UT1", "Z"), "utc"),
    **dict.fromkeys(("TAI", "IAT"), "tai"),
    **dict.fromkeys(("TT", "TDT", "ET"), "tt"),
    **{name: name.lower() for name in ("TDB", "TCB", "TCG")},
}
_GPS_BEHIND_TAI_S = 19.0


def band_names(headers: Sequence[fits.Header]) -> str | None:
    """Filter names, comma separated, as the headers spell them; empty slots of a wheel are left out.

    Parameters
    ----------
    headers : sequence of astropy.io.fits.Header
        Of the image, then of the primary HDU.
    """
    pupil = _first_filter(headers, "PUPIL")
    if pupil is not None and _PUPIL_FILTER.fullmatch(pupil.upper()):
        return pupil
    for keywords in _FILTERS:
        names = [name for name in (_first_filter(headers, keyword) for keyword in keywords) if name]
        if names:
            return ",".join(dict.fromkeys(names))
    return None


def observation_mjd(headers: Sequence[fits.Header]) -> float | None:
    """Start of the observation, MJD in days of UTC; without one, a time within it.

    MJD-OBS, MJD-BEG, DATE-OBS and the like, then MJD-AVG and its like, are looked for in this order, a date
    without a time of day (DATE-OBS without TIME-OBS) last. TIMESYS says in which scale they are, UTC where
    it is absent or unknown; a date that ends in Z is UTC.

    Parameters
    ----------
    headers : sequence of astropy.io.fits.Header
        Of the image, then of the primary HDU; the first that has a keyword decides.
    """
    system = next((str(value).strip().upper() for value in _values(headers, "TIMESYS")), "UTC")
    for keyword in (*_STARTS, *_WITHIN):
        for value in _values(headers, keyword):
            mjd = (
                _mjd_of_date(str(value), headers, keyword, system, timed=True)
                if keyword.startswith("DATE")
                else _mjd_of_number(value, system)
            )
            if mjd is not None:
                return mjd
    for keyword in _DATES:
        for value in _values(headers, keyword):
            mjd = _mjd_of_date(str(value), headers, keyword, system, timed=False)
            if mjd is not None:
                return mjd
    return None


def _first_filter(headers: Sequence[fits.Header], keyword: str) -> str | None:
    for value in _values(headers, keyword):
        name = " ".join(str(value).split())
        place = isinstance(value, int) and keyword[-1].isdigit()  # on a wheel, not a name
        if not (place or _NO_FILTER.fullmatch(name.upper())):
            return name
    return None


def _values(headers: Sequence[fits.Header], keyword: str) -> Iterator[Any]:
    for header in headers:
        try:
            value = header.get(keyword)
        except (fits.VerifyError, ValueError):  # a card that cannot be parsed
            continue
        if value is not None and not isinstance(value, fits.card.Undefined):
            yield value


def _mjd_of_number(value: Any, system: str) -> float | None:
    from astropy.time import Time

    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    # 0 stands for "not known" in more headers than were taken in 1858.
    if isinstance(value, bool) or not math.isfinite(number) or number == 0:
        return None
    scale = _scale(system)
    if scale == "utc":
        return number
    try:
        return _in_utc(Time(number, format="mjd", scale=scale), system)
    except ValueError:
        return None


def _mjd_of_date(
    date: str, headers: Sequence[fits.Header], keyword: str, system: str, timed: bool
) -> float | None:
    """MJD of a date, None where it has a time of day and `timed` is not set, or has not and it is."""
    from astropy.time import Time

    date = date.strip()
    if date.endswith("Z"):
        date, system = date.rstrip("Z"), "UTC"
    old = re.fullmatch(r"(\d\d)/(\d\d)/(\d\d)", date)  # FITS before the year 2000
    if old:
        date = f"19{old[3]}-{old[2]}-{old[1]}"
    if re.fullmatch(r"\d{4}-\d\d-\d\d", date):
        # SDSS has the time of its DATE-OBS in TAIHMS.
        names = [keyword.replace("DATE", "TIME"), *(("TAIHMS",) if system == "TAI" else ("UTC-OBS", "UT"))]
        for name in names:
            for time in (str(value).strip() for value in _values(headers, name)):
                if "T" not in date and re.fullmatch(r"\d\d:\d\d:\d\d(\.\d*)?", time):
                    date = f"{date}T{time}"
    if ("T" in date or " " in date) != timed:
        return None
    try:
        with quiet():
            return _in_utc(Time(date.replace(" ", "T"), format="fits", scale=_scale(system)), system)
    except ValueError:
        return None


def _scale(system: str) -> str:
    return "tai" if system == "GPS" else _SCALES.get(system, "utc")


def _in_utc(time: Any, system: str) -> float:
    from astropy.time import TimeDelta

    with quiet():
        if system == "GPS":
            time += TimeDelta(_GPS_BEHIND_TAI_S, format="sec")
        return float(time.utc.mjd)
