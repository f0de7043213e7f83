"""The figures of a catalog: its maps, the sky, and what labels without a name look like."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elodin_spark.catalog.build.label_sheets import draw_sheet
from elodin_spark.catalog.build.maps import read_map
from elodin_spark.catalog.build.products import product_digest, thumbnails_of, tombstones_digest, up_to_date
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.settings import Method, Settings
from elodin_spark.progress import Progress
from elodin_spark.sampling.sample import stable_sample

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

_FORMAT = "figures 1"
_DRAWN = 200_000  # points of a map
_PICTURES = 5000  # cutouts that its pictures are chosen from


def make_figures(store: Store, settings: Settings, spark: Callable[[], SparkSession]) -> bool:
    """Draw the maps, the sky where any cutout has a position, and labels that have no name.

    Returns
    -------
    bool
        False where the figures were up to date or are not wanted.
    """
    projection, examples = store.product("projection"), store.product("examples")
    digest = product_digest(
        store,
        _FORMAT,
        projection and projection["digest"],
        examples and examples["digest"],
        *tombstones_digest(store),
    )
    if not settings.run.figures or not store.n_rows("cutouts") or up_to_date(store, "figures", digest):
        return False
    started = time.monotonic()
    folder = store.new_product("figures")
    from elodin_spark.display.sky import sky_figure
    from elodin_spark.display.style import save_figure

    methods = projection["methods"] if projection else []
    with Progress(len(methods) + 2, "drawing", "figures") as progress:
        pictures = map_pictures(store, methods[0]) if methods else MapPictures({}, 0)
        for method in methods:
            save_figure(draw_map_of(store, method, pictures), folder / f"map_{method}.png")
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


def draw_map_of(
    store: Store,
    method: Method,
    pictures: MapPictures,
    groups: Callable[[pa.ChunkedArray], Sequence[str | None] | None] = lambda ids: None,
) -> Figure:
    """The figure of one map; of many cutouts some are drawn, colored by groups where these are given."""
    from elodin_spark.display.map import map_figure

    record = store.product("projection") or {}
    points = read_map(store, method)
    total = points.num_rows
    if total > _DRAWN:
        some = stable_sample(points.column("cutout_id").to_numpy(), _DRAWN, record["seed"])
        points = points.filter(pc.is_in(points.column("cutout_id"), pa.array(some)))
    return map_figure(
        np.column_stack([points.column("x").to_numpy(), points.column("y").to_numpy()]),
        [pictures.found.get(cutout) for cutout in points.column("cutout_id").to_pylist()],
        method=method,
        subtitle=store.describe(),
        doubtful=points.column("doubtful").to_numpy(),
        quality=record["quality"].get(method),
        labels=groups(points.column("cutout_id")),
        total=total,
        note="Pictures of empty sky are left out." if pictures.empty else "",
    )


@dataclass(frozen=True)
class MapPictures:
    """Thumbnails of cutouts that show something, and how many of those looked at did not."""

    found: dict[int, bytes]
    empty: int


def map_pictures(store: Store, method: Method) -> MapPictures:
    """Of cutouts that were laid out: these are the same on every map."""
    from elodin_spark.display.thumbnails import shows_something

    points = read_map(store, method)
    laid_out = points.column("cutout_id").to_numpy()[~points.column("placed").to_numpy()]
    looked_at = stable_sample(laid_out, _PICTURES, (store.product("projection") or {})["seed"])
    thumbnails = zip(looked_at.tolist(), thumbnails_of(store, pa.array(looked_at)), strict=True)
    there = {cutout: picture for cutout, picture in thumbnails if picture is not None}
    found = {cutout: picture for cutout, picture in there.items() if shows_something(picture)}
    return MapPictures(found, len(there) - len(found))
