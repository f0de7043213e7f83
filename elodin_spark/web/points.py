"""The points of a map: cutouts in the plane, in the order that every column of them has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from elodin_spark.arrow import to_matrix
from elodin_spark.catalog.storage.rowfilter import among
from elodin_spark.catalog.storage.store import Store
from elodin_spark.progress import counted
from elodin_spark.sampling.sample import stable_sample
from elodin_spark.web.binary import pack

_TITLES = {"tsne": "t-SNE", "umap": "UMAP", "pca": "PCA"}
_FALLBACK = 20_000  # cutouts of a map that is made here


@dataclass(frozen=True, eq=False)
class PointMap:
    """A map.

    Attributes
    ----------
    name, title : str
    ids : ndarray of int64, shape (n,)
    rows : ndarray of int64, shape (n,)
        Of the cutouts by ascending ID.
    xy : ndarray of float32, shape (n, 2)
        The longer side from -1 to 1, y upwards.
    placed, doubtful : ndarray of uint8, shape (n,)
        1: placed by a transform, not in the sample; its neighbors on the map are not its true neighbors.
    quality : dict or None
        `trustworthiness` and `neighbors_kept`.
    """

    name: str
    title: str
    ids: NDArray[np.int64]
    rows: NDArray[np.int64]
    xy: NDArray[np.float32]
    placed: NDArray[np.uint8]
    doubtful: NDArray[np.uint8]
    quality: dict[str, Any] | None

    def packed(self) -> bytes:
        """Its points in binary columns."""
        columns: dict[str, NDArray] = {"id": self.ids, "x": self.xy[:, 0], "y": self.xy[:, 1]}
        columns |= {"placed": self.placed, "doubtful": self.doubtful}
        return pack(columns, map=self.name)


def map_names(store: Store) -> list[str]:
    """Names of the maps of a catalog, as its runs made them; empty where there is none."""
    record = store.product("projection")
    return [] if record is None else [str(name) for name in record.get("methods", [])]


def read_map(store: Store, name: str, known: NDArray[np.int64]) -> PointMap:
    """A map that a run made.

    Parameters
    ----------
    store : Store
    name : str
        One of :func:`map_names`.
    known : ndarray of int64
        IDs of all cutouts, ascending; points of others, which were removed since, are left out.

    Raises
    ------
    CatalogError
        It is missing or damaged.
    """
    record: dict[str, Any] = store.product("projection") or {}
    table = pq.read_table(store.product_file("projection", f"{name}.parquet"))
    ids = table.column("cutout_id").to_numpy()
    at = np.minimum(np.searchsorted(known, ids), max(known.size - 1, 0))
    there = known[at] == ids if known.size else np.zeros(ids.size, bool)
    xy = np.column_stack([table.column(axis).to_numpy().astype(np.float32) for axis in ("x", "y")])
    placed, doubtful = (_mark(table, mark)[there] for mark in ("placed", "doubtful"))
    quality = (record.get("quality") or {}).get(name)
    return PointMap(name, title_of(name), ids[there], at[there], scaled(xy[there]), placed, doubtful, quality)


def make_map(store: Store, known: NDArray[np.int64], seed: int) -> PointMap | None:
    """A map of a catalog that has none: two principal components of a stable sample of its vectors.

    Returns
    -------
    PointMap or None
        None where there is no vector.
    """
    sample = stable_sample(known, _FALLBACK, seed)
    found = store.dataset("fingerprints", ["vector"]).to_table(
        columns=["cutout_id", "vector"],
        filter=None if sample.size == known.size else among("cutout_id", sample),
    )
    found = found.sort_by("cutout_id")
    ids, vectors = found.column("cutout_id").to_numpy(), to_matrix(found.column("vector").combine_chunks())
    finite = np.isfinite(vectors).all(axis=1) if len(vectors) else np.zeros(0, bool)
    if not finite.all():
        ids, vectors = ids[finite], vectors[finite]
    if not len(ids):
        return None
    xy = np.zeros((len(ids), 2), np.float32)
    if axes := min(2, len(ids) - 1, vectors.shape[1]):
        from sklearn.decomposition import PCA

        solver = "randomized" if min(vectors.shape) > 500 else "full"
        xy[:, :axes] = PCA(axes, svd_solver=solver, random_state=seed).fit_transform(vectors)
    nothing = np.zeros(len(ids), np.uint8)
    title = f"PCA of {counted(len(ids), 'cutout')}, computed at the start: the catalog has no map"
    return PointMap("pca", title, ids, np.searchsorted(known, ids), scaled(xy), nothing, nothing, None)


def title_of(name: str) -> str:
    """What a method is called."""
    return _TITLES.get(name, name)


def scaled(xy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Coordinates whose longer side runs from -1 to 1, around 0; all 0 where all are one point."""
    if not len(xy):
        return xy.astype(np.float32)
    low, high = xy.min(axis=0).astype(np.float64), xy.max(axis=0).astype(np.float64)
    half = float((high - low).max()) / 2
    moved = xy - (low + high) / 2
    return np.ascontiguousarray(moved / half if half else moved * 0, np.float32)


def _mark(table: pa.Table, name: str) -> NDArray[np.uint8]:
    if name not in table.column_names:
        return np.zeros(table.num_rows, np.uint8)
    return table.column(name).cast(pa.uint8()).fill_null(0).to_numpy()
