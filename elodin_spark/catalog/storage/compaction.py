"""Rewriting a catalog without what was removed, with its small shards merged; answers stay the same.

Each step replaces one record in one stroke, and what it names is there whole before: killed at any
moment, the catalog answers as before, and the next call does what is left.
"""

from __future__ import annotations

import logging
import secrets
import shutil
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from elodin_spark.catalog.build.labelindex import label_digest, make_label_files, rewrite_label_shards
from elodin_spark.catalog.build.products import L2_FILE, commit_index, product_digest
from elodin_spark.catalog.build.shardedindex import CODES_BYTES, TRAINED_FILE, all_whole, in_groups
from elodin_spark.catalog.storage.rowfilter import among
from elodin_spark.catalog.storage.store import Commit, Store
from elodin_spark.catalog.storage.tombstones import Tombstones
from elodin_spark.config.settings import Settings
from elodin_spark.neighbors.flat import L2Index
from elodin_spark.neighbors.ivf.shard import Shard, merge_shards
from elodin_spark.neighbors.ivf.training import Trained
from elodin_spark.progress import Progress
from elodin_spark.spark.tablefiles import table_writer

log = logging.getLogger(__name__)

_COLUMNS = {"images": "image_id", "cutouts": "cutout_id", "fingerprints": "cutout_id"}


@dataclass(frozen=True)
class Compaction:
    """What was rewritten.

    Attributes
    ----------
    n_rows : int
        Dropped from tables.
    n_vectors : int
        Dropped from the L2 index.
    shards_before, shards_after : int
        Of the index; 0 where it has none.
    """

    n_rows: int
    n_vectors: int
    shards_before: int
    shards_after: int

    def text(self) -> str:
        """One line for a terminal."""
        found = [f"dropped {self.n_rows:,} rows of tables and {self.n_vectors:,} vectors of the index"]
        if self.shards_before:
            found.append(f"{self.shards_before:,} shards are {self.shards_after:,} now")
        return "; ".join(found)


def compact(store: Store, settings: Settings) -> Compaction:
    """Drop what was removed from tables and indices, and merge small shards.

    Parameters
    ----------
    store : Store
    settings : Settings
        Shards that follow each other are merged while they hold at most ``neighbors.shard_rows`` vectors.

    Returns
    -------
    Compaction

    Raises
    ------
    CatalogError
        Another process is writing, or a file is damaged.
    """
    with store.lock():
        store.sweep()
        removed = store.tombstones
        vectors = before = after = 0
        index = store.product("index")
        if index is not None and "trained" in index:
            vectors, before, after = _merge_shards(store, index, removed, settings.neighbors.shard_rows)
            _merge_label_shards(store, removed, settings.neighbors.shard_rows)
        elif index is not None:
            vectors = _rewrite_index(store, settings, index, removed)
        rows = sum(_rewrite_batch(store, commit, removed) for commit in store.commits())
        store.sweep()
    return Compaction(rows, vectors, before, after)


def _merge_shards(
    store: Store, index: dict[str, Any], removed: Tombstones, most: int
) -> tuple[int, int, int]:
    """Make the shards of an index fewer; vectors dropped, shards before and after."""
    record = store.product("shards")
    folder = store.path / "products" / index["built"]["folder"]
    if record is None or record["folder"] != folder.name or not all_whole(folder, record["shards"]):
        log.warning("a run has not finished the index: its shards are merged once one has")
        names = index["built"]["names"]
        return 0, len(names), len(names)
    trained = Trained.load(folder / TRAINED_FILE)
    sizes, masked = {}, {}
    for name in record["shards"]:
        shard = Shard(folder / name, trained, mapped=True)
        shard.remove(removed.cutouts)
        sizes[name], masked[name] = len(shard), shard.removed.size
    groups = in_groups(sizes, most)
    made: dict[str, list[str]] = {}
    with Progress(len(groups), "merging", "shards") as progress:
        for group in groups:
            if len(group) == 1 and not masked[group[0]]:
                made[group[0]] = record["shards"][group[0]]
            else:
                name = f"shard-{secrets.token_hex(8)}"
                merge_shards(
                    folder / name, [folder / each for each in group], trained, memory_bytes=CODES_BYTES
                )
                made[name] = [part for each in group for part in record["shards"][each]]
            progress.add()
    if list(made) != index["built"]["names"]:
        store.commit_product("shards", folder, {**record, "shards": made})
        built = {**index["built"], "names": list(made)}
        kept = {**index, "built": built, "shards": len(made), "rows": sum(sizes.values())}
        commit_index(store, store.product_folder("index"), kept)
    _sweep(folder, made)
    return sum(masked.values()), len(record["shards"]), len(made)


def _merge_label_shards(store: Store, removed: Tombstones, most: int) -> None:
    """Likewise the shards of label sets."""
    index = store.product("index") or {}
    if "label_index" not in index:
        return
    shown = rewrite_label_shards(store, index["label_index"], removed.cutouts, most)
    if shown != index["label_index"]:
        commit_index(store, store.product_folder("index"), {**index, "label_index": shown})
    labels = store.product("labels") or {}
    if labels.get("folder") == shown["built"]["folder"]:
        _sweep(store.product_folder("labels"), labels["shards"])


def _sweep(folder: Path, named: Collection[str]) -> None:
    """Delete shards that were merged into others, or left by a call that was killed."""
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name not in named:
            shutil.rmtree(entry)


def _rewrite_index(store: Store, settings: Settings, record: dict[str, Any], removed: Tombstones) -> int:
    """Write the files of an exact index without what was removed; vectors dropped."""
    built_with = {"metrics": record["metrics"], "labels": record["set_size"]}
    chosen = settings.neighbors.model_copy(update=built_with)
    l2 = L2Index.load(store.product_folder("index") / L2_FILE, without=removed.cutouts)
    if len(l2) == record["rows"]:
        return 0
    if record["digest"] != product_digest(store, sorted(record["metrics"]), *label_digest(chosen)):
        # The label sets are made of the tables, which hold more.
        log.warning("the index is out of date: it is rewritten when a run has brought it up to date")
        return 0
    new = store.new_product("index")
    l2.save(new / L2_FILE)
    make_label_files(store, chosen, new, store.label_count(record["dimension"]))
    commit_index(store, new, {**record, "rows": len(l2)})
    return int(record["rows"]) - len(l2)


def _rewrite_batch(store: Store, commit: Commit, removed: Tombstones) -> int:
    """Write the tables of a batch without what was removed from it; rows dropped."""
    tables, rows, made_as = dict(commit.tables), dict(commit.rows), dict(commit.made_as)
    dropped = 0
    for table, column in _COLUMNS.items():
        parts, ids = store.parts_of(commit, table), removed.of(table)
        if not any(_holds(part, column, ids) for part in parts):
            continue
        store.verify(commit, table)
        made_as[table] = commit.identities(table)
        tables[table] = [store.new_part(table, commit.batch) for _ in parts]
        rows[table] = sum(
            _copy_without(part, store.path / new, column, ids)
            for part, new in zip(parts, tables[table], strict=True)
        )
        dropped += commit.rows[table] - rows[table]
    if dropped:
        store.commit(replace(commit, tables=tables, rows=rows, made_as=made_as))
    return dropped


def _holds(part: Path, column: str, ids: NDArray[np.int64]) -> bool:
    return ids.size > 0 and any(
        np.isin(pq.read_table(file, columns=[column]).column(0), ids).any() for file in part.glob("*.parquet")
    )


def _copy_without(part: Path, new: Path, column: str, ids: NDArray[np.int64]) -> int:
    """Copy the files of a part, a row group at a time; rows that are left."""
    new.mkdir(parents=True)
    kept = 0
    for file in sorted(part.glob("*.parquet")):
        source = pq.ParquetFile(file)
        with table_writer(new / file.name, source.schema_arrow) as writer:
            for number in range(source.num_row_groups):
                rows = source.read_row_group(number).filter(~among(column, ids))
                writer.write_table(rows, row_group_size=max(1, rows.num_rows))
                kept += rows.num_rows
    return kept
