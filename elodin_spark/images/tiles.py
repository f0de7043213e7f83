"""Windows of tile-compressed FITS images, and what a header may not say of their tiles."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from elodin_spark.errors import ImageError
from elodin_spark.images.streams import Stream

#: Most pixels that a byte of tile-compressed data can stand for; above is a header that lies.
#: Deflate reaches 1032 bytes a byte, PLIO 2048 px a byte, HCOMPRESS of a constant tile more.
MAX_PIXELS_PER_BYTE = 2**16

#: Pixels that are decompressed at once when a whole image is read.
BAND_PIXELS = 2**22
#: Images of so many pixels are not read in bands: of a whole image astropy reads all tiles together, in
#: two thirds of the time.
AT_ONCE_PIXELS = 2**24

_DESCRIPTOR = re.compile(r"^1?[PQ]([A-Z])")
_ELEMENT_BYTES = {"I": 2, "J": 4, "K": 8, "E": 4, "D": 8}


class TiledWindows:
    """Of a tile-compressed image.

    Holds the tiles of the last window's rows, so that windows read in rows from top to bottom,
    overlapping or not, decompress every tile once.

    Parameters
    ----------
    hdu : astropy.io.fits.CompImageHDU
        Of a file opened with ``do_not_scale_image_data``.
    """

    def __init__(self, hdu: Any) -> None:
        self.shape = (int(hdu.shape[-2]), int(hdu.shape[-1]))
        self._section = hdu.section
        self._plane = (0,) * (len(hdu.shape) - 2)  # axes of length 1
        self._tile = (int(hdu.tile_shape[-2]), int(hdu.tile_shape[-1]))
        columns = -(-self.shape[1] // self._tile[1])
        self._top = 0
        self._held: np.ndarray | None = None
        self._known = np.zeros((0, columns), bool)

    def chunks(self, y0: int, y1: int, x0: int, x1: int) -> Iterator[tuple[int, np.ndarray]]:
        """One piece; of a whole large image, which is not kept, about :data:`BAND_PIXELS` each."""
        if y0 == 0 and y1 == self.shape[0] and x0 == 0 and x1 == self.shape[1]:
            self._held, self._known = None, self._known[:0]
            rows = y1
            if x1 * y1 > AT_ONCE_PIXELS:
                rows = max(1, BAND_PIXELS // (x1 * self._tile[0])) * self._tile[0]
            for start in range(0, y1, rows):
                yield start, self._section[(*self._plane, slice(start, min(start + rows, y1)), slice(x0, x1))]
            return
        held = self._hold(y0, y1, x0, x1)
        top = self._top * self._tile[0]
        yield y0, held[y0 - top : y1 - top, x0:x1]

    def rows(self, wanted: Sequence[int]) -> Iterator[np.ndarray]:
        """One row a piece."""
        for y in wanted:
            yield from (raw for _, raw in self.chunks(y, y + 1, 0, self.shape[1]))

    def _hold(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        tall, wide = self._tile
        top, bottom = y0 // tall, -(-y1 // tall)  # rows of tiles
        left, right = x0 // wide, -(-x1 // wide)
        held = self._move(top, bottom)
        missing = ~self._known[:, left:right]
        if missing.any():
            # The smallest rectangle around what is missing; that of windows in row order is full.
            across, down = (np.flatnonzero(missing.any(axis=axis)) for axis in (0, 1))
            r0, r1 = int(down[0]), int(down[-1]) + 1
            c0, c1 = left + int(across[0]), left + int(across[-1]) + 1
            rows = slice((top + r0) * tall, min((top + r1) * tall, self.shape[0]))
            columns = slice(c0 * wide, min(c1 * wide, self.shape[1]))
            pixels = self._section[(*self._plane, rows, columns)]
            if held is None:
                height = min(bottom * tall, self.shape[0]) - top * tall
                held = self._held = np.empty((height, self.shape[1]), pixels.dtype)
            held[rows.start - top * tall : rows.stop - top * tall, columns] = pixels
            self._known[r0:r1, c0:c1] = True
        assert held is not None
        return held

    def _move(self, top: int, bottom: int) -> np.ndarray | None:
        """Make the held rows of tiles be `top` to `bottom`, keeping those that they share."""
        old_top, old_bottom = self._top, self._top + len(self._known)
        if (top, bottom) == (old_top, old_bottom):
            return self._held
        known = np.zeros((bottom - top, self._known.shape[1]), bool)
        first, last = max(top, old_top), min(bottom, old_bottom)
        old, tall = self._held, self._tile[0]
        held: np.ndarray | None = None
        if first < last and old is not None:
            known[first - top : last - top] = self._known[first - old_top : last - old_top]
            held = np.empty((min(bottom * tall, self.shape[0]) - top * tall, self.shape[1]), old.dtype)
            shared = old[(first - old_top) * tall : (last - old_top) * tall]
            held[(first - top) * tall : (first - top) * tall + len(shared)] = shared
        self._top, self._known, self._held = top, known, held
        return held


def refuse_impossible_tiles(hdu: Any, stream: Stream) -> None:
    """Refuse a header that contradicts its table; the C code of the decompressors would trust it.

    Parameters
    ----------
    hdu : astropy.io.fits.CompImageHDU
    stream : Stream
        Of the file.

    Raises
    ------
    ImageError
        The number, size or place of the tiles, or a setting of the compression, cannot be.
    """
    tiles = 1
    for axis, tile in zip(hdu.shape, hdu.tile_shape, strict=True):
        if tile < 1:
            raise ImageError("the tiles have no extent: the header is damaged; fetch the file again")
        tiles *= -(-axis // tile)
    info = hdu.fileinfo()
    table = fits.Header.fromstring(_bytes(stream, info["hdrLoc"], info["datLoc"]))
    rows = int(table["NAXIS2"])
    if rows != tiles:
        raise ImageError(f"the image should have {tiles} tiles but holds {rows}; fetch the file again")
    size = int(table["NAXIS1"]) * rows + int(table["PCOUNT"])
    if math.prod(hdu.shape) > MAX_PIXELS_PER_BYTE * max(size, 1):
        raise ImageError(
            f"{hdu.shape[-1]} x {hdu.shape[-2]} px cannot be packed in {size} bytes: the header is damaged; "
            "fetch the file again"
        )
    _refuse_bad_settings(table)
    _refuse_bad_tiles(hdu, table, stream, info["datLoc"])


def _bytes(stream: Stream, start: int, stop: int) -> bytes:
    stream.file.seek(start)
    return stream.file.read(stop - start)


def _refuse_bad_tiles(hdu: Any, table: fits.Header, stream: Stream, offset: int) -> None:
    """Refuse tiles outside the data, or HCOMPRESS ones of another size than the header says.

    The C code of the decompressors would trust them.
    """
    rows, row_bytes = int(table["NAXIS2"]), int(table["NAXIS1"])
    short = table.copy()
    short["PCOUNT"] = 0  # the descriptors only, not what they point to
    content = _bytes(stream, offset, offset + rows * row_bytes)
    padding = bytes(-len(content) % 2880)
    records = fits.BinTableHDU.fromstring(short.tostring().encode("ascii") + content + padding).data
    start = int(table.get("THEAP", rows * row_bytes))
    heap_bytes = rows * row_bytes + int(table["PCOUNT"]) - start
    for column in records.columns:
        descriptor = _DESCRIPTOR.match(column.format)
        if descriptor is None:
            continue
        places = np.asarray(records.view(np.ndarray)[column.name]).reshape(rows, 2).astype(np.int64)
        ends = places[:, 1] + places[:, 0] * _ELEMENT_BYTES.get(descriptor[1], 1)
        if places.min() < 0 or ends.max() > heap_bytes:
            raise ImageError("tiles lie outside the data: the file is damaged; fetch it again")
        if column.name == "COMPRESSED_DATA" and table["ZCMPTYPE"] == "HCOMPRESS_1":
            _refuse_other_tile_sizes(hdu, stream, places[:, 0], places[:, 1] + offset + start)


def _refuse_other_tile_sizes(
    hdu: Any, stream: Stream, lengths: NDArray[np.int64], starts: NDArray[np.int64]
) -> None:
    # Of the last two axes: the others have length 1.
    heights, widths = (
        np.array([min(tile, axis - first) for first in range(0, axis, tile)])
        for axis, tile in zip(hdu.shape[-2:], hdu.tile_shape[-2:], strict=True)
    )
    sizes = np.outer(heights, widths).ravel()
    held = np.flatnonzero(lengths)  # a tile that did not compress well is elsewhere
    ranges = [(at, at + 10) for at in starts[held].tolist()]
    for index, head in zip(held, stream.read_ranges(ranges), strict=True):
        height, width = (int.from_bytes(head[i : i + 4], "big", signed=True) for i in (2, 6))
        if len(head) < 10 or height < 1 or width < 1 or height * width != sizes[index]:
            raise ImageError(f"tile {index} is not of the size that the header says; fetch the file again")


def _refuse_bad_settings(table: fits.Header) -> None:
    """Refuse settings by which the C code of the decompressors would leave its buffers."""
    settings = {
        str(table.get(f"ZNAME{i}")).strip().upper(): table.get(f"ZVAL{i}")
        for i in range(1, 100)
        if f"ZNAME{i}" in table
    }
    seed = table.get("ZDITHER0", 1)
    if not isinstance(seed, int) or not 0 <= seed <= 10_000:
        raise ImageError(f"ZDITHER0 is {seed}, not 1 to 10000: the header is damaged; fetch the file again")
    if str(table.get("ZCMPTYPE")).strip().upper() not in ("RICE_1", "RICE_ONE"):
        return
    block, size = settings.get("BLOCKSIZE", 32), settings.get("BYTEPIX", 4)
    if size not in (1, 2, 4, 8) or not isinstance(block, int) or not 1 <= block <= 2**15:
        raise ImageError(
            f"Rice compression of {block} px a block and {size} bytes a px is unknown: the header is "
            "damaged; fetch the file again"
        )
