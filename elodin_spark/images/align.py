"""Pixels of one image on the pixel grid of another.

Boxes are (x0, y0, x1, y1) in px, half-open, x the column and y the row, from 0.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import ImageError, import_extra
from elodin_spark.images import sky

Box = tuple[int, int, int, int]

#: Grids that agree within this many px are taken to be the same: less than the error of a centroid.
SAME_PX = 0.05
#: A source whose pixels are smaller than this times those of the target is averaged, not interpolated.
FINER = 0.7

#: Points along each axis at which grids are compared.
_POINTS = 17
#: A cubic spline coefficient depends on pixels this far away by 1e-9 of their value.
_SPLINE_PX = 16
#: Bends of a distorted grid between two of the points compared, px.
_BEND_PX = 4
#: Units of values that do not grow with the area of a pixel.
_PER_AREA = ("/sr", "sr-1", "sr^-1", "/arcsec", "arcsec-2", "arcsec^-2", "/beam", "beam-1", "beam^-1")


class Grid(NamedTuple):
    """The pixel grid of an image.

    Attributes
    ----------
    wcs : str or None
        See :func:`elodin_spark.images.sky.header_text`.
    width, height : int
        Columns and rows, px.
    """

    wcs: str | None
    width: int
    height: int


@dataclass(frozen=True)
class Alignment:
    """How pixels of `source` come to lie on the grid of `target`; made by :func:`align`.

    Attributes
    ----------
    target, source : Grid
    kind : {"same", "shifted", "resampled"}
        Of one grid (within :data:`SAME_PX`), a whole number of px apart, or anything else.
        Values are copied but where they are resampled.
    shift : (int, int)
        Column and row of the source at the first pixel of the target, where they are copied.
    """

    target: Grid
    source: Grid
    kind: Literal["same", "shifted", "resampled"]
    shift: tuple[int, int] = (0, 0)

    def window(self, box: Box) -> Box:
        """Box of the source that :meth:`resample` needs for a box of the target.

        Inside the source; empty (``x1 == x0`` or ``y1 == y0``) where the two do not overlap.
        """
        x0, y0, x1, y1 = box
        if self.kind != "resampled":
            dx, dy = self.shift
            return _inside((x0 + dx, y0 + dy, x1 + dx, y1 + dy), self.source)
        x, y = np.meshgrid(np.linspace(x0 - 0.5, x1 - 0.5, _POINTS), np.linspace(y0 - 0.5, y1 - 0.5, _POINTS))
        columns, rows = self.positions(x.ravel(), y.ravel())
        known = np.isfinite(columns) & np.isfinite(rows)
        if not known.all():  # the box reaches beyond the sky, and the edge may lie between two points
            return (0, 0, self.source.width, self.source.height)
        pad = self._pad_px
        return _inside(
            (
                _whole(math.floor(columns.min())) - pad,
                _whole(math.floor(rows.min())) - pad,
                _whole(math.ceil(columns.max())) + pad + 1,
                _whole(math.ceil(rows.max())) + pad + 1,
            ),
            self.source,
        )

    def positions(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Columns and rows of the source at columns and rows of the target, px; NaN off the sky.

        Parameters
        ----------
        x, y : array_like, shape (n,)

        Returns
        -------
        columns, rows : ndarray, shape (n,), float64
        """
        columns, rows = np.asarray(x, np.float64), np.asarray(y, np.float64)
        if self.kind != "resampled":
            return columns + self.shift[0], rows + self.shift[1]
        return _pixel_to_pixel(self.target, self.source, columns, rows)

    def nearest(self, pixels: np.ndarray, window: Box, x: ArrayLike, y: ArrayLike) -> NDArray[np.float32]:
        """Source values nearest to positions on the target, for statistics; NaN outside the window.

        Neighboring pixels are not mixed, so the noise is that of the source. Values are
        scaled as by :meth:`resample`.

        Parameters
        ----------
        pixels : ndarray, shape (y1 - y0, x1 - x0)
            Of the box `window` of the source.
        window : (int, int, int, int)
        x, y : array_like, shape (n,)
            Columns and rows of the target, px.
        """
        columns, rows = self.positions(x, y)
        columns, rows = np.floor(columns + 0.5) - window[0], np.floor(rows + 0.5) - window[1]
        inside = (columns >= 0) & (columns < pixels.shape[1]) & (rows >= 0) & (rows < pixels.shape[0])
        values = np.full(columns.shape, np.nan, np.float32)
        values[inside] = pixels[rows[inside].astype(np.intp), columns[inside].astype(np.intp)]
        return values * np.float32(self._scale)

    def resample(
        self, pixels: np.ndarray, window: Box, box: Box, background: float = 0.0
    ) -> NDArray[np.float32]:
        """Values of the source on a box of the target.

        Where pixels have to move by a fraction, values come from cubic splines
        (``reproject_interp``), and where those of the source are much smaller, from
        anti-aliased averages (``reproject_adaptive``; DeForest 2004). Flux is conserved: values
        are per pixel, unless BUNIT says per sr, arcsec2 or beam. Splines are scaled by the area
        of a pixel at the reference point: flat-fielded images are bright per sky, not per pixel,
        where distortion stretches them.

        Parameters
        ----------
        pixels : ndarray, shape (y1 - y0, x1 - x0), float
            Of the box `window` of the source, which must hold :meth:`window` of `box`.
        window, box : (int, int, int, int)
            Of the source and of the target.
        background : float
            Sky of the source: put in the place of unknown pixels so that splines do not
            swing beside them. The result does not show it.

        Returns
        -------
        ndarray, shape (y1 - y0, x1 - x0) of `box`, float32
            NaN where the source does not reach, or has an unknown pixel next to it.
        """
        x0, y0, x1, y1 = box
        out = np.full((y1 - y0, x1 - x0), np.nan, np.float32)
        if pixels.size == 0:
            return out
        if self.kind != "resampled":
            _copy(out, pixels, window[0] - self.shift[0] - x0, window[1] - self.shift[1] - y0)
            return out
        known = np.isfinite(pixels)
        if not known.any():
            return out
        values = np.ascontiguousarray(pixels, dtype=np.float32)
        if known.all():
            return self._reprojected(values, window, box)
        filled = self._reprojected(np.where(known, values, np.float32(background)), window, box)
        unknown = self._reprojected((~known).astype(np.float32), window, box, mask=True)
        filled[~(unknown < 1e-3)] = np.nan
        return filled

    def _reprojected(
        self, values: NDArray[np.float32], window: Box, box: Box, mask: bool = False
    ) -> NDArray[np.float32]:
        reproject = import_extra("reproject", "aligning the planes of a color image")
        source, target = _cut(self.source, window), _cut(self.target, box)
        shape = (box[3] - box[1], box[2] - box[0])
        common: dict[str, Any] = {"shape_out": shape, "return_footprint": False, "roundtrip_coords": False}
        with _hushed():
            if self._finer:
                per_pixel = not mask and not self._per_area
                out = reproject.reproject_adaptive(
                    (values, source), target, kernel="hann", conserve_flux=per_pixel, **common
                )
            else:
                out = reproject.reproject_interp(
                    (values, source), target, order="bilinear" if mask else "bicubic", **common
                )
        out = np.asarray(out, dtype=np.float32)
        return out if mask or self._finer else out * np.float32(self._scale)

    @cached_property
    def _pixel_ratio(self) -> float:
        """Side of a source pixel over that of a target pixel."""
        if self.kind != "resampled":
            return 1.0
        source = sky.pixel_scale_arcsec(sky.wcs_of(self.source.wcs or ""))
        target = sky.pixel_scale_arcsec(sky.wcs_of(self.target.wcs or ""))
        if source is None or target is None:
            raise ImageError("the WCS of a band has no pixel scale; correct the header", kind="no_wcs")
        return source / target

    @property
    def _finer(self) -> bool:
        return self._pixel_ratio < FINER

    @property
    def _pad_px(self) -> int:
        if self._finer:
            return _SPLINE_PX + _BEND_PX + math.ceil(8 / self._pixel_ratio)
        return _SPLINE_PX + _BEND_PX

    @cached_property
    def _per_area(self) -> bool:
        lines = (line for line in (self.source.wcs or "").split("\n") if line.startswith("BUNIT "))
        unit = next(lines, "").partition("/ ")[0].lower().replace(" ", "").replace("**", "^")
        return any(name in unit for name in _PER_AREA)

    @cached_property
    def _scale(self) -> float:
        """Factor that keeps the flux where the pixels differ in area."""
        return 1.0 if self._per_area else 1.0 / self._pixel_ratio**2


def align(target: Grid, source: Grid) -> Alignment:
    """Compare two pixel grids by their WCS.

    Parameters
    ----------
    target, source : Grid
        Without any WCS, two of the same shape are taken to be the same grid.

    Returns
    -------
    Alignment

    Raises
    ------
    ImageError
        Kinds ``no_wcs``: one of them has no celestial WCS and they are not known to be the
        same; ``no_overlap``: the source shows another part of the sky.
    """
    same_shape = (target.width, target.height) == (source.width, source.height)
    if target.wcs is None or source.wcs is None:
        if target.wcs is source.wcs and same_shape:
            return Alignment(target, source, "same")
        raise ImageError(
            f"images of {source.width} x {source.height} and {target.width} x {target.height} px cannot be "
            "aligned without a celestial WCS of both; use aligned images of one shape or correct the headers",
            kind="no_wcs",
        )
    if target.wcs == source.wcs and same_shape:
        return Alignment(target, source, "same")
    x, y = np.meshgrid(
        np.linspace(-0.5, target.width - 0.5, _POINTS), np.linspace(-0.5, target.height - 0.5, _POINTS)
    )
    columns, rows = _pixel_to_pixel(target, source, x.ravel(), y.ravel())
    known = np.isfinite(columns) & np.isfinite(rows)
    if known.all():
        _refuse_apart(columns, rows, source)
    dx, dy = columns - x.ravel(), rows - y.ravel()
    if known.all() and _whole_number(dx) and _whole_number(dy):
        shift = (round(float(np.median(dx))), round(float(np.median(dy))))
        return Alignment(target, source, "same" if shift == (0, 0) and same_shape else "shifted", shift)
    if not known.any():
        raise ImageError(
            "the images show different parts of the sky; correct the grouping", kind="no_overlap"
        )
    return Alignment(target, source, "resampled")


def _refuse_apart(columns: NDArray[np.float64], rows: NDArray[np.float64], source: Grid) -> None:
    apart = (
        columns.max() < -0.5
        or columns.min() > source.width - 0.5
        or rows.max() < -0.5
        or rows.min() > source.height - 0.5
    )
    if apart:
        raise ImageError(
            "the images show different parts of the sky; correct the grouping", kind="no_overlap"
        )


def _whole_number(shift: NDArray[np.float64]) -> bool:
    return bool(np.abs(shift - round(float(np.median(shift)))).max() <= SAME_PX)


def _pixel_to_pixel(
    target: Grid, source: Grid, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from astropy.wcs.utils import pixel_to_pixel

    with _hushed():
        columns, rows = pixel_to_pixel(sky.wcs_of(target.wcs or ""), sky.wcs_of(source.wcs or ""), x, y)
    return np.asarray(columns, np.float64), np.asarray(rows, np.float64)


@contextmanager
def _hushed() -> Iterator[None]:
    """Silence remarks on positions that inverse distortions do not reach; they become NaN or far off."""
    with sky.quiet(), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*failed to converge")
        yield


def _cut(grid: Grid, box: Box) -> Any:
    """WCS of a box; unlike ``WCS.slice`` exact for every distortion."""
    from astropy.wcs.wcsapi import HighLevelWCSWrapper, SlicedLowLevelWCS

    x0, y0, x1, y1 = box
    slices = (slice(y0, y1), slice(x0, x1))
    return HighLevelWCSWrapper(SlicedLowLevelWCS(sky.wcs_of(grid.wcs or ""), slices))


def _copy(out: NDArray[np.float32], pixels: np.ndarray, x: int, y: int) -> None:
    """Copy `pixels` into `out` with their first one at column `x` and row `y`, which may lie outside."""
    x0, x1 = max(x, 0), min(x + pixels.shape[1], out.shape[1])
    y0, y1 = max(y, 0), min(y + pixels.shape[0], out.shape[0])
    if x1 > x0 and y1 > y0:
        out[y0:y1, x0:x1] = pixels[y0 - y : y1 - y, x0 - x : x1 - x]


def _inside(box: Box, grid: Grid) -> Box:
    x0, x1 = (min(max(value, 0), grid.width) for value in (box[0], box[2]))
    y0, y1 = (min(max(value, 0), grid.height) for value in (box[1], box[3]))
    return (x0, y0, max(x1, x0), max(y1, y0))


def _whole(value: float) -> int:
    return int(min(max(value, -(2**40)), 2**40))
