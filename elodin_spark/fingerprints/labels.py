"""The top classes, top units or nearest prototypes of a fingerprint: the sets Jaccard distances compare."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.transform import AUTO_LABELS, LabelsChoice
from elodin_spark.errors import ConfigError
from elodin_spark.fingerprints.weights.types import Weights

_INDEX_MASK = np.uint64(0xFFFFFFFF)


def top_labels(scores: NDArray[np.float32], n_top: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Find the indices of the `n_top` largest scores of each row, best first.

    Equal scores are ordered by the smaller index, at the cut as well as inside it, so the
    answer depends on nothing but the scores.

    Parameters
    ----------
    scores : ndarray of float32, shape (n, c)
        Finite.
    n_top : int
        At least 1; where it exceeds c, all c are returned.

    Returns
    -------
    labels : ndarray of int32, shape (n, min(n_top, c))
    values : ndarray of float32, shape (n, min(n_top, c))
        ``scores`` at `labels`.

    Raises
    ------
    ValueError
        `scores` is not a finite matrix or `n_top` is below 1.
    """
    scores = np.asarray(scores, dtype=np.float32)
    if scores.ndim != 2:
        raise ValueError(f"scores must have shape (n, c), got {scores.shape}")
    if n_top < 1:
        raise ValueError(f"n_top must be at least 1, got {n_top}")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite: a label cannot be ranked by NaN or infinity")
    n_top = min(n_top, scores.shape[1])
    # One integer per entry, unique in its row: the score's rank, descending, then the index.
    # IEEE floats compare as integers once negatives are flipped; + 0.0 turns -0 into 0.
    bits = (scores + np.float32(0.0)).view(np.uint32)
    ascending = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    keys = (~ascending).astype(np.uint64) << np.uint64(32)
    keys |= np.arange(scores.shape[1], dtype=np.uint64)
    if n_top < scores.shape[1]:
        keys = np.partition(keys, n_top - 1, axis=1)[:, :n_top]
    labels = (np.sort(keys, axis=1) & _INDEX_MASK).astype(np.int32)
    return labels, np.take_along_axis(scores, labels.astype(np.intp), axis=1)


def label_sets(
    values: NDArray[np.float32], n_top: int
) -> tuple[list[NDArray[np.int32]], list[NDArray[np.float32]]]:
    """Top labels of each row, without those of value zero.

    A unit that a ReLU left at zero, or a class whose probability underflowed, says nothing
    about the window: picking some of them by index would make up labels. A row may therefore
    have fewer than `n_top`, or none.

    Parameters
    ----------
    values : ndarray of float32, shape (n, c)
        Class probabilities, or the vector itself for weights without a head.
    n_top : int

    Returns
    -------
    labels : list of n ndarrays of int32
        Best first.
    scores : list of n ndarrays of float32
        The values at `labels`, all above zero.

    Raises
    ------
    ValueError
        As :func:`top_labels`.
    """
    labels, scores = top_labels(values, n_top)
    # Best first: what is above zero is a prefix of each row.
    lengths = np.count_nonzero(scores > 0, axis=1)
    return (
        [row[:length] for row, length in zip(labels, lengths, strict=True)],
        [row[:length] for row, length in zip(scores, lengths, strict=True)],
    )


def check_labels(choice: LabelsChoice, weights: Weights) -> None:
    """Raise ConfigError where labels are to be classes of weights without a head."""
    if choice == "classes" and weights.labeled.classes is None:
        raise ConfigError(
            f"fingerprints.labels is classes, and the weights {weights.name} have no head: take auto, units "
            "or prototypes, or other weights"
        )


def settled_labels(choice: LabelsChoice, weights: Weights) -> LabelsChoice:
    """What labels are in a new catalog: ``classes``, ``units`` or ``prototypes``.

    For ``auto``, classes where the first network has a head. The classes of a further one make worse sets
    than prototypes of the joined vectors: see docs/model-card.md.

    Raises
    ------
    ConfigError
        As :func:`check_labels`.
    """
    check_labels(choice, weights)
    if choice != "auto":
        return choice
    return AUTO_LABELS if weights.classes is None else "classes"
