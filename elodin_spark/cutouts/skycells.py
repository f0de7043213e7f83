"""The same sky twice: the cell of each cutout, and pairs of cutouts of one sky position."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from elodin_spark.cutouts.cells import (
    MAX_ORDER,
    cells_and_offsets,
    neighbors_of_each,
    position_cells,
    side_rad,
    smallest_width_rad,
    unit_vectors,
)

#: A cell of :func:`pair_order` is at least this many times wider than the largest separation.
CELLS_TO_MARGIN = 256


class RepeatPairs(NamedTuple):
    """Pairs of cutouts of one sky position, sorted by ``id_a``, then ``id_b``.

    Attributes
    ----------
    id_a, id_b : ndarray, shape (n,), int64
        Cutouts of different images, ``id_a < id_b``.
    sep_arcsec : ndarray, shape (n,), float64
        Between their centers, along the great circle.
    dmjd : ndarray, shape (n,), float64
        Epoch of b minus epoch of a, d; NaN where one is not known.
    """

    id_a: NDArray[np.int64]
    id_b: NDArray[np.int64]
    sep_arcsec: NDArray[np.float64]
    dmjd: NDArray[np.float64]


class MarginCells(NamedTuple):
    """Rows of a shuffle: each position in its own cell and, near its edge, in those around it.

    Attributes
    ----------
    position : ndarray, shape (m,), int64
        Its index among those given.
    cells : ndarray, shape (m,), int64
        Nested HEALPix.
    home : ndarray, shape (m,), bool
        Whether the cell is the position's own.
    """

    position: NDArray[np.int64]
    cells: NDArray[np.int64]
    home: NDArray[np.bool_]


def healpix29(ra: ArrayLike, dec: ArrayLike) -> pa.Int64Array:
    """HEALPix cells of order 29, nested.

    ``cell >> 2 * (29 - k)`` is the cell of order k, so a range of values is a region of the sky
    (the convention of HATS and of Gaia's ``source_id``).

    Parameters
    ----------
    ra, dec : array_like, shape (n,)
        deg. None and NaN are no position.

    Returns
    -------
    pyarrow.Int64Array
        Null where there is no position.
    """
    lon, lat = (np.atleast_1d(np.array(values, dtype=np.float64)) for values in (ra, dec))
    cells = position_cells(lon, lat, MAX_ORDER)
    return pa.array(cells, type=pa.int64(), mask=cells < 0)


def pair_order(max_sep_arcsec: float) -> int:
    """The HEALPix order at which a search for pairs is best spread over a cluster, at most 12.

    Cells are so much larger than `max_sep_arcsec` that few positions are sent to more than one.
    """
    side = CELLS_TO_MARGIN * math.radians(max_sep_arcsec / 3600.0)
    return min(max(math.floor(math.log2(side_rad(0) / side)), 0), 12)


def cells_with_margin(ra: ArrayLike, dec: ArrayLike, order: int, margin_arcsec: float) -> MarginCells:
    """Spread positions over cells so that each cell gets all within `margin_arcsec` of its own.

    Parameters
    ----------
    ra, dec : array_like, shape (n,)
        deg. A position with NaN is left out.
    order : int
        As :func:`pair_order` proposes; all calls of one search use the same.
    margin_arcsec : float
        At least the largest separation searched for.

    Returns
    -------
    MarginCells
        Ordered by position, the own cell first.

    Raises
    ------
    ValueError
        A cell is too narrow for the margin.
    """
    margin = math.radians(margin_arcsec / 3600.0)
    edge = margin / smallest_width_rad(order)
    if not 0 <= edge < 0.5:
        raise ValueError(
            f"cells of order {order} are too narrow for a margin of {margin_arcsec:g} arcsec; "
            f"use order {pair_order(margin_arcsec)}"
        )
    cells, across, along = cells_and_offsets(ra, dec, order)
    known = np.flatnonzero(cells >= 0)
    # Offsets within a cell run from 0 to 1; no step of `margin` moves either by more than `edge`.
    at_edge = known[(np.minimum.reduce([across, 1 - across, along, 1 - along])[known]) <= edge]
    around = neighbors_of_each(cells[at_edge], order) if len(at_edge) else np.empty((0, 8), np.int64)
    there = around >= 0
    index = np.concatenate([known, np.repeat(at_edge, there.sum(axis=1))])
    all_cells = np.concatenate([cells[known], around[there]])
    home = np.arange(len(index)) < len(known)
    ordered = np.argsort(index, kind="stable")
    return MarginCells(index[ordered].astype(np.int64), all_cells[ordered], home[ordered])


def repeat_pairs(
    ids: ArrayLike,
    image_ids: ArrayLike,
    ra: ArrayLike,
    dec: ArrayLike,
    max_sep_arcsec: float,
    *,
    mjd: ArrayLike | None = None,
    home: ArrayLike | None = None,
) -> RepeatPairs:
    """Pairs of cutouts of different images whose centers are at most `max_sep_arcsec` apart.

    Over the groups of :func:`cells_with_margin`, with `home` of each, every pair of the sky comes
    out exactly once: in the own cell of the cutout with the smaller ID.

    Parameters
    ----------
    ids, image_ids : array_like, shape (n,), int64
        Of the cutouts, each ID once, and of the images they were cut from.
    ra, dec : array_like, shape (n,)
        Centers, ICRS, deg; NaN is near nothing.
    max_sep_arcsec : float
        Largest separation, itself included.
    mjd : array_like, shape (n,), optional
        Epochs, d.
    home : array_like, shape (n,), bool, optional
        Which cutouts lie in this cell; by default all do.

    Returns
    -------
    RepeatPairs
    """
    from scipy.spatial import cKDTree

    ids, image_ids = np.asarray(ids, np.int64), np.asarray(image_ids, np.int64)
    lon, lat = np.asarray(ra, np.float64), np.asarray(dec, np.float64)
    epochs = np.full(len(ids), np.nan) if mjd is None else np.asarray(mjd, np.float64)
    owned = np.ones(len(ids), bool) if home is None else np.asarray(home, bool)
    known = np.flatnonzero(np.isfinite(lon) & np.isfinite(lat))
    points = unit_vectors(lon[known], lat[known])
    chord = 2 * math.sin(min(math.radians(max_sep_arcsec / 3600.0), math.pi) / 2)
    # A little further: chords of unit vectors have absolute errors of 1e-16.
    near = cKDTree(points).query_pairs(chord + 1e-15, output_type="ndarray") if len(known) else None
    if near is None or not len(near):
        return RepeatPairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0))
    first, second = known[near[:, 0]], known[near[:, 1]]
    swap = ids[first] > ids[second]
    first, second = np.where(swap, second, first), np.where(swap, first, second)
    kept = (image_ids[first] != image_ids[second]) & owned[first]
    first, second = first[kept], second[kept]
    separation = separation_arcsec(lon[first], lat[first], lon[second], lat[second])
    close = separation <= max_sep_arcsec
    first, second, separation = first[close], second[close], separation[close]
    ordered = np.lexsort((ids[second], ids[first]))
    first, second = first[ordered], second[ordered]
    return RepeatPairs(ids[first], ids[second], separation[ordered], epochs[second] - epochs[first])


def separation_arcsec(
    ra_a: ArrayLike, dec_a: ArrayLike, ra_b: ArrayLike, dec_b: ArrayLike
) -> NDArray[np.float64]:
    """Great-circle separations, arcsec, of positions in deg (Vincenty's formula, exact at any distance)."""
    from astropy.coordinates import angular_separation

    degrees = (np.radians(np.asarray(values, np.float64)) for values in (ra_a, dec_a, ra_b, dec_b))
    return np.degrees(np.asarray(angular_separation(*degrees), np.float64)) * 3600.0
