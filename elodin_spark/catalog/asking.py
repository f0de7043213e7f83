"""What can be asked of a catalog, and what answers it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from elodin_spark.catalog.removed import Removed
from elodin_spark.errors import ConfigError, InputError, UnknownCutoutError
from elodin_spark.neighbors.filtered import only
from elodin_spark.neighbors.lookup import checked_k, ids_array
from elodin_spark.neighbors.overlap import WindowTable
from elodin_spark.neighbors.repeats import Repeats, RepeatWindows
from elodin_spark.neighbors.search import Index, WindowsOf, neighbors_of
from elodin_spark.neighbors.skyfilter import Cone, PlacedWindows, directions, within_moc
from elodin_spark.schema import NEIGHBORS
from elodin_spark.settings import Metric

#: What becomes of known repeats.
RepeatsRule = Literal["keep", "leave-out", "group"]
#: Columns of the cutouts table that answers take.
WINDOW_COLUMNS = ["cutout_id", "image_id", "x0", "y0", "x1", "y1", "ra", "dec"]


@dataclass(frozen=True)
class Question:
    """Which neighbors are wanted.

    Attributes
    ----------
    k : int
    metric : {"l2", "jaccard"}
    allow_overlap : bool
        Keep windows that share pixels of one image with the query or a nearer neighbor.
    min_separation_arcsec : float or None
        Leave out cutouts whose centre lies this near to that of the query or of a nearer neighbor: other
        epochs of one source, or the same in an overlapping tile.
    cone : tuple of float or None
        Only cutouts whose centre is within: RA, Dec, radius, ICRS deg.
    moc : str or None
        Only cutouts whose centre is in this file's coverage map.
    repeats : {"keep", "leave-out", "group"}
        Of the pairs that ``run.repeats_arcsec`` found: leave out known repeats of the query or of a
        nearer neighbor, or only the latter, which are listed with that neighbor.

    Raises
    ------
    ConfigError
        Another metric.
    InputError
        A number is out of range.
    """

    k: int
    metric: Metric = "l2"
    allow_overlap: bool = False
    min_separation_arcsec: float | None = None
    cone: tuple[float, float, float] | None = None
    moc: str | None = None
    repeats: RepeatsRule = "keep"

    def __post_init__(self) -> None:
        checked_k(self.k)
        if self.metric not in ("l2", "jaccard"):
            raise ConfigError(f"unknown metric {self.metric!r}: l2 or jaccard")
        if self.repeats not in get_args(RepeatsRule):
            raise ConfigError(f"repeats are one of {', '.join(get_args(RepeatsRule))}, got {self.repeats!r}")
        apart = self.min_separation_arcsec
        if apart is not None and not 0 < apart <= 648_000:
            raise InputError(f"min_separation_arcsec is above 0 and at most 648000 (180 deg), got {apart:g}")
        if self.cone is not None:
            Cone(*self.cone)


class Answerer:
    """Answers one question for any cutout.

    Parameters
    ----------
    question : Question
    index : Index
        Of its metric.
    windows : pyarrow.Table
        Of :data:`WINDOW_COLUMNS`, by ascending ID, of all cutouts.
    source : str
        What holds them, for messages.
    removed : Removed, optional
        What was taken out of it.
    repeats : Repeats, optional
        Those known, where the question asks for more than to keep them.
    """

    def __init__(
        self,
        question: Question,
        index: Index,
        windows: pa.Table,
        source: str,
        removed: Removed | None = None,
        repeats: Repeats | None = None,
    ) -> None:
        self._question, self._windows, self._source = question, windows, source
        self._removed, self._repeats = removed or Removed(), repeats
        self._ids = windows.column("cutout_id").to_numpy()
        self._whole = index
        self._index = (
            index if question.cone is None and question.moc is None else only(index, self._allowed())
        )

    def __call__(self, cutout_ids: ArrayLike) -> pa.Table:
        """Return neighbors of :data:`elodin_spark.schema.NEIGHBORS`.

        Raises
        ------
        UnknownCutoutError
            A cutout has no fingerprint, or was removed.
        """
        self._removed.refuse(cutout_ids, self._source)
        question = self._question
        if not len(self._index):
            self._whole.search_ids(cutout_ids, 1)  # whatever is wrong with them is said
            return NEIGHBORS.empty_table()
        apart = question.min_separation_arcsec
        return neighbors_of(
            cutout_ids,
            question.k,
            self._index,
            windows_of=self._windows_of(),
            allow_overlap=question.allow_overlap and apart is None and self._repeats is None,
        )

    def _allowed(self) -> NDArray[np.int64]:
        ra, dec = self._positions(slice(None))
        inside = np.ones(self._ids.size, bool)
        if self._question.cone is not None:
            inside &= Cone(*self._question.cone).contains(ra, dec)
        if self._question.moc is not None:
            inside &= within_moc(self._question.moc, ra, dec)
        return self._ids[inside]

    def _positions(self, rows: slice | NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        some = self._windows if isinstance(rows, slice) else self._windows.take(rows)
        ra, dec = (some.column(name).to_numpy().astype(np.float64) for name in ("ra", "dec"))
        return ra, dec

    def _windows_of(self) -> WindowsOf:
        windows_of, repeats, question = self._in_the_way(), self._repeats, self._question
        if repeats is None:
            return windows_of
        nothing_else = question.allow_overlap and question.min_separation_arcsec is None
        return lambda ids: RepeatWindows(
            ids, repeats, question.repeats == "leave-out", None if nothing_else else windows_of(ids)
        )

    def _in_the_way(self) -> WindowsOf:
        find = partial(rows_of, self._ids, source=self._source)
        apart = self._question.min_separation_arcsec
        if apart is None:
            return lambda ids: WindowTable.from_arrow(self._windows.take(find(ids)))

        def placed(ids: NDArray[np.int64]) -> PlacedWindows:
            rows = find(ids)
            xyz = directions(*self._positions(rows))
            windows = WindowTable.from_arrow(self._windows.take(rows))
            return PlacedWindows(windows, xyz, apart / 3600, not self._question.allow_overlap)

        return placed


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
