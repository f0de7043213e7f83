"""Ways to find the nearest label sets, in one run: accuracy, speed, bytes.

    python benchmarks/jaccard.py --count 100000
    python benchmarks/jaccard.py --count 1000000 --without hash multihash inverted
    python benchmarks/jaccard.py --fingerprints runs/mine/tables/fingerprints

Each way is one row: FAISS over bit codes (flat, IVF, hash, multihash), inverted lists from labels to
sets that stop when no further set can be near enough (exact, NumPy), and the shards of this package.
Rounds go around the ways by turns; medians are printed. One thread. A neighbor counts as found if it is no
farther than the true one of its rank: sets that tie stand for each other.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from machine import interleaved, machine, one_thread, report
from numpy.typing import NDArray
from synthetic_labels import synthetic_labels

from elodin_spark.config.settings import NeighborsSettings
from elodin_spark.neighbors.base import ExternalQueries
from elodin_spark.neighbors.labels.bitcodes import encode
from elodin_spark.neighbors.labels.clustering import LabelCenters, list_count, train_centers, training_size
from elodin_spark.neighbors.labels.index import LabelIndex
from elodin_spark.neighbors.labels.shard import add_label_shard

_K, _RANKS = 100, (1, 10, 100)
_NPROBES = (8, 32, 128)
Search = Callable[[], NDArray[np.float64]]  # distances of the queries, shape (q, k), inf where there is none


def main() -> None:
    """Parse the command line, run, report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=100_000, help="synthetic sets")
    parser.add_argument("--spread", type=float, default=0.9, help="of synthetic sets within a family")
    parser.add_argument("--labels", type=int, default=1000, help="in the universe")
    parser.add_argument("--size", type=int, default=30, help="labels of a set")
    parser.add_argument("--fingerprints", type=Path, help="folder of a fingerprints table instead")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lists", type=int, help="of the two that sort sets into lists")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="folder for the shards; a temporary one by default")
    parser.add_argument("--json", action="store_true")
    ways = ("ivf", "hash", "multihash", "inverted")
    parser.add_argument("--without", nargs="*", default=[], choices=ways)
    options = parser.parse_args()
    one_thread()
    with tempfile.TemporaryDirectory(prefix="jaccard-", dir=options.work) as folder:
        rows = run(options, Path(folder))
    facts = {
        "machine": machine("faiss-cpu", "numpy"),
        "recall_setting": NeighborsSettings().recall,
        **{name: getattr(options, name) for name in ("count", "spread", "labels", "size", "queries", "seed")},
    }
    report(facts, rows, as_json=options.json)


def run(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Build every way, take their times by turns, compare what they find."""
    import faiss

    faiss.omp_set_num_threads(1)
    sets, queries, n_labels = read(options)
    lists = options.lists or max(16, list_count(max(len(sets), 200_000)))
    codes, asked = (encode(list(some), n_labels, "the benchmark") for some in (sets, queries))
    ways: dict[str, tuple[Search, float, float]] = {}  # how, seconds to build, bytes a set
    for name, way in made(options, folder, sets, queries, codes, asked, lists, n_labels):
        ways[name] = way
    times = interleaved({name: way[0] for name, way in ways.items()}, options.rounds)
    exact = ways["FAISS flat"][0]()
    rows = []
    for name, (search, seconds, size) in ways.items():
        found = search()
        recalls = {f"recall@{rank}": recall(found, exact, rank) for rank in _RANKS}
        speed = len(queries) / times[name]["wall"]
        rows.append({"way": name, **recalls, "queries/s": speed, "B/set": size, "build s": seconds})
    return rows


def read(options: argparse.Namespace) -> tuple[NDArray[np.uint16], NDArray[np.uint16], int]:
    """Sets, held-back queries, and the size of the universe; real sets are those of full size."""
    if options.fingerprints is None:
        common = {"labels": options.labels, "size": options.size, "spread": options.spread}
        sets = synthetic_labels(options.count, 0, seed=options.seed, **common)
        return sets, synthetic_labels(options.queries, 1, seed=options.seed, **common), options.labels
    import pyarrow.dataset as ds

    column = ds.dataset(options.fingerprints, format="parquet").to_table(columns=["labels"])["labels"]
    whole = [row for row in column.to_pylist() if len(row) >= options.size]
    sets = np.array([row[: options.size] for row in whole], np.uint16)
    sets = sets[np.random.default_rng(options.seed).permutation(len(sets))]
    return sets[options.queries :], sets[: options.queries], int(sets.max()) + 1


def made(
    options: argparse.Namespace,
    folder: Path,
    sets: NDArray[np.uint16],
    queries: NDArray[np.uint16],
    codes: NDArray[np.uint8],
    asked: NDArray[np.uint8],
    lists: int,
    n_labels: int,
) -> Iterator[tuple[str, tuple[Search, float, float]]]:
    """Build the ways one after the other."""
    import faiss

    width, size = codes.shape[1], sets.shape[1]
    rng = np.random.default_rng(options.seed)
    sample = rng.choice(len(sets), min(len(sets), training_size(lists)), replace=False)

    def of(index: Any, **settings: Any) -> Search:
        def search() -> NDArray[np.float64]:
            for name, value in settings.items():
                setattr(index, name, value)
            hamming, ids = index.search(asked, _K)
            return np.where(ids < 0, np.inf, 2 * hamming / (2.0 * size + hamming))

        return search

    started = time.perf_counter()
    flat = faiss.IndexBinaryFlat(8 * width)
    flat.add(codes)
    yield "FAISS flat", (of(flat), time.perf_counter() - started, width)
    if "ivf" not in options.without:
        started = time.perf_counter()
        quantizer = faiss.IndexBinaryFlat(8 * width)
        ivf = faiss.IndexBinaryIVF(quantizer, 8 * width, lists)
        ivf.train(codes[sample])
        ivf.add(codes)
        seconds = time.perf_counter() - started
        for nprobe in _NPROBES:
            yield f"FAISS IVF, {nprobe} of {lists}", (of(ivf, nprobe=nprobe), seconds, width + 8)
    for name in ("hash", "multihash"):
        if name in options.without:
            continue
        started = time.perf_counter()
        index = (
            faiss.IndexBinaryHash(8 * width, 16)
            if name == "hash"
            else faiss.IndexBinaryMultiHash(8 * width, 16, 16)
        )
        index.add(codes)
        entries = 8 if name == "hash" else 8 * 16
        way = of(index, nflip=1 if name == "hash" else 0)
        yield f"FAISS {name}", (way, time.perf_counter() - started, width + entries)
    if "inverted" not in options.without:
        started = time.perf_counter()
        inverted = Inverted(sets, n_labels)
        seconds = time.perf_counter() - started
        yield (
            "inverted lists",
            (lambda: np.array([inverted.search(query) for query in queries]), seconds, 6 * size),
        )
    yield from shards(folder, sets, queries, sample, lists, n_labels)


def shards(
    folder: Path,
    sets: NDArray[np.uint16],
    queries: NDArray[np.uint16],
    sample: NDArray[np.int64],
    lists: int,
    n_labels: int,
) -> Iterator[tuple[str, tuple[Search, float, float]]]:
    """Ours, in two shards."""
    started = time.perf_counter()
    centers = train_centers(list(sets[sample]), lists, n_labels)
    ids = np.arange(len(sets))
    for half in np.array_split(ids, 2):
        batches = ((some, list(sets[some])) for some in np.array_split(half, max(1, len(half) // 8192)))
        add_label_shard(folder / f"shard-{half[0]}", centers, batches)
    seconds = time.perf_counter() - started
    folders = sorted(folder.iterdir())
    size = sum(file.stat().st_size for file in folder.rglob("*.bin")) / len(sets)

    def of(index: LabelIndex) -> Search:
        asked = ExternalQueries(np.empty((len(queries), 0), np.float32), list(queries))
        return lambda: index.search(asked, _K)[1]

    for nprobe in (*_NPROBES, len(centers)):
        index = LabelIndex(centers, [_opened(shard, centers) for shard in folders], nprobe)
        yield f"shards, {min(nprobe, len(centers))} of {len(centers)}", (of(index), seconds, size)


def _opened(folder: Path, centers: LabelCenters) -> Any:
    from elodin_spark.neighbors.labels.shard import LabelShard

    return LabelShard(folder, centers)


class Inverted:
    """Lists of the sets that hold each label, read from the rarest label of a query on.

    A set that shares none of the i rarest labels of a query of size s shares at most s - i, so its
    Jaccard index is at most (s - i) / s; reading stops when the k-th best so far is above that.
    """

    def __init__(self, sets: NDArray[np.uint16], n_labels: int) -> None:
        self._sets, self._labels = sets, n_labels
        order = np.argsort(sets.ravel(), kind="stable")
        self._rows = (order // sets.shape[1]).astype(np.uint32)
        self._starts = np.searchsorted(sets.ravel()[order], np.arange(n_labels + 1))
        self._seen = np.zeros(len(sets), bool)

    def search(self, query: NDArray[np.uint16]) -> NDArray[np.float64]:
        """Distances of the nearest sets, shape (k,)."""
        size = query.size
        lengths = self._starts[query.astype(int) + 1] - self._starts[query]
        member = np.zeros(self._labels, np.uint8)
        member[query] = 1
        best = np.empty(0, np.int64)
        touched = []
        for read, label in enumerate(query[np.argsort(lengths)].astype(int)):
            if best.size >= _K and best.min() > size - read:
                break
            rows = self._rows[self._starts[label] : self._starts[label + 1]]
            rows = rows[~self._seen[rows]]
            self._seen[rows] = True
            touched.append(rows)
            best = np.concatenate([best, member[self._sets[rows]].sum(axis=1)])
            best = np.partition(best, -_K)[-_K:] if best.size > _K else best
        for rows in touched:
            self._seen[rows] = False
        shared = np.sort(best)[::-1].astype(float)
        out = 1 - shared / (2 * size - shared)
        return np.concatenate([out, np.full(_K - out.size, np.inf)])


def recall(found: NDArray[np.float64], exact: NDArray[np.float64], rank: int) -> float:
    """Mean share of the first ranks whose neighbor is no farther than the true one at the last rank."""
    limit = exact[:, rank - 1 : rank] + 1e-12
    return float((found[:, :rank] <= limit).mean())


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
