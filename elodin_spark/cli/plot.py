"""``elodin-spark plot``: figures of a catalog, as PNG, PDF or SVG."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elodin_spark.catalog.search.options import options_of_flags
from elodin_spark.cli.search import query_of, with_search_flags
from elodin_spark.progress import step

if TYPE_CHECKING:
    from elodin_spark.catalog import Catalog

app = typer.Typer(
    name="plot",
    help="Draw figures of a catalog, as PNG, PDF or SVG.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

CatalogPath = Annotated[Path, typer.Argument(metavar="CATALOG", help="Folder of a catalog.")]
Out = Annotated[
    Path,
    typer.Option("--out", "-o", metavar="FILE", help="The file to write: .png, .pdf or .svg."),
]
Condition = Annotated[
    str | None, typer.Option("--where", metavar="CONDITION", help="Cutouts that meet this condition.")
]


class Method(StrEnum):
    """Which map."""

    tsne = "tsne"
    umap = "umap"


class ColorBy(StrEnum):
    """What points are told apart by."""

    label = "label"
    image = "image"
    band = "band"


Colors = Annotated[
    ColorBy | None, typer.Option("--color-by", help="Tell points apart by label, image or band.")
]


@app.command()
def sheet(
    catalog: CatalogPath,
    out: Out,
    cutout_ids: Annotated[
        list[int] | None, typer.Argument(metavar="CUTOUT_ID", help="The cutouts, in this order.")
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A list of IDs: text, or the column cutout_id of CSV or Parquet."),
    ] = None,
    where: Condition = None,
    sample: Annotated[int, typer.Option(min=1, max=2500, help="Most cutouts; of more, a sample.")] = 60,
    columns: Annotated[int | None, typer.Option(min=1, help="Cutouts in a row.")] = None,
    title: Annotated[str, typer.Option(help="What the sheet shows.")] = "",
) -> None:
    """Draw cutouts in a grid: some by ID, or a sample of those that meet a condition.

    Example: elodin-spark plot sheet runs/coadds -o sheet.pdf --where "sky_sigma < 2" --sample 100

    Example: elodin-spark plot sheet runs/coadds -o lenses.png --ids lenses.csv --title "Candidates"
    """
    opened = _open(catalog)
    chosen = opened.select(cutout_ids, ids_file=ids, where=where, sample=None if cutout_ids else sample)
    _said(opened.plot_contact_sheet(chosen, out, columns=columns, title=title))


@app.command("on-image")
@with_search_flags
def on_image(
    catalog: CatalogPath,
    out: Out,
    cutout_ids: Annotated[list[int] | None, typer.Argument(metavar="CUTOUT_ID", help="The query.")] = None,
    position: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="RA DEC", help="Ask with the cutout whose center is nearest; ICRS, deg."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="IMAGE:X,Y", help="Ask with the cutout that shows this pixel best; px from 0."),
    ] = None,
    image: Annotated[
        str | None, typer.Option(metavar="FILE", help="Ask with an image, fingerprinted whole.")
    ] = None,
    **options: Any,
) -> None:
    """Draw a query and its neighbors on the images that they were cut from, numbered by rank.

    Example: elodin-spark plot on-image runs/coadds 4611686018427387904 -k 12 -o where.pdf

    Example: elodin-spark plot on-image runs/coadds --at field_7/a.fits:456,1470 -o where.png
    """
    wanted, opened = options_of_flags(options), _open(catalog)
    query = query_of(cutout_ids, position, None, at, None, image)
    with step("searching, and reading the images"):
        written = opened.plot_on_image(opened.resolve(query), out, **dict(wanted))
    _said(written)


@app.command()
def quality(catalog: CatalogPath, out: Out) -> None:
    """Draw failures by kind, rejections by reason, and the quality of cutouts by image.

    Example: elodin-spark plot quality runs/coadds -o quality.pdf
    """
    _said(_open(catalog).plot_quality(out))


@app.command()
def timings(catalog: CatalogPath, out: Out) -> None:
    """Draw how long each stage of the runs took, and the rate of each batch.

    Example: elodin-spark plot timings runs/coadds -o timings.png
    """
    _said(_open(catalog).plot_timings(out))


@app.command("map")
def draw_map(
    catalog: CatalogPath,
    out: Out,
    method: Annotated[Method | None, typer.Option(help="Which map; the first by default.")] = None,
    color_by: Colors = None,
) -> None:
    """Draw a map of the cutouts, some of them as pictures.

    Example: elodin-spark plot map runs/coadds -o map.pdf --method umap --color-by band
    """
    opened = _open(catalog)
    with step("drawing the map"):
        written = opened.plot_map(
            out,
            None if method is None else method.value,
            color_by=None if color_by is None else color_by.value,
        )
    _said(written)


@app.command()
def sky(
    catalog: CatalogPath,
    out: Out,
    color_by: Colors = None,
    highlight: Annotated[
        list[int] | None, typer.Option(metavar="CUTOUT_ID", help="A cutout to put a ring round; repeat it.")
    ] = None,
) -> None:
    """Draw where the cutouts lie on the sky.

    Example: elodin-spark plot sky runs/coadds -o sky.pdf --color-by image
    """
    opened = _open(catalog)
    _said(
        opened.plot_sky(out, color_by=None if color_by is None else color_by.value, highlight=highlight or ())
    )


def _open(catalog: Path) -> Catalog:
    with step("starting"):
        from elodin_spark.catalog import Catalog

    return Catalog.open(catalog)


def _said(path: Path) -> None:
    typer.echo(f"figure: {path}")
