"""Taking images and cutouts out of a catalog: out of all answers at once, out of its files later."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from elodin_spark.catalog.storage.rowfilter import among
from elodin_spark.catalog.storage.store import Store
from elodin_spark.catalog.storage.tombstones import Tombstones
from elodin_spark.config.settings import Settings
from elodin_spark.errors import CatalogError, InputError, UnknownCutoutError
from elodin_spark.images.remote import list_uri
from elodin_spark.images.uris import is_remote, local_path
from elodin_spark.neighbors.base import ids_array, some_ids

_LISTED = 20  # images and cutouts that a dry run names


@dataclass(frozen=True)
class Removal:
    """What was taken out, or would be.

    Attributes
    ----------
    n_images, n_cutouts : int
        Now, not counting what was out already.
    dry_run : bool
        Nothing was removed.
    parts : tuple of str
        What is meant, a line each: images with the number of their cutouts, and single cutouts; those of a
        dry run only.
    """

    n_images: int
    n_cutouts: int
    dry_run: bool = False
    parts: tuple[str, ...] = ()

    def text(self) -> str:
        """One line for a terminal; of a dry run what would be removed in further ones."""
        what = f"{_counted(self.n_cutouts, 'cutout')} and {_counted(self.n_images, 'image')}"
        if not self.dry_run:
            return f"removed {what}; 'compact' frees their space"
        more = len(self.parts) - _LISTED
        lines = [f"would remove {what}; nothing was removed", *(f"  {part}" for part in self.parts[:_LISTED])]
        return "\n".join([*lines, *([f"  and {more:,} more"] if more > 0 else [])])


def remove(
    store: Store,
    images: Iterable[str | int] = (),
    cutouts: Iterable[int] = (),
    *,
    dry_run: bool = False,
) -> Removal:
    """Take images, with all their cutouts, and single cutouts out of a catalog.

    No index finds them from then on, in this process or in those that open the catalog later, and no
    run brings them back.

    Parameters
    ----------
    store : Store
    images : iterable of str or int
        Paths below the archive root, which stand for all planes of the file, or image IDs.
    cutouts : iterable of int
        Cutout IDs; those that were removed before are skipped.
    dry_run : bool
        Remove nothing; say what would be.

    Returns
    -------
    Removal

    Raises
    ------
    InputError
        Nothing is given, or an image is not in the catalog.
    UnknownCutoutError
        A cutout is not in the catalog.
    CatalogError
        Nothing would be left, or another process is writing.
    """
    named, singles = list(images), ids_array(list(cutouts))
    paths = [image for image in named if isinstance(image, str)]
    numbers = [image for image in named if not isinstance(image, str)]
    if not (paths or numbers or singles.size):
        raise InputError("nothing to remove was named: give paths or IDs of images, or IDs of cutouts")
    with store.lock():
        before = store.tombstones
        known = store.dataset("images", ["path"]).to_table(columns=["image_id", "path"])
        image_ids = np.union1d(_of_paths(known, paths), _of_numbers(known, numbers, before))
        alone = _cutouts(store, "cutout_id", singles)
        unknown = np.setdiff1d(singles, np.union1d(alone, before.cutouts))
        if unknown.size:
            raise UnknownCutoutError(
                f"{store.path} holds no cutout {some_ids(unknown)}: nothing was removed; take IDs from its "
                "cutouts table"
            )
        gone = np.union1d(_cutouts(store, "image_id", image_ids), alone)
        if gone.size and gone.size == store.dataset("cutouts", ()).count_rows():
            raise CatalogError(
                f"that would remove all {gone.size:,} cutouts of {store.path}: delete the folder instead"
            )
        if dry_run:
            parts = _parts(store, known, image_ids, alone)
            return Removal(int(image_ids.size), int(gone.size), True, parts)
        if gone.size or image_ids.size:
            store.keep_tombstones(
                Tombstones(np.union1d(before.cutouts, gone), np.union1d(before.images, image_ids))
            )
    return Removal(int(image_ids.size), int(gone.size))


def _parts(
    store: Store, known: pa.Table, image_ids: NDArray[np.int64], alone: NDArray[np.int64]
) -> tuple[str, ...]:
    """What would be removed, a line each: images by path, then the cutouts that are named by themselves."""
    paths = dict(zip(*(known.column(name).to_pylist() for name in ("image_id", "path")), strict=True))
    columns = ["cutout_id", "image_id", "x0", "y0", "x1", "y1"]
    wanted = among("image_id", image_ids) | among("cutout_id", alone)
    rows = store.dataset("cutouts").to_table(columns=columns, filter=wanted).to_pylist()
    counts = Counter(row["image_id"] for row in rows)
    of_images = [
        (paths[image], f"{paths[image]}, {_counted(counts[image], 'cutout')}") for image in image_ids
    ]
    singles = [row for row in rows if row["image_id"] not in set(image_ids.tolist())]
    return (
        *(line for _, line in sorted(of_images)),
        *(
            "cutout {cutout_id}, [{x0}:{x1}, {y0}:{y1}] of {path}".format(**row, path=paths[row["image_id"]])
            for row in sorted(singles, key=lambda row: int(row["cutout_id"]))
        ),
    )


def vanished_images(store: Store, settings: Settings) -> list[str]:
    """Paths of the images of a catalog whose files are no longer in the archive, ascending.

    An image of several planes has vanished with the first of its files.

    Raises
    ------
    InputError
        The archive cannot be seen, or none of its files can: it is rather not mounted than empty.
    """
    root = str(store.meta["root"])
    columns = ["path", "uri", "planes"]
    rows = store.dataset("images", columns).to_table(columns=columns).to_pylist()
    there: Collection[str] | None = None
    if is_remote(root):
        there = {file.uri for file in list_uri(root, settings.images.storage)}
    elif not Path(root).is_dir():
        raise InputError(f"the archive root {root} is not there: mount it before asking what has vanished")
    gone = {row["path"] for row in rows if not all(_exists(uri, there) for uri in _uris(row))}
    if gone and len(gone) == len({row["path"] for row in rows}):
        raise InputError(
            f"none of the {len(gone):,} images of {store.path} is below {root}: is the archive mounted there?"
        )
    return sorted(gone)


def _uris(row: dict[str, Any]) -> list[str]:
    return [plane["uri"] for plane in row["planes"]] if row["planes"] else [row["uri"]]


def _exists(uri: str, there: Collection[str] | None) -> bool:
    return uri in there if there is not None else os.path.lexists(local_path(uri))


def _cutouts(store: Store, column: str, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cutouts whose ID, or whose image, is among `ids`, of those that were not removed."""
    rows = store.dataset("cutouts", ()).to_table(columns=["cutout_id"], filter=among(column, ids))
    return rows.column("cutout_id").to_numpy()


def _of_paths(known: pa.Table, paths: list[str]) -> NDArray[np.int64]:
    if not paths:
        return np.empty(0, np.int64)
    held = set(known.column("path").to_pylist())
    for path in paths:
        if path not in held:
            near = difflib.get_close_matches(path, held, n=1)
            raise InputError(
                f"no image {path!r} in the catalog, or it was removed before: nothing was removed; give "
                "paths below the archive root" + (f", such as {near[0]!r}" if near else "")
            )
    return known.filter(pc.field("path").isin(paths)).column("image_id").to_numpy()


def _of_numbers(known: pa.Table, numbers: list[Any], before: Tombstones) -> NDArray[np.int64]:
    asked, held = ids_array(numbers), known.column("image_id").to_numpy()
    unknown = np.setdiff1d(asked, np.union1d(held, before.images))
    if unknown.size:
        raise InputError(f"no image {some_ids(unknown)} in the catalog: nothing was removed")
    return np.intersect1d(asked, held)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
