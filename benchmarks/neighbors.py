"""The approximate index against FAISS flat and autofaiss: accuracy, speed, memory, in one run.

    python benchmarks/neighbors.py --count 100000 --threads 2 --work /tmp/bench
    python benchmarks/neighbors.py --vectors fingerprints.parquet --recall 0.95
    python benchmarks/neighbors.py --cutouts efigi sdss --weights random:0

Every index is built and searched in a process of its own; timed rounds go around them in turn, and
medians are printed. Vectors are synthetic, of ResNet50's shape, or the column ``vector`` of a
Parquet file, or those of real cutouts, fingerprinted here. Prints JSON and a Markdown table.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from neighbors_peers import peak_mb, read_blocks, serve
from synthetic_vectors import SyntheticVectors

HERE = Path(__file__).resolve().parent
_QUERIES, _HELD_BACK = 1000, 500


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=100_000, help="synthetic vectors")
    parser.add_argument("--dimension", type=int, default=2048)
    parser.add_argument("--vectors", type=Path, help="Parquet with a column 'vector' instead")
    parser.add_argument("--cutouts", nargs="+", choices=["efigi", "sdss"], help="their fingerprints instead")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="where they are")
    parser.add_argument("--weights", default="random:0", help="of the network")
    parser.add_argument("--px", type=int, default=64, help="side of what the network sees")
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--factory", help="FAISS factory string in place of the configuration's")
    parser.add_argument("--store", choices=["f32", "f16", "sq8"])
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", default="4G", help="what autofaiss may use to build")
    parser.add_argument("--work", type=Path, help="folder for vectors and indices; kept")
    parser.add_argument("--patience", type=float, default=3600, help="seconds for autofaiss to build")
    parser.add_argument("--autofaiss-python", help="interpreter that can import autofaiss")
    parser.add_argument("--without", nargs="*", default=[], choices=["flat", "autofaiss"])
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        ours(options)
        return
    if options.work is not None:
        options.work.mkdir(parents=True, exist_ok=True)
        report(run(options))
        return
    with tempfile.TemporaryDirectory(prefix="neighbors-") as folder:
        options.work = Path(folder)
        report(run(options))


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Make the vectors and their true neighbors, then build and time every index."""
    prepare(options)
    common = [str(options.work), str(options.threads)]
    peers = str(HERE / "neighbors_peers.py")
    arguments = [
        f"--{name}={getattr(options, name)}" for name in ("work", "threads", "recall", "shards", "seed")
    ]
    arguments += [
        f"--{name}={getattr(options, name)}" for name in ("factory", "store") if getattr(options, name)
    ]
    children = {"elodin_spark": Child([sys.executable, __file__, "--child", *arguments], options)}
    size = children["elodin_spark"].built["memory_bytes_per_vector"]
    if "flat" not in options.without:
        children["FAISS flat"] = Child([sys.executable, peers, "flat", *common, "0"], options)
    python = options.autofaiss_python
    if python is None and importlib.util.find_spec("autofaiss"):
        python = sys.executable
    if "autofaiss" not in options.without:
        if python is None:
            print("no autofaiss: install it, or name an interpreter by --autofaiss-python", file=sys.stderr)
        else:
            command = [python, peers, "autofaiss", *common, str(round(size)), options.memory]
            try:
                children["autofaiss"] = Child(command, options, options.patience)
            except TimeoutError:
                print(f"autofaiss did not build within {options.patience:.0f} s: left out", file=sys.stderr)
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in children}
    for _ in range(options.rounds):
        for name, child in children.items():
            rounds[name].append(child.ask())
    results = {}
    for name, child in children.items():
        child.close()
        medians = {key: float(np.median([each[key] for each in rounds[name]])) for key in rounds[name][0]}
        results[name] = {**child.built, **medians}
    return {
        "count": int(np.load(options.work / "vectors.npy", mmap_mode="r").shape[0]),
        "dimension": int(np.load(options.work / "queries.npy", mmap_mode="r").shape[1]),
        "vectors": kind_of(options),
        "threads": options.threads,
        "rounds": options.rounds,
        "cpu": cpu_model(),
        "load_average": os.getloadavg()[0],
        "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", "not set"),
        "results": results,
    }


class Child:
    """A process that holds one index."""

    def __init__(
        self, command: list[str], options: argparse.Namespace, patience: float | None = None
    ) -> None:
        print("building:", " ".join(command[1:4]), file=sys.stderr, flush=True)
        reading, writing = os.pipe()
        environment = {
            **os.environ,
            "BENCHMARK_REPLIES": str(writing),
            "OMP_NUM_THREADS": str(options.threads),
            "OPENBLAS_NUM_THREADS": str(options.threads),
        }
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=sys.stderr, pass_fds=[writing], env=environment, text=True
        )
        os.close(writing)
        self._replies = os.fdopen(reading)
        if not select.select([reading], [], [], patience)[0]:
            self._process.kill()
            self._process.wait()
            raise TimeoutError
        self.built = self._reply()

    def ask(self) -> dict[str, float]:
        """One round of timings."""
        assert self._process.stdin is not None
        self._process.stdin.write("round\n")
        self._process.stdin.flush()
        return self._reply()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _reply(self) -> dict[str, Any]:
        line = self._replies.readline()
        if not line:
            raise SystemExit(
                f"a benchmarked process ended with {self._process.wait()}; see its messages above"
            )
        return json.loads(line)


def ours(options: argparse.Namespace) -> None:
    """Build and serve the index of elodin_spark."""
    from elodin_spark.neighbors.base import ExternalQueries
    from elodin_spark.neighbors.ivf.factory import choose_index_config
    from elodin_spark.neighbors.ivf.index import ApproximateL2Index
    from elodin_spark.neighbors.ivf.shard import add_shard
    from elodin_spark.neighbors.ivf.training import train
    from elodin_spark.neighbors.ivf.tuning import calibrate

    work = options.work
    shutil.rmtree(work / "ours", ignore_errors=True)
    (work / "ours").mkdir()
    queries, truth = np.load(work / "queries.npy"), np.load(work / "truth.npy")
    shape = np.load(work / "vectors.npy", mmap_mode="r").shape
    count, dimension = int(shape[0]), int(shape[1])
    ids = np.random.default_rng(options.seed).permutation(count) + 2**62
    index_config = choose_index_config(
        count, dimension, 128 * count, options.recall, factory=options.factory, store=options.store
    )
    started, cpu = time.perf_counter(), time.process_time()
    share = min(1.0, index_config.training / count)
    rng = np.random.default_rng([options.seed, 1])
    sample = (block[rng.random(len(block)) < share] for block in read_blocks(work))
    trained = train(
        index_config, sample, work / "ours" / "trained.index", seed=options.seed, threads=options.threads
    )
    train_seconds, train_cpu = time.perf_counter() - started, time.process_time() - cpu
    train_peak = peak_mb()
    started, cpu = time.perf_counter(), time.process_time()
    folders = [work / "ours" / f"shard{number}" for number in range(options.shards)]
    for number, folder in enumerate(folders):
        add_shard(folder, trained, dealt(work, ids, number, options.shards), threads=options.threads)
    add_seconds, add_cpu = time.perf_counter() - started, time.process_time() - cpu
    index = ApproximateL2Index.open(trained.source, folders, threads=options.threads)
    held, exact = np.load(work / "held.npy"), np.load(work / "held_truth.npy")
    calibration = calibrate(index, held, ids[exact], options.recall)
    print(index_config.describe(), calibration.describe(), sep="\n", flush=True)
    index.settings = calibration.search
    disk = sum(path.stat().st_size for path in (work / "ours").rglob("*") if path.is_file())
    some = ids[np.random.default_rng(2).integers(0, count, len(queries))]
    settings = f"nprobe={index.settings.nprobe}, {index.settings.candidates} ranked"
    name = f"{index_config.factory} + {index_config.store}, {settings}"
    built = {
        "index_config": name,
        "build_seconds": train_seconds + add_seconds,
        "build_cpu_seconds": train_cpu + add_cpu,
        "train_seconds": train_seconds,
        "train_peak_mb": train_peak,
        "added_per_second": count / add_seconds,
        "added_per_cpu_second": count / add_cpu,
        "memory_bytes_per_vector": index_config.code_bytes + 8,
        "disk_bytes_per_vector": disk / count,
        "build_peak_mb": peak_mb(),
    }
    serve(
        built,
        lambda queries: index.search(ExternalQueries(queries), 10)[0],
        lambda row: index.search(some[row : row + 1], 10),
        queries,
        ids[truth],
    )


def dealt(work: Path, ids: np.ndarray, number: int, shards: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every `shards`-th block, with its IDs."""
    at = 0
    for block_number, block in enumerate(read_blocks(work)):
        if block_number % shards == number:
            yield ids[at : at + len(block)], block
        at += len(block)


def prepare(options: argparse.Namespace) -> None:
    """Write vectors, queries held back from them, and the exact neighbors of these, to the work folder."""
    from elodin_spark.neighbors.ivf.training import omp_threads

    wanted = f"{kind_of(options)} {options.count} {options.dimension} {options.seed}"
    note = options.work / "vectors.txt"
    if note.exists() and note.read_text() == wanted:
        return
    print("writing the vectors", file=sys.stderr, flush=True)
    if options.vectors is None and not options.cutouts:
        source = SyntheticVectors(options.dimension, options.seed)
        others = np.concatenate(list(source.batches(_QUERIES + _HELD_BACK, stream=2)))
        count, blocks = options.count, source.batches(options.count)
    else:
        if options.cutouts:
            from real_cutouts import fingerprints

            every = fingerprints(options.data, options.cutouts, options.weights, options.px)
        else:
            every = from_parquet(options.vectors)
        order = np.random.default_rng(options.seed).permutation(len(every))
        few = min(_QUERIES + _HELD_BACK, len(every) // 5)
        others, rest = every[order[:few]], every[order[few:]]
        count, blocks = len(rest), iter(np.array_split(rest, max(1, len(rest) // 4096)))
    vectors = np.lib.format.open_memmap(
        options.work / "vectors.npy", "w+", np.float32, (count, others.shape[1])
    )
    at = 0
    for block in blocks:
        vectors[at : at + len(block)] = block
        at += len(block)
    vectors.flush()
    del vectors
    print("finding the true neighbors", file=sys.stderr, flush=True)
    with omp_threads(options.threads):
        truth = exact_neighbors(options.work, others, 100)
    held = len(others) // 3
    for name, array in {
        "held": others[:held],
        "held_truth": truth[:held],
        "queries": others[held:],
        "truth": truth[held:],
    }.items():
        np.save(options.work / f"{name}.npy", array)
    note.write_text(wanted)


def kind_of(options: argparse.Namespace) -> str:
    """What the vectors are."""
    if options.cutouts:
        return f"{' and '.join(options.cutouts)}, {options.weights}, {options.px} px"
    return str(options.vectors or "synthetic")


def exact_neighbors(work: Path, queries: np.ndarray, k: int) -> np.ndarray:
    """Rows of the k nearest vectors, shape (q, k), block by block."""
    import faiss

    best = np.full((len(queries), 0), np.inf, np.float32)
    rows = np.empty((len(queries), 0), np.int64)
    start = 0
    for block in read_blocks(work):
        distances, near = faiss.knn(queries, block, min(k, len(block)))
        best, rows = np.hstack([best, distances]), np.hstack([rows, near + start])
        order = np.argsort(best, axis=1, kind="stable")[:, :k]
        best, rows = np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)
        start += len(block)
    return rows


def from_parquet(path: Path) -> np.ndarray:
    """The column ``vector`` of either storage, float32, shape (n, d)."""
    import pyarrow.parquet as pq

    from elodin_spark.arrow import to_matrix

    return to_matrix(pq.read_table(path, columns=["vector"]).column("vector").combine_chunks())


def report(record: dict[str, Any]) -> None:
    """JSON, then a table."""
    print(json.dumps(record, indent=1))
    print(f"\n{record['count']:,} x {record['dimension']} {record['vectors']} vectors")
    print(f"{record['threads']} thread(s), {record['cpu']}, load {record['load_average']:.1f}")
    print(f"OPENBLAS_CORETYPE {record['OPENBLAS_CORETYPE']}\n")
    print(
        "| index | factory | build s | CPU s | peak MB | B/vector | recall@10 | batch/s | p50 ms | p99 ms |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, each in record["results"].items():
        numbers = [
            *(f"{each[key]:.1f}" for key in ("build_seconds", "build_cpu_seconds")),
            *(f"{each[key]:.0f}" for key in ("build_peak_mb", "memory_bytes_per_vector")),
            f"{each['recall@10']:.3f}",
            f"{each['batch_per_second']:.0f}",
            *(f"{each[key]:.2f}" for key in ("single_ms_p50", "single_ms_p99")),
        ]
        print(f"| {name} | `{each['index_config']}` | {' | '.join(numbers)} |")


def cpu_model() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
