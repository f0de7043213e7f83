"""``elodin-spark pretrain``: a backbone trained on the cutouts of a survey, without labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from elodin_spark.learning.cutoutset import CutoutSet


def pretrain(
    cutouts: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[CATALOG_OR_CUTOUTS]...",
            help="Folder of a catalog, or Parquet files with a column jpeg, png, thumbnail or pixels.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Checkpoints, history, figure and weights.")
    ] = Path("pretraining"),
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE.yaml", help="Settings of the training.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. learning_rate=5e-4."),
    ] = None,
    column: Annotated[str | None, typer.Option(help="Column that holds the images.")] = None,
    watch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH",
            help="Labeled cutouts whose neighbors are checked on the way, and never learned from: a "
            "folder with a folder for each class, or a CSV of file,label.",
        ),
    ] = None,
    learn: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=PATH",
            help="Labeled cutouts to learn from, as --watch takes them; a share (setting held_out) is "
            "watched alone. --set labeled=32 says how many in a step.",
        ),
    ] = None,
    attributes: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Of --learn: file, and columns of numbers to learn as well."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the network; all cores by default.")
    ] = None,
) -> None:
    """Train ResNet50 on cutouts without labels, and on labeled ones beside them.

    Simulated objects of known shape are among them. Killed at any time, the same command goes on from the
    last checkpoint. KERAS_BACKEND names what trains: torch, the fastest on CPUs and on GPUs, tensorflow
    or jax. What comes out, FOLDER/weights.safetensors, is taken by fingerprints.weights.

    Example: elodin-spark pretrain runs/coadds --out runs/backbone

    Example: elodin-spark pretrain cutouts.parquet --config conf/pretrain.yaml --watch efigi=efigi/labels.csv

    Example: elodin-spark pretrain cutouts.parquet --set 'stretches=[{px: 64, steps: 20000}]'
    """
    from elodin_spark.config.load import load_model
    from elodin_spark.config.pretrain import PretrainSettings
    from elodin_spark.errors import ConfigError

    settings = load_model(PretrainSettings, config, overrides or [])
    from elodin_spark.learning.labeled import read_set
    from elodin_spark.learning.trained import train_and_pack

    def named(option: str, text: str) -> tuple[str, Path]:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise ConfigError(f"{option} takes NAME=PATH, got {text!r}")
        return name, Path(path)

    sets = [read_set(*named("--watch", text)) for text in watch or []]
    if bool(learn) != bool(settings.labeled):
        raise ConfigError("--learn and the setting labeled, above 0, are given together")
    if attributes is not None and learn is None:
        raise ConfigError("--attributes are those of --learn: give both")
    labeled = None if learn is None else read_set(*named("--learn", learn), attributes)
    if settings.cutouts and not cutouts:
        raise ConfigError(
            "name a catalog or Parquet files of cutouts, or learn from simulated objects alone: "
            "--set cutouts=0"
        )
    found = _cutouts(cutouts, column) if cutouts and settings.cutouts else None
    packed = train_and_pack(found, out, settings, labeled=labeled, watched=sets, threads=threads)
    typer.echo(f"{packed}: set fingerprints.weights={packed}")


def _cutouts(paths: list[Path], column: str | None) -> CutoutSet:
    from elodin_spark.catalog import Catalog
    from elodin_spark.errors import ConfigError
    from elodin_spark.learning.cutoutset import CutoutSet

    catalogs = [path for path in paths if (path / "catalog.json").exists()]
    if catalogs and len(paths) > 1:
        raise ConfigError(
            f"{catalogs[0]} is a catalog, and a catalog is learned from alone: give one, or Parquet files of "
            "cutouts"
        )
    if catalogs:
        return Catalog.open(catalogs[0]).cutout_set(column)
    return CutoutSet.read(paths, column)
