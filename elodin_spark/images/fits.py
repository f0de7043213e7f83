"""FITS files to descriptions and pixels.

Row 0 of an array is the first row of the file, which is the bottom of the picture as
astronomers show it: y points up.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from astropy.io import fits

from elodin_spark.errors import LEAVE_OUT, ElodinError, ImageError
from elodin_spark.images import masks, observation, sky
from elodin_spark.images.headers import CheckedFile, LateBzip2, LateGzip, LateXz
from elodin_spark.images.opening import open_stream
from elodin_spark.images.streams import Stream, compression_of, first_bytes, unpacked
from elodin_spark.images.windows import refuse_bad_scaling

#: Largest image, px, that is read: an image and its float32 copy stay below 10 GB.
MAX_PIXELS = 2**30

#: How many HDUs a message names.
MAX_LISTED_HDUS = 6

_PLAIN = b"SIMPLE  ="


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
        See :class:`elodin_spark.images.sky.SkyWcs`.
    mjd : float or None
    no_sky_reason, sky_note : str or None
        Likewise.
    """

    hdu: int
    width: int
    height: int
    bands: str | None
    wcs: str | None
    mjd: float | None
    no_sky_reason: str | None = None
    sky_note: str | None = None


def describe_fits(
    path: str, hdu: int | str | None = None, storage_options: Mapping[str, Any] | None = None
) -> FitsImage:
    """Read the headers of an image.

    Parameters
    ----------
    path : str
        Local file, or URI; ``.gz``, ``.bz2`` and ``.xz`` are recognized by their content.
    hdu : int or str, optional
        Index (0 is the primary), EXTNAME, or ``EXTNAME,EXTVER``; by default the first HDU that holds a 2-D
        image of the sky.
        Tile-compressed images count, and so do cubes whose further axes have length 1.
    storage_options : mapping, optional
        Of a remote store, see :func:`elodin_spark.images.remote.open_remote`.

    Raises
    ------
    ImageError
        Kinds ``empty_file``, ``not_fits``, ``truncated``, ``no_image``, ``no_such_hdu``,
        ``not_2d``, ``too_large``, ``bad_card``, ``unreadable``.
    """
    with _open_headers(path, storage_options) as (hdulist, length):
        return _described(hdulist, find_image(hdulist, hdu, length))


def describe_fits_planes(path: str, storage_options: Mapping[str, Any] | None = None) -> list[FitsImage]:
    """Read the headers of every 2-D image of a file, in order.

    Planes of masks, variances and weights belong to their image and are not listed, nor are planes that
    show no sky (:data:`elodin_spark.images.masks.NOT_SKY_NAMES`).

    Parameters
    ----------
    path, storage_options
        As for :func:`describe_fits`.

    Raises
    ------
    ImageError
        As for :func:`describe_fits`; also if any of the images cannot be used.
    """
    with _open_headers(path, storage_options) as (hdulist, length):
        first = find_image(hdulist, None, length)
        _refuse_cut_header(hdulist, length)  # planes would be missing in silence
        planes = [i for i, hdu in enumerate(hdulist) if _is_image(hdu) and _plane_shape(hdu.shape) != (0, 0)]
        owned = {other for i in planes for other in masks.companions(hdulist, i)[:2]}
        owned |= {i for i in planes if masks.shows_no_sky(hdulist[i])}
        return [
            _described(hdulist, find_image(hdulist, i, length))
            for i in planes
            if i == first or i not in owned
        ]


def _described(hdulist: fits.HDUList, index: int) -> FitsImage:
    image = hdulist[index]
    refuse_bad_scaling(image)
    height, width = _plane_shape(image.shape)
    headers = [image.header] if index == 0 else [image.header, hdulist[0].header]
    found = sky.read_wcs(image.header, hdulist, None if index == 0 else hdulist[0].header)
    return FitsImage(
        hdu=index,
        width=width,
        height=height,
        bands=observation.band_names(headers),
        wcs=found.text,
        mjd=observation.observation_mjd(headers),
        no_sky_reason=found.reason,
        sky_note=found.note,
    )


@contextmanager
def open_fits(
    uri: str, storage_options: Mapping[str, Any] | None = None
) -> Iterator[tuple[fits.HDUList, Stream]]:
    """Open a file to read pixels from; ``.gz``, ``.bz2`` and ``.xz`` are unpacked first.

    What goes wrong in the block is not translated: see :func:`named_failures`.

    Yields
    ------
    hdulist : astropy.io.fits.HDUList
        Whose pixels, where astropy reads any, are those stored: BSCALE and BZERO are not applied.
    stream : Stream
        Of the FITS file itself, not its compressed form.
    """
    with ExitStack() as stack:
        with named_failures(None):
            stream = stack.enter_context(unpacked(_checked(stack, uri, storage_options)))
            _refuse_not_fits(stream)
        with named_failures(stream.size):
            hdulist = _hdulist(stack, CheckedFile(stream.file))
        yield hdulist, stream


@contextmanager
def _open_headers(
    uri: str, storage_options: Mapping[str, Any] | None
) -> Iterator[tuple[fits.HDUList, int | None]]:
    """Open a file to read headers from; the length is None where it is not known."""
    with ExitStack() as stack:
        length: int | None = None
        with named_failures(None):
            stream = _checked(stack, uri, storage_options)
            kind = compression_of(stream)
            file: Any = stream.file
            if kind is not None:
                late: dict[str, Any] = {"bz2": LateBzip2, "xz": LateXz}
                file = stack.enter_context(LateGzip(fileobj=file) if kind == "gz" else late[kind](file))
                if file.read(len(_PLAIN)) != _PLAIN:
                    raise _not_fits()
                file.seek(0)
            else:
                _refuse_not_fits(stream)
                file, length = CheckedFile(file), stream.size
        with named_failures(length):
            yield _hdulist(stack, file), length


def _checked(stack: ExitStack, uri: str, storage_options: Mapping[str, Any] | None) -> Stream:
    stream = stack.enter_context(open_stream(uri, storage_options))
    if stream.size == 0:
        raise ImageError("the file is empty; fetch it again", kind="empty_file")
    return stream


def _refuse_not_fits(stream: Stream) -> None:
    if first_bytes(stream, len(_PLAIN)) != _PLAIN:
        raise _not_fits()


def _not_fits() -> ImageError:
    return ImageError(
        "the content is not FITS, though the name says so; fetch the file again", kind="not_fits"
    )


def _hdulist(stack: ExitStack, file: Any) -> fits.HDUList:
    stack.enter_context(sky.quiet())
    opened = fits.open(
        file, mode="readonly", memmap=False, uint=False, do_not_scale_image_data=True, lazy_load_hdus=True
    )
    return stack.enter_context(opened)


@contextmanager
def named_failures(length: int | None) -> Iterator[None]:
    """Give what astropy and the decompressors raise a kind and a remedy.

    Parameters
    ----------
    length : int or None
        Of the file, bytes.
    """
    try:
        yield
    except (ElodinError, MemoryError):
        raise
    except EOFError:
        raise ImageError("the compressed file ends early; fetch it again", kind="truncated") from None
    except Exception as error:  # headers in the wild make astropy raise nearly anything
        # Of a first header without an end astropy says either of two things.
        if "END card" in str(error) or (
            "Empty or corrupt" in str(error) and length is not None and length % 2880
        ):
            raise ImageError("the header ends early; fetch the file again", kind="truncated") from None
        if "No SIMPLE card" in str(error):
            raise ImageError("the first header is damaged; fetch the file again") from None
        # bz2 calls an early end a ValueError.
        if "end-of-stream" in str(error):
            raise ImageError("the compressed file ends early; fetch it again", kind="truncated") from None
        raise ImageError(
            f"the file cannot be read as FITS, fetch it again: {type(error).__name__}: {error}"
        ) from error


def find_image(hdulist: fits.HDUList, wanted: int | str | None, length: int | None) -> int:
    """Index of the wanted image, checked to be an image, of a size that is read, and whole.

    Parameters
    ----------
    hdulist : astropy.io.fits.HDUList
    wanted : int, str or None
        See :func:`describe_fits`.
    length : int or None
        Of the file, bytes; None where it is not known.

    Raises
    ------
    ImageError
        Kinds ``no_such_hdu``, ``no_image``, ``no_sky``, ``not_2d``, ``too_large``, ``truncated``.
    """
    if wanted is not None:
        try:
            if isinstance(wanted, int) and wanted < 0:
                raise IndexError(wanted)
            index = _index_of(hdulist, wanted)
            image = hdulist[index]
        except (KeyError, IndexError):
            _refuse_cut_header(hdulist, length)
            several = Counter(hdu.name for hdu in hdulist)
            names = "; ".join(
                f"{i} {hdu.name or '(no name)'}{f',{hdu.ver}' if hdu.name and several[hdu.name] > 1 else ''}"
                for i, hdu in enumerate(hdulist)
            )
            raise ImageError(
                f"there is no HDU {wanted!r}; the file has {names}: name one in images.hdu",
                kind="no_such_hdu",
            ) from None
        _refuse_unusable(index, image)
        refuse_truncated(index, image, length)
        return index
    cubes: list[int] = []
    parts: list[str] = []
    for index, image in enumerate(hdulist):
        if _is_image(image) and _plane_shape(image.shape) != (0, 0):
            if masks.shows_no_sky(image) or masks.product([hdulist[0].header]):
                what = masks.product([image.header, hdulist[0].header]) or f"EXTNAME {image.name}"
                parts.append(f"HDU {index} is {what}")
                continue
            _refuse_unusable(index, image)
            refuse_truncated(index, image, length)
            return index
        if _is_image(image) and len(image.shape) > 2 and 0 not in image.shape:
            cubes.append(index)
    _refuse_cut_header(hdulist, length)
    if parts:
        raise ImageError(
            f"the file holds no sky but a part of another image ({'; '.join(parts[:MAX_LISTED_HDUS])}); "
            "leave it out of images.paths, or name the HDU in images.hdu to cut it all the same",
            kind="no_sky",
        )
    held = [f"HDU {index} {_holds(hdu)}" for index, hdu in enumerate(hdulist[:MAX_LISTED_HDUS])]
    content = "; ".join([*held, "..."] if len(hdulist) > MAX_LISTED_HDUS else held)
    if cubes:
        raise ImageError(
            f"no HDU holds a 2-D image ({content}); {_unstack(cubes[0], hdulist[cubes[0]].shape)}",
            kind="not_2d",
        )
    raise ImageError(f"no HDU holds an image ({content}){LEAVE_OUT}", kind="no_image")


def _index_of(hdulist: fits.HDUList, wanted: int | str) -> int:
    """Index of an HDU; raises KeyError where there is no such name or version."""
    try:
        return int(hdulist.index_of(wanted))
    except KeyError:
        name, comma, version = str(wanted).rpartition(",")
        if not (comma and version.strip().isdigit()):
            raise
        return int(hdulist.index_of((name.strip(), int(version))))


def _holds(hdu: Any) -> str:
    """What an HDU that cannot be cut holds, in words."""
    if isinstance(hdu, fits.GroupsHDU):
        return "holds random groups of visibilities"
    if isinstance(hdu, fits.BinTableHDU | fits.TableHDU):
        return f"is a table ({hdu.name})" if hdu.name else "is a table"
    if not getattr(hdu, "is_image", False):
        return "is neither an image nor a table"
    if len(hdu.shape) == 0:
        return "has no data"
    size = " x ".join(map(str, reversed(hdu.shape)))
    return f"is {size} px" if len(hdu.shape) > 1 else f"is a row of {size} px"


def _unstack(index: int, shape: tuple[int, ...]) -> str:
    """How the planes of a cube are cut all the same, in words to paste."""
    planes = math.prod(shape[:-2])
    color = (
        "; where they are bands, blue first, one color image of them is --set "
        '\'images.color={grouping: {kind: pattern, pattern: "*_{band}.fits"}, channels: ["2", "1", "0"]}\''
        if planes == 3
        else ""
    )
    return (
        f"save each of its {planes} planes as a file of its own: python -c 'import sys; "
        f"from astropy.io import fits; h = fits.open(sys.argv[1])[{index}]; "
        "d = h.data.reshape(-1, *h.data.shape[-2:]); "
        '[fits.writeto(f"{sys.argv[1]}_{i}.fits", p, h.header) for i, p in enumerate(d)]\' FILE'
        f", and read those: images.paths='FILE_*.fits'{color}"
    )


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
            f"HDU {index} is {shape}, not a 2-D image; name another in images.hdu"
            + (f", or {_unstack(index, image.shape)}" if len(image.shape) > 2 else ""),
            kind="not_2d",
        )
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"HDU {index} has {width} x {height} px, more than {MAX_PIXELS}; cut it into tiles first",
            kind="too_large",
        )


def refuse_truncated(index: int, image: Any, length: int | None) -> None:
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
