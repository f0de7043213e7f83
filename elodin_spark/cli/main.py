"""The command line: ``elodin-spark``."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elodin_spark import __version__
from elodin_spark.catalog.search.options import Cone, options_of_flags, search_flags
from elodin_spark.cli import explore, pretrain, weights
from elodin_spark.errors import InputError
from elodin_spark.exits import EXIT_CODES, guarded, without_pandas
from elodin_spark.progress import counted, step
from elodin_spark.terminal import plain

if TYPE_CHECKING:
    from elodin_spark.catalog.search.query import Query

app = typer.Typer(
    name="elodin-spark",
    help="Find what looks alike in survey images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=f"Exit codes: {EXIT_CODES}. ELODIN_DEBUG=1 shows tracebacks.",
)


class Format(StrEnum):
    """How neighbors are printed."""

    table = "table"
    csv = "csv"
    json = "json"


def with_search_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags of all search options, in place of its ``**options``."""
    signature = inspect.signature(command, eval_str=True)
    of_words: Any = StrEnum  # whose members mypy cannot know
    parameters = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    for flag in search_flags():
        made: Any = tuple[float, float, float] if flag.kind is Cone else flag.kind
        if flag.choices:
            made = of_words(flag.name, {choice: choice for choice in flag.choices})
        option = typer.Option(flag.flag, metavar=flag.metavar, help=flag.help)
        annotation: Any = Annotated[made if flag.default is not None else made | None, option]
        default = made(flag.default) if flag.choices else flag.default
        parameters.append(
            inspect.Parameter(
                flag.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )
        )
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return command


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"elodin-spark {__version__}")
        raise typer.Exit


CatalogPath = Annotated[Path, typer.Argument(metavar="CATALOG", help="Folder of a catalog.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Argument(metavar="[OUT]", help="Folder to write to.")] = Path("demo"),
    tiles: Annotated[int, typer.Option(min=1, help="Tiles of the simulated survey.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the survey and of everything after it.")] = 0,
) -> None:
    """Simulate a small survey, and find look-alikes in it.

    It ends with the neighbors of three objects and an artifact, how many of these are of the same type,
    figures, and commands to type next. Run again in the same folder, it keeps what is there.

    Example: elodin-spark demo /tmp/demo
    """
    from elodin_spark.cli.demo import run_demo

    run_demo(out, tiles=tiles, seed=seed)


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write to.")],
    tiles: Annotated[int, typer.Option(min=1, help="Number of FITS tiles.")] = 12,
    size: Annotated[int, typer.Option(min=128, help="Side of a tile, px.")] = 512,
    seed: Annotated[int, typer.Option(min=0, help="Of the survey; the same seed gives the same bytes.")] = 0,
) -> None:
    """Write a simulated survey with known truth.

    Writes overlapping FITS tiles with a mask plane, and truth.csv: ellipticals, spirals, edge-on disks,
    irregulars, mergers, lenses, stars and artifacts at 0.2 arcsec/px.

    Example: elodin-spark simulate /tmp/survey --tiles 30 --size 1024 --seed 7
    """
    from elodin_spark.datasets import simulate as make_survey
    from elodin_spark.progress import Progress, counted

    with Progress(tiles, "simulating", "tiles") as progress:
        survey = make_survey(
            out, tiles=tiles, size_px=size, seed=seed, progress=lambda done, total: progress.to(done)
        )
    typer.echo(
        f"{counted(len(survey.tiles), 'tile')} and {counted(survey.n_objects, 'object')} in {out}; "
        f"the truth is {survey.truth}"
    )


@app.command()
def plan(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Settings of the run.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, as for run."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    headers_only: Annotated[
        bool,
        typer.Option("--headers-only", help="Read no pixels: give counts, but no times and no memory."),
    ] = False,
    sample: Annotated[int, typer.Option(min=1, help="Number of images to measure on.")] = 8,
    executors: Annotated[
        int | None, typer.Option(min=1, help="Plan for a cluster of so many executors.")
    ] = None,
    cores: Annotated[
        int | None, typer.Option(min=1, help="Cores of each executor, or of this machine.")
    ] = None,
    executor_memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory of each executor, all in all, e.g. 16g.")
    ] = None,
) -> None:
    """Estimate what a run would do and cost.

    Counts files, images and windows from headers alone, then cuts and fingerprints a few images to
    measure times, table sizes and memory. Prints the spark-submit line. Writes nothing to the catalog.

    Example: elodin-spark plan conf/cluster.yaml --executors 20 --cores 4 --executor-memory 16g

    Example: elodin-spark plan conf/local.yaml --headers-only --json --set cutouts.generator.step=56
    """
    from elodin_spark.config.load import load_config

    load_config(config, overrides or [])  # as for run
    with step("starting"):
        from elodin_spark.planning import plan_config
        from elodin_spark.planning.report import plan_text

    facts = plan_config(
        config,
        overrides or [],
        sample=0 if headers_only else sample,
        executors=executors,
        cores=cores,
        executor_memory=executor_memory,
    )
    typer.echo(json.dumps(facts, indent=1) if as_json else plain(plan_text(facts), lines=True))


@app.command()
def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Settings of the run.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a setting, e.g. cutouts.generator.step=64."
        ),
    ] = None,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train the sharded index again and rebuild its shards.")
    ] = False,
) -> None:
    """Run the main job on an archive, or go on with it.

    Cuts images into windows, gives each its fingerprint, and makes indices, maps and figures of them.
    Makes the catalog that the settings name. A run that was stopped goes on where it stopped; a
    finished one does nothing.

    Example: elodin-spark run conf/local.yaml --set images.paths=/data/coadds --set catalog=runs/coadds
    """
    from elodin_spark.config.load import load_config

    load_config(config, overrides or [])  # a mistake is told before what runs is imported
    with step("starting"):
        from elodin_spark.catalog import run_config

    report = run_config(config, overrides or [], retrain=retrain)
    typer.echo(report.text())


@app.command()
def info(
    catalog: CatalogPath,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="First compare every byte with what was written.")
    ] = False,
) -> None:
    """Show what a catalog holds.

    Tables, counts, recipe, timings, failures and disk use.

    Example: elodin-spark info runs/coadds

    Example: elodin-spark info runs/coadds --check
    """
    with step("starting"):
        without_pandas()
        from elodin_spark.catalog import Catalog
        from elodin_spark.catalog.report import info_text

    opened = Catalog.open(catalog)
    if check:
        with step("checking every file"):
            opened.check()
        typer.echo("all files are as they were written", err=True)
    with step("reading the catalog"):
        facts = opened.info()
    typer.echo(json.dumps(facts, indent=1) if as_json else info_text(facts))


@app.command()
@with_search_flags
def neighbors(
    catalog: CatalogPath,
    cutout_ids: Annotated[
        list[int] | None, typer.Argument(metavar="CUTOUT_ID", help="The query, or several.")
    ] = None,
    position: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="RA DEC", help="Ask with the cutout whose center is nearest; ICRS, deg."),
    ] = None,
    radius: Annotated[
        float | None,
        typer.Option(metavar="ARCSEC", help="Largest distance to that center; half the window by default."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE:X,Y", help="Ask with the cutout that shows this pixel of an image best; px from 0."
        ),
    ] = None,
    vector: Annotated[
        Path | None, typer.Option(metavar="FILE.npy", help="Ask with a vector like the catalog's.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(metavar="FILE", help="Ask with an image, fingerprinted whole.")
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="How to print them.")] = Format.table,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw query and neighbors.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write .csv, .ecsv, .fits, .vot or .parquet too."),
    ] = None,
    **options: Any,
) -> None:
    """Find what looks like a cutout, nearest first.

    The cutout is given by its ID, a position or a pixel; a vector or an image file can be asked with too.
    Positions are ICRS degrees, windows px (x0 <= x < x1), distances Euclidean (l2),
    1 - Jaccard index, 1 - cosine, Euclidean of label scores, or 1 - relative score of the fused ranks;
    distance_percentile: of pairs of cutouts taken at random, those that are nearer, in percent;
    distance_over_repeat_median: times the median distance of known repeats.

    Example: elodin-spark neighbors runs/coadds 4611686018427387904 -k 20 --plot similar.png

    Example: elodin-spark neighbors runs/coadds 4611686018427387904 --cone 150.1 2.2 1800 --min-separation 2

    Example: elodin-spark neighbors runs/coadds --position 150.1 2.2

    Example: elodin-spark neighbors runs/coadds --at field_7/a.fits:456,1470

    Example: elodin-spark neighbors runs/coadds --image lens.fits --plot similar.png

    Example: elodin-spark neighbors runs/coadds 4611686018427387904 --where "mjd > 59000 and sky_sigma < 2"
    """
    with step("starting"):
        without_pandas()
        from elodin_spark.catalog import Catalog

    wanted, opened = options_of_flags(options), Catalog.open(catalog)
    query = query_of(cutout_ids, position, radius, at, vector, image)
    with step("finding what to ask with"):
        asked = opened.resolve(query)
    with step("searching"):
        found = opened.neighbors(asked, **dict(wanted))
    if plot is not None:
        opened.plot_neighbors(asked, plot, **dict(wanted))
        typer.echo(f"figure: {plot}", err=True)
    if out is not None:
        typer.echo(f"written: {found.write(out)}", err=True)
    if wanted.explain and (sheet := opened.label_sheet()):
        typer.echo(f"labels in pictures: {sheet}", err=True)
    if output is Format.json:
        typer.echo(json.dumps(list(found), indent=1))
    elif output is Format.csv:
        from elodin_spark.catalog.search.text import neighbors_csv

        typer.echo(neighbors_csv(found), nl=False)
    else:
        typer.echo(found.text())
    if 0 < len(found) < (found.options.k or 0) * max(1, len(asked.cutout_ids)):
        typer.echo(f"{counted(len(found), 'neighbor')}: the catalog holds no more that answer", err=True)


def query_of(
    cutout_ids: list[int] | None,
    position: tuple[float, float] | None,
    radius: float | None,
    at: str | None,
    vector: Path | None,
    image: str | None,
) -> Query:
    """The one query that was typed."""
    from elodin_spark.catalog.search.query import Query

    ways: dict[str, tuple[Any, Callable[[Any], Query]]] = {
        "CUTOUT_ID": (cutout_ids, Query.from_id),
        "--position": (position, lambda place: Query.from_position(place, radius)),
        "--at": (at, Query.from_pixel),
        "--vector": (vector, Query.from_vector),
        "--image": (image, Query.from_image),
    }
    typed = [name for name, (value, _) in ways.items() if value is not None]
    if len(typed) != 1:
        got = f"{' and '.join(typed)} together" if typed else "nothing"
        raise InputError(f"neighbors are asked of one of {', '.join(ways)}; got {got}")
    if radius is not None and position is None:
        raise InputError("--radius goes with --position")
    value, make = ways[typed[0]]
    return make(value)


@app.command()
def cutout(
    catalog: CatalogPath,
    cutout_id: Annotated[int, typer.Argument(metavar="CUTOUT_ID", help="ID of the cutout.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.fits", help="The file to write.")],
) -> None:
    """Write a cutout to a FITS file with its WCS.

    Pixels are those of the archive.

    Example: elodin-spark cutout runs/coadds 4611686018427387904 -o lens.fits
    """
    with step("starting"):
        without_pandas()
        from elodin_spark.catalog import Catalog

    typer.echo(f"written: {Catalog.open(catalog).cutout(cutout_id).write(out)}")


@app.command()
def remove(
    catalog: CatalogPath,
    images: Annotated[
        list[str] | None,
        typer.Option("--image", metavar="PATH", help="An image: path below the archive root, or ID."),
    ] = None,
    cutouts: Annotated[list[int] | None, typer.Option("--cutout", metavar="ID", help="A cutout.")] = None,
    vanished: Annotated[
        bool, typer.Option("--vanished", help="All images whose files are gone from the archive.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed.")] = False,
) -> None:
    """Take images or cutouts out of a catalog.

    No answer has them after that, and no run brings them back. Options may be repeated. The tables and
    indices keep their size until 'compact'.

    Example: elodin-spark remove runs/coadds --image tract9/patch-3,4.fits --cutout 4611686018427387904

    Example: elodin-spark remove runs/coadds --vanished --dry-run
    """
    without_pandas()
    from elodin_spark.catalog import Catalog

    opened = Catalog.open(catalog)
    named: list[str | int] = [int(image) if image.isdecimal() else image for image in images or []]
    if vanished:
        found = opened.vanished_images()
        images_are = "image is" if len(found) == 1 else "images are"
        listed = "" if dry_run else "".join(f"\n  {file}" for file in found)
        typer.echo(f"{len(found):,} {images_are} gone from the archive{plain(listed, lines=True)}")
        named += found
        if not found and not images and not cutouts:
            return
    typer.echo(opened.remove(named, cutouts or [], dry_run=dry_run).text())


@app.command()
def compact(catalog: CatalogPath) -> None:
    """Free the space of what was removed.

    Rewrites the tables, and merges small shards of the index. Answers stay the same. If it is killed,
    call it again.

    Example: elodin-spark compact runs/coadds
    """
    from elodin_spark.catalog import Catalog

    with step("compacting"):
        compaction = Catalog.open(catalog).compact()
    typer.echo(compaction.text())


app.command()(explore.explore)
app.command()(pretrain.pretrain)
app.add_typer(weights.app)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; ends the process with an exit code."""
    sys.exit(run_command(arguments))


def run_command(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return guarded(lambda: app(args=arguments, prog_name="elodin-spark", standalone_mode=False))
