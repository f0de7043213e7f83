"""What belongs to the neighbors of an answer, and figures of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from elodin_spark.catalog.build.label_sheets import examples_of, pictures_of
from elodin_spark.catalog.build.products import thumbnails_of
from elodin_spark.catalog.build.typical import typical_of
from elodin_spark.catalog.storage.store import Store
from elodin_spark.errors import InputError
from elodin_spark.neighbors.base import Index
from elodin_spark.neighbors.suppression import Repeats

if TYPE_CHECKING:
    from elodin_spark.catalog.search.neighbors import Neighbors
    from elodin_spark.display.neighbors import Panel

_SHOWN = ("image", "x0", "y0", "x1", "y1", "ra", "dec", "labels", "rank", "distance", "distance_percentile")


def grouped_repeats(found: pa.Table, repeats: Repeats, index: Index) -> list[list[int]]:
    """Known repeats of the neighbors of an answer, one list a row; see :meth:`Repeats.grouped`."""
    return [
        group.tolist()
        for query_id, near in answers_of(found)
        for group in repeats.grouped(query_id, near, index)
    ]


def answers_of(found: pa.Table) -> Iterator[tuple[int, list[int]]]:
    """Each query of an answer with its neighbors, in order."""
    asked, near = (found.column(name).to_pylist() for name in ("query_id", "neighbor_id"))
    starts = [at for at, rank in enumerate(found.column("rank").to_pylist()) if rank == 1]
    return ((asked[start], near[start:end]) for start, end in pairwise([*starts, len(near)]))


def panels_of(store: Store, rows: Sequence[dict[str, Any]]) -> list[Panel]:
    """What a figure shows of cutouts.

    Parameters
    ----------
    store : Store
        Of their catalog.
    rows : sequence of dict
        From :meth:`Catalog.describe_cutouts` or, with rank and distance, :meth:`Catalog.neighbors`.
    """
    from elodin_spark.display.neighbors import Panel

    ids = [row["neighbor_id"] if "neighbor_id" in row else row["cutout_id"] for row in rows]
    thumbnails = thumbnails_of(store, pa.array(ids, pa.int64()))
    return [
        Panel(number, **{name: row[name] for name in _SHOWN if name in row}, thumbnail=image)
        for number, row, image in zip(ids, rows, thumbnails, strict=True)
    ]


def with_label_pictures(store: Store, panels: Sequence[Panel]) -> list[Panel]:
    """Panels with a picture for each label that is shown, where labels have no names.

    That is the cutout which shows the label best, and is not the panel's own.
    """
    from elodin_spark.display.neighbors import SHOWN_LABELS

    examples = {store.label_name(label): cutouts for label, cutouts in examples_of(store).items()}
    chosen = [
        [
            next((cutout for cutout in examples.get(name, ()) if cutout != panel.cutout_id), None)
            for name in panel.labels[:SHOWN_LABELS]
        ]
        for panel in panels
    ]
    wanted = {cutout for row in chosen for cutout in row if cutout is not None}
    if not wanted:
        return list(panels)
    pictures = pictures_of(store, wanted)
    return [
        replace(panel, label_pictures=[None if c is None else pictures.get(c) for c in row])
        for panel, row in zip(panels, chosen, strict=True)
    ]


def draw(store: Store, found: Neighbors, asked: Sequence[dict[str, Any]], path: str | Path) -> Path:
    """Draw a query and its neighbors.

    Parameters
    ----------
    store : Store
        Of the catalog.
    found : Neighbors
        Of one cutout, or of an image.
    asked : sequence of dict
        From :meth:`Catalog.describe_cutouts`: the cutout; empty for an image.
    path : str or Path
        PNG, PDF or SVG by its extension.

    Raises
    ------
    InputError
        There are several queries, or a vector, of which there is no picture.
    """
    from elodin_spark.display.neighbors import Panel, neighbors_figure
    from elodin_spark.display.style import save_figure

    query, metric = found.query, found.options.metric
    if query.picture is None and len(query.cutout_ids) != 1:
        raise InputError(f"a figure shows the neighbors of one cutout or image, not of {query.name}")
    pictured = [] if query.picture is None else [Panel(**query.picture)]
    panels = panels_of(store, [*asked, *found])
    first, *others = with_label_pictures(store, [*pictured, *panels])
    typical = typical_of(store, metric)
    note = typical.remark(found[0]["distance"]) if typical is not None and found else ""
    figure = neighbors_figure(
        first, others, metric=metric, note=note[:1].upper() + note[1:], subtitle=store.describe()
    )
    return save_figure(figure, path)
