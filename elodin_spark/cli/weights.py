"""``elodin-spark weights``: which network to take, and trained networks as small files."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

app = typer.Typer(
    name="weights",
    help="Compare networks on an archive; pack weights into a small file.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Encoding(StrEnum):
    """How kernels are stored."""

    float16 = "float16"
    int8 = "int8"
    float32 = "float32"


@app.command()
def pack(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Weights as Keras saved them, e.g. x.weights.h5.")
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT.safetensors", help="File to write; OUT.json is written too.")
    ],
    input_px: Annotated[
        int, typer.Option("--input-px", min=32, max=1024, help="Side of the images it was trained on, px.")
    ],
    backbone: Annotated[str, typer.Option(help="The network, as in fingerprints.backbone.")] = "resnet50",
    encoding: Annotated[Encoding, typer.Option(help="How kernels are stored.")] = Encoding.float16,
    card: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Data, recipe, seeds and scores, kept with them.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Layer whose output is the vector; several are joined by +.")
    ] = None,
    augmentations: Annotated[
        int, typer.Option(help="Turns of a window to average by default: 1, 4 or 8.")
    ] = 1,
    classes: Annotated[
        Path | None,
        typer.Option(metavar="FILE.txt", help="Names of the classes, one a line; the head is then kept."),
    ] = None,
) -> None:
    """Pack the weights of a trained network into a small file.

    fingerprints.weights takes that file like any other.

    Example: elodin-spark weights pack mine.weights.h5 mine.safetensors --input-px 64 --card card.json
    """
    from elodin_spark.errors import InputError
    from elodin_spark.fingerprints.weights.shipped import pack_weights

    try:
        facts = {} if card is None else json.loads(card.read_text(encoding="utf-8"))
        if not isinstance(facts, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise InputError(f"the card {card} cannot be read as a JSON object: {error}") from None
    try:
        names = None if classes is None else classes.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"the names of classes {classes} cannot be read as text: {error}") from None
    if augmentations not in (1, 4, 8):
        raise InputError(f"--augmentations is 1, 4 or 8, got {augmentations}")
    packed = pack_weights(
        model,
        out,
        facts,
        input_px=input_px,
        backbone=backbone,
        encoding=encoding.value,
        layer=layer,
        augmentations=cast("Literal[1, 4, 8]", augmentations),
        label_names=names,
    )
    typer.echo(f"{out}: {packed.size_bytes:,} bytes, SHA-256 {packed.sha256}")


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE.safetensors", help="A packed file.")],
) -> None:
    """Check each array of a packed file, and print what the file says of itself, as JSON.

    Example: elodin-spark weights show mine.safetensors
    """
    from elodin_spark.fingerprints.weights.download import file_sha256, local_path
    from elodin_spark.fingerprints.weights.packed import read_header, read_pack

    path = local_path(str(file))
    header = read_header(path)
    arrays = read_pack(path, header)
    facts = {
        "file": str(file),
        "size_bytes": path.stat().st_size,
        "sha256": file_sha256(path),
        "parameters": sum(array.size for array in arrays.values()),
        "classes": header.classes,
        **header.model_dump(mode="json", exclude={"arrays", "label_names"}),
    }
    typer.echo(json.dumps(facts, indent=1))


@app.command()
def compare(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Settings of the run.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, as for run."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Classes: a CSV of path,label or cutout_id,label."),
    ] = None,
    sample: Annotated[int, typer.Option(min=20, max=10_000, help="Windows to compare on.")] = 300,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder to write to.")] = Path(
        "compare"
    ),
) -> None:
    """Show which network fits an archive best, before a run.

    Cuts a sample of the archive and compares the networks of the package, both joined, and what CONFIG.yaml
    names: the precision of neighbors where --labels gives classes, the share of cutouts whose copies are
    found again, speed, and the settings to take each. Writes comparison.json, and comparison.png with
    neighbors of the same queries by each network. Writes nothing to the catalog.

    Example: elodin-spark weights compare mine.yaml --labels labels.csv --out compare
    """
    from elodin_spark.config.load import load_config

    load_config(config, overrides or [])  # a mistake is told before more is imported
    if out.exists() and not out.is_dir():
        raise typer.BadParameter(f"{out} is a file, and --out takes a folder")
    from elodin_spark.progress import step

    with step("starting"):
        from elodin_spark.planning.labelfile import read_labels
        from elodin_spark.planning.networks import compare_config
        from elodin_spark.planning.networksreport import comparison_text, write_comparison

    given = None if labels is None else read_labels(labels)
    comparison = compare_config(config, overrides or [], sample=sample, labels=given)
    typer.echo(comparison_text(comparison))
    files = write_comparison(comparison, out)
    typer.echo("")
    for file in files:
        typer.echo(f"written: {file}")
