"""One file to rows of ``schema.IMAGES``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from elodin_spark import ids
from elodin_spark.errors import LEAVE_OUT, ImageError
from elodin_spark.images import siblings, sky
from elodin_spark.images.avm import avm_header
from elodin_spark.images.fits import FitsImage, describe_fits, describe_fits_planes
from elodin_spark.images.listing import ImageFile
from elodin_spark.images.opening import local_copy
from elodin_spark.images.raster import describe_raster
from elodin_spark.images.uris import is_fits, is_raster


def describe(
    file: ImageFile, hdu: int | str | None = None, storage_options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Describe one image of a file; see :func:`describe_planes`."""
    return describe_planes(file, hdu, storage_options)[0]


def describe_planes(
    file: ImageFile, hdu: int | str | None = None, storage_options: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Describe the images of a file from headers alone.

    Parameters
    ----------
    file : ImageFile
    hdu : int or str, optional
        Of FITS files: index, EXTNAME, or ``all`` for every 2-D image that is no mask or
        variance of another; by default the first 2-D image. Pictures have one image.
    storage_options : mapping, optional
        Of a remote store, see :func:`elodin_spark.images.remote.open_remote`.

    Returns
    -------
    list of dict
        The columns of ``schema.IMAGES``, ``status`` being ``ok``; at least one.

    Raises
    ------
    ImageError
        Kinds ``empty_file``, ``not_fits``, ``truncated``, ``no_image``, ``no_sky``, ``no_such_hdu``,
        ``not_2d``, ``too_large``, ``missing``, ``no_permission``, ``unreadable``; of remote files also
        ``unreachable``.
    """
    if is_raster(file.uri):
        with local_copy(file.uri, storage_options) as picture_path:
            picture = describe_raster(picture_path)
        band = "RGB" if picture.color else None
        wcs = avm_header(picture.xmp, picture.width, picture.height) if picture.xmp else None
        reason = None
        if wcs is None:
            has = "has metadata (XMP) that give no position" if picture.xmp else "has no metadata (AVM)"
            reason = f"the picture {has}"
        plane = FitsImage(0, picture.width, picture.height, band, wcs, None, no_sky_reason=reason)
        return [_row(file, plane)]
    if not is_fits(file.uri):
        raise ImageError(f"not a known kind of image by its name{LEAVE_OUT}")
    if hdu in (None, "all") and siblings.is_part(file.path):
        raise ImageError(
            "the file holds no sky but a part of another image, by its name; leave it out of images.paths, "
            "or name an HDU in images.hdu to cut it all the same",
            kind="no_sky",
        )
    if hdu == "all":
        return [_row(file, plane) for plane in describe_fits_planes(file.uri, storage_options)]
    return [_row(file, describe_fits(file.uri, hdu, storage_options))]


def _row(file: ImageFile, plane: FitsImage) -> dict[str, Any]:
    row: dict[str, Any] = {
        "image_id": ids.image_id(file.path, plane.hdu),
        **file._asdict(),
        **plane._asdict(),
        "ra": None,
        "dec": None,
        "pixel_scale": None,
        "planes": None,
        "status": "ok",
        "error": None,
    }
    if plane.wcs is not None:
        wcs = sky.wcs_of(plane.wcs)
        ra, dec = sky.pixel_to_sky(wcs, (plane.width - 1) / 2, (plane.height - 1) / 2)
        if math.isfinite(ra[0]) and math.isfinite(dec[0]):
            row |= {"ra": float(ra[0]), "dec": float(dec[0])}
        row["pixel_scale"] = sky.pixel_scale_arcsec(wcs)
    return row


def failed_row(file: ImageFile, error: ImageError, hdu: int | str | None = None) -> dict[str, Any]:
    """Row of ``schema.IMAGES`` for a file that was refused.

    ``error`` reads ``<kind>: <message>``; ``hdu`` stays null unless it was asked for by number.
    """
    number = hdu if isinstance(hdu, int) else None
    return {
        "image_id": ids.image_id(file.path, number or 0),
        "uri": file.uri,
        "path": file.path,
        "hdu": number,
        "size_bytes": file.size_bytes,
        "status": "failed",
        "error": f"{error.kind}: {error}",
    }
