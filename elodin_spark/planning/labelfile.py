"""Classes of images or cutouts of an archive, as a user lists them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from elodin_spark.errors import InputError


@dataclass(frozen=True)
class LabelFile:
    """Classes by what they are given for.

    Attributes
    ----------
    name : str
        Of the file, for messages.
    by : {"path", "cutout_id"}
        ``path``: of all windows of an image, by its path below the archive root.
    classes : dict
        Path or cutout ID to class.
    """

    name: str
    by: Literal["path", "cutout_id"]
    classes: dict[str | int, str]


def read_labels(file: str | Path) -> LabelFile:
    r"""Read a CSV of ``path,label`` or ``cutout_id,label``; other columns are passed over.

    Raises
    ------
    InputError
        The file cannot be read, lacks a column, names something twice with two classes, has an ID that is no
        whole number, or fewer than two classes.

    Examples
    --------
    >>> _ = Path("mine.csv").write_text("path,label\na.fits,spiral\nb.fits,lens\n")
    >>> read_labels("mine.csv").classes
    {'a.fits': 'spiral', 'b.fits': 'lens'}
    """
    try:
        with Path(file).open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            header, rows = list(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"the labels {file} cannot be read as CSV: {error}") from None
    named = [name for name in ("path", "cutout_id") if name in header]
    if "label" not in header or not named:
        lacking = "label" if "label" not in header else "path or cutout_id"
        raise InputError(
            f"the labels {file} have no column {lacking}, their header is {','.join(header)[:100]!r}: "
            "it must be path,label or cutout_id,label"
        )
    by: Literal["path", "cutout_id"] = "path" if named[0] == "path" else "cutout_id"
    classes: dict[str | int, str] = {}
    for number, row in enumerate(rows, 2):
        name, label = (row[by] or "").strip(), (row["label"] or "").strip()
        if not name or not label:
            continue
        key = name if by == "path" else _cutout_id(name, file, number)
        if classes.setdefault(key, label) != label:
            raise InputError(
                f"the labels {file} call {name} {classes[key]!r} and in row {number} {label!r}: leave one out"
            )
    if len(set(classes.values())) < 2:
        raise InputError(
            f"the labels {file} hold {len(classes)} labels of {len(set(classes.values()))} classes: two "
            "classes or more are needed"
        )
    return LabelFile(str(file), by, classes)


def _cutout_id(text: str, file: str | Path, number: int) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(
            f"row {number} of the labels {file} has the cutout_id {text[:50]!r}, which is no whole number"
        ) from None
