"""Cutouts placed on the maps by executors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pyspark.sql import SparkSession

from elodin_spark.projection.stage import PLACE_JOBS, PlaceSpec
from elodin_spark.spark.runner import run_stage
from elodin_spark.spark.tables import spark_schema


def place_cutouts(
    spark: SparkSession, spec: PlaceSpec, jobs: Sequence[Sequence[Path]]
) -> tuple[list[dict[str, Path]], int]:
    """Place all cutouts of some files, each list of files by one task.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
    spec : PlaceSpec
    jobs : sequence of sequence of Path
        Parquet files of the fingerprints table.

    Returns
    -------
    written : list of dict of str to Path
        Method to file, in the order of the jobs; of attempts that count.
    left_out : int
        Cutouts whose vectors are not finite.
    """
    rows = [(number, [str(file.absolute()) for file in files]) for number, files in enumerate(jobs)]
    frame = spark.createDataFrame(
        spark.sparkContext.parallelize(rows, max(1, len(rows))), spark_schema(PLACE_JOBS), verifySchema=False
    )
    done = sorted(run_stage(frame, spec).collect(), key=lambda row: row["number"])
    written = [{method: Path(file) for method, file in json.loads(row["written"]).items()} for row in done]
    return written, sum(row["left_out"] for row in done)
