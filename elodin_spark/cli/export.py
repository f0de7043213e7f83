"""``elodin-spark export``: a catalog for other tools."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from elodin_spark.progress import step


class ExportFormat(StrEnum):
    """For which tool."""

    embedding_atlas = "embedding-atlas"
    tensorboard = "tensorboard"


class MapMethod(StrEnum):
    """Which map."""

    tsne = "tsne"
    umap = "umap"


def export(
    catalog: Annotated[Path, typer.Argument(metavar="CATALOG", help="Folder of a catalog.")],
    form: Annotated[ExportFormat, typer.Option("--format", help="The tool that is to open it.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="A .parquet file for embedding-atlas, a folder for tensorboard.",
        ),
    ],
    sample: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Most cutouts; of more, a stable sample. Tensorboard: 10,000."),
    ] = None,
    method: Annotated[
        MapMethod | None,
        typer.Option(
            "--map", help="The map: by default the first; for tensorboard a second tensor, by default none."
        ),
    ] = None,
    where: Annotated[
        str | None, typer.Option(metavar="CONDITION", help="Only cutouts that meet this condition.")
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Only these: text with an ID a line, or the column cutout_id of CSV or Parquet.",
        ),
    ] = None,
    neighbors: Annotated[
        int, typer.Option(min=0, metavar="K", help="Neighbors of each, for embedding-atlas; 0 for none.")
    ] = 10,
    vectors: Annotated[
        bool, typer.Option("--vectors", help="Write the vectors too, for embedding-atlas.")
    ] = False,
) -> None:
    """Write cutouts for Embedding Atlas or TensorBoard.

    With their map, pictures and metadata. embedding-atlas: one Parquet file. tensorboard: a folder for its
    projector, at most 100,000 cutouts. The tools are not part of elodin_spark: pip install embedding-atlas,
    or tensorboard.

    Example: elodin-spark export runs/coadds --format embedding-atlas -o coadds.parquet --map umap

    Example: elodin-spark export runs/coadds --format tensorboard -o projector --where "sky_sigma < 2"
    """
    with step("starting"):
        from elodin_spark.catalog import Catalog

    done = Catalog.open(catalog).export(
        out,
        form.value,
        ids_file=ids,
        where=where,
        sample=sample,
        method=None if method is None else method.value,
        neighbors=neighbors,
        vectors=vectors,
    )
    typer.echo(done.text())
