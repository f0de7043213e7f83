"""Windows of one FITS image, read without the rest of it.

Arrays are (ny, nx); row 0 is the first row of the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from elodin_spark.errors import ImageError
from elodin_spark.images.streams import Stream
from elodin_spark.images.tiles import TiledWindows, refuse_impossible_tiles

#: Magnitudes of a natural logarithm of flux: 2.5 / ln 10.
POGSON = 1.0857362047581296

_BITPIX = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


class Windows(Protocol):
    """Windows of one image as stored, before BSCALE, BZERO and BLANK."""

    shape: tuple[int, int]

    def chunks(self, y0: int, y1: int, x0: int, x1: int) -> Iterator[tuple[int, np.ndarray]]:
        """Consecutive pieces of a window: first row of each, and its pixels (rows, x1 - x0)."""
        ...

    def rows(self, wanted: Sequence[int]) -> Iterator[np.ndarray]:
        """Whole rows in the order they are named, (n, nx) a piece."""
        ...


class PlainWindows:
    """Of an uncompressed image: byte ranges of the file.

    Parameters
    ----------
    stream : Stream
    offset : int
        Of the first pixel in the file, byte.
    shape : tuple of int
        (ny, nx).
    bitpix : int
    """

    def __init__(self, stream: Stream, offset: int, shape: tuple[int, int], bitpix: int) -> None:
        self.shape = shape
        self._stream, self._offset = stream, offset
        self._dtype = np.dtype(_BITPIX[bitpix])

    def chunks(self, y0: int, y1: int, x0: int, x1: int) -> Iterator[tuple[int, np.ndarray]]:
        """Pieces of at most ``stream.group_bytes`` bytes, or one row."""
        size, width = self._dtype.itemsize, self.shape[1]
        whole_rows = (width - (x1 - x0)) * size <= self._stream.gap_bytes
        first, last = (0, width) if whole_rows else (x0, x1)
        row_bytes = (last - first) * size
        rows = max(1, self._stream.group_bytes // row_bytes)
        for start in range(y0, y1, rows):
            stop = min(start + rows, y1)
            step = max(1, self._stream.piece_bytes // row_bytes) if whole_rows else 1
            ranges = [
                (
                    self._offset + (y * width + first) * size,
                    self._offset + ((min(y + step, stop) - 1) * width + last) * size,
                )
                for y in range(start, stop, step)
            ]
            raw = self._read(ranges).reshape(stop - start, last - first)
            yield start, raw[:, x0 - first : x1 - first]

    def rows(self, wanted: Sequence[int]) -> Iterator[np.ndarray]:
        """Asked for together, at most ``stream.group_bytes`` bytes at once, or one row."""
        row_bytes = self._dtype.itemsize * self.shape[1]
        group = max(1, self._stream.group_bytes // row_bytes)
        for start in range(0, len(wanted), group):
            begins = [self._offset + y * row_bytes for y in wanted[start : start + group]]
            yield self._read([(at, at + row_bytes) for at in begins]).reshape(-1, self.shape[1])

    def _read(self, ranges: list[tuple[int, int]]) -> np.ndarray:
        parts = self._stream.read_ranges(ranges)
        if any(len(part) != b - a for part, (a, b) in zip(parts, ranges, strict=True)):
            raise ImageError("the file became shorter while it was read; fetch it again", "truncated")
        content = parts[0] if len(parts) == 1 else b"".join(parts)
        return np.frombuffer(content, self._dtype)


class ConstantWindows:
    """Of an image of one value, which HST files give by PIXVALUE in place of pixels.

    Parameters
    ----------
    shape : tuple of int
        (ny, nx).
    value : int or float
    """

    def __init__(self, shape: tuple[int, int], value: float) -> None:
        self.shape = shape
        self._value = value

    def chunks(self, y0: int, y1: int, x0: int, x1: int) -> Iterator[tuple[int, np.ndarray]]:
        """One piece."""
        dtype = np.int32 if isinstance(self._value, int) else np.float32
        yield y0, np.broadcast_to(dtype(self._value), (y1 - y0, x1 - x0))

    def rows(self, wanted: Sequence[int]) -> Iterator[np.ndarray]:
        """One piece."""
        yield from (raw for _, raw in self.chunks(0, len(wanted), 0, self.shape[1]))


def windows_of(hdu: Any, stream: Stream, shape: tuple[int, int]) -> Windows:
    """Windows of an image HDU.

    Parameters
    ----------
    hdu : astropy image HDU
        Of a file opened from `stream` with ``do_not_scale_image_data``.
    stream : Stream
    shape : tuple of int
        (ny, nx), further axes having length 1.

    Raises
    ------
    ImageError
        The header of a tile-compressed image contradicts its table.
    """
    if not isinstance(hdu, fits.CompImageHDU):
        bitpix = int(hdu.header["BITPIX"])
        if bitpix not in _BITPIX:
            raise ImageError(f"BITPIX is {bitpix}, which FITS has not; fetch the file again")
        return PlainWindows(stream, int(hdu.fileinfo()["datLoc"]), shape, bitpix)
    refuse_impossible_tiles(hdu, stream)
    stream.expect_sequential()
    return TiledWindows(hdu)


class Softening(NamedTuple):
    """Of pixels that Pan-STARRS stores as asinh magnitudes: BOFFSET and BSOFTEN, in units of flux."""

    offset: float
    softening: float

    def flux(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Flux of stored values v: ``offset + softening (exp(v / 1.0857) - exp(-v / 1.0857))``."""
        return self.offset + 2 * self.softening * np.sinh(values / POGSON)


class Scaling(NamedTuple):
    """From stored to physical values, by the cards BSCALE, BZERO and BLANK, and BOFFSET and BSOFTEN."""

    scale: float
    zero: float
    blank: int | None
    softening: Softening | None = None

    @classmethod
    def of(cls, header: fits.Header) -> Scaling:
        """Scaling of an image by its header.

        BLANK counts for integers only (FITS 4.0, 4.4.2.5), and one without a value names no pixel.

        Raises
        ------
        ImageError
            Kind ``bad_card``: one of the cards, which the message names, says nothing that can be followed.
        """
        scale, zero = (_card_number(header, name, default) for name, default in (("BSCALE", 1), ("BZERO", 0)))
        if scale == 0:
            raise _bad_card("BSCALE", "is 0, by which all pixels would be alike")
        return cls(scale, zero, _blank(header), _softening(header))


def refuse_bad_scaling(hdu: Any) -> None:
    """Refuse an image HDU whose pixels cannot be scaled, from its header alone; see :meth:`Scaling.of`."""
    table = getattr(hdu, "_bintable", None)  # astropy leaves bad cards out of what it makes of it
    if table is None:
        Scaling.of(hdu.header)
        return
    Scaling.of(table.header)
    if "BLANK" in table.header and _value(table.header, "BLANK") is None:
        raise _bad_card("BLANK", "has no value")  # astropy unpacks no tile then


def _softening(header: fits.Header) -> Softening | None:
    if "BSOFTEN" not in header:
        return None
    softening = _card_number(header, "BSOFTEN", 0)
    if softening <= 0:
        raise _bad_card("BSOFTEN", f"is {softening:g}, and a softening is above 0")
    return Softening(_card_number(header, "BOFFSET", 0), softening)


def _blank(header: fits.Header) -> int | None:
    value = _value(header, "BLANK")
    if value is None or int(header.get("ZBITPIX", header.get("BITPIX", 8))) < 0:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != math.floor(value):
        raise _bad_card("BLANK", f"is {value!r}, not a whole number")
    return int(value)


def _card_number(header: fits.Header, name: str, default: float) -> float:
    if name not in header:
        return default
    value = _value(header, name)
    if value is None:
        raise _bad_card(name, "has no value")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _bad_card(name, f"is {value!r}, not a number")
    return value


def _value(header: fits.Header, name: str) -> Any:
    try:
        value = header.get(name)
    except (fits.VerifyError, ValueError):  # a card that cannot be parsed
        return "unreadable"
    return None if isinstance(value, fits.card.Undefined) else value


def _bad_card(name: str, problem: str) -> ImageError:
    return ImageError(f"the card {name} {problem}; correct it in the header, or remove it", "bad_card")


def read_window(
    windows: Windows, scaling: Scaling, y0: int, y1: int, x0: int, x1: int
) -> NDArray[np.float32]:
    """Physical values, see :func:`physical`, of the window ``y0 <= y < y1``, ``x0 <= x < x1``."""
    values: NDArray[np.float32] | None = None
    for top, raw in windows.chunks(y0, y1, x0, x1):
        part = physical(raw.reshape(-1, x1 - x0), scaling)
        if len(part) == y1 - y0:
            return part
        if values is None:
            values = np.empty((y1 - y0, x1 - x0), np.float32)
        values[top - y0 : top - y0 + len(part)] = part
    assert values is not None  # there is a row, so there is a chunk
    return values


def read_rows(windows: Windows, scaling: Scaling, wanted: Sequence[int]) -> NDArray[np.float32]:
    """Physical values of whole rows, (n, nx), in the order they are named; at least one."""
    parts = [physical(raw, scaling) for raw in windows.rows(wanted)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def physical(raw: np.ndarray, scaling: Scaling) -> NDArray[np.float32]:
    """Stored values to physical ones: ``BZERO + BSCALE x stored``, BLANK is NaN (FITS 4.0, 4.4.2).

    Where the header has BSOFTEN, that is an asinh magnitude, which is turned to flux.

    Parameters
    ----------
    raw : ndarray, shape (ny, nx)
    scaling : Scaling

    Returns
    -------
    ndarray, shape (ny, nx), float32
        Computed in float32 from 8- and 16-bit integers and float32, else in float64, as astropy does.
    """
    scale, zero, blank, softening = scaling
    kind, size = raw.dtype.kind, raw.dtype.itemsize
    wide = size > (4 if kind == "f" else 2)
    wide |= softening is not None
    scaled = (scale, zero, blank, softening) != (1, 0, None, None)
    if not (wide or scaled):
        return raw.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is infinite
        values: np.ndarray[Any, Any] = raw.astype(np.float64 if wide and scaled else np.float32)
        if scale != 1:
            values *= scale
        if zero != 0:
            values += zero
        if softening is not None:
            values = softening.flux(values)
        if blank is not None and kind != "f":
            values[raw == blank] = np.nan
        return values.astype(np.float32, copy=False)


def bit_fields(raw: np.ndarray, header: fits.Header) -> np.ndarray:
    """Stored values of a mask to unsigned integers, bit for bit.

    Parameters
    ----------
    raw : ndarray, shape (ny, nx)
        Integers; of floating-point numbers the nearest, and bit 0 where there is none.
    header : astropy.io.fits.Header
        BZERO, of unsigned integers, is applied.

    Returns
    -------
    ndarray, shape (ny, nx), uint8, uint16, uint32 or uint64
        In native byte order.
    """
    scale, zero, *_ = Scaling.of(header)
    if raw.dtype.kind == "f":
        return _nearest(raw, scale, zero)
    native = raw.astype(raw.dtype.newbyteorder("="))
    unsigned = native.view(np.dtype(f"u{native.itemsize}"))
    if (scale, zero) == (1, 0):
        return unsigned
    if scale == 1 and native.itemsize > 1 and zero == 2 ** (8 * native.itemsize - 1):
        unsigned ^= unsigned.dtype.type(zero)  # adding half the range flips the highest bit
        return unsigned
    return _nearest(native, scale, zero)


def codes_to_bits(codes: np.ndarray) -> np.ndarray:
    """Numbers of flags, one a pixel, to bits: code ``n`` sets bit ``n - 1``, the last one from 32 on.

    Parameters
    ----------
    codes : ndarray, shape (ny, nx), unsigned integers

    Returns
    -------
    ndarray, shape (ny, nx), uint32
    """
    number = np.clip(codes, 0, 32).astype(np.uint32)
    bits = np.left_shift(np.uint32(1), np.maximum(number, 1) - np.uint32(1), dtype=np.uint32)
    return np.where(number == 0, np.uint32(0), bits)


def _nearest(raw: np.ndarray, scale: float, zero: float) -> NDArray[np.uint32]:
    """Nearest integers of scaled values, their lowest 32 bits; 1 where a value is no such number."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = raw.astype(np.float64) * scale + zero
    return np.where(np.abs(values) < 2**63, np.rint(values), 1).astype(np.int64).astype(np.uint32)
