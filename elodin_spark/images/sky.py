"""Where pixels are on the sky."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import NoSkyError
from elodin_spark.images import lookups, wcscards

#: Largest effect, px, of look-up table distortions that may be left out of the header text.
MAX_LOOKUP_PX = 0.001

#: Characters of what astropy says that are kept.
_LONGEST_GIST = 120

_LOOKUP = re.compile(
    r"^(CPDIS|CQDIS|DP|DQ|CPERR|CQERR|D2IMDIS|D2IMERR|D2IM|D2IMEXT|D2IMARR|AXISCORR)\d*(\.|$)"
)


class SkyWcs(NamedTuple):
    """What a header says of the sky.

    Attributes
    ----------
    text : str or None
        Header cards, to be read by :func:`wcs_of`: those of the image other than COMMENT, HISTORY and
        blank ones, of which those of the WCS are as astropy reads them, see
        :mod:`~elodin_spark.images.wcscards`. None where there is no position.
    reason : str or None
        Why there is none.
    note : str or None
        What was assumed of the WCS, parted by semicolons.
    """

    text: str | None
    reason: str | None = None
    note: str | None = None


def read_wcs(
    header: fits.Header, hdulist: fits.HDUList | None = None, primary: fits.Header | None = None
) -> SkyWcs:
    """The celestial WCS of an image, or why it has none.

    The text is all that is needed later: SIP, TPV and DSS plate solutions are cards, and look-up
    tables of distortions, which live in other HDUs, are packed into cards by
    :mod:`~elodin_spark.images.lookups`. Where the tables are missing or too large for that, there
    is no text unless they move no pixel by more than :data:`MAX_LOOKUP_PX`: a position that is
    quietly wrong is worse than none.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Of the image.
    hdulist : astropy.io.fits.HDUList, optional
        The open file, where the tables of distortions are.
    primary : astropy.io.fits.Header, optional
        Of the primary HDU of the file, where that is another.
    """
    lookup = lookups.uses_lookup(header)
    tables = lookups.table_cards(hdulist) if lookup and hdulist is not None else None
    left_out = lookup and tables is None
    lines = list(_other_cards(header))
    kept = [line for line in lines if not (left_out and _LOOKUP.match(line[:8].rstrip()))]
    reasons: list[str] = []
    for found in wcscards.candidates(header, primary):
        if isinstance(found, NoSkyError):
            reasons.append(str(found))
            continue
        cards = [line for card in found.cards for line in _card_lines(card)]
        text = "\n".join([*kept, *cards, *(tables or ())])
        # Headers in the wild make astropy and wcslib raise nearly anything; without a WCS an
        # image still has its pixels.
        try:
            wcs = wcs_of(text)  # which will be asked for again
            if not wcs.has_celestial:
                raise NoSkyError(f"the axes {' and '.join(wcs.wcs.ctype)} are not of the sky")
            width, height = header.get("NAXIS1", 1), header.get("NAXIS2", 1)
            _to_icrs(wcs, np.array([(width - 1) / 2]), np.array([(height - 1) / 2]))
            if left_out:
                full = "\n".join([*lines, *cards])
                if _lookup_effect_px(full, hdulist, wcs, width, height) > MAX_LOOKUP_PX:
                    raise NoSkyError("the tables of distortions of its WCS are missing or too large")
        except NoSkyError as error:
            reasons.append(str(error))
        except Exception as error:
            reasons.append(f"astropy cannot build its WCS ({_said(error)})")
        else:
            return SkyWcs(text, None, "; ".join(found.notes) or None)
    return SkyWcs(None, reasons[0] if reasons else "there is no WCS in the header")


def header_text(header: fits.Header, hdulist: fits.HDUList | None = None) -> str | None:
    """The text of :func:`read_wcs`."""
    return read_wcs(header, hdulist).text


def _other_cards(header: fits.Header) -> Iterator[str]:
    """Cards that are not of the WCS, one a line; those that wcslib cannot be given are left out."""
    for card in header.cards:
        keyword = card.keyword.upper()
        if keyword not in ("COMMENT", "HISTORY", "") and not wcscards.is_wcs_card(keyword):
            yield from _card_lines(card)


def _card_lines(card: fits.Card) -> Iterator[str]:
    try:
        image = str(card)
    except (fits.VerifyError, ValueError):  # beyond repair, and no WCS card is missed by leaving it out
        return
    yield from (image[start : start + 80].rstrip() for start in range(0, len(image), 80))


def _said(error: Exception) -> str:
    """The gist of a message of wcslib, which begins with line numbers of its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".")[:_LONGEST_GIST] if lines else type(error).__name__


@lru_cache(maxsize=64)
def wcs_of(text: str) -> WCS:
    """WCS of the first two axes of a header given as :func:`header_text` text."""
    return _build(text)


def pixel_to_sky(wcs: WCS, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """ICRS positions of pixels, all distortions applied.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        In any celestial frame; equatorial (FK4, FK5) and galactic ones are transformed.
    x, y : array_like, shape (n,) or scalar
        Column and row, px, from 0; integers are the centers of pixels.

    Returns
    -------
    ra, dec : ndarray, shape (n,), float64
        ICRS, deg, ``0 <= ra < 360``; NaN where the projection has no sky.
    """
    columns, rows = np.broadcast_arrays(
        np.atleast_1d(np.asarray(x, np.float64)), np.atleast_1d(np.asarray(y, np.float64))
    )
    return _to_icrs(wcs, columns, rows)


def pixel_scale_arcsec(wcs: WCS) -> float | None:
    """Side of the square as large as a pixel at the reference point, arcsec; None where undefined.

    The square root of ``|det CD|``: the linear part of the WCS, without distortions.
    """
    from astropy.wcs.utils import proj_plane_pixel_area

    scale = math.sqrt(proj_plane_pixel_area(wcs.celestial)) * 3600.0
    return scale if math.isfinite(scale) and scale > 0 else None


@contextmanager
def quiet() -> Iterator[None]:
    """Silence astropy's remarks on header style within a block; errors still raise."""
    from astropy.utils.exceptions import AstropyWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        warnings.filterwarnings("ignore", message="ERFA function")  # a date before UTC
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="astropy")
        yield


def _build(text: str) -> WCS:
    lines, tables = lookups.split_cards(text.split("\n"))
    with quiet():
        return WCS(fits.Header.fromstring("\n".join(lines), sep="\n"), tables, naxis=2)


def _to_icrs(
    wcs: WCS, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from astropy import units
    from astropy.coordinates import ICRS, UnitSphericalRepresentation
    from astropy.wcs.utils import wcs_to_celestial_frame

    with quiet():
        frame = wcs_to_celestial_frame(wcs)
        world = wcs.all_pix2world(x, y, 0)
        longitude = np.array(world[wcs.wcs.lng], np.float64)
        latitude = np.array(world[wcs.wcs.lat], np.float64)
        known = np.isfinite(longitude) & np.isfinite(latitude) & (np.abs(latitude) <= 90)
        longitude[~known] = latitude[~known] = np.nan
        if not isinstance(frame, ICRS) and known.any():
            points = UnitSphericalRepresentation(longitude[known] * units.deg, latitude[known] * units.deg)
            sky = frame.realize_frame(points).transform_to(ICRS())
            longitude[known], latitude[known] = sky.ra.deg, sky.dec.deg
        elif not isinstance(frame, ICRS):
            frame.realize_frame(UnitSphericalRepresentation(0 * units.deg, 0 * units.deg)).transform_to(
                ICRS()
            )
    ra = np.mod(longitude, 360.0)
    ra[ra == 360.0] = 0.0  # mod rounds a tiny negative angle up to the full circle
    return ra, latitude


def _lookup_effect_px(
    text: str, hdulist: fits.HDUList | None, reduced: WCS, width: int, height: int
) -> float:
    """Largest shift on a grid over the image when the tables of distortions are left out."""
    if hdulist is None:
        return math.inf
    with quiet():
        full = WCS(fits.Header.fromstring(text, sep="\n"), hdulist, naxis=2)
        grid_x, grid_y = np.meshgrid(np.linspace(0, width - 1, 33), np.linspace(0, height - 1, 33))
        x, y = grid_x.ravel(), grid_y.ravel()
        shift = np.array(full.pix2foc(x, y, 0)) - np.array(reduced.pix2foc(x, y, 0))
    return float(np.hypot(*shift).max())
