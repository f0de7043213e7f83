"""The figures of a catalog: its maps, the sky, and what labels without a name look like."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from elodin_spark.catalog.build.label_sheets import draw_sheet
from elodin_spark.catalog.build.products import product_digest, thumbnails_of, tombstones_digest, up_to_date
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.settings import Settings
from elodin_spark.progress import Progress

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)


def make_figures(store: Store, settings: Settings, spark: Callable[[], SparkSession]) -> bool:
    """Draw the maps, the sky where any cutout has a position, and labels that have no name.

    Returns
    -------
    bool
        False where the figures were up to date or are not wanted.
    """
    projection, examples = store.product("projection"), store.product("examples")
    digest = product_digest(
        store, projection and projection["digest"], examples and examples["digest"], *tombstones_digest(store)
    )
    if not settings.run.figures or not store.n_rows("cutouts") or up_to_date(store, "figures", digest):
        return False
    started = time.monotonic()
    folder = store.new_product("figures")
    from elodin_spark.display.map import map_figure
    from elodin_spark.display.sky import sky_figure
    from elodin_spark.display.style import save_figure

    methods = projection["methods"] if projection else []
    with Progress(len(methods) + 2, "drawing", "figures") as progress:
        for method in methods:
            points = pq.read_table(store.product_file("projection", f"{method}.parquet"))
            thumbnails = thumbnails_of(store, points.column("cutout_id"))
            xy = np.column_stack([points.column("x").to_numpy(), points.column("y").to_numpy()])
            figure = map_figure(xy, thumbnails, method=method, subtitle=store.describe())
            save_figure(figure, folder / f"map_{method}.png")
            progress.add()
        columns = ["ra", "dec", "cutout_id"]
        cutouts = store.dataset("cutouts", columns).to_table(columns=columns).sort_by("cutout_id")
        ra, dec = (cutouts.column(name).to_numpy().astype(np.float64) for name in ("ra", "dec"))
        if (np.isfinite(ra) & np.isfinite(dec)).any():
            save_figure(sky_figure(ra, dec, subtitle=store.describe()), folder / "sky.png")
        else:
            log.info("no figure of the sky: no cutout has a position")
        progress.add()
        draw_sheet(store, folder / f"{store.labels}.png")
        progress.add()
    store.commit_product(
        "figures", folder, {"digest": digest, "seconds": round(time.monotonic() - started, 3)}
    )
    return True
