"""What is found on the sky of a catalog: positions off every image, and the same place twice."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from elodin_spark.catalog.build.products import product_digest, up_to_date
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.settings import Positions, Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

#: Parquet folders of the products.
UNMATCHED, REFUSED, PAIRS = "unmatched", "refused", "pairs"


def make_positions(store: Store, settings: Settings, spark: Callable[[], SparkSession]) -> bool:
    """Report the positions of the catalog that lie on no image, and those that could not be read.

    Returns
    -------
    bool
        False where that was up to date, or no catalog of positions is cut.
    """
    generator = settings.cutouts.generator
    digest = product_digest(store, generator.model_dump(mode="json"), table="cutouts")
    if not isinstance(generator, Positions) or not store.commits() or up_to_date(store, "positions", digest):
        return False
    started = time.monotonic()
    folder = store.new_product("positions")
    from elodin_spark.spark.batches import folder_uri, read_parts
    from elodin_spark.spark.skyjoin import positions_frame, unmatched

    positions, refused = positions_frame(spark(), generator)
    cut = read_parts(spark(), store.parts("cutouts")).where("position_id IS NOT NULL")
    unmatched(positions, cut).coalesce(1).write.parquet(folder_uri(folder / UNMATCHED))
    refused.coalesce(1).write.parquet(folder_uri(folder / REFUSED))
    counts = {name: pq.read_table(folder / name).num_rows for name in (UNMATCHED, REFUSED)}
    rows = positions.count()
    if counts[UNMATCHED] or counts[REFUSED]:
        log.warning(
            "of %d positions, %d lie on no image and %d rows of %s were refused; see %s",
            rows, counts[UNMATCHED], counts[REFUSED], generator.catalog, folder,
        )  # fmt: skip
    seconds = round(time.monotonic() - started, 3)
    store.commit_product("positions", folder, {"digest": digest, "rows": rows, **counts, "seconds": seconds})
    return True


def make_repeats(store: Store, settings: Settings, spark: Callable[[], SparkSession]) -> bool:
    """Find the pairs of cutouts of one place in different images.

    Returns
    -------
    bool
        False where they were up to date, or are not wanted.
    """
    limit_arcsec = settings.run.repeats_arcsec
    digest = product_digest(store, limit_arcsec, table="cutouts")
    if limit_arcsec is None or not store.n_rows("cutouts") or up_to_date(store, "repeats", digest):
        return False
    started = time.monotonic()
    folder = store.new_product("repeats")
    from elodin_spark.spark.batches import folder_uri, read_parts
    from elodin_spark.spark.repeats import find_repeats

    cutouts = read_parts(spark(), store.parts("cutouts")).where("ra IS NOT NULL")
    images = read_parts(spark(), store.parts("images"))
    pairs = find_repeats(cutouts, images, limit_arcsec)
    pairs.write.parquet(folder_uri(folder / PAIRS))
    rows = pq.read_table(folder / PAIRS, columns=["id_a"]).num_rows
    record = {"digest": digest, "rows": rows, "max_sep_arcsec": limit_arcsec}
    store.commit_product("repeats", folder, {**record, "seconds": round(time.monotonic() - started, 3)})
    return True
