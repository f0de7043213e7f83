"""Answers as figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from elodin_spark.catalog.products import thumbnails_of
from elodin_spark.catalog.queries import Query
from elodin_spark.catalog.store import Store
from elodin_spark.errors import InputError
from elodin_spark.settings import Metric

if TYPE_CHECKING:
    from elodin_spark.catalog.catalog import Catalog


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
    thumbnails = thumbnails_of(store, pa.array([row["cutout_id"] for row in rows], pa.int64()))
    panels = [
        Panel(**{name: value for name, value in row.items() if name != "query_id"}, thumbnail=image)
        for row, image in zip(rows, thumbnails, strict=True)
    ]
    first, *others = [*pictured, *panels]
    return save_figure(neighbors_figure(first, others, metric=metric, subtitle=catalog.describe()), path)
