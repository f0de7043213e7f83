"""How true a map is: of all of it by two standard measures, and of each cutout by a mark.

Both measures look at the 10 nearest of each point, on the map and by vector, among the points given:
trustworthiness (Venna & Kaski 2001, "Neighborhood preservation in nonlinear projection methods") counts how
far by vector those are that the map brings near, and the neighbors kept (Kobak & Berens 2019, "The art of
using t-SNE for single-cell transcriptomics", there KNN) how many are the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import InputError

#: Nearest that are compared.
NEIGHBORS = 10

#: Part of the reference that counts as near to a cutout by vector, and so many at least.
NEAR, LEAST_NEAR = 0.1, 3 * NEIGHBORS

#: With fewer cutouts to compare with than this nothing is doubtful.
FEWEST = 2 * LEAST_NEAR


def map_quality(vectors: ArrayLike, places: ArrayLike, neighbors: int = NEIGHBORS) -> dict[str, float]:
    """Trustworthiness of a map, and the share of neighbors that it keeps.

    Parameters
    ----------
    vectors : array_like of float, shape (n, d)
    places : array_like of float, shape (n, 2)
        Theirs on the map.
    neighbors : int, optional
        Nearest that are compared; lowered to below n / 2.

    Returns
    -------
    dict
        `trustworthiness`: 1 where whatever is near on the map is near by vector, about 0.5 of places at
        random; as of scikit-learn. `neighbors_kept`: the share of the nearest by vector that are among as
        many nearest on the map.

    Raises
    ------
    InputError
        Fewer than 5 points, or lengths differ.
    """
    rows, points = np.asarray(vectors, np.float64), np.asarray(places, np.float64)
    count = len(rows)
    if count < 5 or len(points) != count:
        raise InputError(f"{count} vectors and {len(points)} places: give 5 or more of both, as many of each")
    k = min(neighbors, (count - 1) // 2)
    by_vector, on_map = squared_distances(rows, rows), squared_distances(points, points)
    np.fill_diagonal(by_vector, np.inf)
    np.fill_diagonal(on_map, np.inf)
    order = np.argsort(by_vector, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(1, count + 1)[np.newaxis], axis=1)
    near = np.argsort(on_map, axis=1, kind="stable")[:, :k]
    ranks = np.take_along_axis(rank, near, axis=1)
    too_far = np.maximum(ranks - k, 0).sum()
    return {
        "trustworthiness": float(1 - 2 * too_far / (count * k * (2 * count - 3 * k - 1))),
        "neighbors_kept": float((ranks <= k).mean()),
    }


def doubtful(
    by_vector: NDArray[np.floating],
    places: NDArray[np.floating],
    reference: NDArray[np.floating],
    own: NDArray[np.int64] | None = None,
) -> NDArray[np.bool_]:
    """Which cutouts have neighbors on the map that are not their neighbors by vector.

    A cutout is doubtful where, of the 10 cutouts of a reference that are nearest to it on the map, more than
    half are not in the tenth of the reference that is nearest to it by vector. Of a reference of fewer than
    300 cutouts the nearest 30 stand for that tenth, and with one of fewer than 60 nothing is doubtful.

    Parameters
    ----------
    by_vector : ndarray of float, shape (n, r)
        Distance of each cutout from the reference, or its square.
    places : ndarray of float, shape (n, 2)
        Of the cutouts on the map.
    reference : ndarray of float, shape (r, 2)
        Places of the reference.
    own : ndarray of int64, shape (n,), optional
        Row of each cutout in the reference, -1 where it is not of it: none is its own neighbor.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    count = len(reference)
    if not len(places) or count < FEWEST:
        return np.zeros(len(places), bool)
    distances, on_map = np.array(by_vector), squared_distances(places, reference, direct=True)
    if own is not None:
        itself = np.flatnonzero(own >= 0)
        distances[itself, own[itself]] = np.inf
        on_map[itself, own[itself]] = np.inf
    near = np.argpartition(on_map, NEIGHBORS - 1, axis=1)[:, :NEIGHBORS]
    few = max(LEAST_NEAR, int(NEAR * count))
    limit = np.partition(distances, few - 1, axis=1)[:, few - 1]
    far = np.take_along_axis(distances, near, axis=1) > limit[:, np.newaxis]
    return far.sum(axis=1) > NEIGHBORS / 2


def squared_distances(
    rows: NDArray[np.floating], others: NDArray[np.floating], direct: bool = False
) -> NDArray[np.floating]:
    """Squared Euclidean distances, shape (n, m).

    Parameters
    ----------
    rows, others : ndarray of float, shapes (n, d) and (m, d)
    direct : bool, optional
        By differences of each component, for few: exact, where products lose digits far from 0.
    """
    if direct:
        found = np.zeros((len(rows), len(others)))
        for column in range(rows.shape[1]):
            found += np.subtract.outer(rows[:, column].astype(float), others[:, column].astype(float)) ** 2
        return found
    found = rows @ others.T
    found *= -2
    found += np.einsum("ij,ij->i", rows, rows)[:, np.newaxis]
    found += np.einsum("ij,ij->i", others, others)
    return np.maximum(found, 0, out=found)
