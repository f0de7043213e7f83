"""One cutout of a catalog: its pixels, as the archive has them, and a FITS file of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elodin_spark.catalog.search.html import inline_picture
from elodin_spark.config.settings import Step
from elodin_spark.cutouts.steps import trace_steps
from elodin_spark.errors import ImageError, InputError

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.wcs import WCS

#: px; of the rounding of an affine map.
_EXACT = 1e-6


def plane_of(image: Mapping[str, Any]) -> tuple[str, int]:
    """URI and HDU of the pixels of an image, a row of the images table: of color, of its reference band."""
    uri, hdu = str(image["uri"]), image["hdu"] or 0
    for plane in image.get("planes") or ():  # of a color image, whose own HDU is that of the group
        hdu = plane["hdu"] if plane["uri"] == uri else hdu
    return uri, int(hdu)


@dataclass(frozen=True, eq=False, repr=False)
class Cutout:
    """A window of an image of the archive.

    Attributes
    ----------
    cutout_id : int
    image : mapping
        Its row of the images table.
    x0, y0, x1, y1 : int
        Window, px, half-open, in the image after its steps; x is the column.
    ra, dec : float or None
        ICRS position of its center, deg.
    labels : list of str
        Best first.
    thumbnail : bytes or None
        JPEG.
    """

    cutout_id: int
    image: Mapping[str, Any]
    x0: int
    y0: int
    x1: int
    y1: int
    ra: float | None
    dec: float | None
    labels: list[str]
    thumbnail: bytes | None = None
    _storage: Mapping[str, Any] = field(default_factory=dict)
    _steps: Sequence[Step] = ()

    @cached_property
    def file_window(self) -> tuple[int, int, int, int]:
        """The pixels of the file that it shows: x0, y0, x1, y1, px, half-open.

        Its own window, unless steps of the image, such as Crop or Resize, move pixels; of a window that they
        turn, the box around it.
        """
        if not self._steps:
            return self.x0, self.y0, self.x1, self.y1
        height, width = self.image["height"], self.image["width"]
        _, affine = trace_steps((height, width), self._steps)
        # Edges: pixel 0 reaches from -0.5 to 0.5.
        corners = np.array([(x - 0.5, y - 0.5, 1) for x in (self.x0, self.x1) for y in (self.y0, self.y1)])
        x, y, _ = affine @ corners.T + 0.5
        low = (np.floor(np.array([x.min(), y.min()]) + _EXACT)).clip(0)
        high = np.ceil(np.array([x.max(), y.max()]) - _EXACT).clip(None, (width, height))
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])

    @cached_property
    def array(self) -> np.ndarray:
        """Its pixels, read from the archive, without any step.

        Returns
        -------
        ndarray, shape (ny, nx) or (ny, nx, 3)
            Of :attr:`file_window`. FITS: float32, physical values, blank ones NaN; of a color image those of
            its reference band. Pictures as they are stored.

        Raises
        ------
        InputError
            The image is not where it was, or cannot be read.
        """
        from elodin_spark.images.planes import open_plane

        uri, hdu = plane_of(self.image)
        try:
            with open_plane(uri, hdu, dict(self._storage)) as plane:
                x0, y0, x1, y1 = self.file_window
                return np.array(plane.read(y0, y1, x0, x1))
        except (ImageError, ValueError) as error:
            raise InputError(f"cutout {self.cutout_id} cannot be read from {uri}: {error}") from None

    @cached_property
    def wcs(self) -> WCS | None:
        """The celestial WCS of its pixels; None where the image has none."""
        from elodin_spark.images.sky import wcs_of

        text = self.image["wcs"]
        if text is None:
            return None
        x0, y0, x1, y1 = self.file_window
        return wcs_of(text).slice((slice(y0, y1), slice(x0, x1)))

    @cached_property
    def header(self) -> fits.Header:
        """FITS header: the WCS, the ID, and where it was cut."""
        from astropy.io import fits

        header = fits.Header() if self.wcs is None else self.wcs.to_header(relax=True)
        path = str(self.image["path"])
        if not (path.isascii() and path.isprintable()):
            path = ascii(path)[1:-1]  # a header holds nothing else
        header["CUTOUTID"] = (self.cutout_id, "ID in its catalog")
        header["IMAGE"] = path
        header["IMAGEHDU"] = (self.image["hdu"] or 0, "HDU of the image")
        for name, value in zip(("X0", "Y0", "X1", "Y1"), self.file_window, strict=True):
            header[name] = (value, "window in the image, px from 0, half-open")
        return header

    def write(self, path: str | Path) -> Path:
        """Write its pixels as a FITS file with their WCS, in place of one that is there.

        Parameters
        ----------
        path : str or Path
            Ends in ``.fits``; pictures in color become (3, ny, nx).

        Raises
        ------
        InputError
            The path ends otherwise, there is no such folder, or the image cannot be read.
        """
        from astropy.io import fits

        path = Path(path)
        if path.suffix.lower() not in (".fits", ".fit", ".fts"):
            raise InputError(f"a cutout is written as .fits, not as {path.name}")
        if not path.parent.is_dir():
            raise InputError(f"there is no folder {path.parent} to write {path.name} to")
        array = self.array
        pixels = np.moveaxis(array, 2, 0) if array.ndim == 3 else array
        fits.PrimaryHDU(np.ascontiguousarray(pixels), self.header).writeto(path, overwrite=True)
        return path

    def __repr__(self) -> str:
        window = f"[{self.x0}:{self.x1}, {self.y0}:{self.y1}]"
        return f"<Cutout {self.cutout_id}: {window} px of {self.image['path']}>"

    def _repr_html_(self) -> str:
        return f"<div>{inline_picture(self.thumbnail)} {escape(repr(self))}</div>"
