"""The index on executors: a shard made from tables, and a shard compared with queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from elodin_spark.arrow import to_matrix
from elodin_spark.neighbors.ivf.index import ApproximateL2Index, Search
from elodin_spark.neighbors.ivf.shard import Shard, add_shard
from elodin_spark.neighbors.ivf.training import Trained
from elodin_spark.schema import NEIGHBORS
from elodin_spark.stage import Locate, Stage

_BATCH_ROWS = 4096

#: A shard to make: its folder, and the folders of Parquet files whose vectors it takes.
SHARD_JOBS = pa.schema([pa.field("shard", pa.string()), pa.field("parts", pa.list_(pa.string()))])
#: A shard that was made.
SHARDS_MADE = pa.schema([pa.field("shard", pa.string()), pa.field("count", pa.int64())])
#: Of one shard, what is nearest to a query.
SCANNED = pa.schema(
    [pa.field("query", pa.int32()), NEIGHBORS.field("neighbor_id"), NEIGHBORS.field("distance")]
)


@dataclass(frozen=True)
class ShardSpec:
    """Makes the shards of :data:`SHARD_JOBS` from the vectors of the fingerprints table.

    A shard that is there is left as it is.

    Parameters
    ----------
    trained : str
        The trained index, on a file system that driver and executors share.
    memory_bytes : int
        For the codes of a shard; more are spilled to its files.
    """

    trained: str
    memory_bytes: int
    files: tuple[str, ...] = ()
    output_schema: pa.Schema = SHARDS_MADE

    def build(self, locate: Locate) -> Stage:
        """Build the stage."""
        return MakeShards(
            lambda: Trained.load(self.trained),
            lambda shard, trained: Shard(shard, trained, mapped=True).record,
            lambda shard, trained, parts: add_shard(
                shard, trained, stream_vectors(parts), memory_bytes=self.memory_bytes
            ),
        )


class MakeShards:
    """The stage that makes the shards of :data:`SHARD_JOBS`; one that is there is left as it is.

    Parameters
    ----------
    load : callable
        Gives what all shards are made from, once there is one to make.
    read : callable
        Takes the folder of a shard that is there and what was loaded; gives its record.
    make : callable
        Takes the folder of a shard, what was loaded, and folders of Parquet files; gives its record.
    """

    output_schema = SHARDS_MADE

    def __init__(
        self,
        load: Callable[[], Any],
        read: Callable[[Path, Any], dict[str, Any]],
        make: Callable[[Path, Any, list[Path]], dict[str, Any]],
    ) -> None:
        self._load, self._read, self._make = load, read, make

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Make them one by one."""
        loaded = None
        for batch in batches:
            for job in batch.to_pylist():
                loaded = self._load() if loaded is None else loaded
                shard = Path(job["shard"])
                if (shard / "shard.json").exists():
                    made = self._read(shard, loaded)
                else:
                    made = self._make(shard, loaded, [Path(part) for part in job["parts"]])
                yield pa.RecordBatch.from_pydict(
                    {"shard": [job["shard"]], "count": [made["count"]]}, schema=SHARDS_MADE
                )


@dataclass(frozen=True)
class ScanSpec:
    """Compares queries with every vector of the shards of :data:`SHARD_JOBS`; exact.

    Parameters
    ----------
    trained : str
        The trained index.
    queries : bytes
        Vectors, float32, C order.
    k : int
        Neighbors wanted of each query in each shard.
    """

    trained: str
    queries: bytes
    k: int
    files: tuple[str, ...] = ()
    output_schema: pa.Schema = SCANNED

    def build(self, locate: Locate) -> Stage:
        """Build the stage."""

        def scan(shard: str, trained: Trained) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
            queries = np.frombuffer(self.queries, np.float32).reshape(-1, trained.dimension)
            opened = Shard(shard, trained, mapped=True)
            index = ApproximateL2Index(trained, [opened], Search(nprobe=1, candidates=1))
            return index.scan(queries, min(self.k, len(index)))

        return ScanShards(lambda: Trained.load(self.trained), scan)


class ScanShards:
    """The stage that compares queries with the shards of :data:`SHARD_JOBS`.

    Parameters
    ----------
    load : callable
        Gives what all shards were made from, once there is one to read.
    scan : callable
        Takes the folder of a shard and what was loaded; gives IDs and distances, both of shape (q, k).
    """

    output_schema = SCANNED

    def __init__(
        self,
        load: Callable[[], Any],
        scan: Callable[[str, Any], tuple[NDArray[np.int64], NDArray[np.float64]]],
    ) -> None:
        self._load, self._scan = load, scan

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Scan them one by one."""
        loaded = None
        for batch in batches:
            for shard in batch.column("shard").to_pylist():
                loaded = self._load() if loaded is None else loaded
                yield scanned(*self._scan(shard, loaded))


def scanned(ids: NDArray[np.int64], distances: NDArray[np.float64]) -> pa.RecordBatch:
    """Neighbors of queries, both of shape (q, k), as rows of :data:`SCANNED`."""
    rows = np.repeat(np.arange(len(ids), dtype=np.int32), ids.shape[1])
    columns = [pa.array(rows), pa.array(ids.ravel()), pa.array(distances.ravel())]
    return pa.RecordBatch.from_arrays(columns, schema=SCANNED)


def stream_vectors(parts: list[Path]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """(IDs, vectors) of folders of Parquet files of the fingerprints table, or of such files.

    In batches of 4,096, the last one shorter, wherever the files begin and end.
    """
    files = [str(file) for part in parts for file in (sorted(part.glob("*.parquet")) or [part])]
    held: list[pa.RecordBatch] = []
    table = ds.dataset(files, format="parquet")
    # Read ahead but little: a batch of 2048 components is 32 MiB.
    for batch in table.to_batches(
        columns=["cutout_id", "vector"], batch_size=_BATCH_ROWS, batch_readahead=1, fragment_readahead=1
    ):
        held.append(batch)
        while sum(len(some) for some in held) >= _BATCH_ROWS:
            rows = pa.Table.from_batches(held)
            yield _arrays(rows.slice(0, _BATCH_ROWS))
            held = rows.slice(_BATCH_ROWS).to_batches()
    if any(len(some) for some in held):
        yield _arrays(pa.Table.from_batches(held))


def _arrays(rows: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return rows.column("cutout_id").to_numpy(), to_matrix(rows.column("vector").combine_chunks())
