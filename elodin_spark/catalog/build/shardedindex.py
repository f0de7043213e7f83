"""The index of an archive that does not fit in memory: trained once, built in shards by executors.

The product ``shards`` holds what stays between runs, the trained index and the shards, and is recorded
before they are built: a killed run goes on with those that are whole, and new cutouts
become new shards under the same trained index. The product ``index`` names shards that are complete, and says
how good their answers are; whoever asks opens these, while a run makes others.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from elodin_spark.arrow import to_matrix
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.settings import NeighborsSettings, Settings
from elodin_spark.errors import CatalogError, InputError
from elodin_spark.neighbors.files import read_json
from elodin_spark.neighbors.ivf.factory import IndexConfig, choose_index_config
from elodin_spark.neighbors.ivf.index import ApproximateL2Index
from elodin_spark.neighbors.ivf.shard import has_drifted
from elodin_spark.neighbors.ivf.stages import stream_vectors
from elodin_spark.neighbors.ivf.training import train, training_record
from elodin_spark.neighbors.ivf.tuning import calibrate, measure, without
from elodin_spark.progress import Progress

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

TRAINED_FILE = "trained.index"
CODES_BYTES = 256 << 20  # in a task
_QUERIES = 200  # whose neighbors are compared with the exact ones
_HOW_TO_RETRAIN = "train it again with 'elodin-spark run CONFIG.yaml --retrain'"
_GROWN = 8  # times the vectors that the index was trained for


def wanted_index_config(settings: NeighborsSettings, count: int, dimension: int) -> IndexConfig:
    """How the settings want so many vectors coded.

    Raises
    ------
    ConfigError
        FAISS does not know the factory string, or it cannot be cut into shards.
    """
    named = {"auto": None, "exact": "Flat"}
    index_config = choose_index_config(
        max(count, 1),
        dimension,
        int(settings.memory_gb * 1e9),
        settings.recall,
        factory=named.get(settings.index_config, settings.index_config),
        store=settings.store,
    )
    return (
        replace(index_config, store="f32") if index_config.exact else index_config
    )  # the exact index keeps all bits


def make_shards(
    store: Store, settings: Settings, spark: Callable[[], SparkSession], index_config: IndexConfig
) -> dict[str, Any]:
    """Train what is not trained, and make the shards that are missing.

    Returns
    -------
    dict
        For the record of the index: `index_config` in words, the digest of the `trained` index, how many
        `shards` and `rows`, what was `built` (for :func:`open_shards`), how to `search`, and its `accuracy`.
    """
    record = _begun(store, settings, spark, index_config)
    folder = store.path / "products" / record["folder"]
    known = {part for parts in record["shards"].values() for part in parts}
    where = fingerprint_parts(store)
    new = {part: path for part, path in where.items() if part not in known}
    record["shards"] |= _grouped(new, settings.neighbors.shard_rows)
    store.commit_product("shards", folder, record)  # which parts are in which shard is settled here
    jobs = {folder / name: [where[part] for part in parts] for name, parts in record["shards"].items()}
    missing = {shard: parts for shard, parts in jobs.items() if not (shard / "shard.json").exists()}
    if missing:
        from elodin_spark.spark.shards import build_shards
        from elodin_spark.spark.watch import watch_tasks

        with Progress(len(missing), f"indexing L2 by {index_config.factory}", "shards") as progress:
            with watch_tasks(spark(), lambda done, total: progress.to(done * len(missing) // total)):
                build_shards(spark(), folder / TRAINED_FILE, missing, CODES_BYTES)
            progress.to(len(missing))
    built = {"folder": folder.name, "names": list(record["shards"]), "mapped": record["mapped"]}
    index = _open(folder, built)
    index.remove(store.tombstones.cutouts)  # in the files too, for the executors that compare
    _advise(index, folder, index_config)
    return {
        "index_config": index_config.describe(),
        "trained": index.trained.digest,
        "shards": len(index.shards),
        "built": built,
        "rows": len(index),
        **_measure(store, settings, spark, index, list(jobs)),
    }


def open_shards(store: Store, record: dict[str, Any]) -> ApproximateL2Index:
    """Open the shards of a catalog, without what was removed.

    Parameters
    ----------
    store : Store
    record : dict
        Of the product ``index``.

    Raises
    ------
    CatalogError
        A file is missing or damaged.
    """
    if "built" not in record:
        raise CatalogError(
            f"the index of {store.path} was built by another version: run it again, which keeps its shards"
        )
    index = _open(store.path / "products" / record["built"]["folder"], record["built"], record["search"])
    if index.trained.digest != record["trained"]:
        raise CatalogError(
            f"{index.trained.source} is not the trained index that {store.path} was indexed with: put that "
            f"back, or delete {store.path}/products/shards.json and index.json and run again"
        )
    for shard in index.shards:
        shard.mask(store.tombstones.cutouts)
    return index


def shard_facts(store: Store) -> list[dict[str, Any]]:
    """What is known of each shard of the index, in the order they were made; empty where it has none.

    Returns
    -------
    list of dict
        `name`, `count`, `error` (mean squared quantization error), `ratio` (of it to that of the training
        sample; None where that is 0) and `retrain` (whether that is too much).
    """
    built = (store.product("index") or {}).get("built")
    if built is None:
        return []
    folder = store.path / "products" / built["folder"]
    trained = training_record(folder / TRAINED_FILE)["quantization_error"]
    records = [(name, read_json(folder / name / "shard.json", "index shard")) for name in built["names"]]
    return [
        {
            "name": name,
            "count": record["count"],
            "error": record["quantization_error"],
            "ratio": record["quantization_error"] / trained if trained else None,
            "retrain": has_drifted(record, trained),
        }
        for name, record in records
    ]


def all_whole(folder: Path, names: Iterable[str]) -> bool:
    """Whether all these shards were made."""
    return all((folder / name / "shard.json").exists() for name in names)


def in_groups(sizes: dict[str, int], most: int) -> list[list[str]]:
    """Names of shards that become one: such as follow each other and hold at most so many together."""
    groups: list[list[str]] = []
    rows = 0
    for name, size in sizes.items():
        if not groups or rows + size > most:
            groups.append([])
            rows = 0
        groups[-1].append(name)
        rows += size
    return groups


def retire(store: Store) -> None:
    """Have the next run train the index anew and build all shards; the old ones answer until then.

    Only with the lock held.

    Raises
    ------
    InputError
        The index is exact, or there is none.
    """
    shards, index = store.product("shards"), store.product("index")
    if shards is None or index is None or "built" not in index:
        raise InputError(f"{store.path} has no trained index: an exact one is never trained")
    # In this order: a run that finds the index out of date takes up what is left of the training.
    store.commit_product("shards", store.product_folder("shards"), {**shards, "asked": None})
    store.commit_product("index", store.product_folder("index"), {**index, "digest": None})


def _open(folder: Path, built: dict[str, Any], search: dict[str, int] | None = None) -> ApproximateL2Index:
    shards = [folder / name for name in built["names"]]
    return ApproximateL2Index.open(folder / TRAINED_FILE, shards, mapped=built["mapped"], **(search or {}))


def _begun(
    store: Store, settings: Settings, spark: Callable[[], SparkSession], index_config: IndexConfig
) -> dict[str, Any]:
    """The record of the trained index: the one that is there, if it is what the settings ask for."""
    chosen = settings.neighbors
    asked = [chosen.index_config, index_config.store, index_config.dimension]
    record = store.product("shards")
    parts = fingerprint_parts(store)
    if record is not None and record["asked"] == asked:
        if all(part in parts for made in record["shards"].values() for part in made):
            return {**record, "mapped": index_config.mapped}
        log.warning("cutouts of the index are no longer in the catalog: it is built anew")
    folder = store.new_product("shards")
    from elodin_spark.spark.shards import write_sample

    with Progress(
        1, f"training {index_config.factory} on {index_config.training:,} vectors", "indices"
    ) as progress:
        # A little more than needed: the share is that of the keys, not of the cutouts.
        share = min(1.0, 1.02 * index_config.training / index_config.count)
        files = write_sample(
            spark(),
            store.parts("fingerprints"),
            share,
            index_config.training,
            settings.seed,
            folder / "sample",
            store.removed_file,
        )
        vectors = (rows for _, rows in stream_vectors(files))
        train(index_config, vectors, folder / TRAINED_FILE, seed=settings.seed)
        shutil.rmtree(folder / "sample")
        progress.add()
    log.info("%s", index_config.describe())
    return {
        "folder": folder.name,
        "asked": asked,
        "factory": index_config.factory,
        "count": index_config.count,
        "mapped": index_config.mapped,
        "shards": {},
    }


def fingerprint_parts(store: Store) -> dict[str, Path]:
    """Parts of the fingerprints table, by the names they were made with, and where they are now."""
    return {
        part: folder
        for commit in store.commits()
        if commit.rows.get("fingerprints", 0) or commit.made_as.get("fingerprints")
        for part, folder in zip(
            commit.identities("fingerprints"), store.parts_of(commit, "fingerprints"), strict=True
        )
    }


def _grouped(parts: dict[str, Path], most: int) -> dict[str, list[str]]:
    """Parts that go into one shard together, in their order: up to so many vectors, or one part."""
    groups: dict[str, list[str]] = {}
    rows = most
    for part, folder in parts.items():
        size = sum(pq.read_metadata(file).num_rows for file in folder.glob("*.parquet"))
        if rows + size > most:
            name, rows = f"shard-{Path(part).name}", 0
            groups[name] = []
        groups[name].append(part)
        rows += size
    return groups


def _measure(
    store: Store,
    settings: Settings,
    spark: Callable[[], SparkSession],
    index: ApproximateL2Index,
    shards: list[Path],
) -> dict[str, Any]:
    """Search as hard as the recall asks for, and say how good that is."""
    k = min(101, len(index))
    if k < 11:
        return {"search": None, "accuracy": None}
    from elodin_spark.spark.batches import sample_vectors
    from elodin_spark.spark.shards import scan_shards

    with Progress(1, "measuring against exact search", "indices") as progress:
        # Of another seed than the training sample.
        parts, gone = store.parts("fingerprints"), store.removed_file
        sample = sample_vectors(spark(), parts, _QUERIES, settings.seed + 1, gone)
        own = sample.column("cutout_id").to_numpy()
        queries = to_matrix(sample.column("vector").combine_chunks())
        near, _ = scan_shards(spark(), store.product_folder("shards") / TRAINED_FILE, shards, queries, k)
        exact = near[without(near, own)].reshape(len(near), -1)
        calibration = calibrate(index, queries, exact, settings.neighbors.recall, own)
        index.settings = calibration.search
        accuracy = measure(index, queries, exact, own)
        progress.add()
    (log.info if calibration.reached else log.warning)("the index: %s", calibration.describe())
    search = {"nprobe": calibration.search.nprobe, "candidates": calibration.search.candidates}
    return {"search": search, "accuracy": accuracy}


def _advise(index: ApproximateL2Index, folder: Path, index_config: IndexConfig) -> None:
    """Say where the archive has outgrown what the index was trained for."""
    trained = training_record(folder / TRAINED_FILE)
    advice = [
        text for shard in index.shards if (text := shard.needs_retraining(trained["quantization_error"]))
    ]
    if advice:
        log.warning("%s; %d of %d shards: %s", advice[-1], len(advice), len(index.shards), _HOW_TO_RETRAIN)
    if len(index) > _GROWN * max(1, trained["sample"]) and index_config.lists > _GROWN * index.trained.lists:
        log.warning(
            "the index was trained for far fewer than its %d vectors and grows slow; with %d lists it would "
            "not: %s",
            len(index), index_config.lists, _HOW_TO_RETRAIN,
        )  # fmt: skip
