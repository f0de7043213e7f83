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
    """

    name: str
    pictures: Sequence[Picture]
    labels: list[str]
    objects: list[str] | None = None

    def rows(self, count: int, seed: int) -> NDArray[np.int64]:
        """Rows of at most `count` of them, drawn at random, in order."""
        if count >= len(self.labels):
            return np.arange(len(self.labels))
        return np.sort(np.random.default_rng(seed).choice(len(self.labels), count, replace=False))

    def some(self, count: int, seed: int) -> LabeledSet:
        """Those of :meth:`rows`."""
        if count >= len(self.labels):
            return self
        rows = self.rows(count, seed)
        objects = None if self.objects is None else [self.objects[i] for i in rows]
        held = self.pictures
        taken = held.take(rows) if isinstance(held, PictureFiles) else [held[i] for i in rows]
        return replace(
            self,
            pictures=taken,
            labels=[self.labels[i] for i in rows],
            objects=objects,
        )


def read_set(name: str, path: Path) -> LabeledSet:
    """A folder with a folder for each class, or a CSV of ``file,label[,object]``.

    Files of a CSV are relative to its folder. The pictures are read as they are asked for.

    Raises
    ------
    InputError
        There are fewer than two classes, or the CSV cannot be read; when it is asked for, a picture.
    """
    if path.is_dir():
        files = sorted(f for f in path.glob("*/*") if f.suffix.lower() in _SUFFIXES or is_fits(f.name))
        labels, objects = [f.parent.name for f in files], None
    else:
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except OSError as error:
            raise InputError(f"set {name}: {path} cannot be read ({error}): give a folder or CSV") from None
        if not rows or not {"file", "label"} <= set(rows[0]):
            raise InputError(f"set {name}: {path} needs a header with file and label, and rows below it")
        files, labels = [path.parent / row["file"] for row in rows], [row["label"] for row in rows]
        objects = [row["object"] for row in rows] if "object" in rows[0] else None
    if len(set(labels)) < 2:
        raise InputError(
            f"set {name}: {path} holds {len(files)} images of {len(set(labels))} classes: two or more"
        )
    return LabeledSet(name, PictureFiles(files), labels, objects)


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
