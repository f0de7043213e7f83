"""A finished catalog written by hand: no Spark, no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elodin_spark import Catalog, schema
from elodin_spark.catalog.build.products import make_index
from elodin_spark.catalog.storage.store import Commit, Store
from elodin_spark.config.load import parse_settings
from elodin_spark.diskfiles import read_json, write_json
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.provenance import make_recipe

LABELS = ("n01 tabby", "n02 tiger_cat", "n03 crane", "n04 crane", "n05 spiral", "n06 lens")
SIDE, STEP, SCALE = 32, 16, 0.5  # px, px, arcsec/px
DIMENSION = 8


def change_json(path: Path, **values: Any) -> None:
    """Write some values of a JSON file of a catalog anew, with the checksum of them all."""
    write_json(path, read_json(path) | values)


Rows = dict[str, list[dict[str, Any]]]


def tables(images: int, across: int, seed: int = 0) -> Rows:
    """`across` squared windows of each image, in steps of half their size, around RA 0."""
    rng = np.random.default_rng(seed)
    found: Rows = {"images": [], "cutouts": [], "fingerprints": []}
    for number in range(images):
        image = int(rng.integers(2**62))
        found["images"].append(
            {
                "image_id": image,
                "uri": f"/data/{number}.fits",
                "path": f"{'rg'[number % 2]}/{number}.fits",
                "hdu": 0,
                "bands": "rg"[number % 2],
                "pixel_scale": SCALE,
                "mjd": None if number == 0 else 59000.0 + number,
                "size_bytes": 1,
                "status": "ok",
            }
        )
        for place in range(across**2):
            x, y = STEP * (place % across), STEP * (place // across)
            cutout = int(rng.integers(2**62))
            ra, dec = (number / 10 + x * SCALE / 3600) % 360, -1.0 + y * SCALE / 3600
            noise = [None, np.nan, 0.0, *rng.normal(2, 1, 5)][rng.integers(8)]
            found["cutouts"].append(
                {
                    "cutout_id": cutout,
                    "image_id": image,
                    **{"x0": x, "y0": y, "x1": x + SIDE, "y1": y + SIDE, "ra": ra, "dec": dec},
                    "sky_sigma": None if noise is None else float(np.float32(noise)),
                    "edge_px": int(rng.integers(100)),
                    "shifted": bool(rng.integers(2)),
                    "source": None if place % 3 else {"flux": float(rng.normal()), "flags": place},
                    "mask_fractions": [("SAT", 0.25), ("CR", 0.5)][: place % 3],
                    "rejected": "edge" if place == 1 else None,
                }
            )
            if place == 1:  # rejected: without a fingerprint
                continue
            labels = rng.choice(len(LABELS), 3, replace=False).tolist()
            scores = sorted((float(np.float32(score)) for score in rng.random(3)), reverse=True)
            vector = rng.normal(size=DIMENSION).astype(np.float32).tolist()
            found["fingerprints"].append(
                {"cutout_id": cutout, "vector": vector, "labels": labels, "label_scores": scores}
            )
    return found


def write_catalog(path: Path, rows: Rows, batches: int = 2, classes: bool = True, **settings: Any) -> Catalog:
    """Write the tables in batches of images, and build the indices; labels are classes, or units."""
    network = {"networks": [], **settings.pop("fingerprints", {})}
    wanted = parse_settings({"images": {"paths": "/data"}, "fingerprints": network} | settings)
    weights = Weights("w.h5", "/w", "1" * 64, "resnet50", *((len(LABELS), LABELS) if classes else ()))
    store = Store.create(path, wanted, make_recipe(wanted, "w.h5", "1" * 64), weights, "/data")
    image_of = {row["cutout_id"]: row["image_id"] for row in rows["cutouts"]}
    batch_of = {row["image_id"]: at % batches for at, row in enumerate(rows["images"])}
    for batch in range(batches):
        parts: dict[str, list[str]] = {}
        counts = {}
        for name, table in rows.items():
            some = [
                row for row in table if batch_of[row.get("image_id") or image_of[row["cutout_id"]]] == batch
            ]
            part = store.new_part(name, batch)
            (store.path / part).mkdir(parents=True)
            columns = pa.Table.from_batches([schema.rows_to_batch(some, schema.TABLES[name])])  # type: ignore[arg-type]
            pq.write_table(columns, store.path / part / "part-0.parquet", row_group_size=7)
            parts[name], counts[name] = [part], len(some)
        store.commit(Commit(batch, (f"{batch}.fits",), parts, counts))
    assert make_index(store, wanted, lambda: None)  # type: ignore[arg-type, return-value]
    return Catalog(store, wanted, weights)
