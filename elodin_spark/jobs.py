"""What the spark-submit entry points share: arguments, exit codes, one call."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, get_args

from elodin_spark.entry import guarded, stop_on_interrupt
from elodin_spark.progress import counted

if TYPE_CHECKING:
    from elodin_spark.catalog.run import RunStage


def run_job(doc: str | None, *stages: RunStage, arguments: Sequence[str] | None = None) -> None:
    """Run stages of the catalog that a configuration names; all of them by default.

    Parameters
    ----------
    doc : str
        Shown by ``--help``.
    *stages : str
        See :data:`elodin_spark.catalog.RUN_STAGES`.
    arguments : sequence of str, optional
        Of the command line.
    """
    options = _parser(doc).parse_args(arguments)

    def job() -> None:
        from elodin_spark.catalog import RUN_STAGES, run_config

        print(run_config(options.config, options.overrides, stages or RUN_STAGES).text())

    _end(job, arguments)


def describe_job(doc: str | None, *, arguments: Sequence[str] | None = None) -> None:
    """Write the images table of an archive as Parquet, without a catalog."""
    parser = _parser(doc)
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="Parquet folder to write; must not exist"
    )
    options = parser.parse_args(arguments)

    def job() -> None:
        from elodin_spark.config import load_config
        from elodin_spark.spark.session import session
        from elodin_spark.spark.verbs import read_images

        settings = load_config(options.config, options.overrides)
        images = settings.images
        with session(settings.spark) as spark:
            described = read_images(
                spark,
                images.paths,
                root=images.root,
                hdu=images.hdu,
                bands=images.bands,
                mjd=images.mjd,
                storage=images.storage,
            )
            described.write.parquet(options.out)
            counts = spark.read.parquet(options.out).groupBy("status").count().collect()
        print(", ".join(f"{row['count']} {row['status']}" for row in counts) + f" in {options.out}")

    _end(job, arguments)


def neighbors_job(doc: str | None, *, arguments: Sequence[str] | None = None) -> None:
    """Write the neighbors of many cutouts of a catalog as Parquet."""
    from elodin_spark.settings import Metric

    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("catalog", metavar="CATALOG", help="folder of a catalog")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--ids", metavar="FILE", help="CSV with a header, or Parquet, with a column cutout_id")
    which.add_argument(
        "--positions",
        metavar="FILE",
        help="table with columns ra, dec (ICRS, deg) and perhaps position_id",
    )
    which.add_argument("--all", action="store_true", help="of every cutout: the k-nearest-neighbor graph")
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="Parquet folder to write; must not exist"
    )
    parser.add_argument(
        "--radius",
        type=float,
        metavar="ARCSEC",
        help="from a position to its cutout; by default half the window",
    )
    parser.add_argument("-k", type=int, metavar="N", help="neighbors of each; neighbors.k by default")
    parser.add_argument("--metric", choices=get_args(Metric), default="l2", help="l2 by default")
    parser.add_argument(
        "--allow-overlap", action="store_true", help="keep windows that share pixels with a nearer one"
    )
    parser.add_argument(
        "--min-separation", type=float, metavar="ARCSEC", help="leave out what lies this near to a nearer one"
    )
    parser.add_argument(
        "--cone", type=float, nargs=3, metavar=("RA", "DEC", "RADIUS"), help="only from there; ICRS, deg"
    )
    parser.add_argument(
        "--repeats", choices=("keep", "leave-out"), default="keep", help="known repeats of a nearer one"
    )
    parser.add_argument("--moc", metavar="FILE", help="only from this coverage map")
    parser.add_argument(
        "--where",
        metavar="CONDITION",
        help="only cutouts of which this Spark SQL is true",
    )
    options = parser.parse_args(arguments)

    def job() -> None:
        from elodin_spark.catalog import Catalog
        from elodin_spark.catalog.asking import Question
        from elodin_spark.catalog.bulk import write_neighbors, write_neighbors_of_positions
        from elodin_spark.errors import InputError
        from elodin_spark.spark.batches import read_ids
        from elodin_spark.spark.session import session

        catalog = Catalog.open(options.catalog)
        question = Question(
            catalog.settings.neighbors.k if options.k is None else options.k,
            options.metric,
            options.allow_overlap,
            options.min_separation,
            None if options.cone is None else tuple(options.cone),
            None if options.moc is None else str(Path(options.moc).absolute()),
            options.where,
            options.repeats,
        )
        if options.radius is not None and options.positions is None:
            raise InputError("--radius goes with --positions")
        with session(catalog.settings.spark) as spark:
            if options.positions is not None:
                rows, unmatched = write_neighbors_of_positions(
                    spark, catalog, options.out, question, options.positions, options.radius
                )
                without = f"; {unmatched:,} positions without a cutout in {options.out}.unmatched.csv"
                print(f"{counted(rows, 'neighbor')} in {options.out}{without if unmatched else ''}")
                return
            ids = None if options.all else read_ids(spark, options.ids)
            rows = write_neighbors(spark, catalog, options.out, question, ids)
        print(f"{counted(rows, 'neighbor')} in {options.out}")

    _end(job, arguments)


def _end(job: Callable[[], None], arguments: Sequence[str] | None) -> NoReturn:
    """Do the work and end the process."""
    if arguments is None:  # a program of its own
        stop_on_interrupt()
    sys.exit(guarded(job))


def _parser(doc: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", required=True, metavar="FILE.yaml", help="settings of the run")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a setting, e.g. cutouts.generator.step=64; may be repeated",
    )
    return parser
