"""Labelled cutouts, and copies of them that a good fingerprint takes for the same."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from elodin_spark.errors import InputError

Picture = NDArray[np.uint8]  # (height, width, 3)

#: Where the named sets are below the folder of data.
NAMED = {"efigi": "efigi/labels.csv", "radio": "radio_galaxies"}
_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp"}

#: Standard deviation of the noise of a copy, of 255 grey levels.
NOISE_LEVELS = 8.0
#: Standard deviation of the Gaussian a copy is blurred by, of its side.
BLUR_SIDE = 0.015
#: The farthest a copy is shifted along each axis, of its side; at least half of it along one.
SHIFT_SIDE = 0.04


@dataclass(frozen=True)
class LabelledSet:
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

    def some(self, count: int, seed: int) -> LabelledSet:
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


def read_set(name: str, path: Path) -> LabelledSet:
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
    return LabelledSet(name, [_read(file) for file in files], labels, objects)


def _read(path: Path) -> Picture:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise InputError(f"{path} cannot be read as an image ({error}): leave it out of the set") from None


def turned(picture: Picture, rng: np.random.Generator) -> Picture:
    """Turned by any angle about its center; what comes from outside is the picture mirrored."""
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), rng.uniform(0, 360), 1.0)
    return np.asarray(_warped(picture, turn))


def noisy(picture: Picture, rng: np.random.Generator) -> Picture:
    """With independent Gaussian noise in every pixel and channel."""
    noise = rng.normal(0, NOISE_LEVELS, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def blurred(picture: Picture, rng: np.random.Generator) -> Picture:
    """As by worse seeing."""
    sigma = BLUR_SIDE * min(picture.shape[:2])
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101))


def shifted(picture: Picture, rng: np.random.Generator) -> Picture:
    """By whole px along both axes; what comes from outside is the picture mirrored."""
    most = SHIFT_SIDE * min(picture.shape[:2])
    steps = rng.uniform(-1, 1, 2)
    steps[rng.integers(2)] = rng.choice((-1, 1)) * rng.uniform(0.5, 1)
    dx, dy = np.rint(most * steps)
    return np.asarray(_warped(picture, np.array([[1, 0, dx], [0, 1, dy]], np.float64)))


def _warped(picture: Picture, matrix: NDArray[np.float64]) -> cv2.typing.MatLike:
    size = picture.shape[1::-1]
    return cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


COPIES: dict[str, Callable[[Picture, np.random.Generator], Picture]] = {
    "rotation": turned,
    "noise": noisy,
    "blur": blurred,
    "shift": shifted,
}


def copies(pictures: list[Picture], kind: str, seed: int) -> list[Picture]:
    """One copy of each; the same whatever other kinds there are."""
    streams = np.random.default_rng([seed, list(COPIES).index(kind)]).spawn(len(pictures))
    return [COPIES[kind](picture, rng) for picture, rng in zip(pictures, streams, strict=True)]
