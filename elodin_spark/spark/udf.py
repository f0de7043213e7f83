"""Fingerprints as a pandas UDF, for DataFrames that already hold pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pyspark import SparkFiles
from pyspark.sql import SparkSession
from pyspark.sql.pandas.functions import pandas_udf

from elodin_spark.fingerprints.stage import Fingerprinter, FingerprintSpec
from elodin_spark.fingerprints.weights import resolve_weights
from elodin_spark.settings import FingerprintsSettings

#: What the UDF returns.
RETURNS = "vector array<float>, labels array<int>, label_scores array<float>"


def fingerprint_udf(
    spark: SparkSession,
    backbone: Literal["resnet50"] = "resnet50",
    *,
    weights: str = "imagenet",
    input_px: int = 224,
    top_labels: int = 30,
    batch_size: int = 32,
    threads: int = 1,
) -> Callable[..., Any]:
    """Make an iterator pandas UDF of two columns, ``pixels`` and ``pixel_shape``.

    Usable in ``withColumn`` and, after ``spark.udf.register``, in SQL. The model is built
    once in each Python worker and outlives tasks.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
        Ships the weights to its executors.
    backbone, weights, input_px, top_labels, batch_size, threads
        As in :class:`~elodin_spark.settings.FingerprintsSettings`.

    Returns
    -------
    callable
        ``(pixels: BINARY, pixel_shape: ARRAY<INT>) -> STRUCT<vector, labels, label_scores>``;
        null pixels give a null vector.

    Examples
    --------
    >>> udf = fingerprint_udf(spark, weights="random:0")                        # doctest: +SKIP
    >>> cutouts.withColumn("fingerprint", udf("pixels", "pixel_shape"))         # doctest: +SKIP
    >>> spark.udf.register("fingerprint", udf)                                  # doctest: +SKIP
    """
    settings = FingerprintsSettings(
        backbone=backbone,
        weights=weights,
        input_px=input_px,
        top_labels=top_labels,
        batch_size=batch_size,
        threads=threads,
    )
    resolved = resolve_weights(weights, backbone)
    spec = FingerprintSpec.from_settings(settings, resolved, recipe=resolved.sha256[:12])
    for path in spec.files:
        spark.sparkContext.addFile(path)

    def apply(batches: Iterator[tuple[pd.Series, pd.Series]]) -> Iterator[pd.DataFrame]:
        fingerprinter = Fingerprinter(spec, lambda path: SparkFiles.get(Path(path).name))
        for pixels, shapes in batches:
            yield _frame(fingerprinter, pixels, shapes)

    # The types are given in words because postponed annotations cannot be read by Spark.
    apply.__annotations__ = {
        "batches": Iterator[tuple[pd.Series, pd.Series]],
        "return": Iterator[pd.DataFrame],
    }
    return pandas_udf(apply, RETURNS)  # type: ignore[call-overload]


def _frame(fingerprinter: Fingerprinter, pixels: pd.Series, shapes: pd.Series) -> pd.DataFrame:
    present = [i for i in range(len(pixels)) if pixels.iloc[i] is not None]
    arrays = [
        np.frombuffer(pixels.iloc[i], np.uint8).reshape(tuple(int(side) for side in shapes.iloc[i]))
        for i in present
    ]
    columns: dict[str, list[Any]] = {
        name: [None] * len(pixels) for name in ("vector", "labels", "label_scores")
    }
    if arrays:
        vectors, labels, scores = fingerprinter(arrays)
        for row, i in enumerate(present):
            columns["vector"][i] = vectors[row]
            columns["labels"][i] = labels[row]
            columns["label_scores"][i] = scores[row]
    return pd.DataFrame(columns)
