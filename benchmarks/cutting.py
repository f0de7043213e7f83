"""Cutouts a second on one core: the describe and tile stages against a hand-written NumPy loop.

Each case cuts the same simulated tiles twice, by turns: with the package, from FITS file to Arrow rows, and
with a loop that knows the file's layout beforehand and does nothing but make the pixels. Both
must give the same bytes.

The loop runs in two ways. One writes all images into arrays that were made before the clock started,
which it can only do because nobody keeps its windows: it is the bar. The other makes its arrays anew
for each image, as a loop that hands its windows on has to, and as the package does.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from astropy.io import fits
from machine import interleaved, machine, one_thread, report

from elodin_spark.config.settings import QualitySettings, SlidingWindow, Step
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.stage import fuse

THUMBNAIL_PX = 96
#: Pixels that the loop stretches at once: they stay in the cache.
STRIP_PIXELS = 2**16


@dataclass(frozen=True)
class Tiles:
    """Files of one layout; all have one image in `dtype` at byte `offset`."""

    files: list[Path]
    side: int
    dtype: str
    offset: int
    zero: float = 0.0


def simulate_pixels(side: int, seed: int) -> np.ndarray:
    """Sky noise and round sources, shape (side, side), float32."""
    rng = np.random.default_rng(seed)
    image = rng.normal(100, 3, (side, side)).astype(np.float32)
    y, x = np.mgrid[-12:13, -12:13]
    for _ in range(max(4, side * side // 4000)):
        row, column = rng.integers(12, side - 12, 2)
        stamp = rng.exponential(200) * np.exp(-(x**2 + y**2) / (2 * rng.uniform(1, 3) ** 2))
        image[row - 12 : row + 13, column - 12 : column + 13] += stamp.astype(np.float32)
    return image


def _header(number: int, side: int) -> fits.Header:
    header = fits.Header()
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=150.0 + number, CRVAL2=2.0, RADESYS="ICRS")
    header.update(CRPIX1=side / 2, CRPIX2=side / 2, CDELT1=-0.2 / 3600, CDELT2=0.2 / 3600)
    return header


def write_tiles(folder: Path, kind: str, side: int, count: int) -> Tiles:
    """Write simulated tiles as ``float32``, ``int16`` (with BZERO) or ``rice`` (``.fz``)."""
    folder.mkdir()
    files = []
    for number in range(count):
        image, header = simulate_pixels(side, number), _header(number, side)
        file = folder / f"tile{number}.fits"
        if kind == "rice":
            file = file.with_suffix(".fits.fz")
            compressed = fits.CompImageHDU(image, header, compression_type="RICE_1", quantize_level=16)
            fits.HDUList([fits.PrimaryHDU(), compressed]).writeto(file)
        elif kind == "int16":
            fits.PrimaryHDU(np.clip(image * 8, 0, 65535).astype(np.uint16), header).writeto(file)
        else:
            fits.PrimaryHDU(image, header).writeto(file)
        files.append(file)
    with fits.open(files[0]) as opened:
        offset = int(opened[-1].fileinfo()["datLoc"])
    return Tiles(files, side, ">i2" if kind == "int16" else ">f4", offset, 32768.0 * (kind == "int16"))


class Ours:
    """The package: files to Arrow rows, as a Spark task runs it."""

    def __init__(
        self, tiles: Tiles, window: SlidingWindow, rgb: bool, thumbnails: bool, quality: bool
    ) -> None:
        steps = (Step(type="AsinhStretch"), *([Step(type="GrayToRGB")] if rgb else []))
        measured = QualitySettings() if quality else None
        self._tiles = tiles
        self._spec = fuse(
            DescribeSpec(), TileSpec(window, steps, (), THUMBNAIL_PX if thumbnails else 0, measured)
        )

    def rows(self, take: Callable[[Any], None]) -> None:
        """Hand each batch to `take`."""
        files = files_to_batches(list_files([str(file) for file in self._tiles.files]))
        for batch in self._spec.build(str)(files):
            take(batch)

    def __call__(self) -> None:
        """Make all batches and let each go."""
        self.rows(lambda batch: None)


class Loop:
    """The hand-written loop: one array for all windows of a tile, made once, or anew for each."""

    def __init__(
        self, tiles: Tiles, window: SlidingWindow, rgb: bool, thumbnails: bool, anew: bool = False
    ) -> None:
        self._tiles, self._rgb, self._thumbnails, self._anew = tiles, rgb, thumbnails, anew
        self._size, self._step = int(window.size[0]), int(window.step or window.size[0] // 2)
        self._make_arrays()

    def _make_arrays(self) -> None:
        along = (self._tiles.side - self._size) // self._step + 1
        channels = (3,) if self._rgb else ()
        self._image = np.empty((self._tiles.side, self._tiles.side, *channels), np.uint8)
        self.windows = np.empty((along, along, self._size, self._size, *channels), np.uint8)

    def cut(self, file: Path) -> list[bytes]:
        """Fill ``windows`` from a file; return the thumbnails."""
        side, tiles = self._tiles.side, self._tiles
        if self._anew:
            self._make_arrays()
        if file.suffix == ".fz":
            with fits.open(file) as opened:
                data = opened[1].data
        else:
            data = np.memmap(file, tiles.dtype, "r", tiles.offset, (side, side))
        stride = max(1, -(-side * side // 2**20))
        black, softening, scale = self._levels(data[stride // 2 :: stride])
        rows = max(1, STRIP_PIXELS // side)
        work = np.empty((rows, side), np.float32)
        for y in range(0, side, rows):
            strip = work[: min(rows, side - y)]
            strip[:] = data[y : y + rows]
            if tiles.zero:
                strip += np.float32(tiles.zero)
            strip -= black
            strip /= softening
            np.arcsinh(strip, out=strip)
            strip /= scale
            np.maximum(strip, np.float32(0), out=strip)
            np.minimum(strip, np.float32(1), out=strip)
            strip *= np.float32(255)
            np.rint(strip, out=strip)
            if self._rgb:
                cv2.cvtColor(strip.astype(np.uint8), cv2.COLOR_GRAY2RGB, dst=self._image[y : y + rows])
            else:
                self._image[y : y + rows] = strip
        size, step = self._size, self._step
        view = np.lib.stride_tricks.sliding_window_view(self._image, (size, size), axis=(0, 1))[
            ::step, ::step
        ]
        # The window's axes are last in the view; color is last in the array.
        self.windows[:] = np.moveaxis(view, 2, 4) if self._rgb else view
        return self._small() if self._thumbnails else []

    def _levels(self, sample: np.ndarray) -> tuple[np.float32, np.float32, np.float32]:
        values = sample.astype(np.float32).reshape(-1)  # a copy, whose order is of no matter
        if self._tiles.zero:
            values += np.float32(self._tiles.zero)
        sky = float(np.median(values, overwrite_input=True))
        noise = float(np.median(np.abs(values - sky), overwrite_input=True)) * 1.482602218505602
        black, white = sky - 1.5 * noise, float(np.percentile(values, 99.8, overwrite_input=True))
        softening = 4.0 * noise
        return np.float32(black), np.float32(softening), np.float32(math.asinh((white - black) / softening))

    def _small(self) -> list[bytes]:
        encoded = []
        for window in self.windows.reshape(-1, *self.windows.shape[2:]):
            small = cv2.resize(window, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)[::-1]
            small = np.ascontiguousarray(small[..., ::-1] if self._rgb else small)
            encoded.append(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
        return encoded

    def __call__(self) -> None:
        """Cut all files."""
        for file in self._tiles.files:
            self.cut(file)


def assert_equal(ours: Ours, loop: Loop, files: list[Path]) -> int:
    """Compare pixels and thumbnails byte by byte; return how many windows there are."""
    pixels: list[bytes] = []
    small: list[bytes] = []

    def take(batch: Any) -> None:
        cut = batch.filter(batch.column("cutout_id").is_valid())
        assert not batch.column("failure").is_valid().to_pylist().count(True)
        pixels.extend(cut.column("pixels").to_pylist())
        small.extend(x for x in cut.column("thumbnail").to_pylist() if x is not None)

    ours.rows(take)
    done = shown = 0
    for file in files:
        thumbnails = loop.cut(file)
        windows = loop.windows.reshape(-1, *loop.windows.shape[2:])
        assert len(windows)
        for window in windows:
            assert pixels[done] == window.tobytes(), f"window {done} differs"
            done += 1
        assert small[shown : shown + len(thumbnails)] == thumbnails, f"thumbnails of {file.name} differ"
        shown += len(thumbnails)
    assert (done, shown) == (len(pixels), len(small))
    return done


CASES = (
    # name, layout, RGB, thumbnails, quality
    ("mono to RGB, float32", "float32", True, False, False),
    ("mono, float32", "float32", False, False, False),
    ("mono to RGB with thumbnails", "float32", True, True, False),
    ("mono with thumbnails", "float32", False, True, False),
    ("mono with quality columns (the loop: without)", "float32", False, False, True),
    ("mono, int16 with BZERO", "int16", False, False, False),
    ("mono, RICE .fz (the loop: read by astropy)", "rice", False, False, False),
)


def measure(side: int, window: SlidingWindow, count: int, repeats: int, folder: Path) -> dict[str, Any]:
    """Run all cases."""
    layouts = {
        kind: write_tiles(folder / kind, kind, side, count) for kind in dict.fromkeys(c[1] for c in CASES)
    }
    rows = []
    for name, kind, rgb, thumbnails, quality in CASES:
        tiles = layouts[kind]
        ours, loop = Ours(tiles, window, rgb, thumbnails, quality), Loop(tiles, window, rgb, thumbnails)
        windows = assert_equal(ours, loop, tiles.files)
        anew = Loop(tiles, window, rgb, thumbnails, anew=True)
        times = interleaved({"ours": ours, "loop": loop, "anew": anew}, repeats)
        rows.append(
            {
                "case": name,
                "windows": windows,
                "ours, windows/s of CPU": windows / times["ours"]["cpu"],
                "loop, windows/s of CPU": windows / times["loop"]["cpu"],
                "loop, arrays anew": windows / times["anew"]["cpu"],
                "ratio, CPU": times["loop"]["cpu"] / times["ours"]["cpu"],
                "ratio, wall": times["loop"]["wall"] / times["ours"]["wall"],
                "ratio to arrays anew, CPU": times["anew"]["cpu"] / times["ours"]["cpu"],
            }
        )
    sizes = {"side_px": side, "window_px": window.size[0], "step_px": window.step, "tiles": count}
    facts = {"machine": machine("numpy", "pyarrow", "astropy", "opencv-python-headless")}
    return facts | {"settings": sizes | {"repeats": repeats}, "rows": rows}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=4096, help="of a tile, px")
    parser.add_argument("--size", type=int, default=224, help="of a window, px")
    parser.add_argument("--step", type=int, default=112, help="between windows, px")
    parser.add_argument("--tiles", type=int, default=1, help="files a run")
    parser.add_argument("--repeats", type=int, default=7, help="runs of each, by turns")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    given = parser.parse_args()
    one_thread()
    window = SlidingWindow(size=given.size, step=given.step, edge="drop")
    with tempfile.TemporaryDirectory(prefix="elodin-cutting-") as folder:
        result = measure(given.side, window, given.tiles, given.repeats, Path(folder))
    report(result, result["rows"], as_json=given.json)


if __name__ == "__main__":
    main()
