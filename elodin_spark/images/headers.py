"""What astropy reads FITS headers from: no more is unpacked than is read, no absurd header passes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import math
import re
from collections import Counter
from typing import Any, BinaryIO

from elodin_spark.errors import ImageError

#: Longest header, bytes, that is read; above, its end is taken to be lost.
MAX_HEADER_BYTES = 2**24

_BLOCK = 2880
_START = (b"SIMPLE  =", b"XTENSION=")
#: How often astropy may read the header at one place: it does once, and forever where it takes the
#: extent of a damaged HDU for negative.
_MOST_READS = 4
#: Cards by which astropy counts loops, allocates or finds the next header, and their largest value.
#: FITS 4.0, 4.4.1: at most 999 axes or columns, none negative.
_COUNTS = re.compile(rb"(Z?NAXIS|TFIELDS) *= *([+-]?\d+)")
#: Cards of the scaling of pixels, and what they can hold: nothing, text, a truth value or a number.
_SCALINGS = re.compile(rb"(BSCALE|BZERO|BLANK|BSOFTEN|BOFFSET) *= ")
_VALUE = re.compile(rb" *('.*|[TF]|[+-]?(\d+\.?\d*|\.\d+)([EDed][+-]?\d+)?)? *")
_LENGTHS = re.compile(rb"(Z?NAXIS\d{1,3}|Z?PCOUNT|Z?GCOUNT|THEAP) *= *-\d")


class _Checked:
    """Looks through each header block that passes."""

    _length = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        self._reads: Counter[int] = Counter()
        super().__init__(*args, **options)

    def _check(self, block: bytes, offset: int) -> bytes:
        # astropy asks for headers block by block, and never so for pixels.
        if len(block) != _BLOCK:
            self._length = 0
            return block
        self._length += _BLOCK
        if block.startswith(_START):
            self._length = _BLOCK
            self._reads[offset] += 1
            if self._reads[offset] > _MOST_READS:
                raise ImageError("the header of an HDU is damaged; fetch the file again")
        if self._length > MAX_HEADER_BYTES:
            raise ImageError("a header has no end; fetch the file again", kind="truncated")
        for name in (b"BSCALE", b"BZERO", b"BLANK", b"BSOFTEN", b"BOFFSET"):
            if name in block:
                block = _readable(block)
                break
        if b"NAXIS" in block or b"TFIELDS" in block or b"COUNT" in block or b"THEAP" in block:
            for start in range(0, _BLOCK, 80):
                card = block[start : start + 80]
                count = _COUNTS.match(card)
                if (count and not 0 <= int(count[2]) <= 999) or _LENGTHS.match(card):
                    text = " ".join(card.split(b"/")[0].decode("ascii", "replace").split())
                    raise ImageError(f"the header says {text}, which cannot be; fetch the file again")
        return block


def _readable(block: bytes) -> bytes:
    """Put what such a card holds beside that in quotes: astropy would pass over the whole HDU for it."""
    cards = [block[start : start + 80] for start in range(0, _BLOCK, 80)]
    for number, card in enumerate(cards):
        text = card[10:].split(b"/")[0]
        if not _SCALINGS.match(card):
            continue
        value = _VALUE.fullmatch(text)
        if value is None or (value[2] and math.isinf(float(re.sub(b"[Dd]", b"E", value[1])))):
            cards[number] = (card[:8] + b"= '" + text.strip().replace(b"'", b"")[:60] + b"'").ljust(80)
    return b"".join(cards)


class CheckedFile(_Checked):
    """A view of an open file.

    Parameters
    ----------
    file : binary file
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file

    @property
    def closed(self) -> bool:
        """Whether the file is."""
        return self._file.closed

    def read(self, size: int = -1) -> bytes:
        """As of the file; raises ImageError where it is a header that cannot be."""
        offset = self._file.tell()
        return self._check(self._file.read(size), offset)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of the file; to its end where no file is as long as that."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, OverflowError, ValueError):
            return self._file.seek(0, io.SEEK_END)

    def tell(self) -> int:
        """As of the file."""
        return self._file.tell()

    def close(self) -> None:
        """Leave the file open: who opened it closes it."""


class _LateSeek(_Checked):
    """A decompressing stream that moves only when it is read.

    astropy moves past the data of each HDU it has read the header of, for which a plain
    stream decompresses all of them.
    """

    _wanted: int | None = None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Note where to."""
        if whence != io.SEEK_SET:
            if self._wanted is not None:
                super().seek(self._wanted)  # type: ignore[misc]
                self._wanted = None
            return super().seek(offset, whence)  # type: ignore[misc]
        self._wanted = offset
        return offset

    def tell(self) -> int:
        """Where the next byte comes from."""
        return super().tell() if self._wanted is None else self._wanted  # type: ignore[misc]

    def read(self, size: int | None = -1) -> bytes:
        """As of the stream; raises ImageError where it is a header that cannot be."""
        if self._wanted is not None:
            super().seek(self._wanted)  # type: ignore[misc]
            self._wanted = None
        offset: int = super().tell()  # type: ignore[misc]
        return self._check(super().read(size), offset)  # type: ignore[misc]


class LateGzip(_LateSeek, gzip.GzipFile):
    """Of a ``.gz`` file."""


class LateBzip2(_LateSeek, bz2.BZ2File):
    """Of a ``.bz2`` file."""


class LateXz(_LateSeek, lzma.LZMAFile):
    """Of a ``.xz`` file."""
