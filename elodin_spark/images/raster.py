"""Pictures (JPEG, PNG, TIFF) to descriptions and pixels.

Row 0 of an array is the first row as stored, the top of the picture: y points down. The
orientation tag is applied, so "as stored" means as a viewer shows it.
"""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from elodin_spark.errors import ImageError, import_extra
from elodin_spark.images.opening import open_stream

if TYPE_CHECKING:
    from PIL.Image import Image
    from tifffile import TiffFile, TiffPage

log = logging.getLogger(__name__)

#: Largest picture, px, that is read: 3 GB of 8-bit RGB.
MAX_PIXELS = 2**30

#: Most pixels that a byte of a file can stand for; above is a header that lies, for which the libraries
#: would still fill the whole picture. Deflate reaches 1032 bytes a byte and LZW 2730, each of eight px
#: at most; JPEG 512 px, of one gray.
MAX_PIXELS_PER_BYTE = {"JPEG": 2**12, "PNG": 2**14, "TIFF": 2**15}

#: LZW, deflate and PackBits.
_OPENCV_READS = (5, 8, 32773, 32946)
_ORIENTATION, _XMP = 274, 700  # tag numbers, in EXIF as in TIFF
_READ_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    SyntaxError,
    EOFError,
    zlib.error,
    struct.error,
)


class RasterImage(NamedTuple):
    """What the header says of a picture.

    Attributes
    ----------
    width, height : int
        Columns and rows, px, after the orientation tag is applied.
    color : bool
        Whether its pixels are RGB.
    xmp : bytes or None
        Its XMP packet; None where the orientation tag turns or flips the picture, for then it is not
        known to which of the two what the packet says of pixels refers.
    """

    width: int
    height: int
    color: bool
    xmp: bytes | None = None


def describe_raster(path: str) -> RasterImage:
    """Read the header of a JPEG, PNG or TIFF file.

    Raises
    ------
    ImageError
        Kinds ``empty_file``, ``missing``, ``no_permission``, ``truncated``, ``not_2d``, ``too_large``,
        ``unreadable``.
    """
    with _failures_named(path):
        if _is_tiff(path):
            with _tiff_page(path, announce=True) as page:
                height, width, color = _tiff_layout(page)
                orientation, xmp = _tiff_orientation(page), _tiff_xmp(page)
                # Of the others some, of a fax, have no such limit.
                kind = "TIFF" if int(page.compression) in (1, 5, 8, 32773, 32946) else None
        else:
            with _picture(path) as picture:
                width, height = picture.size
                color = _mode(picture) == "RGB"
                orientation, xmp = _orientation(picture), picture.info.get("xmp")
                kind = picture.format
        if width * height > MAX_PIXELS:
            raise ImageError(
                f"the picture has {width} x {height} px, more than {MAX_PIXELS}; cut it into tiles first",
                kind="too_large",
            )
        _refuse_hollow(width * height, Path(path).stat().st_size, kind)
        if orientation != 1 or not isinstance(xmp, bytes):
            xmp = None
        return RasterImage(*((height, width) if orientation >= 5 else (width, height)), color, xmp)


def _refuse_hollow(pixels: int, size_bytes: int, kind: str | None) -> None:
    limit = MAX_PIXELS_PER_BYTE.get("JPEG" if kind == "MPO" else kind or "")  # several JPEG in one file
    if limit is not None and pixels > limit * size_bytes:
        raise ImageError(
            f"{pixels} px cannot be packed in {size_bytes} bytes: the header is damaged; fetch it again"
        )


def read_raster(path: str) -> np.ndarray:
    """Read the pixels of a picture.

    Parameters
    ----------
    path : str

    Returns
    -------
    ndarray, shape (ny, nx) or (ny, nx, 3)
        uint8 or uint16 as stored, float32 of any other TIFF. A palette and CMYK become RGB,
        transparency is dropped, and PNG color of 16 bits is reduced to 8. Row 0 is the top.

    Raises
    ------
    ImageError
        Kinds as for :func:`describe_raster`.
    """
    with _failures_named(path):
        if _is_tiff(path):
            with _tiff_page(path) as page:
                _tiff_layout(page)
                pixels, orientation = _tiff_pixels(page, path), _tiff_orientation(page)
        else:
            with _picture(path) as picture:
                # First: of a decoded PNG the tag may be found where describing did not look.
                orientation = _orientation(picture)
                pixels = np.asarray(_converted(picture))
    pixels = _oriented(pixels, orientation)
    if pixels.dtype.kind == "b":
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    elif pixels.dtype.kind != "u" or pixels.dtype.itemsize > 2:
        with np.errstate(over="ignore"):  # beyond float32 is infinite
            pixels = pixels.astype(np.float32)
    return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))


@contextmanager
def _failures_named(path: str) -> Iterator[None]:
    """Give what the libraries raise a kind and a remedy."""
    from PIL.Image import DecompressionBombError

    try:
        with open_stream(path) as stream:  # no folder, pipe or device
            if stream.size == 0:
                raise ImageError("the file is empty; fetch it again", kind="empty_file")
        yield
    except DecompressionBombError:
        raise ImageError(
            f"the picture has more than {MAX_PIXELS} px; cut it into tiles first", kind="too_large"
        ) from None
    except _READ_ERRORS as error:
        text = str(error)
        if "truncated" in text.lower() or isinstance(error, EOFError):
            raise ImageError(f"the file ends early ({text}); fetch it again", kind="truncated") from None
        raise ImageError(
            f"the picture cannot be read, fetch it again: {type(error).__name__}: {text}"
        ) from None


# ---- JPEG and PNG --------------------------------------------------------------------------


@contextmanager
def _picture(path: str, formats: tuple[str, ...] = ("JPEG", "PNG")) -> Iterator[Image]:
    from PIL import Image, ImageFile

    # Pillow's limit is a module variable, and half of it is already refused with a
    # warning: survey mosaics are larger. Ours is checked against the header instead.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
            with _lenient(ImageFile):
                opened = Image.open(path, formats=formats)
            with opened as picture:
                yield picture
    finally:
        Image.MAX_IMAGE_PIXELS = limit


@contextmanager
def _lenient(module: Any) -> Iterator[None]:
    """Pass over damaged text in the head of a PNG file, and text that unpacks without end."""
    before, module.LOAD_TRUNCATED_IMAGES = module.LOAD_TRUNCATED_IMAGES, True
    try:
        yield
    finally:
        module.LOAD_TRUNCATED_IMAGES = before


def _mode(picture: Image) -> str:
    """Name the mode to convert to."""
    if picture.mode in ("1", "L", "LA", "La"):
        return "L"
    if picture.mode.startswith("I;16"):
        return picture.mode
    return picture.mode if picture.mode in ("I", "F") else "RGB"


def _converted(picture: Image) -> Image:
    mode = _mode(picture)
    return picture if picture.mode == mode else picture.convert(mode)


def _orientation(picture: Image) -> int:
    if picture.format == "PNG" and not {"exif", "Raw profile type exif"} & picture.info.keys():
        return 1  # Pillow would decode all pixels to look for the tag behind them
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
    except (
        SyntaxError,
        ValueError,
        KeyError,
        TypeError,
        struct.error,
    ):  # damaged EXIF; the pixels may be whole
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _oriented(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation (EXIF 2.3, tag 274): rows and columns as a viewer shows them."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


# ---- TIFF ----------------------------------------------------------------------------------


def _is_tiff(path: str) -> bool:
    with Path(path).open("rb") as stream:
        return stream.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@contextmanager
def _tiff_page(path: str, announce: bool = False) -> Iterator[TiffPage]:
    tifffile = import_extra("tifffile", "reading TIFF")
    try:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages[0]
            if announce and (pages := _pages_of(tiff)) > 1:
                log.warning("%s has %d pages, of which the first is read; save one a file", path, pages)
            if not isinstance(page, tifffile.TiffPage):
                raise ImageError("the first page of the TIFF file holds no image")
            end = max((o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)), default=0)
            length = Path(path).stat().st_size
            if end > length:
                raise ImageError(
                    f"the file ends {end - length} bytes early; fetch it again", kind="truncated"
                )
            yield page
    except tifffile.TiffFileError as error:
        raise ImageError(f"the picture cannot be read as TIFF, fetch it again: {error}") from None


def _pages_of(tiff: TiffFile) -> int:
    """How many pictures, smaller copies of one not counted."""
    return sum(not getattr(page, "is_reduced", False) for page in tiff.pages)


def _tiff_layout(page: TiffPage) -> tuple[int, int, bool]:
    """Rows, columns and whether RGB, as stored."""
    axes, shape = page.axes, page.shape
    rows, columns = int(page.imagelength), int(page.imagewidth)
    samples = int(page.samplesperpixel)
    photometric = int(page.photometric)
    if axes not in ("YX", "YXS", "SYX") or 0 in shape:
        raise ImageError(
            f"the TIFF page is {axes} {shape}, not a 2-D image; cut planes of it first", kind="not_2d"
        )
    if samples > 2 and photometric not in (2, 5, 6):  # RGB, CMYK, YCbCr
        raise ImageError(
            f"the TIFF page has {samples} channels that are not RGB; save one channel a file", kind="not_2d"
        )
    return rows, columns, samples > 2 or photometric == 3


def _tiff_orientation(page: TiffPage) -> int:
    tag = page.tags.get(_ORIENTATION)
    return int(tag.value) if tag is not None and tag.value in range(1, 9) else 1


def _tiff_xmp(page: TiffPage) -> object:
    """What the tag holds; bytes where it is whole."""
    try:
        tag = page.tags.get(_XMP)
        return None if tag is None else tag.value
    except _READ_ERRORS:  # the pixels may be whole
        return None


def _tiff_pixels(page: TiffPage, path: str) -> Any:
    photometric = int(page.photometric)
    if photometric not in (3, 5, 6):  # a palette, CMYK, YCbCr
        try:
            return _as_shown(page, page.asarray())
        except ImportError:  # of the zstd of newer Pythons
            pass
        except (ValueError, KeyError) as error:
            if "imagecodecs" not in str(error):  # without which tifffile reads few compressions
                raise
    if photometric != 3 and page.bitspersample > 8 and page.samplesperpixel > 1:
        return _by_opencv(page, path)  # Pillow would drop bits
    with _picture(path, ("TIFF",)) as picture:
        # Pillow turns some TIFF files itself when they load; the caller turns them all.
        if _orientation(picture) != 1:
            raise ImageError("turned TIFF with a palette or compression; save it upright or uncompressed")
        return np.asarray(_converted(picture))


def _as_shown(page: TiffPage, pixels: np.ndarray) -> np.ndarray:
    """Channels last, of color three, and black as 0."""
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3:
        pixels = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., 0]
    if int(page.photometric) == 0:  # MINISWHITE
        pixels = ~pixels if pixels.dtype.kind in "ub" else -pixels
    return pixels


def _by_opencv(page: TiffPage, path: str) -> np.ndarray:
    """Color of more than 8 bits; OpenCV has a TIFF library of its own."""
    import cv2

    read = None
    if int(page.photometric) == 2 and int(page.compression) in _OPENCV_READS and int(page.planarconfig) == 1:
        read = cv2.imread(path, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if read is None or read.shape != page.shape or read.dtype != page.dtype:
        raise ImageError(
            f"color TIFF of {page.bitspersample} bits with compression {page.compression!s} is read where "
            "imagecodecs is: run pip install imagecodecs, or save it uncompressed"
        )
    return np.asarray(read[..., 2::-1])  # blue comes first, and transparency last
