"""Running a stage on Spark: ``mapInArrow`` over its one contract."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

import pyarrow as pa
from pyspark import SparkContext, SparkFiles
from pyspark.sql import DataFrame, SparkSession

from elodin_spark import schema
from elodin_spark.images.listing import ImageFile
from elodin_spark.spark.gpu import Gpus, gpu_profile, session_gpus, take_gpu
from elodin_spark.spark.tables import spark_schema
from elodin_spark.spark.workers import forget_zip_finders
from elodin_spark.stage import StageSpec, wants_gpu

#: Slices of work per core: enough to even out slow images, few enough to fill batches.
SLICES_PER_CORE = 3

#: Paths that were shipped, by application.
_SHIPPED: WeakKeyDictionary[SparkContext, set[str]] = WeakKeyDictionary()


def run_stage(rows: DataFrame, spec: StageSpec) -> DataFrame:
    """Apply a stage to a DataFrame, lazily.

    Parameters
    ----------
    rows : pyspark.sql.DataFrame
        With the columns the stage reads, by name.
    spec : StageSpec
        Its `files` are shipped to the executors by Spark. Where it holds a network and the
        session has GPUs, its tasks have one each; see :mod:`elodin_spark.spark.gpu`.

    Returns
    -------
    pyspark.sql.DataFrame
        Of ``spec.output_schema``.

    Raises
    ------
    ConfigError
        As :func:`~elodin_spark.spark.gpu.gpu_profile`.
    """
    spark = rows.sparkSession
    ship_files(spark, spec.files)
    gpus = session_gpus(spark) if wants_gpu(spec) else None
    profile = None if gpus is None else gpu_profile(spark, gpus)
    return rows.mapInArrow(_apply(spec, gpus), spark_schema(spec.output_schema), profile=profile)


def ship_files(spark: SparkSession, paths: Iterable[str]) -> None:
    """Have Spark bring files to the executors, each once for an application: it warns of a second time."""
    context = spark.sparkContext
    shipped = _SHIPPED.setdefault(context, set())
    for path in paths:
        if path not in shipped:
            context.addFile(path)
            shipped.add(path)


def _apply(
    spec: StageSpec, gpus: Gpus | None
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        take_gpu(gpus)  # before the framework is imported
        forget_zip_finders()
        stage = spec.build(lambda path: SparkFiles.get(Path(path).name))
        return stage(batches)

    return run


def files_frame(spark: SparkSession, files: Sequence[ImageFile]) -> DataFrame:
    """Spread files over the executors, evenly by size.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
    files : sequence of ImageFile

    Returns
    -------
    pyspark.sql.DataFrame
        Of :data:`elodin_spark.schema.FILES`, in a multiple of the cores' number of slices.
    """
    context = spark.sparkContext
    slices = pack(files, SLICES_PER_CORE * context.defaultParallelism)

    def rows_of(files: list[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
        forget_zip_finders()
        return files

    rows = context.parallelize(slices, max(len(slices), 1)).flatMap(rows_of)
    return spark.createDataFrame(rows, spark_schema(schema.FILES), verifySchema=False)


def pack(files: Sequence[ImageFile], n_slices: int) -> list[list[tuple[str, str, int]]]:
    """Deal files to at most `n_slices` lists of about equal bytes, the largest first."""
    n_slices = min(n_slices, len(files))
    loads = [(0, index) for index in range(n_slices)]
    slices: list[list[tuple[str, str, int]]] = [[] for _ in range(n_slices)]
    for file in sorted(files, key=lambda file: (-file.size_bytes, file.path)):
        load, index = heapq.heappop(loads)
        slices[index].append((file.uri, file.path, file.size_bytes))
        # Even an empty file costs its task something.
        heapq.heappush(loads, (load + file.size_bytes + 1, index))
    return slices
