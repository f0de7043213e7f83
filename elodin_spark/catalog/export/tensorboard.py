"""A catalog as a folder that the projector of TensorBoard opens.

Vectors are raw float32, little-endian; a map is TSV, and so are the metadata. All pictures are one sprite,
row by row, of at most 8,192 px a side, which is what browsers take.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elodin_spark.catalog.export.report import Export
from elodin_spark.catalog.export.rows import (
    facts_of,
    fingerprinted,
    thumbnails_in_order,
    vector_length,
    vectors_in_order,
)
from elodin_spark.catalog.maps import map_or_first
from elodin_spark.catalog.storage.store import Store
from elodin_spark.diskfiles import replacing
from elodin_spark.errors import InputError
from elodin_spark.progress import Progress

#: Points that the projector draws, and those that are exported unless more are asked for: t-SNE and UMAP in
#: the browser take as many.
MOST_POINTS, USUAL_POINTS = 100_000, 10_000
#: Side of the sprite, px.
SPRITE_PX = 8192

_LARGEST_PX = 64  # of one picture
_CONFIG, _METADATA, _SPRITE = "projector_config.pbtxt", "metadata.tsv", "sprite.png"
_EMPTY = (241, 241, 239)


def export_tensorboard(
    store: Store, path: str | Path, ids: NDArray[np.int64], *, method: str | None = None
) -> Export:
    """Write cutouts as a folder for the projector of TensorBoard.

    Parameters
    ----------
    store : Store
    path : str or Path
        A folder that does not exist, is empty, or holds an earlier export, which is replaced.
    ids : ndarray of int64, shape (n,)
        At most 100,000. Those without a vector and, with `method`, those that are not on the map, are left
        out.
    method : {"tsne", "umap"}, optional
        Of a map that is written as a second tensor.

    Returns
    -------
    Export

    Raises
    ------
    CatalogError
        There is no such map.
    InputError
        There are too many cutouts; the folder holds something else, or cannot be written.
    """
    path = Path(path)
    if len(ids) > MOST_POINTS:
        raise InputError(
            f"the projector of TensorBoard shows at most {MOST_POINTS:,} points, and {len(ids):,} cutouts "
            f"are chosen: take a sample (--sample {USUAL_POINTS})"
        )
    _check_folder(path)
    places = None
    meant = len(ids)
    if method is not None:
        _, places = map_or_first(store, method)
        ids = ids[np.isin(ids, places.column("cutout_id").to_numpy())]
    ids = np.sort(fingerprinted(store, ids))
    if not ids.size:
        raise InputError(f"none of the {meant:,} cutouts has a vector to export: choose others")
    try:
        path.mkdir(parents=True, exist_ok=True)
        _remove_old(path)
        shape = (len(ids), vector_length(store))
        tensors = [("fingerprints", _write_vectors(store, path, ids, shape), shape)]
        if places is not None and method is not None:
            at = np.searchsorted(places.column("cutout_id").to_numpy(), ids)
            x, y = (places.column(name).take(at).to_numpy() for name in ("x", "y"))
            # In a plane of three dimensions: of two the projector has no principal components.
            _write_tsv(path / f"map_{method}.tsv", np.column_stack([x, y, np.zeros_like(x)]))
            tensors.append((f"map_{method}", f"map_{method}.tsv", (len(ids), 3)))
        _write_metadata(path / _METADATA, facts_of(store, ids))
        side = _write_sprite(store, path / _SPRITE, ids)
        # Last: without it the folder is none of the projector's.
        with replacing(path / _CONFIG) as temporary:
            temporary.write_text(_config(tensors, side), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}") from None
    return Export(path, len(ids), meant - len(ids), f"tensorboard --logdir {shlex.quote(str(path))}")


def sprite_layout(count: int) -> tuple[int, int, int]:
    """Columns and rows of a sprite of `count` pictures, and the side of each, px.

    >>> sprite_layout(100), sprite_layout(100_000)
    ((10, 10, 64), (317, 316, 25))
    """
    columns = math.ceil(math.sqrt(count))
    return columns, -(-count // columns), min(_LARGEST_PX, SPRITE_PX // columns)


def _check_folder(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file, and an export for TensorBoard is a folder: choose another name")
    held = [file.name for file in path.iterdir()] if path.is_dir() else []
    if held and _CONFIG not in held:
        raise InputError(f"{path} holds something else ({held[0]}): choose a new folder")


def _remove_old(path: Path) -> None:
    for name in (
        _CONFIG,
        _METADATA,
        _SPRITE,
        "fingerprints.bytes",
        "fingerprints.tsv",
        "map_tsne.tsv",
        "map_umap.tsv",
    ):
        (path / name).unlink(missing_ok=True)


def _write_vectors(store: Store, path: Path, ids: NDArray[np.int64], shape: tuple[int, int]) -> str:
    """Raw float32, or, where these would be taken for text, TSV; gives the name of the file."""
    with replacing(path / "fingerprints.bytes") as temporary:
        matrix = np.memmap(temporary, np.dtype("<f4"), "w+", shape=shape)
        with Progress(len(ids), "writing vectors", "vectors") as progress:
            for rows, vectors in vectors_in_order(store, ids):
                matrix[rows] = vectors
                progress.add(len(rows))
        matrix.flush()
        as_text = looks_like_text(temporary)
        if as_text:
            _write_tsv(path / "fingerprints.tsv", matrix)
    if not as_text:
        return "fingerprints.bytes"
    (path / "fingerprints.bytes").unlink()
    return "fingerprints.tsv"


def looks_like_text(file: Path) -> bool:
    """Whether TensorBoard, which first tries to read a line, would take bytes for TSV."""
    with file.open("rb") as stream:
        line = stream.readline()
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _write_tsv(file: Path, values: NDArray[np.float32]) -> None:
    with replacing(file) as temporary, temporary.open("w", encoding="ascii") as stream:
        for row in values:
            stream.write("\t".join(f"{value:.9g}" for value in row.tolist()) + "\n")


def _write_metadata(file: Path, facts: pa.Table) -> None:
    columns = [_texts(facts.column(name)) for name in facts.column_names]
    with replacing(file) as temporary, temporary.open("w", encoding="utf-8") as stream:
        stream.write("\t".join(facts.column_names) + "\n")
        for row in zip(*columns, strict=True):
            stream.write("\t".join(row) + "\n")


def _texts(column: pa.ChunkedArray) -> list[str]:
    digits = 7 if pa.types.is_float32(column.type) else 12
    return [_text(value, digits) for value in column.to_pylist()]


def _text(value: Any, digits: int) -> str:
    """On one line, without tabs: the projector knows no quotes."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "; ".join(_text(each, digits) for each in value)
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    return " ".join(str(value).split())


def _write_sprite(store: Store, file: Path, ids: NDArray[np.int64]) -> int:
    """All pictures in one PNG; gives the side of each, px."""
    from PIL import Image

    from elodin_spark.display.thumbnails import square_thumbnail

    columns, rows, side = sprite_layout(len(ids))
    sprite = np.full((rows * side, columns * side, 3), _EMPTY, np.uint8)
    with Progress(len(ids), "drawing the sprite", "cutouts") as progress:
        for places, pictures in thumbnails_in_order(store, ids):
            for at, data in zip(places.tolist(), pictures, strict=True):
                if data is not None:
                    y, x = at // columns * side, at % columns * side
                    sprite[y : y + side, x : x + side] = square_thumbnail(data, side)
            progress.add(len(pictures))
    with replacing(file) as temporary, temporary.open("wb") as stream:
        Image.fromarray(sprite).save(stream, "PNG")
    return side


def _config(tensors: Iterable[tuple[str, str, tuple[int, ...]]], side: int) -> str:
    """The configuration as Protocol Buffers text."""
    return "".join(
        f"embeddings {{\n"
        f'  tensor_name: "{name}"\n'
        f"  tensor_shape: {shape[0]}\n"
        f"  tensor_shape: {shape[1]}\n"
        f'  tensor_path: "{file}"\n'
        f'  metadata_path: "{_METADATA}"\n'
        f"  sprite {{\n"
        f'    image_path: "{_SPRITE}"\n'
        f"    single_image_dim: {side}\n"
        f"    single_image_dim: {side}\n"
        f"  }}\n"
        f"}}\n"
        for name, file, shape in tensors
    )
