"""Cutouts whose classes are known: files in folders, or listed in a CSV."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from elodin_spark.errors import InputError

Picture = NDArray[np.uint8]  # (height, width, 3)

_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp"}


@dataclass(frozen=True)
class LabeledSet:
    """Cutouts of known classes.

    Attributes
    ----------
    name : str
    pictures : list of ndarray of uint8, shape (height, width, 3)
    labels : list of str
    objects : list of str or None
        What each shows, where several may show the same.
    """

    name: str
    pictures: list[Picture]
    labels: list[str]
    objects: list[str] | None = None

    def some(self, count: int, seed: int) -> LabeledSet:
        """At most `count` of them, drawn at random and kept in their order."""
        if count >= len(self.labels):
            return self
        rows = np.sort(np.random.default_rng(seed).choice(len(self.labels), count, replace=False))
        objects = None if self.objects is None else [self.objects[i] for i in rows]
        return replace(
            self,
            pictures=[self.pictures[i] for i in rows],
            labels=[self.labels[i] for i in rows],
            objects=objects,
        )


def read_set(name: str, path: Path) -> LabeledSet:
    """A folder with a folder for each class, or a CSV of ``file,label[,object]``.

    Files of a CSV are relative to its folder.
    """
    if path.is_dir():
        files = sorted(f for f in path.glob("*/*") if f.suffix.lower() in _SUFFIXES)
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
    return LabeledSet(name, [_read(file) for file in files], labels, objects)


def _read(path: Path) -> Picture:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise InputError(f"{path} cannot be read as an image ({error}): leave it out of the set") from None
