"""Indices to compare with, each in a process of its own: FAISS flat and autofaiss.

Needs NumPy, FAISS and, for autofaiss, autofaiss, but not elodin_spark, so that it runs in the
environment of autofaiss. A process builds, prints a line of JSON, and then answers the line
``round`` on standard input with a line of timings, until its input ends.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

_BLOCK = 4096
_SINGLES = 100


def read_blocks(work: Path, name: str = "vectors.npy") -> Iterator[np.ndarray]:
    """Blocks of a .npy of float32, read and not mapped, so that they do not count as memory."""
    with (work / name).open("rb") as file:
        np.lib.format.read_magic(file)
        (count, width), _, _ = np.lib.format.read_array_header_1_0(file)
        for start in range(0, count, _BLOCK):
            rows = min(_BLOCK, count - start)
            yield np.fromfile(file, np.float32, rows * width).reshape(rows, width)


def peak_mb() -> float:
    """The most memory that this process had, in MB, mapped pages included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def anonymous_mb() -> float:
    """Memory of this process that is no file's, in MB, now."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1]) / 1e3


def serve(
    built: dict[str, Any],
    search: Callable[[np.ndarray], np.ndarray],
    single: Callable[[int], Any],
    queries: np.ndarray,
    truth: np.ndarray,
) -> None:
    """Print what was built; then time a batch and single queries whenever asked to."""
    out = os.fdopen(int(os.environ["BENCHMARK_REPLIES"]), "w")

    def say(record: dict[str, Any]) -> None:
        print(json.dumps(record), file=out, flush=True)

    found = search(queries)
    recall = np.mean([np.isin(true[:10], near).mean() for true, near in zip(truth, found, strict=True)])
    say({**built, "recall@10": float(recall), "anonymous_mb": anonymous_mb()})
    for _ in sys.stdin:
        started = time.perf_counter()
        search(queries)
        batch = len(queries) / (time.perf_counter() - started)
        singles = []
        for row in range(_SINGLES):
            started = time.perf_counter()
            single(row)
            singles.append(1e3 * (time.perf_counter() - started))
        p50, p99 = np.percentile(singles, [50, 99])
        say({"batch_per_second": batch, "single_ms_p50": p50, "single_ms_p99": p99, "peak_mb": peak_mb()})


def main() -> None:
    """Build the index named first in the folder named second."""
    import faiss

    kind, work, threads, bytes_per_vector = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    faiss.omp_set_num_threads(threads)
    queries, truth = np.load(work / "queries.npy"), np.load(work / "truth.npy")
    started, cpu = time.perf_counter(), time.process_time()
    if kind == "flat":
        index = faiss.IndexFlatL2(queries.shape[1])
        count = int(np.load(work / "vectors.npy", mmap_mode="r").shape[0])
        index.codes.resize(count * queries.shape[1] * 4)
        index.codes.clear()
        for block in read_blocks(work):
            index.add(block)
        size, name = queries.shape[1] * 4.0, "Flat"
    else:
        from autofaiss import build_index

        count = int(np.load(work / "vectors.npy", mmap_mode="r").shape[0])
        folder = work / "autofaiss"
        folder.mkdir(exist_ok=True)
        (folder / "in").mkdir(exist_ok=True)
        if not (folder / "in" / "vectors.npy").exists():
            (folder / "in" / "vectors.npy").symlink_to(work.resolve() / "vectors.npy")
        # It wants memory for the vectors it trains on, and takes all that is said to be there.
        _, record = build_index(
            embeddings=str(folder / "in"),
            index_path=str(folder / "knn.index"),
            index_infos_path=str(folder / "infos.json"),
            max_index_memory_usage=f"{int(bytes_per_vector) * count}B",
            current_memory_available=sys.argv[5],
            metric_type="l2",
            nb_cores=threads,
        )
        index = faiss.read_index(str(folder / "knn.index"))
        parameters = json.loads((folder / "infos.json").read_text(encoding="utf-8"))
        faiss.ParameterSpace().set_index_parameters(index, parameters["index_param"])
        size = (folder / "knn.index").stat().st_size / count
        name = f"{parameters['index_key']} {parameters['index_param']}"
        del record
    built = {
        "recipe": name,
        "build_seconds": time.perf_counter() - started,
        "build_cpu_seconds": time.process_time() - cpu,
        "memory_bytes_per_vector": size,
        "build_peak_mb": peak_mb(),
    }
    serve(
        built,
        lambda some: index.search(some, 10)[1],
        lambda row: index.search(queries[row : row + 1], 10),
        queries,
        truth,
    )


if __name__ == "__main__":
    main()
