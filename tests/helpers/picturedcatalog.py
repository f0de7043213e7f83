"""A finished catalog whose images, thumbnails and maps are there: no Spark, no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits

from elodin_spark import Catalog, schema
from elodin_spark.catalog.build.products import product_digest
from elodin_spark.catalog.storage.store import Store
from helpers.figures import jpeg
from helpers.smallcatalog import Rows, tables, write_catalog

IMAGE_PX = 80


def pictured_rows(folder: Path, images: int = 3, across: int = 4, seed: int = 5) -> Rows:
    """Windows of FITS files that exist; thumbnails whose color is the place in the table, and failures."""
    found = tables(images, across, seed)
    rng = np.random.default_rng(seed)
    for number, row in enumerate(found["images"]):
        file = folder / f"{number}.fits"
        pixels = rng.normal(10.0 * number, 1.0, (IMAGE_PX, IMAGE_PX)).astype(np.float32)
        fits.writeto(file, pixels)
        row |= {"uri": str(file), "width": IMAGE_PX, "height": IMAGE_PX}
    for at, row in enumerate(found["cutouts"]):
        row["thumbnail"] = None if at == 3 else jpeg((at % 250, 250 - at % 250, 40))
        row["nodata_fraction"] = 0.01 * (at % 5)
        if row["rejected"]:
            row["rejected"] = f"0.{at % 9}83 of the window has no data, more than 0.1"
    first = found["cutouts"][0]["cutout_id"]
    found["failures"] = [
        {"stage": "images", "uri": "/data/bad.fits", "kind": kind, "message": "m", "cutout_id": first}
        for kind in ("truncated", "no_image", "truncated")
    ]
    return found


def write_map(store: Store, ids: list[int], method: str = "tsne", **columns: Any) -> dict[int, Any]:
    """Record a map of some cutouts; gives the place of each."""
    places = np.random.default_rng(len(ids)).normal(size=(len(ids), 2)).astype(np.float32)
    folder = store.new_product("projection")
    marks = {"placed": [False] * len(ids), "doubtful": [False] * len(ids), **columns}
    table = pa.table(
        [pa.array(ids), *map(pa.array, places.T), *map(pa.array, marks.values())], schema=schema.PROJECTION
    )
    pq.write_table(table, folder / f"{method}.parquet")
    store.commit_product(
        "projection",
        folder,
        {
            "digest": product_digest(store),
            "rows": len(ids),
            "methods": [method],
            "seconds": 1.5,
            "seed": 0,
            "quality": {},
        },
    )
    return dict(zip(ids, places.tolist(), strict=True))


def pictured_catalog(folder: Path, rows: Rows | None = None, **settings: Any) -> Catalog:
    """The catalog, with a t-SNE map of all its fingerprints."""
    rows = rows or pictured_rows(folder)
    made = write_catalog(folder / "catalog", rows, **settings)
    write_map(made._store, [row["cutout_id"] for row in rows["fingerprints"]])
    return Catalog.open(made.path)
