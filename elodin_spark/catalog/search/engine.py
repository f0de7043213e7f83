"""The engine that answers: neighbors of any cutouts by some options."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from elodin_spark.catalog.search.options import SearchOptions
from elodin_spark.catalog.storage.tombstones import Tombstones
from elodin_spark.errors import UnknownCutoutError
from elodin_spark.neighbors.base import ExternalQueries, Index, Queries, ids_array
from elodin_spark.neighbors.flat import VectorIndex
from elodin_spark.neighbors.regions import PlacedWindows, directions, within_cone, within_moc
from elodin_spark.neighbors.search import WindowsOf, neighbors_of
from elodin_spark.neighbors.suppression import (
    DuplicateWindows,
    Repeats,
    RepeatWindows,
    Windows,
    WindowTable,
    folded_duplicates,
)

#: Columns of the cutouts table that answers take.
WINDOW_COLUMNS = ["cutout_id", "image_id", "x0", "y0", "x1", "y1", "ra", "dec"]


class NeighborSearch:
    """Answers by the same options for any cutout.

    Parameters
    ----------
    options : SearchOptions
        With `k`.
    index : Index
        Of its metric.
    windows : pyarrow.Table
        Of :data:`WINDOW_COLUMNS`, by ascending ID, of all cutouts.
    source : str
        What holds them, for messages.
    kept : ndarray of int64, shape (m,), optional
        Cutouts that ``options.where`` keeps.
    tombstones : Tombstones, optional
        What was taken out of it.
    repeats : Repeats, optional
        Those known, where the options ask for more than to keep them.
    l2 : L2Index or ApproximateL2Index, optional
        Needed where duplicates are folded.
    """

    def __init__(
        self,
        options: SearchOptions,
        index: Index,
        windows: pa.Table,
        source: str,
        kept: NDArray[np.int64] | None = None,
        tombstones: Tombstones | None = None,
        repeats: Repeats | None = None,
        l2: VectorIndex | None = None,
    ) -> None:
        self._windows, self._source = windows, source
        self._l2 = l2
        assert options.k is not None
        self.options = options
        self._tombstones, self._repeats = tombstones or Tombstones(), repeats
        self._ids = windows.column("cutout_id").to_numpy()
        self._index = index
        free = options.cone is None and options.moc is None and kept is None
        self._among = None if free else self._allowed(kept)

    def __call__(self, cutout_ids: ArrayLike) -> pa.Table:
        """Return neighbors of :data:`elodin_spark.schema.NEIGHBORS`.

        Raises
        ------
        UnknownCutoutError
            A cutout has no fingerprint, or was removed.
        """
        self._tombstones.refuse(cutout_ids, self._source)
        return self._neighbors(cutout_ids)

    def outside(self, queries: ExternalQueries) -> pa.Table:
        """The same of queries that are no cutouts, by the IDs -1, -2 and so on.

        Raises
        ------
        InputError
            Their label sets are not known, and the metric compares these.
        """
        return self._neighbors(queries)

    def _neighbors(self, queries: Queries) -> pa.Table:
        options = self.options
        assert options.k is not None  # see __init__
        return neighbors_of(
            queries,
            options.k,
            self._index,
            allowed=self._among,
            windows_of=self._windows_of(),
            allow_overlap=options.allow_overlap
            and options.min_separation_arcsec is None
            and self._repeats is None
            and not options.fold_duplicates,
        )

    def folded(self, query: int | None, listed: Sequence[int]) -> list[list[int]]:
        """The cutouts that were folded into the neighbors of a query, of those that could be neighbors."""
        assert self._l2 is not None
        groups = folded_duplicates(query, listed, self._l2)
        if self._among is not None:
            groups = [np.intersect1d(group, self._among) for group in groups]
        return [group.tolist() for group in groups]

    def _allowed(self, kept: NDArray[np.int64] | None) -> NDArray[np.int64]:
        ra, dec = _positions(self._windows)
        inside = np.ones(self._ids.size, bool) if kept is None else np.isin(self._ids, kept)
        if cone := self.options.cone:
            inside &= within_cone(cone.ra, cone.dec, cone.radius_arcsec, ra, dec)
        if self.options.moc is not None:
            inside &= within_moc(self.options.moc, ra, dec)
        return self._ids[inside]

    def _windows_of(self) -> WindowsOf:
        windows_of, repeats, options, l2 = self._in_the_way(), self._repeats, self.options, self._l2
        if repeats is None and not options.fold_duplicates:
            return windows_of
        nothing_else = options.allow_overlap and options.min_separation_arcsec is None

        def windows(ids: NDArray[np.int64]) -> Windows:
            found: Windows | None = None if nothing_else else windows_of(ids)
            if repeats is not None:
                found = RepeatWindows(ids, repeats, options.repeats == "leave-out", found)
            if options.fold_duplicates:
                assert l2 is not None
                found = DuplicateWindows.of(ids, l2.vectors_of, found)
            assert found is not None
            return found

        return windows

    def _in_the_way(self) -> WindowsOf:
        apart = self.options.min_separation_arcsec

        def windows(ids: NDArray[np.int64]) -> WindowTable:
            return WindowTable.from_arrow(self._rows(ids))

        def placed(ids: NDArray[np.int64]) -> PlacedWindows:
            assert apart is not None
            rows = self._rows(ids)
            boxes = WindowTable.from_arrow(rows)
            return PlacedWindows(
                boxes, directions(*_positions(rows)), apart / 3600, not self.options.allow_overlap
            )

        return windows if apart is None else placed

    def _rows(self, ids: NDArray[np.int64]) -> pa.Table:
        """The windows of ascending IDs; those from outside hold no pixel and lie nowhere."""
        outside = int(np.searchsorted(ids, 0))
        found = self._windows.take(rows_of(self._ids, ids[outside:], source=self._source))
        nowhere = {"cutout_id": -1, "image_id": -1, **dict.fromkeys(("x0", "y0", "x1", "y1"), 0)}
        return pa.concat_tables([pa.Table.from_pylist([nowhere] * outside, schema=found.schema), found])


def _positions(windows: pa.Table) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ra, dec = (windows.column(name).to_numpy().astype(np.float64) for name in ("ra", "dec"))
    return ra, dec


def rows_of(known: NDArray[np.int64], cutout_ids: ArrayLike, *, source: str) -> NDArray[np.int64]:
    """Rows of cutouts in a table by ascending ID.

    Raises
    ------
    UnknownCutoutError
        One is not there.
    """
    ids = ids_array(cutout_ids)
    rows = np.searchsorted(known, ids)
    if known.size:
        missing = (rows == known.size) | (known[np.minimum(rows, known.size - 1)] != ids)
    else:
        missing = np.ones(ids.size, bool)
    if missing.any():
        raise UnknownCutoutError(f"{source} holds no cutout {ids[missing][0]}")
    return rows
