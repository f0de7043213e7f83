"""How much memory cutting takes, by the size of the image.

    python benchmarks/cutting_memory.py --sides 1000 4000 10000 20000 --compressed 1000 4000 8000

Each image is cut in a process of its own, which reports how far its peak of resident memory rose above
what it held before the first row. Images are noise with a WCS. One that is not compressed is
written as a memory map with a few bands of noise, the rest being a hole in the file; that takes
as long to read, and as much memory, as any other.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from astropy.io import fits
from machine import machine, one_thread, report

from elodin_spark import schema
from elodin_spark.config.settings import QualitySettings, SlidingWindow
from elodin_spark.cutouts.picture import WHOLE_PIXELS
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.images.listing import list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.stage import fuse

_MEBIBYTE = 2**20
_NOISY_ROWS = 64


def write_image(folder: Path, side: int, compressed: bool) -> Path:
    """Write a square float32 image."""
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.1, "CRVAL2": 2.2})
    header.update({"CRPIX1": side / 2, "CRPIX2": side / 2, "CD1_1": -5.6e-5, "CD2_2": 5.6e-5})
    rng = np.random.default_rng(0)
    if compressed:
        path = folder / f"{side}.fits.fz"
        pixels = rng.standard_normal((side, side), np.float32)
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pixels, header)]).writeto(path)
        return path
    path = folder / f"{side}.fits"
    whole = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": side, "NAXIS2": side})
    whole.extend(header)
    whole.tofile(path)
    offset = path.stat().st_size
    os.truncate(path, offset + -(-4 * side * side // 2880) * 2880)
    pixels = np.memmap(path, ">f4", "r+", offset, (side, side))
    for row in range(0, side, max(1, side // 16)):
        rows = pixels[row : row + _NOISY_ROWS]
        rows[:] = rng.standard_normal(rows.shape, np.float32)
    pixels.flush()
    return path


def cut(path: str, window: int, step: int | None, quality: bool) -> dict[str, float]:
    """Cut one image in this process; what it took."""
    one_thread()
    spec = fuse(
        DescribeSpec(),
        TileSpec(SlidingWindow(size=window, step=step), quality=QualitySettings() if quality else None),
    )
    file = pa.RecordBatch.from_pylist([f._asdict() for f in list_files([path])], schema=schema.FILES)
    stage = spec.build(str)
    before = _resident_bytes()
    started, windows = time.process_time(), 0
    for batch in stage(iter([file])):
        assert batch.column("failure").null_count == batch.num_rows, batch.column("failure")
        windows += batch.num_rows - batch.column("cutout_id").null_count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"windows": windows, "cpu_s": time.process_time() - started, "growth_bytes": peak - before}


def _resident_bytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(sides: list[int], compressed: list[int], window: int, step: int | None) -> list[dict[str, Any]]:
    """One row for each image."""
    rows = []
    for kind, lengths in (("plain", sides), ("RICE .fz", compressed)):
        for side in lengths:
            with tempfile.TemporaryDirectory(prefix="elodin-memory-") as folder:
                path = write_image(Path(folder), side, kind != "plain")
                for quality in (False, True):
                    command = [sys.executable, __file__, "--cut", str(path), "--window", str(window)]
                    command += [] if step is None else ["--step", str(step)]
                    command += ["--quality"] if quality else []
                    done = subprocess.run(command, check=True, capture_output=True, text=True)
                    taken = json.loads(done.stdout)
                    rows.append(
                        {
                            "image": kind,
                            "side, px": side,
                            "read": "whole" if side * side <= WHOLE_PIXELS else "by boxes",
                            "quality columns": "yes" if quality else "no",
                            "windows": taken["windows"],
                            "image as float32, MiB": 4 * side * side / _MEBIBYTE,
                            "growth of the peak, MiB": taken["growth_bytes"] / _MEBIBYTE,
                            "CPU, s": taken["cpu_s"],
                        }
                    )
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sides", type=int, nargs="*", default=[1000, 2000, 4000, 8000, 12000, 20000])
    parser.add_argument("--compressed", type=int, nargs="*", default=[1000, 2000, 4000, 8000])
    parser.add_argument("--window", type=int, default=224, help="px")
    parser.add_argument("--step", type=int, help="px; half the window unless given")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument("--cut", help=argparse.SUPPRESS)
    parser.add_argument("--quality", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cut:
        print(json.dumps(cut(given.cut, given.window, given.step, given.quality)))
        return
    rows = measure(given.sides, given.compressed, given.window, given.step)
    facts = {"machine": machine("numpy", "pyarrow", "astropy", "opencv-python-headless")}
    settings = {"window_px": given.window, "step_px": given.step}
    report(facts | {"settings": settings}, rows, as_json=given.json)


if __name__ == "__main__":
    main()
