"""Labeled cutouts that a training learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elodin_spark.fingerprints.windows import resize_window
from elodin_spark.learning.labeled import LabeledSet


@dataclass(frozen=True)
class Taught:
    """Cutouts in memory, and what is told of them.

    Attributes
    ----------
    windows : list of ndarray of uint8, shape (side, side, 3)
        Each of a side of its own.
    classes : ndarray of int64, shape (n,)
        Numbers in `names`.
    attributes : ndarray of float32, shape (n, a)
        Each of mean 0 and deviation 1; NaN where it is not known.
    names : tuple of str
        Of the classes.
    """

    windows: list[NDArray[np.uint8]]
    classes: NDArray[np.int64]
    attributes: NDArray[np.float32]
    names: tuple[str, ...]

    @classmethod
    def of(cls, learned: LabeledSet, most_px: int) -> Taught:
        """Read the pictures of a set, made square and of at most `most_px` px."""
        windows = [resize_window(each, min(max(each.shape[:2]), most_px)) for each in learned.pictures]
        names, classes = np.unique(learned.labels, return_inverse=True)
        values = np.empty((len(windows), 0), np.float32) if learned.attributes is None else learned.attributes
        # One that is known of none, or is the same in all, teaches nothing.
        told = [column for column in values.T if np.isfinite(column).any() and np.nanstd(column) > 0]
        scaled = [(column - np.nanmean(column)) / np.nanstd(column) for column in told]
        attributes = np.array(scaled, np.float32).reshape(len(told), len(windows)).T
        return cls(windows, classes.astype(np.int64), attributes, tuple(names.tolist()))

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Rows, by chance: of a class that is four times as large as another twice as many."""
        sizes = np.bincount(self.classes).astype(float)
        likely = 1 / np.sqrt(sizes[self.classes])
        return rng.choice(len(self.classes), count, p=likely / likely.sum())
