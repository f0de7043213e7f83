"""Rows of Arrow batches to windows, and fingerprints back to columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elodin_spark.arrow import LARGEST_FLOAT16
from elodin_spark.config.transform import Storage
from elodin_spark.errors import ImageError
from elodin_spark.fingerprints.labels import label_sets
from elodin_spark.fingerprints.transform import VectorTransform
from elodin_spark.schema import TILED

#: Labels of several windows, and their scores.
LabelSets = tuple[list[NDArray[np.int32]], list[NDArray[np.float32]]]


@dataclass(frozen=True)
class Fingerprint:
    """What the network says about one window.

    Attributes
    ----------
    vector : ndarray of float32, shape (vector_length,)
    labels : ndarray of int32
        Top classes, units for weights without a head, or the nearest prototypes; best first.
    label_scores : ndarray of float32
        Of `labels`.
    """

    vector: NDArray[np.float32]
    labels: NDArray[np.int32]
    label_scores: NDArray[np.float32]


def as_fingerprints(
    vectors: NDArray[np.float32],
    scores: NDArray[np.float32] | None,
    top_labels: int,
    transform: VectorTransform | None = None,
    storage: Storage = "float32",
    sets: LabelSets | None = None,
) -> list[Fingerprint | ImageError]:
    """Vectors with their label sets; the error where a vector or its scores are not finite.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, vector_length)
    scores : ndarray of float32, shape (n, classes), or None
        None for weights without a head, or where labels are to be units.
    top_labels : int
    transform : VectorTransform, optional
        What is made of the vectors; labels are those of the network's own vectors, or the nearest of the
        prototypes of the transform.
    storage : {"float32", "float16"}
        A vector that does not fit into it is an error too.
    sets : tuple of lists, optional
        The label sets of the network's own answers, where they are known, one for each vector.
    """
    finite = np.isfinite(vectors).all(axis=1)
    if scores is not None:
        finite &= np.isfinite(scores).all(axis=1)
    rows = np.flatnonzero(finite)
    kept = vectors[rows] if transform is None else transform.apply(vectors[rows])
    if not (good := np.isfinite(kept).all(axis=1)).all():
        rows, kept = rows[good], kept[good]
    if transform is not None and transform.prototypes is not None:
        chosen = transform.prototypes.label_sets(kept, top_labels)
    elif sets is not None:
        chosen = [sets[0][row] for row in rows], [sets[1][row] for row in rows]
    else:
        chosen = label_sets((vectors if scores is None else scores)[rows], top_labels)
    outcomes: list[Fingerprint | ImageError] = [
        ImageError(
            "the network's answer is not finite: its weights overflow; use other weights", "not_finite"
        )
        for _ in vectors
    ]
    for i, vector, labels, label_scores in zip(rows, kept, *chosen, strict=True):
        outcomes[i] = Fingerprint(vector, labels, label_scores)
        if storage == "float16" and (largest := float(np.abs(vector).max())) > LARGEST_FLOAT16:
            outcomes[i] = ImageError(
                f"a component of the vector is {largest:g}, and float16 ends at {LARGEST_FLOAT16:g}: set "
                "fingerprints.storage=float32",
                "too_large_for_float16",
            )
    return outcomes


def check_columns(batch: pa.RecordBatch) -> None:
    """Refuse a batch that lacks a column of :data:`~elodin_spark.schema.TILED`, by ValueError."""
    missing = [name for name in TILED.names if name not in batch.schema.names]
    if missing:
        raise ValueError(f"the fingerprint stage needs the columns of TILED; {', '.join(missing)} missing")


def window_of(pixels: pa.Buffer, shape: Sequence[int | None] | None) -> NDArray[np.uint8]:
    """Bytes as an array of `shape`, (h, w) or (h, w, 3).

    Raises
    ------
    ImageError
        Of kind ``bad_pixels``: they do not fill that shape.
    """
    sides = [side for side in shape or () if side is not None and side > 0]
    if shape is None or len(sides) != len(shape):
        raise ImageError(f"the shape of the window is {shape}, not (h, w) or (h, w, 3)", "bad_pixels")
    if math.prod(sides) != pixels.size:
        raise ImageError(
            f"the window has {pixels.size} bytes of pixels, which do not fill the shape {tuple(shape)}",
            "bad_pixels",
        )
    return np.frombuffer(pixels, np.uint8).reshape([int(side) for side in sides])


def without_pixels(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch with the columns of its pixels null."""
    columns = [
        pa.nulls(batch.num_rows, TILED.field(name).type)
        if name in ("pixels", "pixel_shape")
        else batch.column(name)
        for name in TILED.names
    ]
    return pa.RecordBatch.from_arrays(columns, schema=TILED)
