"""Answers as rows, and as figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from elodin_spark.catalog.examples import examples_of, pictures_of
from elodin_spark.catalog.products import thumbnails_of
from elodin_spark.catalog.queries import Query
from elodin_spark.catalog.store import Store
from elodin_spark.errors import InputError
from elodin_spark.neighbors.lookup import HasCutouts
from elodin_spark.neighbors.repeats import Repeats
from elodin_spark.settings import Metric

if TYPE_CHECKING:
    from elodin_spark.catalog.catalog import Catalog
    from elodin_spark.display.neighbors import Panel

_NOT_SHOWN = ("query_id", "noise", "repeats", "duplicates")


def answer_rows(
    found: pa.Table,
    described: Sequence[dict[str, Any]],
    several: bool,
    extra: Mapping[str, Sequence[Any]],
) -> list[dict[str, Any]]:
    """Rows of an answer, as :meth:`Catalog.neighbors` gives them.

    Parameters
    ----------
    found : pyarrow.Table
        Of :data:`elodin_spark.schema.NEIGHBORS`.
    described : sequence of dict
        The neighbors, from :meth:`Catalog.describe_cutouts`.
    several : bool
        Whether rows name their query.
    extra : mapping of str to sequence
        Further values, one a row.
    """
    columns = [found.column(name).to_pylist() for name in ("cutout_id", "rank", "distance")]
    return [
        {
            **({"query_id": asked} if several else {}),
            "cutout_id": row["cutout_id"],
            "rank": rank,
            "distance": distance,
            **{name: value for name, value in row.items() if name != "cutout_id"},
            **{name: values[at] for name, values in extra.items()},
        }
        for at, (row, asked, rank, distance) in enumerate(zip(described, *columns, strict=True))
    ]


def grouped_repeats(found: pa.Table, repeats: Repeats, index: HasCutouts) -> list[list[int]]:
    """Known repeats of the neighbors of an answer, one list a row; see :meth:`Repeats.grouped`."""
    return [
        group.tolist()
        for query_id, near in answers_of(found)
        for group in repeats.grouped(query_id, near, index)
    ]


def answers_of(found: pa.Table) -> Iterator[tuple[int, list[int]]]:
    """Each query of an answer with its neighbors, in order."""
    asked, near = (found.column(name).to_pylist() for name in ("cutout_id", "neighbor_id"))
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

    thumbnails = thumbnails_of(store, pa.array([row["cutout_id"] for row in rows], pa.int64()))
    return [
        Panel(**{name: value for name, value in row.items() if name not in _NOT_SHOWN}, thumbnail=image)
        for row, image in zip(rows, thumbnails, strict=True)
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


def draw(
    catalog: Catalog,
    store: Store,
    query: Query,
    found: Sequence[dict[str, Any]],
    metric: Metric,
    path: str | Path,
) -> Path:
    """Draw a query and its neighbors.

    Parameters
    ----------
    catalog : Catalog
    store : Store
        Of it.
    query : Query
        Of one cutout, or of an image.
    found : sequence of dict
        Its neighbors, from :meth:`Catalog.neighbors`.
    metric : {"l2", "jaccard"}
    path : str or Path
        PNG, PDF or SVG by its extension.

    Raises
    ------
    InputError
        There are several queries, or a vector, of which there is no picture.
    """
    from elodin_spark.display.neighbors import Panel, neighbors_figure
    from elodin_spark.display.style import save_figure

    if query.picture is None and len(query.cutout_ids) != 1:
        raise InputError(f"a figure shows the neighbors of one cutout or image, not of {query.name}")
    pictured = [] if query.picture is None else [Panel(**query.picture)]
    rows = [*catalog.describe_cutouts(query.cutout_ids), *found]
    panels = panels_of(store, rows)
    first, *others = with_label_pictures(store, [*pictured, *panels])
    typical = catalog.typical(metric)
    note = typical.remark(found[0]["distance"]) if typical is not None and found else ""
    figure = neighbors_figure(
        first, others, metric=metric, note=note[:1].upper() + note[1:], subtitle=catalog.describe()
    )
    return save_figure(figure, path)
