"""FITS files to descriptions and pixels.

Row 0 of an array is the first row of the file, which is the bottom of the picture as
astronomers show it: y points up.
"""

from __future__ import annotations

import bz2
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from elodin_spark.errors import ImageError
from elodin_spark.images import sky

#: Largest image, px, that is read: an image and its float32 copy stay below 10 GB.
MAX_PIXELS = 2**30

_GZIP, _BZIP2, _PLAIN = b"\x1f\x8b", b"BZh", b"SIMPLE  ="
_READ_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    fits.VerifyError,
    zlib.error,
)


class FitsImage(NamedTuple):
    """What the headers say of one image.

    Attributes
    ----------
    hdu : int
        Index of its HDU.
    width, height : int
        Columns and rows, px.
    bands : str or None
    wcs : str or None
        See :func:`elodin_spark.images.sky.header_text`.
    mjd : float or None
    """

    hdu: int
    width: int
    height: int
    bands: str | None
    wcs: str | None
    mjd: float | None


def describe_fits(path: str, hdu: int | str | None = None) -> FitsImage:
    """Read the headers of an image.

    Parameters
    ----------
    path : str
        Local file; ``.gz`` and ``.bz2`` are recognised by their content.
    hdu : int or str, optional
        Index (0 is the primary) or EXTNAME; by default the first HDU that holds a 2-D image.
        Tile-compressed images count, and so do cubes whose further axes have length 1.

    Raises
    ------
    ImageError
        Kinds ``empty_file``, ``not_fits``, ``truncated``, ``no_image``, ``no_such_hdu``,
        ``not_2d``, ``too_large``, ``unreadable``.
    """
    with _opened(path, whole=False) as (hdulist, length):
        index = _find(hdulist, hdu, length)
        image = hdulist[index]
        height, width = _plane_shape(image.shape)
        headers = [image.header] if index == 0 else [image.header, hdulist[0].header]
        return FitsImage(
            hdu=index,
            width=width,
            height=height,
            bands=sky.band_names(headers),
            wcs=sky.header_text(image.header, hdulist),
            mjd=sky.observation_mjd(headers),
        )


def read_fits(path: str, hdu: int) -> NDArray[np.float32]:
    """Read the pixels of an image.

    Parameters
    ----------
    path : str
    hdu : int
        Index of the HDU, as :func:`describe_fits` gives it.

    Returns
    -------
    ndarray, shape (ny, nx), float32
        Physical values: BSCALE and BZERO applied, BLANK is NaN. Row 0 is the bottom.

    Raises
    ------
    ImageError
        Kinds as for :func:`describe_fits`; also ``truncated`` where a compressed file ends early.
    """
    with _opened(path, whole=True) as (hdulist, length):
        image = hdulist[_find(hdulist, hdu, length)]
        shape = _plane_shape(image.shape)
        try:
            values = image.data
        except (EOFError, MemoryError, *_READ_ERRORS):
            raise
        except Exception as error:  # astropy's decompressors raise a class that it does not export
            raise ImageError(f"the data of HDU {hdu} are damaged, fetch the file again: {error}") from None
        if values is None:
            raise ImageError(f"HDU {hdu} holds no pixels; name another HDU in images.hdu", kind="no_image")
        with np.errstate(over="ignore"):  # beyond float32 is infinite
            return np.ascontiguousarray(values.reshape(shape), dtype=np.float32)


class _LateSeek:
    """A decompressing stream that moves only when it is read.

    astropy moves past the data of each HDU it has read the header of, for which a plain
    stream decompresses all of them.
    """

    _wanted: int | None = None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:
            if self._wanted is not None:
                super().seek(self._wanted)  # type: ignore[misc]
                self._wanted = None
            return super().seek(offset, whence)  # type: ignore[misc]
        self._wanted = offset
        return offset

    def tell(self) -> int:
        return super().tell() if self._wanted is None else self._wanted  # type: ignore[misc]

    def read(self, size: int | None = -1) -> bytes:
        if self._wanted is not None:
            super().seek(self._wanted)  # type: ignore[misc]
            self._wanted = None
        return super().read(size)  # type: ignore[misc]


class _LateGzip(_LateSeek, gzip.GzipFile):
    pass


class _LateBzip2(_LateSeek, bz2.BZ2File):
    pass


@contextmanager
def _opened(path: str, whole: bool) -> Iterator[tuple[fits.HDUList, int | None]]:
    """Open a file; yields it and its length in bytes, None where that is not known.

    With `whole` a ``.gz`` or ``.bz2`` is decompressed first, so that its length is known
    and a file that ends early is found.
    """
    length: int | None = None
    try:
        length = Path(path).stat().st_size
        if length == 0:
            raise ImageError("the file is empty; fetch it again", kind="empty_file")
        with Path(path).open("rb") as stream:
            magic = stream.read(len(_PLAIN))
        with ExitStack() as stack:
            source: Any = path
            if magic.startswith((_GZIP, _BZIP2)):
                kind = _LateGzip if magic.startswith(_GZIP) else _LateBzip2
                source, length = stack.enter_context(kind(path)), None
                if whole:
                    content = source.read()
                    source, length = io.BytesIO(content), len(content)
            elif magic != _PLAIN:
                raise ImageError("the content is not FITS, though the name says so", kind="not_fits")
            stack.enter_context(sky.quiet())
            yield stack.enter_context(fits.open(source, mode="readonly", memmap=False, uint=False)), length
    except EOFError:
        raise ImageError("the compressed file ends early; fetch it again", kind="truncated") from None
    except _READ_ERRORS as error:
        # Of a first header without an end astropy says either of two things.
        if "END card" in str(error) or (
            "Empty or corrupt" in str(error) and length is not None and length % 2880
        ):
            raise ImageError("the header ends early; fetch the file again", kind="truncated") from None
        # bz2 calls an early end a ValueError.
        if "end-of-stream" in str(error):
            raise ImageError("the compressed file ends early; fetch it again", kind="truncated") from None
        raise ImageError(
            f"the file cannot be read as FITS, fetch it again: {type(error).__name__}: {error}"
        ) from None


def _find(hdulist: fits.HDUList, wanted: int | str | None, length: int | None) -> int:
    """Index of the wanted image, checked to be whole."""
    if wanted is not None:
        try:
            if isinstance(wanted, int) and wanted < 0:
                raise IndexError(wanted)
            index = hdulist.index_of(wanted)
            image = hdulist[index]
        except (KeyError, IndexError):
            _refuse_cut_header(hdulist, length)
            names = ", ".join(f"{i} {hdu.name or '(no name)'}" for i, hdu in enumerate(hdulist))
            raise ImageError(
                f"there is no HDU {wanted!r}; the file has {names}: name one in images.hdu",
                kind="no_such_hdu",
            ) from None
        _refuse_unusable(index, image)
        _refuse_truncated(index, image, length)
        return index
    others: list[str] = []
    for index, image in enumerate(hdulist):
        if _is_image(image) and _plane_shape(image.shape) != (0, 0):
            _refuse_unusable(index, image)
            _refuse_truncated(index, image, length)
            return index
        if _is_image(image) and len(image.shape) > 2 and 0 not in image.shape:
            others.append(f"HDU {index} is {'x'.join(map(str, image.shape))}")
    _refuse_cut_header(hdulist, length)
    if others:
        raise ImageError(
            f"no HDU holds a 2-D image ({'; '.join(others)}); cut planes of it first", kind="not_2d"
        )
    raise ImageError("no HDU holds an image; leave the file out of images.paths", kind="no_image")


def _is_image(hdu: Any) -> bool:
    return bool(hdu.is_image) and not isinstance(hdu, fits.GroupsHDU) and len(hdu.shape) > 0


def _plane_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """(ny, nx) of a plane, (0, 0) of anything else."""
    if len(shape) < 2 or 0 in shape or any(n != 1 for n in shape[:-2]):
        return (0, 0)
    return (int(shape[-2]), int(shape[-1]))


def _refuse_unusable(index: int, image: Any) -> None:
    if not _is_image(image) or 0 in image.shape:
        raise ImageError(f"HDU {index} holds no image; name another HDU in images.hdu", kind="no_image")
    height, width = _plane_shape(image.shape)
    if not height:
        shape = "x".join(map(str, image.shape))
        raise ImageError(
            f"HDU {index} is {shape}, not a 2-D image; name another in images.hdu", kind="not_2d"
        )
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"HDU {index} has {width} x {height} px, more than {MAX_PIXELS}; cut it into tiles first",
            kind="too_large",
        )


def _refuse_truncated(index: int, image: Any, length: int | None) -> None:
    """Refuse a file shorter than its header says: the rest would be zeros or noise."""
    start, span = _data_extent(image)
    if length is not None and start + span > length:
        raise ImageError(
            f"the data of HDU {index} end {start + span - length} bytes early; fetch the file again",
            kind="truncated",
        )


def _refuse_cut_header(hdulist: fits.HDUList, length: int | None) -> None:
    """Refuse a file whose last header is cut: astropy passes over that HDU, which may be the image."""
    start, span = _data_extent(hdulist[-1])
    end = start + -(-span // 2880) * 2880
    stream = getattr(hdulist, "_file", None)
    if length is not None and end > length:
        raise ImageError(f"the file ends {end - length} bytes early; fetch it again", kind="truncated")
    if length is not None and stream is not None and end < length:
        stream.seek(end)
        if bytes(stream.read(8)).startswith(b"XTENSION"):
            raise ImageError("the header of the last HDU ends early; fetch the file again", kind="truncated")


def _data_extent(hdu: Any) -> tuple[int, int]:
    """Offset and length in bytes of the data of an HDU in the file.

    Without the padding to 2880 bytes, which some writers leave out after the last HDU; the
    length of tile-compressed data is only known with it.
    """
    if not hasattr(hdu, "fileinfo"):  # astropy's stand-in for an HDU whose header it could not parse
        raise ImageError("the header of an HDU is damaged; fetch the file again")
    info = hdu.fileinfo()
    return int(info["datLoc"]), int(info["datSpan"] if isinstance(hdu, fits.CompImageHDU) else hdu.size)
