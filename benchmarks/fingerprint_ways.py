"""The ways to fingerprint that `fingerprint.py` compares, each warm-up, work and answers alike.

Every way answers the same windows of the same tiles. Those on Spark have Python workers of their
own, started anew each time: two networks in one process would share its memory and its threads.
"""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from machine import tree_cpu
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf
from pyspark.sql.types import ArrayType, FloatType

from elodin_spark.catalog import Catalog
from elodin_spark.config.load import parse_settings
from elodin_spark.config.settings import Precision, Settings
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.fingerprints.runtimes.framework import load_keras
from elodin_spark.fingerprints.runtimes.network import load_model
from elodin_spark.fingerprints.stage import FingerprintSpec
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.spark.udf import fingerprint_udf
from elodin_spark.stage import fuse, run_plain

PX = 224
STEP_PX = 96
#: Of the environment of Python workers: Spark keeps workers of different ones apart.
_WORKERS = "ELODIN_BENCHMARK_WORKERS"
#: One thread for each worker's TensorFlow; Spark itself sees to OMP_NUM_THREADS.
_ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}

#: By cutout ID.
Vectors = dict[int, np.ndarray]


@dataclass(frozen=True)
class Sizes:
    """What a benchmark works on.

    Attributes
    ----------
    files : list of Path
        Tiles, each of the same number of windows.
    windows : pyarrow.Table
        `tile`, `cutout_id`, `pixels`, `pixel_shape`, and `signed`, the pixels as an array<tinyint>.
    cores, batch : int
    """

    files: list[Path]
    windows: pa.Table
    cores: int
    batch: int


class Way(Protocol):
    """One way to fingerprint the windows of the first so many tiles."""

    name: str

    def start(self) -> None:
        """Let go of warm processes."""

    def work(self, tiles: int) -> tuple[float, float]:
        """Do it; CPU seconds of all processes that worked, and seconds by the clock."""

    def answers(self, tiles: int) -> Vectors:
        """Do it, and give the vectors."""

    def stop(self) -> None:
        """End what :meth:`start` began."""


def settings_of(
    files: Sequence[Path],
    precision: Precision,
    cores: int,
    batch: int,
    int8: str | None,
    mode: Literal["window", "dense"] = "window",
) -> Settings:
    """Of a run over the tiles: the defaults, but for the network and the stages after it."""
    return parse_settings(
        {
            "images": {"paths": [str(file) for file in files], "root": str(files[0].parent)},
            "cutouts": {"generator": {"kind": "sliding_window", "size": PX, "step": STEP_PX, "edge": "drop"}},
            "fingerprints": {
                "weights": "random:0",
                "runtime": "openvino",
                "precision": precision,
                "mode": mode,
                "batch_size": batch,
                "int8_model": int8 if precision == "int8" else None,
                # What the others do: the network alone.
                "transform": "none",
                "labels": "units",
            },
            "spark": {"master": f"local[{cores}]"},
        }
    )


def cut(files: Sequence[Path]) -> pa.Table:
    """All windows of the tiles, as :class:`Sizes` holds them."""
    settings = settings_of(files, "f32", 1, 1, None)
    spec = fuse(DescribeSpec.from_settings(settings.images), TileSpec.from_settings(settings))
    tables = []
    for number, file in enumerate(files):
        listed = files_to_batches(list_files([str(file)], str(file.parent)))
        rows = run_plain(spec, listed)
        rows = rows.filter(rows.column("cutout_id").is_valid())
        found = rows.select(["cutout_id", "pixels", "pixel_shape"])
        signed = np.frombuffer(b"".join(rows.column("pixels").to_pylist()), np.int8)
        lists = pa.ListArray.from_arrays(
            np.arange(0, signed.size + 1, PX * PX, dtype=np.int32), pa.array(signed)
        )
        tables.append(
            found.append_column("signed", lists).append_column("tile", pa.array([number] * len(rows)))
        )
    return pa.concat_tables(tables)


# ---- the bare runtime --------------------------------------------------------------------------


class Loop:
    """The runtime in a loop in as many processes as there are cores; pixels in memory, no Spark."""

    def __init__(self, sizes: Sizes, spec: FingerprintSpec, pixels: Path) -> None:
        self.name = "bare runtime in a loop"
        self._sizes, self._spec, self._pixels = sizes, spec, pixels
        self._links: list[Connection] = []
        self._processes: list[Any] = []

    def start(self) -> None:
        """Start the processes."""
        fresh = multiprocessing.get_context("spawn")
        for _ in range(self._sizes.cores):
            here, there = fresh.Pipe()
            process = fresh.Process(target=_loop, args=(there, self._spec, self._pixels), daemon=True)
            process.start()
            self._links.append(here)
            self._processes.append(process)

    def _ask(self, tiles: int, give: bool) -> list[tuple[float, np.ndarray | None]]:
        windows = _first(self._sizes, tiles)
        ends = np.linspace(0, windows, self._sizes.cores + 1).astype(int)
        for link, start, end in zip(self._links, ends[:-1], ends[1:], strict=True):
            link.send((int(start), int(end), give))
        return [link.recv() for link in self._links]

    def work(self, tiles: int) -> tuple[float, float]:
        """All windows, a part in each process."""
        began = time.perf_counter()
        cpu = sum(cpu for cpu, _ in self._ask(tiles, give=False))
        return cpu, time.perf_counter() - began

    def answers(self, tiles: int) -> Vectors:
        """Vectors of all windows."""
        found = [vectors for _, vectors in self._ask(tiles, give=True) if vectors is not None]
        ids = self._sizes.windows.column("cutout_id").to_pylist()[: _first(self._sizes, tiles)]
        return dict(zip(ids, np.concatenate(found), strict=True))

    def stop(self) -> None:
        """End the processes."""
        for link, process in zip(self._links, self._processes, strict=True):
            link.send(None)
            process.join()
        self._links, self._processes = [], []


def _loop(link: Connection, spec: FingerprintSpec, pixels: Path) -> None:
    from time import process_time

    windows, runtime = np.load(pixels), None
    while (asked := link.recv()) is not None:
        start, end, give = asked
        began = process_time()
        if runtime is None:
            runtime = spec.load(str)[0]
        size = spec.batch_size
        found = [runtime(windows[i : min(i + size, end)])[0] for i in range(start, end, size)]
        link.send((process_time() - began, np.concatenate(found) if give else None))


def _first(sizes: Sizes, tiles: int) -> int:
    return sizes.windows.num_rows // len(sizes.files) * tiles


# ---- on Spark -----------------------------------------------------------------------------------


class _OnSpark:
    """A way on Spark, in Python workers of its own."""

    def __init__(self, spark: SparkSession, sizes: Sizes, name: str) -> None:
        self.name = name
        self._spark, self._sizes, self._starts = spark, sizes, 0

    def start(self) -> None:
        """New workers from here on; Spark ends the old ones when they were idle for a minute."""
        self._starts += 1
        self._environment()

    def _environment(self) -> None:
        environment = self._spark.sparkContext.environment
        environment.update(_ONE_THREAD | {_WORKERS: f"{self.name} {self._starts}"})

    def stop(self) -> None:
        """Nothing: the workers end by themselves."""


class OverFrame(_OnSpark):
    """A function over a DataFrame of windows that Spark holds in memory."""

    def __init__(
        self,
        spark: SparkSession,
        sizes: Sizes,
        name: str,
        frames: dict[int, DataFrame],
        make: Callable[[], Callable[[DataFrame], DataFrame]],
    ) -> None:
        super().__init__(spark, sizes, name)
        self._frames, self._make = frames, make

    def start(self) -> None:
        """New workers: the function is bound to them when it is made."""
        super().start()
        self._apply = self._make()

    def work(self, tiles: int) -> tuple[float, float]:
        """Give each window a vector, and let it go."""
        self._environment()
        with tree_cpu() as taken:
            self._apply(self._frames[tiles]).write.format("noop").mode("overwrite").save()
        return taken["cpu"], taken["wall"]

    def answers(self, tiles: int) -> Vectors:
        """Vectors, collected."""
        self._environment()
        rows = self._apply(self._frames[tiles]).toArrow()
        return _vectors(rows)


def frames_of(spark: SparkSession, sizes: Sizes, folder: Path, tiles: Sequence[int]) -> dict[int, DataFrame]:
    """Windows of the first so many tiles as DataFrames, each in one partition a core, in memory."""
    pq.write_table(sizes.windows, folder / "windows.parquet", row_group_size=64, compression="none")
    rows = spark.read.parquet((folder / "windows.parquet").as_uri())
    frames = {}
    for count in tiles:
        frame = rows.where(F.col("tile") < count).repartition(sizes.cores).persist()
        assert frame.count() == _first(sizes, count)
        frames[count] = frame
    return frames


def plain_keras(weights: Weights, batch: int) -> Callable[[DataFrame], DataFrame]:
    """``predict`` in an iterator pandas UDF, as guides to inference on Spark show it."""

    def vectors(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        keras = load_keras(1, ("tensorflow",))
        model = load_model(weights, "resnet50", PX)
        preprocess = keras.applications.resnet50.preprocess_input
        for pixels in batches:
            images = np.stack([np.frombuffer(p, np.uint8).reshape(PX, PX, 1) for p in pixels])
            rgb = np.repeat(images, 3, axis=-1).astype(np.float32)
            found = model.predict(preprocess(rgb), batch_size=batch, verbose=0)
            yield pd.Series(list(found[0] if isinstance(found, list) else found))

    vectors.__annotations__ = {"batches": Iterator[pd.Series], "return": Iterator[pd.Series]}
    udf = pandas_udf(vectors, "array<float>")
    return lambda frame: frame.select("cutout_id", udf("pixels").alias("vector"))


def batch_udf(weights: Weights, batch: int) -> Callable[[DataFrame], DataFrame]:
    """``predict_batch_udf`` of pyspark.ml with a ``tf.function``, over array<tinyint>."""

    def make() -> Callable[[np.ndarray], np.ndarray]:
        import tensorflow as tf

        keras = load_keras(1, ("tensorflow",))
        model = load_model(weights, "resnet50", PX)
        preprocess = keras.applications.resnet50.preprocess_input

        @tf.function(autograph=False)
        def run(pixels: Any) -> Any:
            values = tf.cast(tf.bitcast(pixels, tf.uint8), tf.float32)
            found = model(preprocess(tf.repeat(values[..., None], 3, axis=-1)), training=False)
            return found[0] if isinstance(found, list) else found

        return lambda pixels: run(tf.constant(pixels)).numpy()

    udf = predict_batch_udf(
        make, return_type=ArrayType(FloatType()), batch_size=batch, input_tensor_shapes=[[PX, PX]]
    )
    return lambda frame: frame.select("cutout_id", udf("signed").alias("vector"))


def our_udf(
    spark: SparkSession, precision: Precision, batch: int, int8: str | None
) -> Callable[[DataFrame], DataFrame]:
    """``fingerprint_udf`` over the windows' bytes."""
    udf = fingerprint_udf(
        spark,
        weights="random:0",
        runtime="openvino",
        precision=precision,
        batch_size=batch,
        int8_model=int8 if precision == "int8" else None,
    )
    return lambda frame: frame.select(
        "cutout_id", udf("pixels", "pixel_shape").alias("fingerprint")
    ).selectExpr("cutout_id", "fingerprint.vector")


class FusedRun(_OnSpark):
    """``elodin-spark run`` from FITS files to the Parquet tables of a catalog, in either mode."""

    def __init__(
        self,
        spark: SparkSession,
        sizes: Sizes,
        name: str,
        precision: Precision,
        int8: str | None,
        folder: Path,
        mode: Literal["window", "dense"] = "window",
    ) -> None:
        super().__init__(spark, sizes, name)
        self._precision, self._int8, self._folder, self._mode = precision, int8, folder, mode

    def _run(self, tiles: int) -> tuple[float, float]:
        self._environment()
        sizes, path = self._sizes, self._folder / "catalog"
        shutil.rmtree(path, ignore_errors=True)
        how = (self._precision, sizes.cores, sizes.batch, self._int8, self._mode)
        settings = settings_of(sizes.files[:tiles], *how)
        catalog = Catalog.create(path, settings)  # compares precisions, once for a catalog
        with tree_cpu() as taken:
            catalog.run(stages=("cutouts", "fingerprints"))
        return taken["cpu"], taken["wall"]

    def work(self, tiles: int) -> tuple[float, float]:
        """Make a catalog without its products."""
        return self._run(tiles)

    def answers(self, tiles: int) -> Vectors:
        """Make it, and read it."""
        self._run(tiles)
        files = sorted((self._folder / "catalog").glob("tables/fingerprints/**/*.parquet"))
        return _vectors(pa.concat_tables([pq.read_table(file) for file in files]))


def _vectors(rows: pa.Table) -> Vectors:
    ids, vectors = rows.column("cutout_id").to_pylist(), rows.column("vector").combine_chunks()
    flat = np.asarray(vectors.flatten(), np.float32).reshape(len(ids), -1)
    return dict(zip(ids, flat, strict=True))
