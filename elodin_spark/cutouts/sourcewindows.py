"""One window for each source of an image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elodin_spark.cutouts.positions import centered_windows, require_room
from elodin_spark.cutouts.sources import Sources


class SourceWindows(NamedTuple):
    """One window per source, without duplicates, sorted by y0, then x0, then size.

    Attributes
    ----------
    windows : ndarray, shape (m, 4), int32
        ``x0, y0, x1, y1``, px, half-open, square, inside the image.
    source : ndarray, shape (m,), int64
        The source a window was laid for; of several, the brightest.
    window_of : ndarray, shape (n,), int64
        The window of each source.
    shifted : ndarray, shape (m,), bool
        The window was moved inside the image, or shrunk to it.
    """

    windows: NDArray[np.int32]
    source: NDArray[np.int64]
    window_of: NDArray[np.int64]
    shifted: NDArray[np.bool_]


def source_windows(
    sources: Sources,
    shape: tuple[int, int],
    *,
    size_px: int | None = None,
    extent_factor: float | None = None,
    min_size_px: int = 8,
) -> SourceWindows:
    """Lay one square window on each source.

    Parameters
    ----------
    sources : Sources
    shape : tuple of int
        ``(ny, nx)`` of the image.
    size_px : int, optional
        Side of every window, px, around the barycenter.
    extent_factor : float, optional
        Side as a multiple of the long side of the source's isophote, around its middle. One of
        the two is given.
    min_size_px : int
        Smallest side with `extent_factor`, px, where the image has room for it.

    Returns
    -------
    SourceWindows

    Raises
    ------
    ImageError
        Kind ``smaller_than_window``: the image has no room for a window of `size_px`.
    ValueError
        Both or neither of `size_px` and `extent_factor` are given.
    """
    height, width = shape
    if (size_px is None) == (extent_factor is None):
        raise ValueError("give one of size_px and extent_factor")
    if size_px is not None:
        require_room(width, height, size_px)
        windows, shifted = centered_windows(sources.x, sources.y, size_px, width, height)
    else:
        windows, shifted = _extent_windows(
            sources.boxes, float(extent_factor or 0), min_size_px, width, height
        )
    # By window, and within it the brightest first, then the first.
    order = np.lexsort((-sources.flux, windows[:, 2] - windows[:, 0], windows[:, 0], windows[:, 1]))
    ordered = windows[order]
    first = np.ones(len(ordered), bool)
    first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    window_of = np.empty(len(ordered), np.int64)
    window_of[order] = np.cumsum(first) - 1
    source = order[first].astype(np.int64)
    return SourceWindows(windows[source], source, window_of, shifted[source])


def _extent_windows(
    boxes: NDArray[np.int32], factor: float, min_size_px: int, width: int, height: int
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    extent = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    wanted = np.maximum(np.ceil(extent * factor), max(min_size_px, 1))
    side = np.minimum(wanted, min(width, height))[:, None]
    middle = (boxes[:, :2] + boxes[:, 2:] - 1) / 2
    corner = np.ceil(middle - side / 2)
    inside = np.clip(corner, 0, [width, height] - side)
    shifted = (inside != corner).any(axis=1) | (wanted != side[:, 0])
    return np.concatenate([inside, inside + side], axis=1).astype(np.int32), shifted
