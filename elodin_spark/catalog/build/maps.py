"""The maps of a catalog: a stable sample is laid out, and all other cutouts are placed among it.

A map is one file of ``schema.PROJECTION``, or a folder of such files where executors placed the cutouts. What
they are placed by is a file beside them.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from elodin_spark.arrow import to_matrix
from elodin_spark.catalog.build.products import product_digest, tombstones_digest, up_to_date
from elodin_spark.catalog.storage.rowfilter import among
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.settings import Settings
from elodin_spark.errors import CatalogError, InputError
from elodin_spark.progress import Progress
from elodin_spark.sampling.sample import stable_sample
from elodin_spark.schema import PROJECTION

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from elodin_spark.projection.placement import Placement

log = logging.getLogger(__name__)

PLACEMENT_FILE = "placement.npz"

#: Cutouts that are placed in this process; of more the executors place them.
IN_PROCESS = 50_000
#: Cutouts that a map is measured on.
MEASURED = 2000

_FORMAT = "maps 1"
_TASK_ROWS = 50_000  # that one task places, at most
_BATCH_ROWS = 4096

_Vectors = tuple[NDArray[np.int64], NDArray[np.float32]]


def make_projection(
    store: Store, settings: Settings, spark: Callable[[], SparkSession], in_process: int = IN_PROCESS
) -> bool:
    """Bring all fingerprints to the plane, once per method.

    Parameters
    ----------
    store : Store
    settings : Settings
    spark : callable
        Gives a session; called where there are more than `in_process` cutouts.
    in_process : int, optional
        The maps are the same, whoever makes them.

    Returns
    -------
    bool
        False where the maps were up to date, or there are too few cutouts for one.
    """
    chosen = settings.projection
    digest = product_digest(
        store, _FORMAT, chosen.model_dump(mode="json"), settings.seed, *tombstones_digest(store)
    )
    count = store.n_rows("fingerprints")
    if not chosen.methods or not count or up_to_date(store, "projection", digest):
        return False
    started = time.monotonic()
    folder = store.new_product("projection")
    # The second sample is of another seed: the first were laid out, and most others are placed.
    (ids, vectors), measured = _samples(
        store,
        spark if count > in_process else None,
        [(chosen.sample, settings.seed), (MEASURED, settings.seed + 1)],
    )
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        log.warning("%d vectors that are not finite are left out of the maps", int((~finite).sum()))
        ids, vectors = ids[finite], vectors[finite]
    placement = _laid_out(ids, vectors, settings, count)
    record: dict[str, Any] = {"digest": digest, "rows": 0, "sample": len(ids), "methods": []}
    if placement is not None:
        left = count - len(ids)
        if left:
            placement.save(folder / PLACEMENT_FILE)
        record |= _place_all(store, spark if count > in_process else None, placement, vectors, folder, left)
        record["quality"] = _measured(folder, placement, *measured)
    store.commit_product("projection", folder, {**record, "seed": settings.seed, "seconds": _since(started)})
    return True


def read_map(store: Store, method: str) -> pa.Table:
    """Cutouts on a map, ascending, without what was removed.

    Raises
    ------
    CatalogError
        No run has made it, or a file of it is damaged.
    """
    store.product_folder("projection")  # or says that there is none
    made = (store.product("projection") or {})["methods"]
    if method not in made:
        raise CatalogError(
            f"{store.path} has no map by {method}, but by {', '.join(made) or 'none'}: name it in "
            f"projection.methods and run the catalog: {store.rerun}"
        )
    path = store.product_file("projection", f"{method}.parquet")
    table = ds.dataset(path, format="parquet").to_table()
    if table.column_names != PROJECTION.names:
        raise CatalogError(
            f"the maps of {store.path} were made by another version: run it again, {store.rerun}"
        )
    if (gone := store.tombstones.cutouts).size:
        table = table.filter(~among("cutout_id", gone))
    return table.sort_by("cutout_id")


def _samples(
    store: Store, spark: Callable[[], SparkSession] | None, wanted: Sequence[tuple[int, int]]
) -> list[_Vectors]:
    """IDs and vectors of stable samples, each of a size and a seed."""
    if spark is not None:
        from elodin_spark.spark.batches import sample_vectors

        parts, gone = store.parts("fingerprints"), store.removed_file
        tables = [sample_vectors(spark(), parts, size, seed, gone) for size, seed in wanted]
        return [
            (table.column("cutout_id").to_numpy(), to_matrix(table.column("vector").combine_chunks()))
            for table in tables
        ]
    known = store.dataset("fingerprints", ()).to_table(columns=["cutout_id"]).column("cutout_id").to_numpy()
    chosen = [stable_sample(known, size, seed) for size, seed in wanted]
    union = np.unique(np.concatenate(chosen))
    rows: NDArray[np.float32] | None = None
    for ids, vectors in _stream(store):
        there = np.isin(ids, union)
        if rows is None:
            rows = np.empty((len(union), vectors.shape[1]), np.float32)
        rows[np.searchsorted(union, ids[there])] = vectors[there]
    if rows is None:
        return [(ids, np.empty((0, 0), np.float32)) for ids in chosen]
    return [(ids, rows[np.searchsorted(union, ids)]) for ids in chosen]


def _stream(store: Store) -> Iterator[_Vectors]:
    dataset = store.dataset("fingerprints", ["vector"])
    for batch in dataset.to_batches(
        columns=["cutout_id", "vector"], batch_size=_BATCH_ROWS, batch_readahead=1, fragment_readahead=1
    ):
        if batch.num_rows:  # the file of a batch whose images were all refused has none
            yield batch.column("cutout_id").to_numpy(), to_matrix(batch.column("vector"))


def _laid_out(
    ids: NDArray[np.int64], vectors: NDArray[np.float32], settings: Settings, count: int
) -> Placement | None:
    """The sample on each map; None where there is none."""
    from elodin_spark.projection.placement import Placement
    from elodin_spark.projection.reduce import lay_out, principal_axes

    chosen = settings.projection
    what = f"laying out {len(ids):,} of {count:,} cutouts"
    places: dict[str, NDArray[np.float32]] = {}
    with Progress(len(chosen.methods), what, "maps") as progress:
        try:
            axes, scores = principal_axes(vectors, chosen.pca, settings.seed)
        except InputError as error:
            log.warning("no map: %s", error)
            return None
        for method in chosen.methods:
            try:
                places[method] = lay_out(
                    scores,
                    method,
                    perplexity=chosen.perplexity,
                    n_neighbors=chosen.n_neighbors,
                    min_dist=chosen.min_dist,
                    seed=settings.seed,
                )
            except InputError as error:
                log.warning("no %s map: %s", method, error)
                continue
            progress.add()
    return Placement.of_sample(axes, ids, vectors, scores, places) if places else None


def _place_all(
    store: Store,
    spark: Callable[[], SparkSession] | None,
    placement: Placement,
    vectors: NDArray[np.float32],
    folder: Path,
    left: int,
) -> dict[str, Any]:
    """Write the maps; for the record: `methods`, `rows`, `placed`, `doubtful` (by method)."""
    from elodin_spark.projection.stage import PlaceSpec, places_table, write_places

    doubts = placement.doubts(vectors)
    tables = {
        method: places_table(placement.ids, xy, doubts[method], placed=False)
        for method, xy in placement.places.items()
    }
    scratch = folder / "open"
    scratch.mkdir()
    parts: list[dict[str, Path]] = []
    if left and spark is None:
        with Progress(left, "placing", "cutouts") as progress:

            def told() -> Iterator[_Vectors]:
                for ids, rows in _stream(store):
                    yield ids, rows
                    progress.add(len(ids))

            written, left_out = write_places(placement, told(), placement.ids, scratch)
            parts = [{method: Path(file) for method, file in written.items()}]
            progress.to(left)
        _tell_left_out(left_out)
    elif left and spark is not None:
        from elodin_spark.spark.maps import place_cutouts
        from elodin_spark.spark.runner import SLICES_PER_CORE
        from elodin_spark.spark.watch import watch_tasks

        removed = store.removed_file
        spec = PlaceSpec(
            str(folder / PLACEMENT_FILE), str(scratch), None if removed is None else str(removed)
        )
        jobs = _jobs(store, SLICES_PER_CORE * spark().sparkContext.defaultParallelism)
        with Progress(left, "placing", "cutouts") as progress:
            with watch_tasks(spark(), lambda done, total: progress.to(left * done // total)):
                parts, left_out = place_cutouts(spark(), spec, jobs)
            progress.to(left)
        _tell_left_out(left_out)
    found: dict[str, Any] = {"methods": list(tables), "rows": 0, "placed": 0, "doubtful": {}}
    for method, table in tables.items():
        files = [part[method] for part in parts]
        target = folder / f"{method}.parquet"
        if len(files) > 1:
            target.mkdir()
            pq.write_table(table, target / "part-00000.parquet")
            for number, file in enumerate(files, 1):
                file.replace(target / f"part-{number:05d}.parquet")
        else:
            pq.write_table(pa.concat_tables([table, *(pq.read_table(file) for file in files)]), target)
        whole = ds.dataset(target, format="parquet").to_table(columns=["placed", "doubtful"])
        found["rows"] = whole.num_rows
        found["placed"] = int(np.count_nonzero(whole.column("placed").to_numpy()))
        found["doubtful"][method] = int(np.count_nonzero(whole.column("doubtful").to_numpy()))
    shutil.rmtree(scratch)
    return found


def _jobs(store: Store, tasks: int) -> list[list[Path]]:
    """Files of the fingerprints that one task takes each, in their order; about so many tasks, or more."""
    parts = store.parts("fingerprints")
    sizes = {
        file: pq.read_metadata(file).num_rows for part in parts for file in sorted(part.glob("*.parquet"))
    }
    most = min(_TASK_ROWS, -(-sum(sizes.values()) // tasks))
    jobs: list[list[Path]] = []
    rows = most
    for file, size in sizes.items():
        if rows + size > most:
            jobs.append([])
            rows = 0
        jobs[-1].append(file)
        rows += size
    return jobs


def _measured(
    folder: Path, placement: Placement, ids: NDArray[np.int64], vectors: NDArray[np.float32]
) -> dict[str, dict[str, float]]:
    """Quality of each map, by a sample of all that is on it."""
    from elodin_spark.projection.quality import map_quality
    from elodin_spark.projection.reduce import MIN_POINTS

    finite = np.isfinite(vectors).all(axis=1)
    if finite.sum() < MIN_POINTS:
        return {}
    ids, rows = ids[finite], placement.axes.drawn_in(vectors[finite])
    order = np.argsort(ids)
    quality = {}
    for method in placement.places:
        file = ds.dataset(folder / f"{method}.parquet", format="parquet")
        found = file.to_table(filter=among("cutout_id", ids)).sort_by("cutout_id")
        xy = np.column_stack([found.column(name).to_numpy() for name in ("x", "y")])
        quality[method] = {name: round(value, 4) for name, value in map_quality(rows[order], xy).items()}
    return quality


def _tell_left_out(count: int) -> None:
    if count:
        log.warning("%d more vectors that are not finite are left out of the maps", count)


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
