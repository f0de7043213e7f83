"""The indices of label sets: one shard where the vectors fit in memory, several made by executors beyond.

The product ``labels`` holds the centers and the shards, which take the same parts of the fingerprints
table as the shards of vectors; a run that was killed goes on with those that are whole.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import ArrayLike, NDArray

from elodin_spark.catalog.build.shardedindex import all_whole, fingerprint_parts, in_groups
from elodin_spark.catalog.storage.rowfilter import among
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.settings import NeighborsSettings, Settings
from elodin_spark.errors import CatalogError
from elodin_spark.neighbors.labels.clustering import LabelCenters, list_count, train_centers, training_size
from elodin_spark.neighbors.labels.index import LabelIndex, LabelMetric
from elodin_spark.neighbors.labels.shard import LabelBatch, LabelShard, add_label_shard
from elodin_spark.neighbors.labels.stages import stream_label_sets
from elodin_spark.neighbors.labels.tuning import calibrate_lists, measure_lists, others_of
from elodin_spark.progress import Progress

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

#: In the index product: the label sets of an archive whose vectors fit in memory, and label counts.
LABELS_FOLDER, COUNTS_FILE = "labels", "label_counts.npy"
CENTERS_FILE = "centers.npz"  # of the shards

_FORMAT = "label indices 3"  # sets and scores in one shard
_QUERIES = 200  # whose neighbors are compared with the exact ones
_OF_SETS, _OF_SCORES = {"jaccard", "rank_fusion"}, {"label_scores"}  # metrics


def label_digest(settings: NeighborsSettings) -> list[Any]:
    """What the label indices depend on beside the metrics; empty where none is wanted."""
    wanted = (_OF_SETS | _OF_SCORES) & set(settings.metrics)
    return [_FORMAT, settings.labels] if wanted else []


def make_label_files(store: Store, settings: NeighborsSettings, folder: Path, n_labels: int) -> None:
    """Build the label index of an archive whose vectors fit in memory, in the folder of the index."""
    metrics = (_OF_SETS | _OF_SCORES) & set(settings.metrics)
    if not metrics:
        return
    dataset = store.dataset("fingerprints", ["labels", "label_scores"])
    centers, labels = train_centers([], 1, n_labels), folder / LABELS_FOLDER
    labels.mkdir()
    centers.save(labels / CENTERS_FILE)
    with Progress(store.n_rows("fingerprints"), "indexing labels", "label sets") as progress:

        def sets() -> Iterator[LabelBatch]:
            for batch in stream_label_sets(dataset, settings.labels):
                yield batch
                progress.add(len(batch[0]))  # type: ignore[arg-type]

        add_label_shard(labels / "shard-0", centers, sets(), shares=bool(_OF_SCORES & metrics))
    np.save(folder / COUNTS_FILE, open_label_file(folder).label_counts())


def open_label_file(folder: Path, without: ArrayLike = ()) -> LabelIndex:
    """Open the label sets that :func:`make_label_files` built.

    Raises
    ------
    CatalogError
        A file is missing or damaged.
    """
    folder = folder / LABELS_FOLDER
    return LabelIndex.open(folder / CENTERS_FILE, [folder / "shard-0"], without=without)


def make_label_shards(
    store: Store, settings: Settings, spark: Callable[[], SparkSession], n_labels: int
) -> dict[str, Any]:
    """Find centers where there are none, and make the shards that are missing.

    The shards of vectors must be there.

    Returns
    -------
    dict
        For the record of the index: under `label_index` what was `built` (for :func:`open_label_shards`),
        the `lists`, the `nprobe` of them that are searched, and the `accuracy` by metric; empty where no
        metric is of labels.
    """
    metrics = (_OF_SETS | _OF_SCORES) & set(settings.neighbors.metrics)
    if not metrics:
        return {}
    record, where = _begun(store, settings, spark, n_labels), fingerprint_parts(store)
    covered = {part for parts in record["shards"].values() for part in parts}
    for parts in (store.product("shards") or {})["shards"].values():  # of about the right size
        if new := [part for part in parts if part not in covered]:
            record["shards"][f"shard-{Path(new[0]).name}"] = new
    folder = store.path / "products" / record["folder"]
    store.commit_product("labels", folder, record)
    jobs = {folder / name: [where[part] for part in parts] for name, parts in record["shards"].items()}
    missing = {shard: parts for shard, parts in jobs.items() if not (shard / "shard.json").exists()}
    if missing:
        from elodin_spark.spark.labelshards import build_label_shards

        with Progress(len(missing), "indexing label sets", "shards") as progress:
            chosen, centers = settings.neighbors.labels, folder / CENTERS_FILE
            build_label_shards(spark(), centers, missing, chosen, shares=record["shares"])
            progress.to(len(missing))
    built = {"folder": folder.name, "names": list(record["shards"])}
    return {"label_index": {"built": built, **_measure(store, settings, spark, built, metrics)}}


def open_label_shards(store: Store, record: dict[str, Any]) -> LabelIndex:
    """Open the label shards of a catalog, without what was removed.

    Parameters
    ----------
    store : Store
    record : dict
        The `label_index` of the record of the index; all lists are searched where it has no `nprobe`.

    Raises
    ------
    CatalogError
        A file is missing or damaged.
    """
    folder = store.path / "products" / record["built"]["folder"]
    shards = [folder / name for name in record["built"]["names"]]
    gone = store.tombstones.cutouts
    return LabelIndex.open(folder / CENTERS_FILE, shards, nprobe=record.get("nprobe"), without=gone)


def rewrite_label_shards(
    store: Store, record: dict[str, Any], removed: NDArray[np.int64], most: int
) -> dict[str, Any]:
    """Make the label shards again that hold removed sets, and one of small ones, from the tables.

    Parameters
    ----------
    store : Store
    record : dict
        As of :func:`open_label_shards`.
    removed : ndarray of int64, shape (m,)
    most : int
        Shards that follow each other become one while they hold at most so many sets.

    Returns
    -------
    dict
        The record with the shards that are in their place, which are whole.
    """
    labels = store.product("labels")
    folder, where = store.path / "products" / record["built"]["folder"], fingerprint_parts(store)
    if labels is None or labels["folder"] != folder.name or not all_whole(folder, labels["shards"]):
        return record  # a run has not finished them
    centers = LabelCenters.load(folder / CENTERS_FILE)
    shards = {name: LabelShard(folder / name, centers, removed) for name in labels["shards"]}
    made: dict[str, list[str]] = {}
    for group in in_groups({name: len(shard) for name, shard in shards.items()}, most):
        name, parts = group[0], [part for each in group for part in labels["shards"][each]]
        if len(group) > 1 or len(shards[name]) < shards[name].record["count"]:
            files = [str(file) for part in parts for file in sorted(where[part].glob("*.parquet"))]
            kept = ds.dataset(files, format="parquet").filter(~among("cutout_id", removed))
            name = f"shard-{secrets.token_hex(8)}"
            sets = stream_label_sets(kept, labels["asked"][0])
            add_label_shard(folder / name, centers, sets, shares=labels["shares"])
        made[name] = parts
    if list(made) != list(labels["shards"]):
        store.commit_product("labels", folder, {**labels, "shards": made})
    return {**record, "built": {**record["built"], "names": list(made)}}


def read_label_counts(folder: Path, n_labels: int) -> NDArray[np.int64]:
    """How many sets hold each label, int64, shape (n_labels,), as counted when the index was built.

    Raises
    ------
    CatalogError
        They were not counted, or the file is damaged.
    """
    path = folder / COUNTS_FILE
    if not path.exists():
        raise CatalogError(
            f"{folder} holds no counts of labels: add jaccard to neighbors.metrics and run it again"
        )
    try:
        counts = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError):
        counts = np.empty(0)
    if counts.dtype != np.int64 or counts.shape != (n_labels,):
        raise CatalogError(f"{path} is damaged: delete {folder} and run it again")
    return counts


def _begun(
    store: Store, settings: Settings, spark: Callable[[], SparkSession], n_labels: int
) -> dict[str, Any]:
    """The record of the centers: those that are there, if their shards are of the parts wanted."""
    shares = bool(_OF_SCORES & set(settings.neighbors.metrics))
    asked = [settings.neighbors.labels, n_labels]
    record = store.product("labels")
    if record is not None and record["asked"] == asked and record["shares"] >= shares:
        known = fingerprint_parts(store)
        if all(part in known for parts in record["shards"].values() for part in parts):
            return record
        log.warning("cutouts of the index of labels are no longer in the catalog: it is built anew")
    lists = list_count(store.n_rows("fingerprints"))
    folder = store.new_product("labels")
    sets: pa.Array = pa.array([], pa.list_(pa.int32()))
    if lists > 1:
        from elodin_spark.neighbors.labels.bitcodes import first_labels
        from elodin_spark.spark.labelshards import sample_label_sets

        with Progress(1, f"finding {lists:,} lists of label sets", "indices") as progress:
            size = training_size(lists)
            sample = sample_label_sets(spark(), store.parts("fingerprints"), size, settings.seed)
            sets = first_labels(sample.column("labels").combine_chunks(), settings.neighbors.labels)
            progress.add()
    train_centers(sets, lists, n_labels).save(folder / CENTERS_FILE)
    return {"folder": folder.name, "asked": asked, "shares": shares, "shards": {}}


def _measure(
    store: Store,
    settings: Settings,
    spark: Callable[[], SparkSession],
    built: dict[str, Any],
    metrics: set[str],
) -> dict[str, Any]:
    """Search as many lists as the recall asks for, and say how good that is."""
    index = open_label_shards(store, {"built": built})
    counted = sum(shard.record["count"] for shard in index.shards)  # as the labels are
    facts: dict[str, Any] = {
        "lists": len(index.centers),
        "nprobe": None,
        "counted": counted,
        "accuracy": {},
    }
    if len(index.centers) == 1 or len(index) < 102:  # all are compared
        return facts
    from elodin_spark.spark.labelshards import scan_label_shards

    folder, gone = store.product_folder("labels"), store.tombstones.cutouts
    with Progress(1, "measuring lists of label sets", "indices") as progress:
        drawn = np.random.default_rng(settings.seed + 1).choice(
            len(index), min(_QUERIES, len(index)), replace=False
        )
        chosen = index.ids[drawn]
        kinds: list[LabelMetric] = ["jaccard", *(["label_scores"] if _OF_SCORES & metrics else [])]  # type: ignore[list-item]
        exact = {}
        for metric in kinds:
            queries = index.queries_of(chosen, metric)
            shards = [folder / name for name in built["names"]]
            found = scan_label_shards(spark(), folder / CENTERS_FILE, shards, queries, 101, gone)
            exact[metric] = others_of(*found, chosen)
        nprobe = calibrate_lists(index, chosen, exact["jaccard"], settings.neighbors.recall)
        facts["nprobe"] = nprobe
        tuned = LabelIndex(index.centers, index.shards, nprobe)
        facts["accuracy"] = {kind: measure_lists(tuned, chosen, exact[kind], kind) for kind in kinds}
        progress.add()
    said = facts["accuracy"]["jaccard"]
    log.info("label sets: recall@10 %.3f with %d of %d lists", said["recall@10"], nprobe, said["lists"])
    return facts
