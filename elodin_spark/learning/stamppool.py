"""Simulated objects for a training, drawn once and kept in files that are mapped to memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from elodin_spark.datasets.stamps import SHAPES, STAMP_KINDS, Stamps, draw_stamps
from elodin_spark.errors import import_extra

#: What simulated objects are, by name; the numbers of kinds are indices of this.
KINDS = (*STAMP_KINDS, "edge_on", "bad_column", "cosmic_rays", "faint")

_AT_ONCE = 500
_TILES_AT_ONCE = 10
#: Where the survey has another name for a kind.
_OF_SURVEY = {
    "satellite_trail": "trail",
    "saturated_star": "bright_star",
    "cosmic_ray": "cosmic_rays",
    "faint_galaxy": "faint",
    "faint_star": "faint",
    "sky": "faint",
}


def stamp_pool(
    folder: Path,
    count: int,
    tiles: int,
    px: int,
    seed: int,
    processes: int,
    progress: Callable[[int], None] | None = None,
) -> Stamps:
    """Draw `count` simulated objects and the windows of some simulated tiles, or take those of before.

    Parameters
    ----------
    folder : Path
        Of the files.
    count, px, seed : int
        See :func:`~elodin_spark.datasets.stamps.draw_stamps`.
    tiles : int
        See :func:`~elodin_spark.datasets.windows.draw_windows`.
    processes : int
    progress : callable, optional
        Told how many there are.

    Returns
    -------
    Stamps
        Windows are a memory map, kinds numbers in :data:`KINDS`.

    Raises
    ------
    MissingDependencyError
        Tiles are wanted, and GalSim is not installed.
    """
    if tiles:
        import_extra("galsim", "drawing simulated tiles", instead="set tiles to 0")
    folder.mkdir(parents=True, exist_ok=True)
    ending = f"{count}-{tiles}-{px}-{seed}.npy"
    names = [folder / f"{part}-{ending}" for part in ("windows", "kinds", "shapes")]
    if not all(name.exists() for name in names):
        parts: list[Stamps] = []
        starts = range(0, count, _AT_ONCE)
        # Not forked: a backend that has threads may be running already.
        with ProcessPoolExecutor(max(1, processes), get_context("spawn")) as pool:
            tasks = [
                pool.submit(draw_stamps, start, min(_AT_ONCE, count - start), px, seed) for start in starts
            ]
            tasks += [
                pool.submit(tile_stamps, start, min(_TILES_AT_ONCE, tiles - start), px, seed)
                for start in range(0, tiles, _TILES_AT_ONCE)
            ]
            for task in tasks:
                parts.append(task.result())
                if progress:
                    progress(sum(len(part.kinds) for part in parts))
        for name, part in zip(names, ("windows", "kinds", "shapes"), strict=True):
            temporary = name.with_suffix(f".{os.getpid()}.tmp")
            with temporary.open("wb") as file:
                np.save(file, np.concatenate([getattr(each, part) for each in parts]))
            temporary.replace(name)
    windows, kinds, shapes = (np.load(name, mmap_mode="r", allow_pickle=False) for name in names)
    return Stamps(windows, np.array(kinds), np.array(shapes))


def tile_stamps(first: int, count: int, px: int, seed: int) -> Stamps:
    """Windows of some simulated tiles, of known kind and without shape parameters.

    Parameters
    ----------
    first, count : int
        Numbers of the tiles.
    px, seed : int
        See :func:`~elodin_spark.datasets.windows.draw_windows`.

    Returns
    -------
    Stamps
        56 windows of each tile; kinds are numbers in :data:`KINDS`, shapes NaN.
    """
    from elodin_spark.datasets.windows import draw_windows  # needs GalSim

    windows, types = zip(*(draw_windows(first + i, px, seed) for i in range(count)), strict=True)
    kinds = [KINDS.index(_OF_SURVEY.get(name, name)) for some in types for name in some]
    shapes = np.full((len(kinds), len(SHAPES)), np.nan, np.float32)
    return Stamps(np.concatenate(windows), np.array(kinds, np.int64), shapes)
