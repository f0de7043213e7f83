"""Cutouts placed among those of a sample that were laid out.

By PCA a cutout has its place by the matrix. By t-SNE and UMAP it is placed where those of the sample are that
its vector is like: of the 15 nearest by their scores on the principal components, the one from which the
others are least far on the map, and the mean of those around it. A mean of all would lie between groups,
where nothing is; what the libraries call transform takes longer, depends on which cutouts come together, and
keeps fewer neighbors (docs/performance.md).
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elodin_spark.errors import CatalogError
from elodin_spark.projection.quality import doubtful, squared_distances
from elodin_spark.projection.reduce import PrincipalAxes

#: Of the sample, those that a cutout is placed by.
NEAREST = 15
#: How many of them count, about.
PERPLEXITY = 7.0
#: Points that are around another on the map: so many nearest.
AROUND = 10
#: Cutouts of the reference, which say what is doubtful.
REFERENCE = 1000

# All that is multiplied has so many rows: each row comes out the same, whatever others come with it.
_BLOCK = 512
_STEPS = 60  # bisections: to the last digit


@dataclass(frozen=True, eq=False)
class Placement:
    """What a cutout is placed by.

    Attributes
    ----------
    axes : PrincipalAxes
    ids : ndarray of int64, shape (n,)
        Of the sample.
    scores : ndarray of float32, shape (n, c)
        Of the sample, on the principal components.
    reference : ndarray of float32, shape (r, d)
        Vectors of the first of the sample, drawn in; see :func:`~elodin_spark.projection.quality.doubtful`.
    places : dict of str to ndarray of float32, shape (n, 2)
        Method to the map of the sample.
    """

    axes: PrincipalAxes
    ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    reference: NDArray[np.float32]
    places: dict[str, NDArray[np.float32]]

    @classmethod
    def of_sample(
        cls,
        axes: PrincipalAxes,
        ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        scores: NDArray[np.float32],
        places: Mapping[str, NDArray[np.float32]],
    ) -> Placement:
        """From a sample, in the order of its keys: its first are a sample too, the reference."""
        return cls(axes, ids, scores, axes.drawn_in(vectors[:REFERENCE]), dict(places))

    def save(self, path: Path) -> None:
        """Write it as NPZ."""
        axes = self.axes
        np.savez(
            path, middle=axes.middle, usual=np.float64(axes.usual), mean=axes.mean, matrix=axes.matrix,
            ids=self.ids, scores=self.scores, reference=self.reference,
            **{f"xy_{method}": places for method, places in self.places.items()},  # type: ignore[arg-type]
        )  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> Placement:
        """Read what :meth:`save` wrote.

        Raises
        ------
        CatalogError
            It is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                held = {name: file[name] for name in file.files}
            axes = PrincipalAxes(held["middle"], float(held["usual"]), held["mean"], held["matrix"])
            places = {name.removeprefix("xy_"): held[name] for name in held if name.startswith("xy_")}
            return cls(axes, held["ids"], held["scores"], held["reference"], places)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise CatalogError(
                f"{path}, by which cutouts are placed, is damaged ({error}): run again"
            ) from None

    def place(self, vectors: NDArray[np.float32]) -> dict[str, tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        """Place cutouts.

        Parameters
        ----------
        vectors : ndarray of float32, shape (m, d)
            Finite.

        Returns
        -------
        dict of str to (ndarray of float32, shape (m, 2); ndarray of bool, shape (m,))
            Method to places, and which are doubtful. Each vector's are the same whatever others are with it.
        """
        from threadpoolctl import threadpool_limits

        found: dict[str, list[tuple[NDArray[np.float32], NDArray[np.bool_]]]]
        found = {method: [] for method in self.places}
        spacing = {method: _spacing(places) for method, places in self.places.items() if method != "pca"}
        with threadpool_limits(1):
            for start in range(0, len(vectors), _BLOCK):
                drawn_in, count = self._block(vectors[start : start + _BLOCK])
                scores = self.axes.scores(drawn_in)
                by_vector = squared_distances(drawn_in, self.reference)
                rows, weights = _nearest(scores, self.scores) if spacing else (None, None)
                for method, places in self.places.items():
                    if rows is None or weights is None or method == "pca":
                        xy = np.ascontiguousarray(scores[:, :2])
                    else:
                        xy = _among(places, rows, weights, spacing[method])
                    marks = doubtful(by_vector, xy, places[: len(self.reference)])
                    found[method].append((xy[:count], marks[:count]))
        empty = (np.empty((0, 2), np.float32), np.empty(0, bool))
        return {
            method: (np.concatenate([xy for xy, _ in parts]), np.concatenate([marks for _, marks in parts]))
            if parts
            else empty
            for method, parts in found.items()
        }

    def doubts(self, vectors: NDArray[np.float32]) -> dict[str, NDArray[np.bool_]]:
        """Which of the sample itself are doubtful, by method.

        Parameters
        ----------
        vectors : ndarray of float32, shape (n, d)
            Of the sample.
        """
        first = len(self.reference)
        found: dict[str, list[NDArray[np.bool_]]] = {method: [] for method in self.places}
        for start in range(0, len(vectors), _BLOCK):
            drawn_in, count = self._block(vectors[start : start + _BLOCK])
            own = np.arange(start, start + count)
            own[own >= first] = -1
            by_vector = squared_distances(drawn_in, self.reference)[:count]
            for method, places in self.places.items():
                some = places[start : start + count]
                found[method].append(doubtful(by_vector, some, places[:first], own))
        return {method: np.concatenate(parts) for method, parts in found.items()}

    def _block(self, vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
        """Vectors drawn in, filled up to a whole block, and how many there are."""
        count = len(vectors)
        whole = np.zeros((_BLOCK, vectors.shape[1]), np.float32)
        whole[:count] = self.axes.drawn_in(vectors)
        return whole, count


def _nearest(
    scores: NDArray[np.float32], sample: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Rows of the nearest of the sample, ascending by distance and row, and their weights, (m, k) both.

    The weights are those of t-SNE: Gaussian by distance, as wide as gives the perplexity.
    """
    k = min(NEAREST, len(sample))
    squares = squared_distances(scores, sample)
    rows = np.sort(np.argpartition(squares, k - 1, axis=1)[:, :k], axis=1)
    near = np.take_along_axis(squares, rows, axis=1).astype(np.float64)
    order = np.argsort(near, axis=1, kind="stable")
    rows, near = np.take_along_axis(rows, order, axis=1), np.take_along_axis(near, order, axis=1)
    return rows, _weights(near - near[:, :1], min(PERPLEXITY, k / 2))


def _weights(squares: NDArray[np.float64], perplexity: float) -> NDArray[np.float64]:
    """Gaussian weights, of sum 1, of squared distances beyond the least."""
    scale = squares.mean(axis=1, keepdims=True)
    unit = squares / np.where(scale > 0, scale, 1.0)
    low, high = np.full((len(unit), 1), -30.0), np.full((len(unit), 1), 30.0)  # logarithm of the precision
    for _ in range(_STEPS):
        middle = (low + high) / 2
        weights = np.exp(-unit * np.exp(middle))
        total = weights.sum(axis=1, keepdims=True)
        # Entropy: log(sum) + precision * mean square.
        entropy = np.log(total) + np.exp(middle) * (weights * unit).sum(axis=1, keepdims=True) / total
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    weights = np.exp(-unit * np.exp((low + high) / 2))
    return weights / weights.sum(axis=1, keepdims=True)


def _among(
    places: NDArray[np.float32],
    rows: NDArray[np.intp],
    weights: NDArray[np.float64],
    spacing: NDArray[np.float64],
) -> NDArray[np.float32]:
    """The weighted mean of the places around the one from which all are least far."""
    near = places.astype(np.float64)[rows]
    apart = np.sqrt(sum(np.subtract(near[:, :, None, i], near[:, None, :, i]) ** 2 for i in (0, 1)))
    middle = np.einsum("nij,nj->ni", apart, weights).argmin(axis=1)[:, np.newaxis]
    from_middle = np.take_along_axis(apart, middle[:, :, np.newaxis], axis=1)[:, 0]
    room = spacing[np.take_along_axis(rows, middle, axis=1)]
    close = np.exp(-0.5 * (from_middle / np.where(room > 0, room, 1.0)) ** 2)
    close = np.where((room > 0) | (from_middle == 0), close, 0.0)
    shares = weights * close
    # Of the middle itself something is left, however little it weighs.
    np.put_along_axis(shares, middle, np.maximum(np.take_along_axis(shares, middle, axis=1), 1e-9), axis=1)
    shares /= shares.sum(axis=1, keepdims=True)
    return np.asarray(np.einsum("nk,nkc->nc", shares, near), np.float32)


def _spacing(places: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distance of each point of a map to the last of its 10 nearest."""
    from scipy.spatial import cKDTree

    points = places.astype(np.float64)
    k = min(AROUND, len(points) - 1)
    return np.asarray(cKDTree(points).query(points, k + 1)[0][:, k], np.float64)
