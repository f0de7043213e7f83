"""Positions of a catalog on images: the join on Spark against loops in one process.

    python benchmarks/positions_join.py --positions 100000 --images 10000

Images are headers alone: square, turned at random, scattered over a part of the sky. The first loop
finds the positions near each image with a k-d tree and tests them with its WCS; the second tests all
positions with the WCS of each image. Both do the first `--loop-images` and `--brute-images` images,
are scaled to all of them, and must find there exactly what the join finds.
"""

from __future__ import annotations

import argparse
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pandas as pd
import psutil
from astropy.io import fits
from astropy.wcs import WCS
from machine import machine, report, tree_cpu
from scipy.spatial import cKDTree

from elodin_spark.config.settings import SparkSettings
from elodin_spark.images.sky import header_text
from elodin_spark.spark.session import session
from elodin_spark.spark.skyjoin import match_positions

SIDE_PX, SCALE_DEG = 4096, 0.2 / 3600
RA, DEC = (140.0, 170.0), (-10.0, 10.0)

Pairs = set[tuple[int, str]]


def simulate(positions: int, images: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Positions and images, uniform in a box of the sky."""
    rng = np.random.default_rng(0)
    low, high = np.sin(np.radians(DEC))
    sky = pd.DataFrame(
        {
            "position_id": [f"p{n}" for n in range(positions)],
            "ra": rng.uniform(*RA, positions),
            "dec": np.degrees(np.arcsin(rng.uniform(low, high, positions))),
        }
    )
    texts = []
    for turn in rng.uniform(0, 2 * math.pi, images):
        cos, sin = SCALE_DEG * math.cos(turn), SCALE_DEG * math.sin(turn)
        header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "RADESYS": "ICRS"})
        header.update({"CRVAL1": rng.uniform(*RA), "CRVAL2": rng.uniform(*DEC)})
        header.update({"CRPIX1": SIDE_PX / 2, "CRPIX2": SIDE_PX / 2})
        header.update({"CD1_1": -cos, "CD1_2": sin, "CD2_1": sin, "CD2_2": cos})
        texts.append(header_text(header))
    rows = pd.DataFrame({"image_id": np.arange(images), "wcs": texts, "status": "ok"})
    rows["width"] = rows["height"] = np.int32(SIDE_PX)
    return sky, rows


def joined(spark: Any, sky: pd.DataFrame, images: pd.DataFrame) -> Pairs:
    """By the join; collected."""
    matches = match_positions(spark.createDataFrame(images), spark.createDataFrame(sky))
    rows = matches.selectExpr("image_id", "explode(targets.position_id) as position_id").toArrow()
    return set(zip(rows["image_id"].to_pylist(), rows["position_id"].to_pylist(), strict=True))


def by_tree(sky: pd.DataFrame, images: pd.DataFrame) -> Pairs:
    """By a loop over images with a k-d tree of the positions."""
    ra, dec = np.radians(sky["ra"].to_numpy()), np.radians(sky["dec"].to_numpy())
    vectors = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    tree = cKDTree(vectors)
    found: Pairs = set()
    for row in images.itertuples():
        wcs = WCS(fits.Header.fromstring(row.wcs, sep="\n"))
        a, d = np.radians(wcs.wcs_pix2world([[(row.width - 1) / 2, (row.height - 1) / 2]], 0)[0])
        center = [math.cos(d) * math.cos(a), math.cos(d) * math.sin(a), math.sin(d)]
        radius = math.radians(SCALE_DEG) * math.hypot(row.width, row.height) / 2 * 1.01
        near = np.array(tree.query_ball_point(center, radius), int)
        found |= _inside(wcs, row, sky.iloc[near])
    return found


def by_brute_force(sky: pd.DataFrame, images: pd.DataFrame) -> Pairs:
    """By a loop over images, each against all positions."""
    found: Pairs = set()
    for row in images.itertuples():
        found |= _inside(WCS(fits.Header.fromstring(row.wcs, sep="\n")), row, sky)
    return found


def _inside(wcs: WCS, row: Any, sky: pd.DataFrame) -> Pairs:
    if not len(sky):
        return set()
    x, y = wcs.wcs_world2pix(sky["ra"].to_numpy(), sky["dec"].to_numpy(), 0)
    on = (x >= -0.5) & (x < row.width - 0.5) & (y >= -0.5) & (y < row.height - 0.5)
    return {(int(row.image_id), name) for name in sky["position_id"].to_numpy()[on]}


@contextmanager
def peak_memory() -> Iterator[dict[str, float]]:
    """Largest sums of the resident memory of Spark's JVM and of its Python workers, MiB."""
    peak = {"JVM": 0.0, "Python": 0.0}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            now = {"JVM": 0.0, "Python": 0.0}
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):  # it ended
                    now["JVM" if process.name() == "java" else "Python"] += process.memory_info().rss / 2**20
            for name, value in now.items():
                peak[name] = max(peak[name], value)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def measure(positions: int, images: int, loop_images: int, brute_images: int, master: str) -> dict[str, Any]:
    """Run all three; raise where they do not agree."""
    sky, footprints = simulate(positions, images)
    rows: list[dict[str, Any]] = []
    with session(SparkSettings(master=master)) as spark:
        joined(spark, sky[:100], footprints[:10])  # starts the workers
        with peak_memory() as peak, tree_cpu() as taken:
            pairs = joined(spark, sky, footprints)
    matched = {name for _, name in pairs}
    memory = {f"{name}, MiB": value for name, value in peak.items()}
    rows.append(_row(f"join on Spark, {master}", images, images, taken["cpu"], taken["wall"]))
    for how, find, count in (
        ("k-d tree loop, one process", by_tree, loop_images),
        ("brute force loop, one process", by_brute_force, brute_images),
    ):
        part = footprints[: min(count, images)]
        started, cpu = time.perf_counter(), time.process_time()
        found = find(sky, part)
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        expected = {pair for pair in pairs if pair[0] < len(part)}
        assert found == expected, f"{how}: {len(found ^ expected)} pairs differ from the join's"
        rows.append(_row(how, len(part), images, cpu, wall))
    result = {"machine": machine("pyspark", "pyarrow", "astropy", "scipy"), "rows": rows}
    result["settings"] = {"positions": positions, "images": images, "master": master}
    result["found"] = {
        "matches": len(pairs),
        "positions on an image": len(matched),
        "positions on none": positions - len(matched),
    } | {f"peak memory, {name}": value for name, value in memory.items()}
    return result


def _row(how: str, done: int, images: int, cpu: float, wall: float) -> dict[str, Any]:
    scale = images / done
    row = {"how": how, "images done": done, "CPU, s": cpu, "wall, s": wall}
    return row | {"CPU of all images, s": cpu * scale, "wall of all images, s": wall * scale}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--positions", type=int, default=100_000)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--loop-images", type=int, default=10_000, help="done by the k-d tree loop")
    parser.add_argument("--brute-images", type=int, default=100, help="done by brute force")
    parser.add_argument("--master", default="local[2]")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    given = parser.parse_args()
    result = measure(given.positions, given.images, given.loop_images, given.brute_images, given.master)
    report(result, result["rows"], as_json=given.json)
    if not given.json:
        print("\n" + ", ".join(f"{name}: {value:,.0f}" for name, value in result["found"].items()))


if __name__ == "__main__":
    main()
