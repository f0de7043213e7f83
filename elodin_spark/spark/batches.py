"""One bounded batch of a run: files in, Parquet tables out, in one pass over the files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from elodin_spark.arrow import storage_of
from elodin_spark.config.transform import Storage
from elodin_spark.errors import InputError
from elodin_spark.fingerprints.known import COLUMNS
from elodin_spark.sampling.stage import SampleKeySpec
from elodin_spark.spark.runner import run_stage
from elodin_spark.spark.tablefiles import Known, WriteTablesSpec, gather
from elodin_spark.spark.verbs import as_tiled
from elodin_spark.stage import StageSpec, fuse

_GLOB = re.compile(r"[][*?{}\\]")


def run_batch(
    rows: DataFrame,
    spec: StageSpec,
    targets: Mapping[str, Path],
    keep_pixels: bool,
) -> Known:
    """Run a fused stage and write its tables.

    Parameters
    ----------
    rows : pyspark.sql.DataFrame
        Of files or of images, see :mod:`elodin_spark.spark.inputs`.
    spec : StageSpec
        From those rows to :data:`~elodin_spark.schema.TILED` or
        :data:`~elodin_spark.schema.FINGERPRINTED`.
    targets : mapping of str to Path
        Table name to the folder to write; a table that is not named is not written.
    keep_pixels : bool
        Write the pixels beside the cutouts.

    Returns
    -------
    dict
        As of :func:`~elodin_spark.spark.tablefiles.gather`.
    """
    return _write_tables(rows, spec, targets, keep_pixels)


def fingerprint_batch(
    spark: SparkSession, cutouts: Sequence[Path], spec: StageSpec, targets: Mapping[str, Path]
) -> Known:
    """Fingerprint cutouts that were written with their pixels.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
    cutouts : sequence of Path
        Folders of Parquet files with the columns of :data:`~elodin_spark.schema.CUTOUTS`
        and :data:`~elodin_spark.schema.PIXELS`.
    spec : StageSpec
        A fingerprint stage.
    targets : mapping of str to Path

    Returns
    -------
    dict
        As of :func:`~elodin_spark.spark.tablefiles.gather`.
    """
    rows = read_parts(spark, cutouts)
    return _write_tables(as_tiled(rows), spec, targets, keep_pixels=False)


def _write_tables(rows: DataFrame, spec: StageSpec, targets: Mapping[str, Path], keep_pixels: bool) -> Known:
    # An attempt that fails, or that Spark repeats while it runs, leaves files behind. So workers write
    # beside the targets, only files of attempts that count are moved there, and the rest goes.
    scratch = {table: folder.with_name(f"{folder.name}-open") for table, folder in targets.items()}
    try:
        for folder in scratch.values():
            folder.mkdir(parents=True)
        folders = tuple((table, str(folder.absolute())) for table, folder in scratch.items())
        writing = WriteTablesSpec(folders, keep_pixels, _storage(spec.output_schema))
        found = run_stage(rows, fuse(spec, writing)).collect()
        return gather([(row["table"], row["file"], row["known"]) for row in found], targets, writing)
    finally:
        for folder in scratch.values():
            shutil.rmtree(folder, ignore_errors=True)


def _storage(columns: pa.Schema) -> Storage:
    return storage_of(columns.field("vector").type) if "vector" in columns.names else "float32"


def read_parts(spark: SparkSession, parts: Sequence[Path], without: Path | None = None) -> DataFrame:
    """Read folders of Parquet files of one table.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
    parts : sequence of Path
    without : Path, optional
        Parquet file of what was taken out, `kind` and `id`: rows of these cutouts are left out.
    """
    # Here Spark looks for patterns.
    rows = spark.read.parquet(*(_pattern(part) for part in parts))
    if without is None:
        return rows
    removed = spark.read.parquet(_pattern(without)).where("kind = 'cutout'")
    return rows.join(removed.select(F.col("id").alias("cutout_id")), "cutout_id", "left_anti")


def read_ids(spark: SparkSession, file: str) -> DataFrame:
    """Read a table with a column `cutout_id`: Parquet, or CSV with a header.

    Raises
    ------
    InputError
        There is nothing at `file`.
    """
    path = Path(file)
    if not path.exists():
        raise InputError(f"no table of IDs at {file}")
    if path.suffix.lower() in (".csv", ".txt"):
        return spark.read.option("header", True).csv(_pattern(path))
    return spark.read.parquet(_pattern(path))


def _pattern(path: Path) -> str:
    return _GLOB.sub(r"\\\g<0>", folder_uri(path))


def folder_uri(folder: Path) -> str:
    """A folder of the shared file system as Spark takes it."""
    # With a scheme: a bare path would land on the cluster's default file system, HDFS say. Not as_uri():
    # Hadoop takes what stands here for the name itself and would write to a folder "my%20catalog".
    return f"file://{folder.absolute()}"


def vectors_of(rows: DataFrame, spec: StageSpec) -> pa.Table:
    """`cutout_id`, `vector`, `labels` and `label_scores` of what a stage fingerprints, collected."""
    made = run_stage(rows, spec)
    return made.where(F.col("vector").isNotNull()).select(*COLUMNS).toArrow()


def sample_vectors(
    spark: SparkSession, fingerprints: Sequence[Path], n: int, seed: int, without: Path | None = None
) -> pa.Table:
    """Vectors of a stable sample of the archive.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
    fingerprints : sequence of Path
        Folders of the fingerprints table.
    n : int
        Size of the sample.
    seed : int
    without : Path, optional
        As for :func:`read_parts`.

    Returns
    -------
    pyarrow.Table
        `cutout_id` and `vector` of the `n` cutouts whose keys are smallest; see
        :func:`elodin_spark.sampling.sample.sample_keys`. The same whatever the partitioning.
    """
    rows = read_parts(spark, fingerprints, without).select("cutout_id", "vector")
    keyed = run_stage(rows, SampleKeySpec(seed))
    chosen = keyed.orderBy("sample_key", "cutout_id").limit(n).select("cutout_id", "vector")
    return chosen.toArrow()
