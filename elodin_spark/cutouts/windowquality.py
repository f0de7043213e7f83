"""Quality of the windows that are cut together, and the filling of bad pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.settings import QualitySettings
from elodin_spark.cutouts.fill import fill_nodata
from elodin_spark.cutouts.layout import Layout
from elodin_spark.cutouts.quality import Verdict, judge, pixels_to_fill, window_quality
from elodin_spark.cutouts.steps import Affine
from elodin_spark.images.planes import Plane
from elodin_spark.schema import QUALITY

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class BoxQuality:
    """Quality of the windows of one box.

    Attributes
    ----------
    columns : list of dict
        Of :data:`elodin_spark.schema.QUALITY`, one a window.
    reasons : list of str or None
        Why a window is rejected.
    verdicts : ndarray, shape (n,), uint8
        Of :class:`~elodin_spark.cutouts.quality.Verdict`.
    bad : ndarray, shape (ny, nx), bool, or None
        Pixels of the box that are replaced in windows that are filled.
    """

    columns: list[dict[str, Any]]
    reasons: list[str | None]
    verdicts: NDArray[np.uint8]
    bad: NDArray[np.bool_] | None

    def filled(self, place: int, cut: np.ndarray, window: Box) -> np.ndarray:
        """A window with its bad pixels replaced by the local median, if its verdict says so.

        Done after the image's stretch, which keeps the order of values and so their medians.

        Parameters
        ----------
        place : int
            Of the window among those of the box.
        cut : ndarray
            Its pixels.
        window : tuple of int
            ``x0, y0, x1, y1`` within the box.
        """
        if self.verdicts[place] != Verdict.FILL or self.bad is None:
            return cut
        x0, y0, x1, y1 = window
        filled = fill_nodata(cut.astype(np.float32), self.bad[y0:y1, x0:x1])
        return filled if cut.dtype.kind == "f" else np.rint(filled).astype(cut.dtype)


def measure_box(
    settings: QualitySettings | None,
    plane: Plane,
    affine: Affine,
    box: Box,
    members: NDArray[np.intp],
    layout: Layout,
) -> BoxQuality | None:
    """Measure the windows of a box.

    Parameters
    ----------
    settings : QualitySettings or None
    plane : Plane
        The image before its steps.
    affine : ndarray, shape (3, 3)
        Of the steps.
    box : tuple of int
        ``x0, y0, x1, y1``, px, half-open, on the grid after the steps.
    members : ndarray of int
        Windows of `layout` inside the box.
    layout : Layout

    Returns
    -------
    BoxQuality or None
        None where nothing is to be measured, or the steps turn, flip or resize the image, so
        that its windows are no boxes of the file.
    """
    offset = affine[:2, 2]
    if settings is None or not settings.measure:
        return None
    if not np.array_equal(affine[:2, :2], np.eye(2)) or (offset % 1).any():
        return None
    dx, dy = (int(value) for value in offset)
    x0, y0, x1, y1 = box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy
    height, width = plane.shape[:2]
    pixels = plane.read(y0, y1, x0, x1)
    mask = plane.mask(y0, y1, x0, x1)
    level = settings.saturation_level if settings.saturation_level is not None else plane.saturation_level
    bad_bits = plane.bad_bits if settings.bad_bits is None else settings.bad_bits
    windows = layout.windows[members].astype(np.int64) + np.array([dx, dy, dx, dy])
    measured = window_quality(
        pixels,
        windows - np.array([x0, y0, x0, y0]),
        mask=mask,
        mask_bits=plane.mask_bits,
        bad_bits=bad_bits,
        saturation_level=level,
        blank=settings.blank_value,
        shifted=layout.shifted[members],
        sample_px=settings.sample_px,
    )
    edges = [windows[:, 0], windows[:, 1], width - windows[:, 2], height - windows[:, 3]]
    measured.edge_px[:] = np.minimum.reduce(edges)
    verdicts, reasons = judge(measured, settings)
    bad = None
    if (verdicts == Verdict.FILL).any():
        bad = pixels_to_fill(
            pixels,
            settings,
            mask=mask,
            mask_bits=plane.mask_bits,
            bad_bits=bad_bits,
            saturation_level=level,
        )
    columns = [column.to_pylist() for column in measured.columns().values()]
    rows = [dict(zip(QUALITY.names, row, strict=True)) for row in zip(*columns, strict=True)]
    return BoxQuality(rows, reasons, verdicts, bad)
