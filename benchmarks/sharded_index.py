"""The index of a catalog built by executors: its cost against its size.

    python benchmarks/sharded_index.py --counts 25000 100000 --shard-rows 25000
    python benchmarks/sharded_index.py --counts 10000 30000 100000 --shard-rows 10000 --target 10000000000

For each count a catalog is made whose fingerprints are synthetic vectors of ResNet50's shape, and its L2
index is built as a run builds it: trained on a sample, shards added by the Python workers of a local Spark
session, accuracy measured against exact search. Training and measuring are told apart from adding,
which is what grows with the archive. With --target, what an index of that size would cost follows from the
rows; see index_extrapolation.py.
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from index_extrapolation import extrapolate, in_words
from machine import machine, report, tree_cpu
from synthetic_vectors import SyntheticVectors

from elodin_spark import schema
from elodin_spark.catalog.build import shardedindex
from elodin_spark.catalog.build.products import make_index
from elodin_spark.catalog.storage.store import Commit, Store
from elodin_spark.config.load import parse_settings
from elodin_spark.config.settings import Settings
from elodin_spark.fingerprints.weights.resolve import resolve_settings
from elodin_spark.neighbors.ivf.training import training_record
from elodin_spark.provenance import make_recipe
from elodin_spark.spark import shards as spark_shards
from elodin_spark.spark.session import session


def fill(store: Store, count: int, rows_per_part: int, dimension: int) -> None:
    """Commit fingerprints of `count` synthetic cutouts, in parts."""
    source = SyntheticVectors(dimension)
    ids = np.random.default_rng(1).choice(2**62, count, replace=False)
    done = 0
    held: list[np.ndarray] = []
    for block in source.batches(count):
        held.append(block)
        size = sum(map(len, held))
        if size < rows_per_part and done + size < count:
            continue
        vectors = np.concatenate(held)
        columns = {
            "cutout_id": pa.array(ids[done : done + size]),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dimension).cast(
                pa.list_(pa.float32())
            ),
            "labels": pa.nulls(size, pa.list_(pa.int32())),
            "label_scores": pa.nulls(size, pa.list_(pa.float32())),
            "recipe": pa.repeat("synthetic", size),
        }
        number = len(store.commits())
        part = store.new_part("fingerprints", number)
        (store.path / part).mkdir(parents=True)
        pq.write_table(
            pa.table(columns, schema=schema.FINGERPRINTS),
            store.path / part / "part-0.parquet",
            row_group_size=1024,
            compression="none",
            use_dictionary=False,
        )
        store.commit(Commit(number, (f"{number}.fits",), {"fingerprints": [part]}, {"fingerprints": size}))
        done, held = done + size, []


@contextmanager
def worker_peak() -> Iterator[list[int]]:
    """The largest resident memory, bytes, that a Python worker of Spark has meanwhile."""
    peak, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if "pyspark.daemon" in process.cmdline():  # not the JVM, which names pyspark's jars
                        peak[0] = max(peak[0], process.memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def build(settings: Settings, count: int, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Build the index of one catalog."""
    weights = resolve_settings(settings.fingerprints)
    recipe = make_recipe(settings, weights.name, weights.sha256, None, None)
    store = Store.create(folder / "catalog", settings, recipe, weights, str(folder))
    fill(store, count, arguments.shard_rows, arguments.dimension)
    adding: list[tuple[dict[str, float], int]] = []
    training: list[float] = []
    build_shards = spark_shards.build_shards

    def timed(*given: Any) -> int:
        with worker_peak() as peak, tree_cpu() as taken:
            made = build_shards(*given)
        adding.append((taken, peak[0]))
        return made

    train = shardedindex.train

    def timed_training(*given: Any, **how: Any) -> Any:
        started = time.process_time()
        trained = train(*given, **how)
        training.append(time.process_time() - started)
        return trained

    spark_shards.build_shards, shardedindex.train = timed, timed_training
    started = time.perf_counter()
    with session(settings.spark) as spark:
        spark.range(1).count()
        make_index(store, settings, lambda: spark)
    seconds = time.perf_counter() - started
    spark_shards.build_shards, shardedindex.train = build_shards, train
    record = store.product("index") or {}
    found = record["accuracy"]
    ((taken, peak),), (training_s,) = adding, training
    add_s = taken["wall"]
    trained = training_record(next(store.path.glob(f"products/shards-*/{shardedindex.TRAINED_FILE}")))
    return {
        "vectors": count,
        "shards": record["shards"],
        "vectors of a shard": min(count, arguments.shard_rows),
        "index_config": record["index_config"].split(":")[0],
        "lists": wanted_lists(trained["factory"]),
        "sample": trained["sample"],
        "training, CPU s": training_s,
        "adding, s": add_s,
        "adding, vectors/s": count / add_s,
        "adding, CPU s": taken["cpu"],
        "adding, CPU µs/vector": 1e6 * taken["cpu"] / count,
        "all, s": seconds,
        "worker peak, MiB": peak / 2**20,
        "recall@10": found["recall@10"],
        "nprobe": record["search"]["nprobe"],
        "candidates": record["search"]["candidates"],
        "query p50, ms": found["single_ms_p50"],
        "query p99, ms": found["single_ms_p99"],
        "B/vector in memory": found["memory_bytes_per_vector"],
        "B/vector on disk": found["disk_bytes_per_vector"],
    }


def wanted_lists(factory: str) -> int:
    """Inverted lists of a FAISS factory string."""
    return int(re.findall(r"IVF(\d+)", factory)[0])


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[25_000, 100_000])
    parser.add_argument("--dimension", type=int, default=2048)
    parser.add_argument("--shard-rows", type=int, default=25_000, help="vectors of a part, and of a shard")
    parser.add_argument("--cores", type=int, default=1, help="tasks at a time")
    parser.add_argument(
        "--index-config", default="auto", help="FAISS factory string; auto: what an archive gets"
    )
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--work", type=Path, help="folder for the catalogs; a temporary one by default")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--target", type=int, help="vectors of an index to extrapolate to")
    parser.add_argument("--target-shard-rows", type=int, default=2_000_000, help="vectors of its shards")
    arguments = parser.parse_args()
    neighbors = {
        "metrics": ["l2"],
        "index_config": arguments.index_config,
        "memory_gb": 1e-3,  # too little for the exact index
        "recall": arguments.recall,
        "shard_rows": arguments.shard_rows,
    }
    settings = parse_settings(
        {
            "images": {"paths": "synthetic"},
            "fingerprints": {"weights": "random:0"},
            "neighbors": neighbors,
            "spark": {"master": f"local[{arguments.cores}]"},
        }
    )
    rows = []
    for count in arguments.counts:
        folder = Path(tempfile.mkdtemp(dir=arguments.work))
        try:
            rows.append(build(settings, count, arguments, folder))
        finally:
            shutil.rmtree(folder)
    facts = {"machine": machine("faiss-cpu", "pyspark", "numpy"), "settings": neighbors}
    found = None
    if arguments.target:
        found = extrapolate(
            rows,
            arguments.target,
            arguments.dimension,
            arguments.recall,
            arguments.target_shard_rows,
        )
        facts["extrapolated"] = found
    report(facts, rows, as_json=arguments.json)
    if found is not None and not arguments.json:
        print(in_words(found))


if __name__ == "__main__":
    main()
