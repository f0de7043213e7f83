"""What is made from the tables of a catalog: the indices, and what all products share.

Each product is made whole in a folder of its own and then recorded with a digest of what
it was made from, so it is made again only when that has changed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from elodin_spark.arrow import to_matrix
from elodin_spark.catalog.build.labelindex import (
    COUNTS_FILE,
    label_digest,
    make_label_files,
    make_label_shards,
    open_label_shards,
)
from elodin_spark.catalog.build.shardedindex import make_shards, open_shards, wanted_index_config
from elodin_spark.catalog.storage.rowfilter import among
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.settings import Settings
from elodin_spark.errors import CatalogError
from elodin_spark.neighbors.flat import L2Index
from elodin_spark.neighbors.ivf.index import ApproximateL2Index
from elodin_spark.progress import Progress

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: Of the index product.
L2_FILE = "l2.index"

_BATCH_ROWS = 4096


def make_index(store: Store, settings: Settings, spark: Callable[[], SparkSession]) -> bool:
    """Build the indices over all committed fingerprints.

    The L2 index is always built: it holds the vectors, and Jaccard ties are broken by it. It is the
    exact one where ``neighbors.index_config`` and ``neighbors.memory_gb`` allow it.

    Returns
    -------
    bool
        False where the indices were up to date.
    """
    count = store.n_rows("fingerprints")
    if not count:
        return False
    dataset = store.dataset("fingerprints", ["vector"])
    dimension = to_matrix(dataset.head(1, columns=["vector"]).column("vector").combine_chunks()).shape[1]
    config = wanted_index_config(settings.neighbors, count, dimension)
    asked = [] if config.exact else [config.factory, config.store, settings.neighbors.recall, "built"]
    digest = product_digest(
        store, sorted(settings.neighbors.metrics), *asked, *label_digest(settings.neighbors)
    )
    if up_to_date(store, "index", digest):
        return False
    started = time.monotonic()
    record: dict[str, Any] = {
        "digest": digest,
        "rows": count,
        "dimension": dimension,
        "metrics": settings.neighbors.metrics,
    }
    record["set_size"] = settings.neighbors.labels
    if not config.exact:
        record |= make_shards(store, settings, spark, config)
        record |= make_label_shards(store, settings, spark, store.label_count(dimension))
    folder = store.new_product("index")
    if config.exact:
        record["rows"] = _build_exact(dataset, dimension, count, folder)
        make_label_files(store, settings.neighbors, folder, store.label_count(dimension))
    elif "label_index" in record:
        np.save(folder / COUNTS_FILE, open_label_shards(store, record["label_index"]).label_counts())
    commit_index(store, folder, {**record, "seconds": _since(started)})
    return True


def commit_index(store: Store, folder: Path, record: dict[str, Any]) -> None:
    """Declare an index done, with the recipe by which it is known when it is opened."""
    store.commit_product("index", folder, {**record, "recipe_id": store.meta["recipe_id"]})


def checked_index(store: Store) -> tuple[Path, dict[str, Any]]:
    """Folder and record of the index.

    Raises
    ------
    CatalogError
        There is none, a file is missing or damaged, or its vectors are of another recipe.
    """
    folder, record = store.product_folder("index"), store.product("index") or {}
    again = f"delete {store.path}/products/index.json and run the catalog again"
    if record.get("recipe_id") != store.meta["recipe_id"]:
        raise CatalogError(
            f"{folder} holds an index of recipe {record.get('recipe_id')}, and the catalog is of "
            f"{store.meta['recipe_id']}: {again}"
        )
    store.product_file("index", "")
    return folder, record


def load_l2(store: Store) -> L2Index | ApproximateL2Index:
    """The L2 index, exact or of shards, without what was removed.

    Raises
    ------
    CatalogError
        It has not been built, or a file of it is damaged.
    """
    folder, record = checked_index(store)
    if "trained" in record:
        return open_shards(store, record)
    return L2Index.load(folder / L2_FILE, without=store.tombstones.cutouts)


def _build_exact(dataset: ds.Dataset, dimension: int, count: int, folder: Path) -> int:
    with Progress(count, "indexing L2", "vectors") as progress:

        def vectors() -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
            for batch in dataset.to_batches(columns=["cutout_id", "vector"], batch_size=_BATCH_ROWS):
                if not batch.num_rows:  # the file of a batch whose images were all refused
                    continue
                yield batch.column("cutout_id").to_numpy(), to_matrix(batch.column("vector"))
                progress.add(len(batch))

        l2 = L2Index.build(vectors(), dimension, expected=count)
    l2.save(folder / L2_FILE)
    return len(l2)


def thumbnails_of(store: Store, ids: pa.Array | pa.ChunkedArray) -> list[bytes | None]:
    """Thumbnails of cutouts, in the order of `ids`; None for one that has none."""
    wanted = store.dataset("cutouts", ["thumbnail"]).to_table(
        columns=["cutout_id", "thumbnail"],
        filter=among("cutout_id", ids.to_pylist()),
    )
    columns = (wanted.column(name).to_pylist() for name in ("cutout_id", "thumbnail"))
    found: dict[int, bytes] = dict(zip(*columns, strict=True))
    return [found.get(i) for i in ids.to_pylist()]


def product_digest(store: Store, *settings: Any, table: str = "fingerprints") -> str:
    """Hash of what a product is made from: the parts of a table as they were made, and settings."""
    parts = [commit.identities(table) for commit in store.commits()]
    return hashlib.sha256(json.dumps([parts, *settings]).encode()).hexdigest()


def tombstones_digest(store: Store) -> list[str]:
    """For the digest of products that are made again without what was removed; empty before."""
    removed = store.tombstones.cutouts
    return [hashlib.sha256(removed.tobytes()).hexdigest()] if removed.size else []


def up_to_date(store: Store, name: str, digest: str) -> bool:
    """Whether a product was made from just that."""
    record = store.product(name)
    return record is not None and record["digest"] == digest


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
