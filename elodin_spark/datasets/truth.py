"""What a cutout of the simulated survey holds, by the survey's truth table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.datasets.layout import ARTIFACT_TYPES, FAINT_TYPES

#: Artifacts that are lines of a length and a direction; all else is taken for a disk.
LINE_TYPES = ("satellite_trail", "bad_column")
#: What the type of a cutout is called where next to nothing of the truth table is in it.
SKY = "sky"
#: A person says "a spiral", "4 spirals".
NAMES = {
    "elliptical": ("elliptical", "ellipticals"),
    "spiral": ("spiral", "spirals"),
    "edge_on": ("edge-on disk", "edge-on disks"),
    "irregular": ("irregular", "irregulars"),
    "merger": ("merger", "mergers"),
    "lens": ("lens", "lenses"),
    "star": ("star", "stars"),
    "satellite_trail": ("satellite trail", "satellite trails"),
    "bad_column": ("bad column", "bad columns"),
    "cosmic_ray": ("cosmic rays", "cosmic rays"),
    "saturated_star": ("saturated star", "saturated stars"),
    "faint_galaxy": ("faint galaxy", "faint galaxies"),
    "faint_star": ("faint star", "faint stars"),
    SKY: ("sky", "sky"),
}
#: A notable thing of which less is in a cutout does not give it its type: with its center in a corner of
#: the window, just this much of a disk is inside.
_LEAST_PART = 0.25
#: A thing is alone where no other notable one has as much in the window, and well centered up to a distance
#: of this part of the window's side.
_ALONE_PART = 0.1
_CENTERED_PART = 0.25

_STEPS = np.linspace(-1, 1, 401)
_GRID = np.stack(np.meshgrid(_STEPS[::20], _STEPS[::20]), axis=-1).reshape(-1, 2)
_DISK = _GRID[np.hypot(*_GRID.T) <= 1]


@dataclass(frozen=True)
class Truth:
    """The objects of a simulated survey, one element per row of its truth table.

    The part of an object that a window holds is the share of its extent that lies inside. The extent of
    a trail or a bad column is its line, of all else the disk of its radius about its center. A line longer
    than the side of the window counts as of that length, and a disk larger than the window as of its
    area, so that 1 is the most that a window can hold of anything.

    Attributes
    ----------
    tile, kind : ndarray of str, shape (n,)
    x, y : ndarray of float, shape (n,)
        px, 0-based, x = column.
    radius_px : ndarray of float, shape (n,)
        Of a line half of its length.
    position_angle_deg : ndarray of float, shape (n,)
        From north (up) through east (left); NaN where it has no meaning.
    """

    tile: NDArray[np.str_]
    kind: NDArray[np.str_]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    radius_px: NDArray[np.float64]
    position_angle_deg: NDArray[np.float64]

    @classmethod
    def read(cls, path: Path) -> Truth:
        """Read ``truth.csv``."""
        with path.open(newline="", encoding="utf-8") as handle:
            return cls._of_rows(list(csv.DictReader(handle)))

    @classmethod
    def of(cls, tile: str, rows: Sequence[Mapping[str, Any]]) -> Truth:
        """Truth of one tile that was just drawn, see :class:`~elodin_spark.datasets.tile.Tile`."""
        return cls._of_rows([{**row, "tile": tile} for row in rows])

    @classmethod
    def _of_rows(cls, rows: Sequence[Mapping[str, Any]]) -> Truth:
        def numbers(name: str) -> NDArray[np.float64]:
            given = (row.get(name) for row in rows)
            return np.array([np.nan if value in (None, "") else float(value) for value in given])

        return cls(
            np.array([row["tile"] for row in rows], np.str_),
            np.array([row["type"] for row in rows], np.str_),
            numbers("x"),
            numbers("y"),
            numbers("radius_px"),
            numbers("position_angle_deg"),
        )

    def parts(self, row: dict[str, Any]) -> dict[int, float]:
        """Part of each object that a cutout holds, where it holds any.

        Parameters
        ----------
        row : dict
            Of :meth:`Catalog.describe_cutouts`.

        Returns
        -------
        dict of int to float
            Index of the object to its part, in (0, 1].
        """
        x0, y0, x1, y1 = (row[name] - 0.5 for name in ("x0", "y0", "x1", "y1"))
        width, height = x1 - x0, y1 - y0
        found: dict[int, float] = {}
        for i in np.flatnonzero(self.tile == row["image"].rsplit("/", 1)[-1]).tolist():
            x, y = self._extent(i).T
            inside = float(((x >= x0) & (x < x1) & (y >= y0) & (y < y1)).mean())
            radius = float(self.radius_px[i])
            if self.kind[i] in LINE_TYPES:
                times = 2 * radius / min(width, height)
            else:
                times = np.pi * radius**2 / (width * height)
            if inside:
                found[i] = min(1.0, inside * max(1.0, times))
        return found

    def type_in(self, row: dict[str, Any]) -> str:
        """Type of what is most visible in a cutout.

        Of notable objects and artifacts it is the one of which the window holds the greatest part, if that
        is a quarter at least. Of equal parts an artifact comes first, which is the brighter one, then the
        larger. Without any of them the largest faint object with its center in the window gives the type,
        and without that it is ``sky``. What reaches in from beyond the edge of the tile is not in the truth
        table of the tile, and counts for nothing.

        Parameters
        ----------
        row : dict
            Of :meth:`Catalog.describe_cutouts`.
        """
        parts = self.parts(row)
        notable = [i for i, part in parts.items() if self.is_notable(i) and part >= _LEAST_PART]
        if notable:
            return str(self.kind[min(notable, key=lambda i: self._order(i, parts[i]))])
        faint = [i for i in parts if not self.is_notable(i) and self._has_center_in(row, i)]
        return str(self.kind[max(faint, key=lambda i: self.radius_px[i])]) if faint else SKY

    def stands_alone(self, row: dict[str, Any]) -> tuple[str, float] | None:
        """What a cutout shows well centered and alone.

        Parameters
        ----------
        row : dict
            Of :meth:`Catalog.describe_cutouts`.

        Returns
        -------
        tuple of (str, float), or None
            Its type, and its distance from the middle of the cutout, px; that of a line is the least to any
            of its points. None where no notable thing is within a quarter of the window's side, or
            where a tenth of another one is in the window.
        """
        seen = [i for i, part in self.parts(row).items() if self.is_notable(i) and part >= _ALONE_PART]
        if len(seen) != 1:
            return None
        kind = str(self.kind[seen[0]])
        middle = (row["x0"] + row["x1"] - 1) / 2, (row["y0"] + row["y1"] - 1) / 2
        places = self._extent(seen[0]) if kind in LINE_TYPES else (self.x[seen[0]], self.y[seen[0]])
        off = float(np.linalg.norm(np.subtract(places, middle), axis=-1).min())
        return (
            (kind, off) if off <= _CENTERED_PART * min(row["x1"] - row["x0"], row["y1"] - row["y0"]) else None
        )

    def draw_place(self, i: int, rng: np.random.Generator) -> tuple[float, float]:
        """Place of an object, x and y in 0-based px: its middle, of a line any of its points.

        Parameters
        ----------
        i : int
            Index of the object.
        rng : numpy.random.Generator
            Chooses the point of a line.
        """
        if self.kind[i] not in LINE_TYPES:
            return float(self.x[i]), float(self.y[i])
        x, y = rng.choice(self._extent(i))
        return float(x), float(y)

    def _extent(self, i: int) -> NDArray[np.float64]:
        """Points of an object, evenly over all of it, shape (k, 2), px."""
        if self.kind[i] in LINE_TYPES:
            angle = np.radians(self.position_angle_deg[i])
            shape = np.outer(_STEPS, (-np.sin(angle), np.cos(angle)))  # east is left
        else:
            shape = _DISK
        return np.asarray(shape * self.radius_px[i] + (self.x[i], self.y[i]))

    def is_notable(self, i: int) -> bool:
        """Whether an object is none of the faint ones between the others."""
        return self.kind[i] not in FAINT_TYPES

    def _has_center_in(self, row: dict[str, Any], i: int) -> bool:
        inside = row["x0"] - 0.5 <= self.x[i] < row["x1"] - 0.5
        return bool(inside and row["y0"] - 0.5 <= self.y[i] < row["y1"] - 0.5)

    def _order(self, i: int, part: float) -> tuple[float, bool, float]:
        # Rounded: two things that are wholly inside, or all but, are equal.
        return -round(part, 1), self.kind[i] not in ARTIFACT_TYPES, -float(self.radius_px[i])


def write_share(kind: str, types: Sequence[str]) -> str:
    """Say how many of some cutouts are of a type: ``8 of 10 are spirals``."""
    count = sum(found == kind for found in types)
    singular, plural = NAMES[kind]
    if count != 1:
        return f"{count} of {len(types)} are {plural}"
    article = "" if singular == plural else "an " if singular[0] in "aeiou" else "a "
    return f"1 of {len(types)} is {article}{singular}"
