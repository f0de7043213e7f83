"""The maps of a catalog: where its cutouts lie in two dimensions."""

from __future__ import annotations

from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from elodin_spark.catalog.storage.rowfilter import among
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.settings import Method
from elodin_spark.errors import CatalogError, InputError


def read_map(store: Store, method: str | None = None) -> tuple[Method, pa.Table]:
    """Read where cutouts lie on a map.

    Parameters
    ----------
    store : Store
    method : {"tsne", "umap"}, optional
        By default the first that the last run made.

    Returns
    -------
    method : str
    table : pyarrow.Table
        `cutout_id`, `x` and `y`, and whatever else the product knows of a place, by ascending ID; without
        cutouts that were removed.

    Raises
    ------
    CatalogError
        No run has made a map.
    InputError
        None by that method.
    """
    record = store.product("projection")
    methods = list(record["methods"]) if record else []
    if not methods:
        raise CatalogError(f"{store.path} has no map: set projection.methods and run it again")
    if method is not None and method not in methods:
        raise InputError(f"{store.path} has no map by {method!r}, but by {', '.join(methods)}")
    chosen = method or methods[0]
    table = pq.read_table(store.product_file("projection", f"{chosen}.parquet")).sort_by("cutout_id")
    gone = store.tombstones.cutouts
    return cast("Method", chosen), table.filter(~among("cutout_id", gone)) if gone.size else table
