"""What a label without a name looks like: the cutouts that show it best."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from elodin_spark import schema
from elodin_spark.catalog.build.products import product_digest, thumbnails_of, tombstones_digest, up_to_date
from elodin_spark.catalog.storage.rowfilter import among
from elodin_spark.catalog.storage.store import Store
from elodin_spark.neighbors.suppression import WindowTable, suppress_overlaps

EXAMPLES_FILE = "examples.parquet"

_FORMAT = "examples 1"
_EACH, _CANDIDATES = 5, 20  # examples of a label, and cutouts from which they are chosen
_MOST_ROWS = 2_000_000  # that are looked through; of more, evenly spaced files
_BATCH_ROWS = 65_536
_MOST_SHOWN = 1000  # labels on the sheet
_COLUMNS = ("cutout_id", "labels", "label_scores")
_SCHEMA = pa.schema(
    [
        pa.field(
            "label", pa.int32(), nullable=False, metadata={"meaning": "number of the label", "unit": ""}
        ),
        pa.field("cutout_id", pa.int64(), nullable=False, metadata={"meaning": "an example", "unit": ""}),
        pa.field("score", pa.float32(), metadata={"meaning": "of the label", "unit": ""}),
        pa.field("sets", pa.int64(), metadata={"meaning": "cutouts that have the label", "unit": ""}),
    ]
)


def make_examples(store: Store) -> bool:
    """Keep the cutouts with the highest scores of each label that has no name: up to five, best first.

    None of them overlaps a better one. For prototypes they are the cutouts that are nearest.

    Parameters
    ----------
    store : Store
        With the lock held.

    Returns
    -------
    bool
        False where that was up to date, or labels have names, or there is nothing yet.
    """
    if store.meta["label_names"] is not None or not store.n_rows("fingerprints"):
        return False
    digest = product_digest(store, _FORMAT, store.labels, *tombstones_digest(store))
    if up_to_date(store, "examples", digest):
        return False
    started = time.monotonic()
    labels, cutouts, scores, sets = _best(store)
    kept = _apart(store, labels, cutouts)
    folder = store.new_product("examples")
    best = labels[kept]
    columns = [best.astype(np.int32), cutouts[kept], scores[kept].astype(np.float32), sets[best]]
    pq.write_table(pa.table(columns, schema=_SCHEMA), folder / EXAMPLES_FILE)
    record = {"digest": digest, "rows": len(kept), "seconds": round(time.monotonic() - started, 3)}
    store.commit_product("examples", folder, record)
    return True


def examples_of(store: Store, labels: Iterable[int] | None = None) -> dict[int, list[int]]:
    """Cutouts that show labels best, best first; of some labels, or of all that have any.

    Empty where labels have names, or no run has chosen them. Removed cutouts are left out.
    """
    if store.product("examples") is None:
        return {}
    wanted = None if labels is None else among("label", sorted(set(labels)))
    rows = pq.read_table(store.product_file("examples", EXAMPLES_FILE), filters=wanted)
    gone = set(store.tombstones.cutouts.tolist())
    found: dict[int, list[int]] = {}
    for label, cutout in zip(
        *(rows.column(name).to_pylist() for name in ("label", "cutout_id")), strict=True
    ):
        if cutout not in gone:
            found.setdefault(label, []).append(cutout)
    return found


def draw_sheet(store: Store, path: Path) -> bool:
    """Draw the contact sheet of the labels: the 1,000 that most cutouts have, where there are more.

    Returns
    -------
    bool
        False where there are no examples, or no thumbnails of them.
    """
    from elodin_spark.display.labels import LabelPictures, labels_figure
    from elodin_spark.display.style import save_figure

    examples = examples_of(store)
    if not examples:
        return False
    sets = _sets(store)
    shown = sorted(sorted(examples, key=lambda label: (-sets[label], label))[:_MOST_SHOWN])
    pictures = pictures_of(store, {cutout for label in shown for cutout in examples[label]})
    if not pictures:
        return False
    drawn = [
        LabelPictures(
            f"{label} · {sets[label]:,}",
            [pictures[cutout] for cutout in examples[label] if cutout in pictures],
        )
        for label in shown
    ]
    word, kind = store.label_name(0).split()[0], store.labels
    which = f"{len(shown):,} {kind}"
    if len(shown) < len(examples):
        which = f"The {len(shown):,} commonest {kind}"
    note = f"Of each {word} its number, how many cutouts have it as a label, and those that have it most."
    title = f"{which}, by the cutouts that show them best"
    save_figure(labels_figure(drawn, title=title, note=note, subtitle=store.describe()), path)
    return True


def pictures_of(store: Store, cutouts: Iterable[int]) -> dict[int, bytes]:
    """Thumbnails of cutouts, of those that have one."""
    ids = pa.array(sorted(set(cutouts)), pa.int64())
    found = zip(ids.to_pylist(), thumbnails_of(store, ids), strict=True)
    return {cutout: picture for cutout, picture in found if picture is not None}


def _sets(store: Store) -> dict[int, int]:
    """How many cutouts have each label."""
    rows = pq.read_table(store.product_file("examples", EXAMPLES_FILE), columns=["label", "sets"])
    return dict(zip(*(column.to_pylist() for column in rows.columns), strict=True))


def _best(
    store: Store,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Labels, cutouts and scores of the best candidates of each label, by label and then best first.

    And, by label, how many sets hold it.
    """
    files = [str(file) for part in store.parts("fingerprints") for file in sorted(part.glob("*.parquet"))]
    step = -(-store.n_rows("fingerprints") // _MOST_ROWS)
    columns = pa.schema([schema.FINGERPRINTS.field(name) for name in _COLUMNS])
    rows = ds.dataset(files[::step], schema=columns, format="parquet")
    kept = store.tombstones.kept("fingerprints")
    labels, cutouts, scores = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    held = np.zeros(0, np.int64)
    for batch in (rows if kept is None else rows.filter(kept)).to_batches(batch_size=_BATCH_ROWS):
        sets = batch.column("labels")
        counts = np.diff(sets.offsets.to_numpy())
        more = sets.flatten().to_numpy().astype(np.int64)
        counted = np.bincount(more, minlength=held.size)
        counted[: held.size] += held
        held = counted
        labels = np.concatenate([labels, more])
        cutouts = np.concatenate([cutouts, np.repeat(batch.column("cutout_id").to_numpy(), counts)])
        scores = np.concatenate([scores, batch.column("label_scores").flatten().to_numpy().astype(float)])
        order = np.lexsort((cutouts, -scores, labels))
        labels, cutouts, scores = labels[order], cutouts[order], scores[order]
        starts = np.searchsorted(labels, labels)  # of the label of each row
        first = np.arange(labels.size) - starts < _CANDIDATES
        labels, cutouts, scores = labels[first], cutouts[first], scores[first]
    return labels, cutouts, scores, held


def _apart(store: Store, labels: NDArray[np.int64], cutouts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the examples: of each label the first that overlap none before."""
    names = ["cutout_id", "image_id", "x0", "y0", "x1", "y1"]
    wanted = among("cutout_id", np.unique(cutouts))
    rows = store.dataset("cutouts").to_table(columns=names, filter=wanted).sort_by("cutout_id")
    windows = WindowTable.from_arrow(rows).take(np.searchsorted(rows.column("cutout_id").to_numpy(), cutouts))
    kept = []
    starts = [*np.flatnonzero(np.diff(labels, prepend=-1)).tolist(), len(labels)]
    for start, end in pairwise(starts):
        rest = (
            start
            + 1
            + suppress_overlaps(windows.take([start]), windows.take(np.arange(start + 1, end)), _EACH - 1)
        )
        kept += [start, *rest.tolist()]
    return np.array(kept, np.int64)
