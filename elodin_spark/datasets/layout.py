"""Where the tiles lie on the sky, and which object lies where.

Objects are placed on one survey plane (TAN, px of the tiles) and then belong to the sky:
each tile sees them through a WCS of its own. Artifacts belong to one tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from astropy.wcs import WCS

_T = TypeVar("_T")

#: Objects of the sky that a person can name.
SKY_TYPES = ("elliptical", "spiral", "edge_on", "irregular", "merger", "lens", "star")
#: Defects of one exposure.
ARTIFACT_TYPES = ("satellite_trail", "bad_column", "cosmic_ray", "saturated_star")
#: Small and weak sources between the notable ones.
FAINT_TYPES = ("faint_galaxy", "faint_star")

#: Side of a pixel.
PIXEL_SCALE_ARCSEC = 0.2
#: ICRS right ascension and declination of the survey's center.
SURVEY_CENTER_DEG = (150.0, 2.2)

#: Neighboring tiles share this part of their side.
OVERLAP = 0.1
# The mean number of each in a square of 512 px.
_NOTABLE_DENSITY = 8.0
_FAINT_DENSITY = 16.0
_ARTIFACTS_PER_TILE = 1.5
# Beyond this separation a 96 px window holds one notable source.
_SEPARATION_PX = 95.0
_PLACEMENT_TRIES = 60

_STREAM_TYPES, _STREAM_PLACES, _STREAM_OBJECT = 1, 2, 3
#: Random stream of what differs from tile to tile.
STREAM_TILE = 4


def stream(seed: int, kind: int, *key: int) -> np.random.Generator:
    """Random stream of one purpose, independent of all others and of the order of use."""
    return np.random.default_rng([seed, kind, *key])


@dataclass(frozen=True)
class Placed:
    """One object and its place.

    Attributes
    ----------
    object_id : int
    type : str
        One of ``SKY_TYPES``, ``ARTIFACT_TYPES``, ``FAINT_TYPES``.
    ra, dec : float
        ICRS, deg.
    tile : int
        For artifacts the only tile that shows it; for others the tile it was placed in.
    """

    object_id: int
    type: str
    ra: float
    dec: float
    tile: int

    def stream(self, seed: int) -> np.random.Generator:
        """Random stream of the object: the same in each tile that shows it."""
        return stream(seed, _STREAM_OBJECT, self.object_id)


@dataclass(frozen=True)
class Layout:
    """A grid of overlapping tiles, as square as possible, row by row from the south.

    Parameters
    ----------
    tiles : int
        Number of tiles; the last row may be short.
    size_px : int
        Side of a tile, px.
    """

    tiles: int
    size_px: int

    @property
    def columns(self) -> int:
        """Tiles in a full row."""
        return math.isqrt(self.tiles - 1) + 1

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return -(-self.tiles // self.columns)

    @property
    def step_px(self) -> int:
        """Between the centers of neighboring tiles."""
        return round(self.size_px * (1 - OVERLAP))

    def name(self, tile: int) -> str:
        """File name of a tile, ``tile_RRR_CCC.fits``."""
        row, column = divmod(tile, self.columns)
        return f"tile_{row:03d}_{column:03d}.fits"

    def corner_px(self, tile: int) -> tuple[int, int]:
        """Column and row of the tile's first pixel on the survey plane."""
        row, column = divmod(tile, self.columns)
        return column * self.step_px, row * self.step_px

    def survey_wcs(self) -> WCS:
        """WCS of the survey plane, 0-based pixels of the first tile."""
        width = (self.columns - 1) * self.step_px + self.size_px
        height = (self.rows - 1) * self.step_px + self.size_px
        return _tan(*SURVEY_CENTER_DEG, (width + 1) / 2, (height + 1) / 2)

    def tile_wcs(self, tile: int) -> WCS:
        """WCS of one tile: TAN about its own center, north up, east left."""
        x, y = self.corner_px(tile)
        middle = (self.size_px - 1) / 2
        ra, dec = self.survey_wcs().all_pix2world(x + middle, y + middle, 0)
        return _tan(round(float(ra), 9), round(float(dec), 9), middle + 1, middle + 1)

    def place(self, seed: int) -> list[Placed]:
        """Objects of the survey, notable ones first.

        Types come in shuffled rounds, so that each is there from the first few tiles on.

        Parameters
        ----------
        seed : int

        Returns
        -------
        list of Placed
            ``object_id`` is the index.
        """
        area = (self.size_px / 512) ** 2
        notable = max(1, round(_NOTABLE_DENSITY * area)) * self.tiles
        faint = max(1, round(_FAINT_DENSITY * area)) * self.tiles
        artifacts = math.ceil(_ARTIFACTS_PER_TILE * self.tiles)
        rng = stream(seed, _STREAM_TYPES)
        types = [
            *_rounds(SKY_TYPES, notable, rng),
            *_rounds(ARTIFACT_TYPES, artifacts, rng),
            *_rounds(FAINT_TYPES, faint, rng),
        ]
        # Each kind visits the tiles in an order of its own, so none goes with a type.
        tiles = [
            tile
            for count in (notable, artifacts, faint)
            for tile in _rounds(tuple(range(self.tiles)), count, rng)
        ]
        places = self._places(types, tiles, stream(seed, _STREAM_PLACES))
        ra, dec = self.survey_wcs().all_pix2world(*np.array(places).T, 0)
        return [
            Placed(i, kind, round(float(ra[i]), 8), round(float(dec[i]), 8), tile)
            for i, (kind, tile) in enumerate(zip(types, tiles, strict=True))
        ]

    def _places(
        self, types: list[str], tiles: list[int], rng: np.random.Generator
    ) -> list[tuple[float, float]]:
        # The middle 90 % of the tiles pave the plane without overlap: even density.
        margin = self.size_px * OVERLAP / 2
        crowd = _Crowd()
        places = []
        for kind, tile in zip(types, tiles, strict=True):
            x0, y0 = self.corner_px(tile)
            candidates = np.array([x0, y0]) + rng.uniform(
                margin, self.size_px - margin, (_PLACEMENT_TRIES, 2)
            )
            if kind in FAINT_TYPES or kind in ("satellite_trail", "bad_column"):
                places.append((float(candidates[0, 0]), float(candidates[0, 1])))
                continue
            x, y = crowd.roomiest(candidates)
            crowd.add(x, y)
            places.append((x, y))
        return places


class _Crowd:
    """Points of the plane in square cells, to find a place away from all of them."""

    def __init__(self) -> None:
        self._cells: dict[tuple[int, int], list[tuple[float, float]]] = {}

    def add(self, x: float, y: float) -> None:
        self._cells.setdefault((int(x // _SEPARATION_PX), int(y // _SEPARATION_PX)), []).append((x, y))

    def roomiest(self, candidates: np.ndarray) -> tuple[float, float]:
        """First candidate that keeps the separation, else the one that comes nearest to it."""
        best, most = (math.nan, math.nan), -1.0
        for x, y in candidates.tolist():
            room = min((math.hypot(x - a, y - b) for a, b in self._near(x, y)), default=math.inf)
            if room > most:
                best, most = (x, y), room
            if room >= _SEPARATION_PX:
                break
        return best

    def _near(self, x: float, y: float) -> Iterator[tuple[float, float]]:
        column, row = int(x // _SEPARATION_PX), int(y // _SEPARATION_PX)
        for i in (column - 1, column, column + 1):
            for j in (row - 1, row, row + 1):
                yield from self._cells.get((i, j), ())


def _rounds(values: tuple[_T, ...], count: int, rng: np.random.Generator) -> list[_T]:
    drawn: list[_T] = []
    while len(drawn) < count:
        drawn.extend(values[i] for i in rng.permutation(len(values)))
    return drawn[:count]


def _tan(ra: float, dec: float, crpix1: float, crpix2: float) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [crpix1, crpix2]
    wcs.wcs.cdelt = [-PIXEL_SCALE_ARCSEC / 3600, PIXEL_SCALE_ARCSEC / 3600]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.set()
    return wcs
