"""What explains that two cutouts are alike: the labels they share, the rarest first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def label_weights(counts: NDArray[np.int64], sets: int) -> NDArray[np.float64]:
    """Inverse document frequency of each label: the natural logarithm of (sets / sets that hold it).

    A label that all hold tells nothing and weighs 0; one that a single set in a million holds weighs 13.8
    (Sparck Jones 1972, Journal of Documentation 28, 11; there to base 2).

    Parameters
    ----------
    counts : ndarray of int64, shape (n_labels,)
        Sets that hold each label.
    sets : int
        How many there are, at least 1.

    Returns
    -------
    ndarray of float64, shape (n_labels,)
        A label that none holds weighs as if one did.
    """
    return np.log(sets / np.clip(counts, 1, sets))


def shared_labels(
    query: Sequence[int], other: Sequence[int], weights: NDArray[np.float64], most: int
) -> list[tuple[int, float]]:
    """Labels that two sets share, with their weights, heaviest first.

    Parameters
    ----------
    query, other : sequence of int
        Label sets, best first.
    weights : ndarray of float64, shape (n_labels,)
        See :func:`label_weights`.
    most : int
        How many at most.

    Returns
    -------
    list of (int, float)
        Equal weights in the order of the query.
    """
    theirs = set(other)
    shared = [label for label in dict.fromkeys(query) if label in theirs]
    shared.sort(key=lambda label: -weights[label])
    return [(int(label), float(weights[label])) for label in shared[:most]]
