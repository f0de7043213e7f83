"""Cutouts whose classes are known: files in folders, or listed in a CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from elodin_spark.config.load import parse_settings
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.errors import InputError
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.images.uris import is_fits
from elodin_spark.stage import fuse, run_plain

Picture = NDArray[np.uint8]  # (height, width, 3)

_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp"}


@dataclass(frozen=True)
class LabeledSet:
    """Cutouts of known classes.

    Attributes
    ----------
    name : str
    pictures : sequence of ndarray of uint8, shape (height, width, 3)
    labels : list of str
    objects : list of str or None
        What each shows, where several may show the same.
    attributes : ndarray of float32, shape (n, a), or None
        Further numbers that are known of each; NaN where one is not.
    """

    name: str
    pictures: Sequence[Picture]
    labels: list[str]
    objects: list[str] | None = None
    attributes: NDArray[np.float32] | None = None

    def rows(self, count: int, seed: int) -> NDArray[np.int64]:
        """Rows of at most `count` of them, drawn at random, in order."""
        if count >= len(self.labels):
            return np.arange(len(self.labels))
        return np.sort(np.random.default_rng(seed).choice(len(self.labels), count, replace=False))

    def some(self, count: int, seed: int) -> LabeledSet:
        """Those of :meth:`rows`."""
        if count >= len(self.labels):
            return self
        return self._taken(self.rows(count, seed))

    def split(self, held: float, seed: int) -> tuple[LabeledSet, LabeledSet]:
        """Those to learn from, and those held out to be tested on.

        Parameters
        ----------
        held : float
            Share of each class that is held out, 0 to 1. All cutouts of an object are on one side.
        seed : int

        Returns
        -------
        tuple of LabeledSet
            In their order; the name of the second ends with ``-held``.

        Examples
        --------
        >>> flat = [np.zeros((8, 8, 3), np.uint8)] * 9
        >>> learned, held = LabeledSet("mine", flat, [*"aaaaaabbb"]).split(1 / 3, seed=0)
        >>> learned.labels, held.labels, held.name
        (['a', 'a', 'a', 'a', 'b', 'b'], ['a', 'a', 'b'], 'mine-held')
        """
        rng = np.random.default_rng(seed)
        labels = np.asarray(self.labels)
        shown = np.arange(len(labels)) if self.objects is None else np.asarray(self.objects)
        out: list[NDArray[np.generic]] = []
        for label in np.unique(labels):
            objects = rng.permutation(np.unique(shown[labels == label]))
            out.append(objects[: round(held * len(objects))])
        tested = np.isin(shown, np.concatenate(out))
        second = self._taken(np.flatnonzero(tested))
        return self._taken(np.flatnonzero(~tested)), replace(second, name=f"{self.name}-held")

    def _taken(self, rows: NDArray[np.int64]) -> LabeledSet:
        held = self.pictures
        return replace(
            self,
            pictures=held.take(rows) if isinstance(held, PictureFiles) else [held[i] for i in rows],
            labels=[self.labels[i] for i in rows],
            objects=None if self.objects is None else [self.objects[i] for i in rows],
            attributes=None if self.attributes is None else self.attributes[rows],
        )


def read_set(name: str, path: Path, attributes: Path | None = None) -> LabeledSet:
    """A folder with a folder for each class, or a CSV of ``file,label[,object]``.

    Files of a CSV are relative to its folder. The pictures are read as they are asked for.

    Parameters
    ----------
    name : str
    path : Path
    attributes : Path, optional
        A CSV of ``file`` and columns of numbers, in which the files are named as in the other CSV, or as
        ``class/file``. An empty one is not known; nor is -1 where no other of the column is below 0.
        Columns whose names end in ``_inf`` or ``_sup``, limits, are passed over.

    Raises
    ------
    InputError
        There are fewer than two classes, or a CSV cannot be read; when it is asked for, a picture.
    """
    if path.is_dir():
        files = sorted(f for f in path.glob("*/*") if f.suffix.lower() in _SUFFIXES or is_fits(f.name))
        labels, objects = [f.parent.name for f in files], None
        names = [f"{f.parent.name}/{f.name}" for f in files]
    else:
        rows = _table(name, path)
        if not rows or not {"file", "label"} <= set(rows[0]):
            raise InputError(f"set {name}: {path} needs a header with file and label, and rows below it")
        files, labels = [path.parent / row["file"] for row in rows], [row["label"] for row in rows]
        objects = [row["object"] for row in rows] if "object" in rows[0] else None
        names = [row["file"] for row in rows]
    if len(set(labels)) < 2:
        raise InputError(
            f"set {name}: {path} holds {len(files)} images of {len(set(labels))} classes: two or more"
        )
    known = None if attributes is None else _attributes(name, attributes, names)
    return LabeledSet(name, PictureFiles(files), labels, objects, known)


def _table(name: str, path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise InputError(f"set {name}: {path} cannot be read ({error}): give a folder or CSV") from None


def _attributes(name: str, path: Path, files: Sequence[str]) -> NDArray[np.float32]:
    rows = {row.get("file"): row for row in _table(name, path)}
    columns = [c for c in next(iter(rows.values()), {}) if c != "file" and not c.endswith(("_inf", "_sup"))]
    if missing := [file for file in files if file not in rows]:
        raise InputError(f"set {name}: {path} has no row of {missing[0]}: give one to each file")
    try:
        found = np.array([[float(rows[file][c] or "nan") for c in columns] for file in files], np.float32)
    except ValueError as error:
        raise InputError(f"set {name}: {path} holds what is no number ({error}): leave it empty") from None
    unknown = (found == -1) & ~((found < 0) & (found != -1)).any(axis=0)
    found[unknown] = np.nan
    return found


class PictureFiles(Sequence[Picture]):
    """Pictures in files, each read when it is asked for: a set may be larger than memory.

    Parameters
    ----------
    files : sequence of Path
        FITS, of which the first image is read and stretched as a run does, or what Pillow reads.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = list(files)

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, at: int) -> Picture: ...
    @overload
    def __getitem__(self, at: slice) -> PictureFiles: ...
    def __getitem__(self, at: int | slice) -> Picture | PictureFiles:
        if isinstance(at, slice):
            return PictureFiles(self._files[at])
        return _read(self._files[at])

    def take(self, rows: Iterable[int]) -> PictureFiles:
        """Those of some rows, in that order."""
        return PictureFiles([self._files[row] for row in rows])


def _read(path: Path) -> Picture:
    if is_fits(path.name):
        return _read_fits(path)
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise InputError(f"{path} cannot be read as an image ({error}): leave it out of the set") from None


def _read_fits(path: Path) -> Picture:
    settings = parse_settings(
        {
            "images": {"paths": str(path)},
            "cutouts": {
                "generator": {"kind": "full_image"},
                "quality": {"min_edge_px": 0},
                "thumbnail_px": 0,
            },
        }
    )
    stages = fuse(DescribeSpec.from_settings(settings.images), TileSpec.from_settings(settings))
    rows = run_plain(stages, files_to_batches(list_files([str(path)], str(path.parent)))).to_pylist()
    for row in rows:
        if row["failure"] is not None:
            raise InputError(f"{path}: {row['failure']['message']}: leave it out of the set")
        if row["pixels"] is not None:
            pixels = np.frombuffer(row["pixels"], np.uint8).reshape(row["pixel_shape"])
            return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    raise InputError(f"{path} holds no image that can be cut: leave it out of the set")
