"""One file to one row of ``schema.IMAGES``, and that row to pixels.

Rows of an array are counted from 0 as the file stores them. In FITS row 0 is the bottom of
the picture and y points up; in JPEG, PNG and TIFF row 0 is the top and y points down.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from elodin_spark import ids
from elodin_spark.errors import ImageError
from elodin_spark.images import sky
from elodin_spark.images.fits import describe_fits, read_fits
from elodin_spark.images.listing import ImageFile, is_fits, is_raster, local_path
from elodin_spark.images.raster import describe_raster, read_raster


def describe(file: ImageFile, hdu: int | str | None = None) -> dict[str, Any]:
    """Describe an image from its header alone.

    Parameters
    ----------
    file : ImageFile
    hdu : int or str, optional
        Of FITS files, see :func:`elodin_spark.images.fits.describe_fits`; pictures have
        one image and ignore it.

    Returns
    -------
    dict
        The columns of ``schema.IMAGES``, ``status`` being ``ok``.

    Raises
    ------
    ImageError
        Kinds ``empty_file``, ``not_fits``, ``truncated``, ``no_image``, ``no_such_hdu``,
        ``not_2d``, ``too_large``, ``unreadable``.
    """
    path = local_path(file.uri)
    row: dict[str, Any] = {
        "uri": file.uri,
        "path": file.path,
        "size_bytes": file.size_bytes,
        "status": "ok",
        "error": None,
    }
    if is_raster(path):
        picture = describe_raster(path)
        row |= {"hdu": 0, "width": picture.width, "height": picture.height}
        row |= {"bands": "RGB" if picture.colour else None, "wcs": None, "mjd": None}
    else:
        _require_fits_name(path)
        row |= describe_fits(path, hdu)._asdict()
    row |= {"ra": None, "dec": None, "pixel_scale": None}
    if row["wcs"] is not None:
        wcs = sky.wcs_of(row["wcs"])
        ra, dec = sky.pixel_to_sky(wcs, (row["width"] - 1) / 2, (row["height"] - 1) / 2)
        if math.isfinite(ra[0]) and math.isfinite(dec[0]):
            row |= {"ra": float(ra[0]), "dec": float(dec[0])}
        row["pixel_scale"] = sky.pixel_scale_arcsec(wcs)
    row["image_id"] = ids.image_id(file.path, row["hdu"])
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


def read_pixels(uri: str, hdu: int) -> np.ndarray:
    """Read the pixels of an image.

    Parameters
    ----------
    uri : str
        Local path or ``file://`` URI.
    hdu : int
        Index of the HDU; 0 for pictures.

    Returns
    -------
    ndarray, shape (ny, nx) or (ny, nx, 3)
        In native byte order, C order. FITS: float32, physical values, NaN where blank, row 0
        at the bottom. Pictures: uint8 or uint16 as stored, or float32; row 0 at the top.

    Raises
    ------
    ImageError
        Kinds as for :func:`describe`.
    """
    path = local_path(uri)
    if is_raster(path):
        return read_raster(path)
    _require_fits_name(path)
    return read_fits(path, hdu)


def _require_fits_name(path: str) -> None:
    if not is_fits(path):
        raise ImageError("not a known kind of image by its name; leave the file out of images.paths")
