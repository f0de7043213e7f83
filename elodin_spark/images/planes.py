"""Planes of pixels that are read by windows: an image with its mask and its variance.

Rows are counted from 0 as the file stores them: in FITS row 0 is the bottom of the picture, in
JPEG, PNG and TIFF the top.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from elodin_spark.errors import LEAVE_OUT, ImageError
from elodin_spark.images import masks, siblings
from elodin_spark.images.fits import find_image, named_failures, open_fits, refuse_truncated
from elodin_spark.images.opening import local_copy
from elodin_spark.images.photometry import FluxUnit, flux_unit
from elodin_spark.images.raster import describe_raster, read_raster
from elodin_spark.images.streams import LocalStream, Stream
from elodin_spark.images.uris import is_fits, is_raster, is_remote, local_path
from elodin_spark.images.windows import (
    ConstantWindows,
    PlainWindows,
    Scaling,
    Windows,
    bit_fields,
    codes_to_bits,
    read_rows,
    read_window,
    windows_of,
)

if TYPE_CHECKING:
    from astropy.io import fits

_VARIANCE_KINDS: tuple[masks.VarianceKind, ...] = get_args(masks.VarianceKind)


class Plane(Protocol):
    """An image of an open file.

    In all methods the window is ``y0 <= y < y1``, ``x0 <= x < x1`` in px, `x1` by default the width;
    one that leaves the image raises ValueError.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(ny, nx), or (ny, nx, 3) of a color picture."""
        ...

    @property
    def seekable(self) -> bool:
        """Whether rows are read where they lie, at no more cost one by one than all at once."""
        ...

    @property
    def mask_bits(self) -> dict[str, int]:
        """Names of the bits of the mask, bit numbers from 0; empty without a mask."""
        ...

    @property
    def bad_bits(self) -> tuple[str, ...]:
        """Bits of the mask that spoil a pixel, by what is known of its archive; empty where nothing is."""
        ...

    @property
    def saturation_level(self) -> float | None:
        """Pixel value from which pixels are saturated, where the header gives it."""
        ...

    @property
    def flux_unit(self) -> FluxUnit | None:
        """What one unit of a pixel is worth in flux, where the headers say."""
        ...

    def read(self, y0: int, y1: int, x0: int = 0, x1: int | None = None) -> np.ndarray:
        """Pixels of a window.

        Returns
        -------
        ndarray, shape (y1 - y0, x1 - x0) or (y1 - y0, x1 - x0, 3)
            FITS: float32, physical values, BLANK is NaN. Pictures: uint8, uint16 or float32 as stored.
            The caller's own where it can be written to.
        """
        ...

    def read_rows(self, wanted: Sequence[int]) -> np.ndarray:
        """Whole rows in the order they are named, as :meth:`read` gives them; asked for together."""
        ...

    def mask(self, y0: int, y1: int, x0: int = 0, x1: int | None = None) -> np.ndarray | None:
        """Bits of the mask that belongs to the image, unsigned integers; None without a mask.

        The mask is a plane of the same file, or of a local file beside it.
        """
        ...

    def variance(self, y0: int, y1: int, x0: int = 0, x1: int | None = None) -> NDArray[np.float32] | None:
        """Variance of the pixels, in the square of their unit; None where the file does not say.

        From a plane of variances, of standard deviations, or of weights taken as inverse variances.
        """
        ...


def open_plane(
    uri: str, hdu: int, storage_options: Mapping[str, Any] | None = None
) -> AbstractContextManager[Plane]:
    """Open an image to read windows of it.

    Of an uncompressed FITS file, local or remote, only the windows are read. A tile-compressed image is
    decompressed tile by tile; reading it in bands, or in rows of windows, from top to bottom
    decompresses each tile once, also where they overlap. A ``.gz`` or ``.bz2`` file is unpacked once to a
    temporary file; a picture is decoded whole when it is first read.

    Parameters
    ----------
    uri : str
        Local path or URI, see :func:`elodin_spark.images.remote.open_remote`.
    hdu : int
        Index of the HDU; 0 for pictures.
    storage_options : mapping, optional
        Of a remote store.

    Returns
    -------
    context manager of Plane
        Which is of no use after the block.

    Raises
    ------
    ImageError
        On entering the block and in the methods of the plane. Kinds as for
        :func:`elodin_spark.images.describe.describe`, and of remote files ``missing``, ``no_permission``,
        ``unreachable``, ``no_space``.
    """
    if is_raster(uri):
        return _open_picture(uri, storage_options)
    if not is_fits(uri):
        raise ImageError(f"not a known kind of image by its name{LEAVE_OUT}")
    return _open_fits_plane(uri, hdu, storage_options)


@contextmanager
def _open_fits_plane(uri: str, hdu: int, storage_options: Mapping[str, Any] | None) -> Iterator[Plane]:
    with open_fits(uri, storage_options) as (hdulist, stream):
        with named_failures(stream.size):
            index = find_image(hdulist, hdu, stream.size)
            plane = _FitsPlane(hdulist, stream, index, None if is_remote(uri) else local_path(uri))
        with plane:
            yield plane


class _Part(NamedTuple):
    """A plane that belongs to an image."""

    windows: Windows
    header: fits.Header
    #: Of the primary HDU of its own file, then those of the image.
    others: list[fits.Header]


class _FitsPlane:
    """A context manager: it closes the files beside that it opened."""

    def __init__(self, hdulist: fits.HDUList, stream: Stream, index: int, path: str | None) -> None:
        self._hdulist, self._stream, self._index, self._path = hdulist, stream, index, path
        self._header: fits.Header = hdulist[index].header
        self._windows = _windows_of(hdulist, stream, index)
        self._scaling = Scaling.of(self._header)
        self._stack = ExitStack()

    def __enter__(self) -> _FitsPlane:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def shape(self) -> tuple[int, ...]:
        return self._windows.shape

    @property
    def seekable(self) -> bool:
        return isinstance(self._windows, PlainWindows) and isinstance(self._stream, LocalStream)

    @property
    def mask_bits(self) -> dict[str, int]:
        return self._meaning.bits

    @property
    def bad_bits(self) -> tuple[str, ...]:
        return self._meaning.bad

    @cached_property
    def _meaning(self) -> masks.Meaning:
        with named_failures(self._stream.size):
            if self._mask is None:
                return masks.Meaning({}, ())
            _, header, others = self._mask
            bits = abs(int(header["BITPIX"])) if header["NAXIS"] else 16
            return masks.meaning_of(header, others, 32 if header["BITPIX"] < 0 else bits)

    @cached_property
    def saturation_level(self) -> float | None:
        return masks.saturation_level(self._headers)

    @cached_property
    def flux_unit(self) -> FluxUnit | None:
        return flux_unit(self._headers)

    def read(self, y0: int, y1: int, x0: int = 0, x1: int | None = None) -> NDArray[np.float32]:
        x1 = _checked_window(self.shape, y0, y1, x0, x1)
        with named_failures(self._stream.size):
            return read_window(self._windows, self._scaling, y0, y1, x0, x1)

    def read_rows(self, wanted: Sequence[int]) -> NDArray[np.float32]:
        with named_failures(self._stream.size):
            return read_rows(self._windows, self._scaling, wanted)

    def mask(self, y0: int, y1: int, x0: int = 0, x1: int | None = None) -> np.ndarray | None:
        x1 = _checked_window(self.shape, y0, y1, x0, x1)
        with named_failures(self._stream.size):
            if self._mask is None:
                return None
            windows, header, _ = self._mask
            parts = [
                bit_fields(raw.reshape(-1, x1 - x0), header) for _, raw in windows.chunks(y0, y1, x0, x1)
            ]
            bits = parts[0] if len(parts) == 1 else np.concatenate(parts)
            return codes_to_bits(bits) if self._meaning.codes else bits

    def variance(self, y0: int, y1: int, x0: int = 0, x1: int | None = None) -> NDArray[np.float32] | None:
        x1 = _checked_window(self.shape, y0, y1, x0, x1)
        with named_failures(self._stream.size):
            if self._variance is None:
                return None
            (windows, header, _), kind = self._variance
            return masks.to_variance(read_window(windows, Scaling.of(header), y0, y1, x0, x1), kind)

    # Looked for when first asked for: in a large file each HDU is a header to fetch.
    @cached_property
    def _companions(self) -> masks.Companions:
        return masks.companions(self._hdulist, self._index)

    @cached_property
    def _mask(self) -> _Part | None:
        index = self._companions.mask
        if index is not None:
            return self._part(self._hdulist, self._stream, index)
        return self._beside("mask")

    @cached_property
    def _variance(self) -> tuple[_Part, masks.VarianceKind] | None:
        index, kind = self._companions.variance, self._companions.variance_kind
        if index is not None and kind is not None:
            return self._part(self._hdulist, self._stream, index), kind
        for kind in _VARIANCE_KINDS:
            if part := self._beside(kind):
                return part, kind
        return None

    @property
    def _headers(self) -> list[fits.Header]:
        return [self._header] if self._index == 0 else [self._header, self._hdulist[0].header]

    @cached_property
    def _files(self) -> dict[siblings.Part, str]:
        return {} if self._path is None else siblings.find_parts(self._path)

    def _part(self, hdulist: fits.HDUList, stream: Stream, index: int) -> _Part:
        own = [] if index == 0 else [hdulist[0].header]
        return _Part(_windows_of(hdulist, stream, index), hdulist[index].header, [*own, *self._headers])

    def _beside(self, kind: siblings.Part) -> _Part | None:
        """A part in a file of its own: the HDU of the same name or place, of the same shape."""
        if kind not in self._files:
            return None
        try:
            hdulist, stream = self._stack.enter_context(open_fits(self._files[kind]))
        except ImageError as error:
            raise ImageError(
                f"{self._files[kind]}, which belongs to the image, cannot be used: {error}", error.kind
            ) from None
        with named_failures(stream.size):
            fitting = [i for i, hdu in enumerate(hdulist) if masks.plane_shape(hdu) == self.shape]
            name = str(self._hdulist[self._index].name).strip().upper()
            same = [i for i in fitting if self._index and str(hdulist[i].name).strip().upper() == name]
            place = [i for i in fitting if i == self._index]
            alone = fitting if len(fitting) == 1 else []
            index = next(iter([*same, *place, *alone]), None)
            return None if index is None else self._part(hdulist, stream, index)


def _windows_of(hdulist: fits.HDUList, stream: Stream, index: int) -> Windows:
    hdu = hdulist[index]
    shape = masks.plane_shape(hdu)
    value = masks.constant_value(hdu)
    assert shape is not None
    if value is not None:
        return ConstantWindows(shape, value)
    refuse_truncated(index, hdu, stream.size)
    return windows_of(hdu, stream, shape)


@contextmanager
def _open_picture(uri: str, storage_options: Mapping[str, Any] | None) -> Iterator[Plane]:
    with local_copy(uri, storage_options) as path:
        yield _PicturePlane(path)


class _PicturePlane:
    seekable = False
    mask_bits: dict[str, int] = {}  # noqa: RUF012 - never written to
    bad_bits: tuple[str, ...] = ()
    saturation_level: float | None = None
    flux_unit: FluxUnit | None = None

    def __init__(self, path: str) -> None:
        self._path = path
        picture = describe_raster(path)
        size = (picture.height, picture.width)
        self.shape: tuple[int, ...] = (*size, 3) if picture.color else size

    def read(self, y0: int, y1: int, x0: int = 0, x1: int | None = None) -> np.ndarray:
        x1 = _checked_window(self.shape, y0, y1, x0, x1)
        return self._pixels[y0:y1, x0:x1]

    def read_rows(self, wanted: Sequence[int]) -> np.ndarray:
        return self._pixels[wanted]

    def mask(self, y0: int, y1: int, x0: int = 0, x1: int | None = None) -> None:
        _checked_window(self.shape, y0, y1, x0, x1)

    def variance(self, y0: int, y1: int, x0: int = 0, x1: int | None = None) -> None:
        _checked_window(self.shape, y0, y1, x0, x1)

    @cached_property
    def _pixels(self) -> np.ndarray:
        pixels = read_raster(self._path)
        pixels.setflags(write=False)  # parts of it are handed out, and read again
        return pixels


def _checked_window(shape: tuple[int, ...], y0: int, y1: int, x0: int, x1: int | None) -> int:
    """The right edge of a window that lies inside the image."""
    right = shape[1] if x1 is None else x1
    if not (0 <= y0 < y1 <= shape[0] and 0 <= x0 < right <= shape[1]):
        raise ValueError(
            f"the window of rows {y0} to {y1} and columns {x0} to {right} is empty or leaves "
            f"the image of {shape[1]} x {shape[0]} px"
        )
    return right
