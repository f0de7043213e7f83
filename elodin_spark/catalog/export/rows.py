"""What other tools are told of cutouts: a table, and their pictures and vectors, in one scan each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from elodin_spark.arrow import to_matrix
from elodin_spark.catalog.storage.rowfilter import among
from elodin_spark.catalog.storage.store import Store
from elodin_spark.errors import CatalogError

#: Columns of the cutouts that are told, beside the window.
_CUTOUTS = (
    "x0",
    "y0",
    "x1",
    "y1",
    "ra",
    "dec",
    "position_id",
    "nodata_fraction",
    "masked_fraction",
    "saturated_fraction",
    "edge_px",
    "sky",
    "sky_sigma",
)
_SOURCE = ("mag", "half_light_px")
_IMAGES = {"path": "image", "hdu": "hdu", "bands": "bands", "mjd": "mjd", "pixel_scale": "pixel_scale"}
_BATCH_ROWS = 1024
_LABELS = 10  # of a cutout, that are told


def fingerprinted(store: Store, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of `ids` that have a fingerprint, in the order they are stored in; int64, shape (m,)."""
    columns = ["cutout_id"]
    have = store.dataset("fingerprints", columns).to_table(columns=columns, filter=among("cutout_id", ids))
    rows = store.dataset("cutouts", columns).to_table(columns=columns, filter=among("cutout_id", ids))
    stored = rows.column("cutout_id").to_numpy()
    return stored[np.isin(stored, have.column("cutout_id").to_numpy())]


def facts_of(store: Store, ids: NDArray[np.int64]) -> pa.Table:
    """What is known of cutouts, a row each in the order given.

    Parameters
    ----------
    store : Store
    ids : ndarray of int64, shape (n,)
        With fingerprints.

    Returns
    -------
    pyarrow.Table
        `cutout_id`, `image`, the window, the position, measures of quality, `label`, `label_score` and
        `labels`; columns of which nothing is known are left out.
    """
    wanted = among("cutout_id", ids)
    columns = ["cutout_id", "image_id", *_CUTOUTS, "source"]
    cutouts = store.dataset("cutouts", columns).to_table(columns=columns, filter=wanted)
    cutouts = cutouts.take(_places(cutouts.column("cutout_id").to_numpy(), ids))
    images = store.dataset("images", list(_IMAGES)).to_table(columns=["image_id", *_IMAGES])
    images = images.take(_places(images.column("image_id").to_numpy(), cutouts.column("image_id").to_numpy()))
    labeled = ["cutout_id", "labels", "label_scores"]
    prints = store.dataset("fingerprints", labeled).to_table(columns=labeled, filter=wanted)
    prints = prints.take(_places(prints.column("cutout_id").to_numpy(), ids))
    names, first, scores = _labels(store, prints)
    source = cutouts.column("source").combine_chunks()
    found: dict[str, pa.Array | pa.ChunkedArray] = {
        "cutout_id": cutouts.column("cutout_id"),
        **{name: images.column(column) for column, name in _IMAGES.items()},
        **{name: cutouts.column(name) for name in _CUTOUTS},
        **{name: pc.struct_field(source, name) for name in _SOURCE},
        "label": first,
        "label_score": scores,
        "labels": names,
    }
    return pa.table({name: column for name, column in found.items() if column.null_count < len(column)})


def thumbnails_in_order(store: Store, ids: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], list]]:
    """Pictures of cutouts batch by batch, in one scan: rows in `ids`, and JPEG or None of each.

    They come in the order of :func:`fingerprinted`.
    """
    dataset = store.dataset("cutouts", ["thumbnail"])
    order = np.argsort(ids, kind="stable")
    scan = dataset.to_batches(
        columns=["cutout_id", "thumbnail"], filter=among("cutout_id", ids), batch_size=_BATCH_ROWS
    )
    for batch in scan:
        if batch.num_rows:
            rows = order[np.searchsorted(ids, batch.column("cutout_id").to_numpy(), sorter=order)]
            yield rows, batch.column("thumbnail").to_pylist()


def vectors_in_order(
    store: Store, ids: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Vectors of cutouts batch by batch, in one scan: rows in `ids`, and float32 of shape (m, d)."""
    dataset = store.dataset("fingerprints", ["vector"])
    order = np.argsort(ids, kind="stable")
    scan = dataset.to_batches(
        columns=["cutout_id", "vector"], filter=among("cutout_id", ids), batch_size=_BATCH_ROWS
    )
    for batch in scan:
        if batch.num_rows:
            rows = order[np.searchsorted(ids, batch.column("cutout_id").to_numpy(), sorter=order)]
            yield rows, to_matrix(batch.column("vector"))


def vector_length(store: Store) -> int:
    """Components of a vector of the catalog.

    Raises
    ------
    CatalogError
        It has none yet.
    """
    head = store.dataset("fingerprints", ["vector"]).head(1, columns=["vector"])
    if not head.num_rows:
        raise CatalogError(f"{store.path} has no fingerprints yet; run it first")
    return int(to_matrix(head.column("vector").combine_chunks()).shape[1])


def _places(known: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.intp]:
    order = np.argsort(known, kind="stable")
    return order[np.searchsorted(known, wanted, sorter=order)]


def _labels(store: Store, prints: pa.Table) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Names of all labels, of the first, and its score."""
    sets = pc.list_slice(prints.column("labels").combine_chunks(), 0, _LABELS)
    scores = prints.column("label_scores").combine_chunks()
    flat = sets.flatten()
    names = {label: store.label_name(label) for label in pc.unique(flat).to_pylist()}
    offsets = pa.array(
        np.concatenate([[0], np.cumsum(pc.fill_null(pc.list_value_length(sets), 0))]), pa.int32()
    )
    every = pa.array([names[label] for label in flat.to_pylist()], pa.string())
    named = pa.ListArray.from_arrays(offsets, every)
    first = [row[0] if row else None for row in sets.to_pylist()]
    best = [row[0] if row else None for row in scores.to_pylist()]
    return (
        named,
        pa.array([None if label is None else names[label] for label in first], pa.string()),
        pa.array(best, pa.float32()),
    )
