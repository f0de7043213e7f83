"""Look-up tables of a distorted WCS (HST ``D2IMARR`` and ``WCSDVARR``), carried in header text.

Astropy takes them from other HDUs of the file. A WCS must outlive its file, so the tables are packed
into COMMENT cards beside the cards that refer to them: to other readers these are remarks.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Iterator, Sequence

from astropy.io import fits

#: Names of the extensions that hold tables.
TABLE_NAMES = ("D2IMARR", "WCSDVARR")
#: Most pixels of all tables of an image.
MAX_TABLE_PIXELS = 2**18

_MARK = "COMMENT LOOKUP "
_WIDTH = 64
_MAX_BYTES = 8 * MAX_TABLE_PIXELS + 2**16


def uses_lookup(header: fits.Header) -> bool:
    """Whether the WCS of a header refers to tables in other HDUs."""
    if "AXISCORR" in header:
        return True
    for keyword in ("CPDIS1", "CPDIS2", "CQDIS1", "CQDIS2", "D2IMDIS1", "D2IMDIS2"):
        try:
            value = header.get(keyword)
        except (fits.VerifyError, ValueError):  # a card that cannot be parsed
            continue
        if str(value).strip().upper() == "LOOKUP":
            return True
    return False


def table_cards(hdulist: Iterable[fits.hdu.base.ExtensionHDU]) -> list[str] | None:
    """Pack the tables of a file.

    Parameters
    ----------
    hdulist : astropy.io.fits.HDUList

    Returns
    -------
    list of str or None
        COMMENT cards; None where there are no tables, or larger ones than :data:`MAX_TABLE_PIXELS`.
    """
    tables = [hdu for hdu in hdulist if hdu.name in TABLE_NAMES and hdu.is_image]
    pixels = sum(hdu.size // max(abs(hdu.header["BITPIX"]) // 8, 1) for hdu in tables)
    if not tables or pixels > MAX_TABLE_PIXELS:
        return None
    packed = b"".join(_bytes_of(hdu) for hdu in tables)
    text = base64.b64encode(zlib.compress(packed, 9)).decode()
    return [_MARK + text[start : start + _WIDTH] for start in range(0, len(text), _WIDTH)]


def _bytes_of(hdu: fits.hdu.base.ExtensionHDU) -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(hdu.data, hdu.header)]).writeto(buffer)
    return buffer.getvalue()[2880:]  # the empty primary HDU is one block


def split_cards(lines: Sequence[str]) -> tuple[list[str], fits.HDUList | None]:
    """Part the tables from the other cards of a header.

    Parameters
    ----------
    lines : sequence of str
        Cards of a header, one each.

    Returns
    -------
    lines : list of str
        The other cards.
    tables : astropy.io.fits.HDUList or None
        None where there are none.

    Raises
    ------
    ValueError
        The cards are damaged.
    """
    text = "".join(line.removeprefix(_MARK).rstrip() for line in lines if line.startswith(_MARK))
    if not text:
        return list(lines), None
    try:
        unpacked = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), _MAX_BYTES)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"the look-up tables of the WCS are damaged: {error}") from None
    primary = fits.PrimaryHDU().header.tostring().encode("ascii")
    return list(_without_tables(lines)), fits.HDUList.fromstring(primary + unpacked)


def _without_tables(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if not line.startswith(_MARK))
