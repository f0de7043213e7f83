"""The maps of a catalog: where its cutouts lie in two dimensions."""

from __future__ import annotations

from typing import cast

import pyarrow as pa

from elodin_spark.catalog.build.maps import read_map
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.settings import Method
from elodin_spark.errors import CatalogError, InputError
from elodin_spark.projection.reduce import MIN_POINTS


def map_or_first(store: Store, method: str | None = None) -> tuple[Method, pa.Table]:
    """Read where cutouts lie on a map.

    Parameters
    ----------
    store : Store
    method : {"tsne", "umap", "pca"}, optional
        By default the first that the last run made.

    Returns
    -------
    method : str
    table : pyarrow.Table
        Of ``schema.PROJECTION``, by ascending ID, without cutouts that were removed.

    Raises
    ------
    CatalogError
        No run has made a map.
    InputError
        None by that method.
    """
    record = store.product("projection")
    methods = list(record["methods"]) if record else []
    if record and not methods:
        raise CatalogError(
            f"{store.path} has no map: its last run could make none, as at least {MIN_POINTS} vectors are "
            "needed"
        )
    if not methods:
        raise CatalogError(f"{store.path} has no map: set projection.methods and run it again")
    if method is not None and method not in methods:
        raise InputError(f"{store.path} has no map by {method!r}, but by {', '.join(methods)}")
    chosen = method or methods[0]
    return cast("Method", chosen), read_map(store, chosen)
