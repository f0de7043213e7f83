"""Fingerprints as a pandas UDF, for any DataFrame that holds pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pyspark import SparkFiles
from pyspark.sql import SparkSession
from pyspark.sql.pandas.functions import pandas_udf

from elodin_spark.arrow import to_floats
from elodin_spark.config.settings import FingerprintsSettings, Precision, RuntimeChoice
from elodin_spark.errors import ImageError
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.rows import Fingerprint
from elodin_spark.fingerprints.stage import Fingerprinter, FingerprintSpec, Prepared
from elodin_spark.spark.gpu import session_gpus, take_gpu
from elodin_spark.spark.pictures import Reader, reader
from elodin_spark.spark.runner import ship_files
from elodin_spark.spark.workers import forget_zip_finders

#: What the UDF returns.
RETURNS = "vector array<float>, labels array<int>, label_scores array<float>, error string"


def fingerprint_udf(
    spark: SparkSession,
    backbone: str = "resnet50",
    *,
    weights: str | None = None,
    weights_sha256: str | None = None,
    weights_storage: Mapping[str, Any] | None = None,
    input_px: int | None = None,
    layer: str | None = None,
    augmentations: Literal[1, 4, 8] | None = None,
    top_labels: int = 30,
    batch_size: int = 32,
    threads: int = 1,
    runtime: RuntimeChoice = "auto",
    precision: Precision = "f32",
    int8_model: str | None = None,
) -> Callable[..., Any]:
    """Make an iterator pandas UDF of pictures.

    Usable in ``withColumn`` and, after :func:`register_udfs`, in SQL. The model is built once
    in each Python worker and outlives tasks. Pictures are decoded `batch_size` at a time, whatever
    the size of Spark's batches, which hold all bytes of
    ``spark.sql.execution.arrow.maxRecordsPerBatch`` rows: 64 is enough, Spark's default of 10,000
    takes gigabytes.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
        Ships the weights to its executors.
    backbone, weights, weights_sha256, weights_storage, input_px, layer, augmentations, top_labels, \
    batch_size, threads, runtime, precision, int8_model
        As of :func:`elodin_spark.fingerprint`.

    Returns
    -------
    callable
        From one of

        - ``pixels: BINARY, pixel_shape: ARRAY<INT>`` of our cutouts, or a struct of them,
        - the column of Spark's ``image`` source, of mode CV_8UC1, CV_8UC3 or CV_8UC4,
        - ``BINARY``, the content of a JPEG, PNG or TIFF file,

        to ``STRUCT<vector: ARRAY<FLOAT>, labels: ARRAY<INT>, label_scores: ARRAY<FLOAT>,
        error: STRING>``. What is null, cannot be decoded or does not fit its shape has a null
        vector, and says why in ``error``, which is null otherwise.

    Raises
    ------
    pydantic.ValidationError
        A value is out of range.
    WeightsError
        The weights cannot be had.

    Examples
    --------
    >>> from elodin_spark import FullImage, fingerprint_udf, read_images, session, tile
    >>> with session() as spark:
    ...     cutouts = read_images(spark, "survey/tiles", hdu="IMAGE").transform(tile(FullImage()))
    ...     udf = fingerprint_udf(spark, weights="random:0", input_px=32)
    ...     found = cutouts.select(udf("pixels", "pixel_shape").alias("f")).select("f.vector", "f.error")
    ...     row = found.first()
    ...     len(row["vector"]), row["error"]
    (2048, None)

    Of Spark's ``image`` source it is ``udf("image")``, and of files read as ``binaryFile``
    ``udf("content")``.
    """
    settings = FingerprintsSettings(
        backbone=backbone,
        weights=weights,  # type: ignore[arg-type]  # None: those of the settings
        weights_sha256=weights_sha256,
        weights_storage=dict(weights_storage or {}),
        input_px=input_px,  # type: ignore[arg-type]  # None: the network's own
        layer=layer,
        augmentations=augmentations,  # type: ignore[arg-type]  # None: likewise
        top_labels=top_labels,
        batch_size=batch_size,
        threads=threads,
        runtime=runtime,
        precision=precision,
        int8_model=int8_model,
    )
    spec = FingerprintSpec.from_network(resolve_network(settings))
    ship_files(spark, spec.files)
    gpus = session_gpus(spark)

    def apply(batches: Iterator[tuple[pd.Series, ...]]) -> Iterator[pd.DataFrame]:
        take_gpu(gpus)  # before the framework is imported
        forget_zip_finders()
        fingerprinter = Fingerprinter(spec, lambda path: SparkFiles.get(Path(path).name))
        for batch in batches:
            count, read = reader(batch)
            for start in range(0, count, spec.batch_size):
                yield _frame(fingerprinter, read, range(start, min(start + spec.batch_size, count)))

    # The types are given in words because postponed annotations cannot be read by Spark.
    apply.__annotations__ = {
        "batches": Iterator[tuple[pd.Series, ...]],
        "return": Iterator[pd.DataFrame],
    }
    return pandas_udf(apply, RETURNS)  # type: ignore[call-overload]


def register_udfs(spark: SparkSession, name: str = "fingerprint", **options: Any) -> None:
    """Make :func:`fingerprint_udf` known to SQL.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
        Whose SQL.
    name : str
        What SQL calls it.
    **options
        As of :func:`fingerprint_udf`.

    Raises
    ------
    pydantic.ValidationError, WeightsError
        As :func:`fingerprint_udf`.

    Examples
    --------
    >>> from elodin_spark import FullImage, read_images, register_udfs, session, tile
    >>> with session() as spark:
    ...     register_udfs(spark, weights="random:0", input_px=32)
    ...     cutouts = read_images(spark, "survey/tiles", hdu="IMAGE").transform(tile(FullImage()))
    ...     cutouts.createOrReplaceTempView("cutouts")
    ...     found = spark.sql("SELECT size(fingerprint(pixels, pixel_shape).vector) AS n FROM cutouts")
    ...     found.first()["n"]
    2048
    """
    spark.udf.register(name, fingerprint_udf(spark, **options))


def _frame(fingerprinter: Fingerprinter, read: Reader, rows: range) -> pd.DataFrame:
    outcomes: dict[int, Fingerprint | ImageError] = {}
    kinds: dict[int, dict[int, Prepared]] = {2: {}, 3: {}}
    for row in rows:
        try:
            window = fingerprinter.prepare(read(row))
            kinds[window[0].ndim][row] = window
        except ImageError as error:
            outcomes[row] = error
    for windows in kinds.values():
        if windows:
            outcomes.update(zip(windows, fingerprinter.run(list(windows.values())), strict=True))
    good = [outcomes[row] if isinstance(outcomes[row], Fingerprint) else None for row in rows]
    return pd.DataFrame(
        {
            **{
                name: pd.Series([getattr(found, name, None) for found in good], dtype=object)
                for name in ("vector", "labels", "label_scores")
            },
            "error": [_words(outcomes[row]) for row in rows],
        }
    )


def _words(outcome: Fingerprint | ImageError) -> str | None:
    return f"{outcome.kind}: {outcome}" if isinstance(outcome, ImageError) else None


def vector_udf() -> Callable[..., Any]:
    """Make a pandas UDF from the vectors of a catalog, in either storage, to ``ARRAY<FLOAT>``.

    ``fingerprints.storage: float16`` keeps vectors as bytes, see :mod:`elodin_spark.arrow`.

    Returns
    -------
    callable
        From the column ``vector`` to one of ``ARRAY<FLOAT>``.

    Examples
    --------
    >>> from elodin_spark import Catalog, session, vector_udf
    >>> (part,) = Catalog.open("runs/mine").parts("fingerprints")
    >>> with session() as spark:
    ...     spark.read.parquet(str(part)).select(vector_udf()("vector").alias("v")).dtypes
    [('v', 'array<float>')]
    """

    def apply(vectors: pd.Series) -> pd.Series:
        return vectors.map(to_floats)

    apply.__annotations__ = {"vectors": pd.Series, "return": pd.Series}
    return pandas_udf(apply, "array<float>")  # type: ignore[call-overload]


def register_vector_udf(spark: SparkSession, name: str = "vector_floats") -> None:
    """Make :func:`vector_udf` known to SQL.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
        Whose SQL.
    name : str
        What SQL calls it.

    Examples
    --------
    >>> from elodin_spark import Catalog, register_vector_udf, session
    >>> (part,) = Catalog.open("runs/mine").parts("fingerprints")
    >>> with session() as spark:
    ...     register_vector_udf(spark)
    ...     spark.read.parquet(str(part)).createOrReplaceTempView("fingerprints")
    ...     spark.sql("SELECT vector_floats(vector) AS v FROM fingerprints").count()
    100
    """
    spark.udf.register(name, vector_udf())
