"""What the spark-submit entry points share: arguments, exit codes, one call."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from elodin_spark.exits import guarded, stop_on_interrupt
from elodin_spark.progress import counted

if TYPE_CHECKING:
    from elodin_spark.catalog.build.run import RunStage


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
        from elodin_spark.config.load import load_config
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
    from elodin_spark.catalog.search.options import Cone, options_of_flags, search_flags

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
    for flag in search_flags():
        how: dict[str, Any] = {"action": "store_true"}
        if flag.kind is not bool:
            how = {"default": flag.default, "metavar": flag.metavar, "choices": flag.choices or None}
            how |= {"type": flag.kind}
        if flag.kind is Cone:
            how |= {"type": float, "nargs": 3, "metavar": tuple((flag.metavar or "").split())}
        parser.add_argument(flag.flag, dest=flag.name, help=flag.help.replace("%", "%%"), **how)
    options = parser.parse_args(arguments)

    def job() -> None:
        from elodin_spark.catalog import Catalog
        from elodin_spark.catalog.search.batch import write_neighbors, write_neighbors_of_positions
        from elodin_spark.errors import InputError
        from elodin_spark.spark.batches import read_ids
        from elodin_spark.spark.session import session

        catalog, wanted = Catalog.open(options.catalog), options_of_flags(vars(options))
        if options.radius is not None and options.positions is None:
            raise InputError("--radius goes with --positions")
        with session(catalog.settings.spark) as spark:
            if options.positions is not None:
                rows, unmatched = write_neighbors_of_positions(
                    spark, catalog, options.out, wanted, options.positions, options.radius
                )
                without = f"; {unmatched:,} positions without a cutout in {options.out}.unmatched.csv"
                print(f"{counted(rows, 'neighbor')} in {options.out}{without if unmatched else ''}")
                return
            ids = None if options.all else read_ids(spark, options.ids)
            rows = write_neighbors(spark, catalog, options.out, wanted, ids)
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
