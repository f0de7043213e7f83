"""Simulated objects for a training, drawn once and kept in files that are mapped to memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from elodin_spark.simulate.stamps import Stamps, draw_stamps

_AT_ONCE = 500


def stamp_pool(
    folder: Path,
    count: int,
    px: int,
    seed: int,
    processes: int,
    progress: Callable[[int], None] | None = None,
) -> Stamps:
    """Draw `count` simulated cutouts, or take those of before.

    Parameters
    ----------
    folder : Path
        Of the files.
    count, px, seed : int
        See :func:`~elodin_spark.simulate.stamps.draw_stamps`.
    processes : int
    progress : callable, optional
        Told how many there are.

    Returns
    -------
    Stamps
        Windows are a memory map.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [folder / f"{part}-{count}-{px}-{seed}.npy" for part in ("windows", "kinds", "shapes")]
    if not all(name.exists() for name in names):
        parts: list[Stamps] = []
        starts = range(0, count, _AT_ONCE)
        # Not forked: a backend that has threads may be running already.
        with ProcessPoolExecutor(max(1, processes), get_context("spawn")) as pool:
            tasks = [
                pool.submit(draw_stamps, start, min(_AT_ONCE, count - start), px, seed) for start in starts
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
