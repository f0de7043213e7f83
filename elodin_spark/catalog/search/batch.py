"""Neighbors of many cutouts, or of all, by executors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyarrow.csv import write_csv

from elodin_spark.catalog.catalog import Catalog
from elodin_spark.catalog.search.options import SearchOptions
from elodin_spark.catalog.search.positions import checked_radius, within
from elodin_spark.catalog.search.query import by_id
from elodin_spark.cutouts.skycatalog import read_positions
from elodin_spark.errors import InputError, UnknownCutoutError
from elodin_spark.schema import answer_schema
from elodin_spark.stage import Locate, Stage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_AT_ONCE = 256  # queries
_NAMED = 5  # unknown IDs, in a message
_ROWS_PER_TASK = 10_000


@dataclass(frozen=True)
class NeighborsSpec:
    """From `cutout_id` to the neighbors of these cutouts, see :func:`elodin_spark.schema.answer_schema`.

    Each worker opens the index: its codes where it is in shards, all vectors where it is exact.

    Parameters
    ----------
    catalog : str
        On a file system that driver and executors share.
    options : SearchOptions
    """

    catalog: str
    options: SearchOptions
    files: tuple[str, ...] = ()

    @property
    def output_schema(self) -> pa.Schema:
        """With the columns that the options ask for."""
        return _schema_of(self.options)

    def build(self, locate: Locate) -> Stage:
        """Build the stage."""
        return _Neighbors(self)


class _Neighbors:
    def __init__(self, spec: NeighborsSpec) -> None:
        self._spec, self.output_schema = spec, spec.output_schema

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        catalog = Catalog.open(self._spec.catalog)
        search = catalog.search(self._spec.options)
        for batch in batches:
            ids = np.asarray(batch.column("cutout_id"), dtype=np.int64)
            for start in range(0, len(ids), _AT_ONCE):
                query = by_id(tuple(ids[start : start + _AT_ONCE].tolist()))
                yield from catalog.answer(search, query).combine_chunks().to_batches()


def write_neighbors(
    spark: SparkSession,
    catalog: Catalog,
    out: str | Path,
    options: SearchOptions,
    ids: DataFrame | None = None,
) -> int:
    """Write the neighbors of cutouts as a Parquet table, see :func:`elodin_spark.schema.answer_schema`.

    The answers are those of :meth:`Catalog.neighbors`.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
    catalog : Catalog
    out : str or Path
        The folder to write; it must not exist.
    options : SearchOptions
    ids : pyspark.sql.DataFrame, optional
        With a column `cutout_id`; one that is there twice is answered twice. By default every cutout
        that has a fingerprint: the k-nearest-neighbor graph of the catalog.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    InputError
        `out` exists, the MOC cannot be read, or `ids` have no column `cutout_id`.
    UnknownCutoutError
        The catalog has no fingerprint of some of them.
    CatalogError
        The index has not been built, or not for that metric.
    """
    from elodin_spark.spark.batches import read_parts

    _require_new(Path(out))
    catalog.search(options)  # whatever is wrong is better said here than by a worker
    fingerprints = read_parts(spark, catalog.parts("fingerprints"), catalog.removed_file)
    known = fingerprints.select("cutout_id")
    if ids is None:
        queries = known
    else:
        queries = _checked(ids).persist()
        unknown = [
            row["cutout_id"]
            for row in queries.join(known, "cutout_id", "left_anti").orderBy("cutout_id").take(_NAMED)
        ]
        catalog.tombstones.refuse(unknown, str(catalog.path))
        if unknown:
            raise UnknownCutoutError(
                f"{catalog.path} has no fingerprint of cutout {', '.join(map(str, unknown))} among the IDs "
                "given; take IDs from its cutouts table"
            )
    return _write(_neighbors_of(queries, catalog, options), out)


def write_neighbors_of_positions(
    spark: SparkSession,
    catalog: Catalog,
    out: str | Path,
    options: SearchOptions,
    positions: str,
    radius_arcsec: float | None = None,
) -> tuple[int, int]:
    """Write the neighbors of the cutouts nearest to positions, as a Parquet table.

    Before the columns of :func:`write_neighbors` it has `position_id` and
    `separation_arcsec`, from the position to the center of the cutout. Positions that have no cutout, or
    are none, are written to ``OUT.unmatched.csv`` with the reason.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
    catalog : Catalog
    out : str or Path
        The folder to write; it must not exist.
    options : SearchOptions
    positions : str
        A table of them, as :func:`elodin_spark.cutouts.skycatalog.read_positions` reads it.
    radius_arcsec : float, optional
        How far a cutout may be; by default half the longer side of its window.

    Returns
    -------
    rows : int
        Written.
    unmatched : int
        Positions without a cutout.

    Raises
    ------
    InputError
        `out` exists, the positions cannot be read, or none has a cutout. Else as :func:`write_neighbors`.
    """
    out = Path(out)
    rest = out.with_name(f"{out.name}.unmatched.csv")
    _require_new(out, rest)
    checked_radius(radius_arcsec)
    catalog.search(options)
    matched, unmatched = _matched(catalog, positions, radius_arcsec)
    if unmatched.num_rows:
        write_csv(unmatched, rest)
    if not matched.num_rows:
        raise InputError(f"no position of {positions} has a cutout: {rest} says why of each")
    asked = spark.createDataFrame(matched)
    found = _neighbors_of(asked.select("cutout_id").distinct(), catalog, options)
    columns = ["position_id", "separation_arcsec", *found.columns]
    asked = asked.withColumnRenamed("cutout_id", "query_id")
    return _write(asked.join(found, "query_id").select(*columns), out), unmatched.num_rows


def _matched(catalog: Catalog, file: str, radius_arcsec: float | None) -> tuple[pa.Table, pa.Table]:
    """Positions with their cutouts, and those without, with the reason."""
    positions, refused = read_positions(file)
    found = catalog.places.nearest(*(positions.column(name).to_numpy() for name in ("ra", "dec")))
    inside = within(found, radius_arcsec)
    columns = {"position_id": positions.column("position_id"), "cutout_id": found.cutout_id}
    matched = pa.table({**columns, "separation_arcsec": found.separation_arcsec}).filter(pa.array(inside))
    far = positions.filter(pa.array(~inside))
    far = far.set_column(0, "position_id", far.column("position_id").cast(pa.string()))
    reasons = [
        f"the nearest cutout, {cutout}, is {apart:.4g} arcsec away"
        for cutout, apart in zip(found.cutout_id[~inside], found.separation_arcsec[~inside], strict=True)
    ]
    nowhere = pa.nulls(refused.num_rows, pa.float64())
    none = pa.table({"position_id": refused.column("position_id"), "ra": nowhere, "dec": nowhere})
    parts = [
        far.append_column("reason", pa.array(reasons, pa.string())),
        none.append_column("reason", refused.column("reason")),
    ]
    return matched, pa.concat_tables(parts)


def _neighbors_of(queries: DataFrame, catalog: Catalog, options: SearchOptions) -> DataFrame:
    from elodin_spark.spark.runner import SLICES_PER_CORE, run_stage

    # Few tasks a core: each worker opens the index once, and reads the windows.
    moc = None if options.moc is None else str(Path(options.moc).absolute())
    tasks = SLICES_PER_CORE * queries.sparkSession.sparkContext.defaultParallelism
    tasks = max(1, min(tasks, -(-queries.count() // _ROWS_PER_TASK) * SLICES_PER_CORE))
    return run_stage(
        queries.repartition(tasks, "cutout_id").sortWithinPartitions("cutout_id"),
        NeighborsSpec(str(catalog.path.absolute()), options if moc is None else options.but(moc=moc)),
    )


def _schema_of(options: SearchOptions) -> pa.Schema:
    asked = {
        "repeats": options.repeats == "group",
        "duplicates": options.fold_duplicates,
        "explain": options.explain,
    }
    return answer_schema(name for name, wanted in asked.items() if wanted)


def _require_new(*paths: Path) -> None:
    for path in paths:
        if path.exists():
            raise InputError(f"{path} exists: choose another folder for the neighbors, or delete it")


def _write(rows: DataFrame, out: str | Path) -> int:
    from elodin_spark.spark.batches import folder_uri, read_parts

    rows.write.parquet(folder_uri(Path(out)))
    return int(read_parts(rows.sparkSession, [Path(out)]).count())


def _checked(ids: DataFrame) -> DataFrame:
    from pyspark.sql import functions as F

    if "cutout_id" not in ids.columns:
        raise InputError(f"the table of IDs has no column cutout_id; it has {', '.join(ids.columns)}")
    exact = F.col("cutout_id").try_cast("bigint")
    bad = ids.where(exact.isNull()).select(F.col("cutout_id").cast("string")).take(1)
    if bad:
        raise InputError(f"cutout_id {bad[0]['cutout_id']!r} is not a whole number of 64 bits")
    return ids.select(exact.alias("cutout_id"))
