"""Files that nobody should have to read: damaged, deceptive, huge or oddly named.

``python hostile.py FOLDER`` cuts every image below a folder in this process, one after the other,
and prints a line of JSON for each: what came of it, seconds, and memory. ``unreadable`` files are
read without the rights of root. ``python hostile.py FOLDER FLIPS SEED`` first fills the folder, with
FLIPS mutated headers of each way to store an image: a fuzzer, for as long as one cares to run it.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

SIDE = 96
NOBODY = 65534
#: Names that break scripts.
ODD_NAMES = (
    "with space.fits",
    "a@b=c&d;e.fits",
    "Köln-α-图.fits",
    "-rf.fits",
    "per%20cent#1?.fits",
    "[x].fits",
)


def pixels(kind: str = "f4") -> np.ndarray:
    return np.random.default_rng(7).normal(100, 10, (SIDE, SIDE)).astype(kind)


def good_files() -> dict[str, bytes]:
    """One file of each way to store an image, by name."""
    from PIL import Image

    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 41.0})
    header.update({"CRPIX1": 48.0, "CRPIX2": 48.0, "CD1_1": -1e-4, "CD2_2": 1e-4})
    plain = fits.PrimaryHDU(pixels(), header)
    mask = fits.ImageHDU((pixels() > 120).astype("i2"), name="MASK")
    planes = [fits.PrimaryHDU(), fits.ImageHDU(pixels(), header, name="IMAGE"), mask]

    def tiled(kind: str, **options: Any) -> bytes:
        return _fits(fits.PrimaryHDU(), fits.CompImageHDU(pixels(kind), header, **options))

    files = {
        "plain.fits": _fits(plain),
        "uint16.fits": _fits(fits.PrimaryHDU(pixels("u2"), header)),
        "planes.fits": _fits(*planes),
        "rice.fits.fz": tiled("i2", compression_type="RICE_1"),
        "gzip.fits.fz": tiled("f4", compression_type="GZIP_2"),
        "hcompress.fits.fz": tiled("i2", compression_type="HCOMPRESS_1", tile_shape=(32, 32)),
        "whole.fits.gz": gzip.compress(_fits(plain), mtime=0),
        "whole.fits.bz2": bz2.compress(_fits(plain)),
    }
    for ending, mode, options in (
        ("png", "L", {}),
        ("jpg", "RGB", {}),
        ("tif", "L", {"compression": "tiff_lzw"}),
    ):
        content = io.BytesIO()
        picture = Image.fromarray(pixels("u1")).convert(mode)
        picture.save(content, {"jpg": "JPEG", "tif": "TIFF"}.get(ending, "PNG"), **options)
        files[f"picture.{ending}"] = content.getvalue()
    return files


def _fits(*hdus: Any) -> bytes:
    content = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(content)
    return content.getvalue()


def damaged(name: str, content: bytes, flips: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Copies of a file: cut at ten places, and with bits flipped in what its header takes."""
    for tenth in range(10):
        yield f"cut{tenth}-{name}", content[: len(content) * tenth // 10]
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    for flip in range(flips):
        mutated = bytearray(content)
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(0, min(len(mutated), 8640)))
            mutated[at] ^= 1 << int(rng.integers(0, 8))
        yield f"flip{flip}-{name}", bytes(mutated)


def deceptive() -> dict[str, bytes]:
    """Files that are not what their name, or their header, says."""
    files = good_files()
    plain, huge = files["plain.fits"], {"NAXIS1": 31623, "NAXIS2": 31623}
    return {
        "jpeg-named.fits": files["picture.jpg"],
        "fits-named.jpg": plain,
        "fits-named.png": plain,
        "png-named.tif": files["picture.png"],
        "text-named.fits": b"SIMPLE, isn't it?\n" * 300,
        "text-named.png": b"a picture\n" * 300,
        "plain-named.fits.gz": plain,
        "plain-named.fits.fz": plain,
        "gz-named.fits": files["whole.fits.gz"],
        "gz-of-gz.fits.gz": gzip.compress(files["whole.fits.gz"]),
        "gz-of-nothing.fits.gz": gzip.compress(b""),
        "noise.fits": np.random.default_rng(1).bytes(3000),
        "noise.jpg": np.random.default_rng(2).bytes(3000),
        "huge.fits": _with_cards(plain, huge)[:5880],
        "beyond.fits": _with_cards(plain, {"NAXIS1": 2**31 - 1, "NAXIS2": 2**31 - 1}),
        "negative.fits": _with_cards(plain, {"NAXIS1": -5}),
        "huge.fits.fz": _with_cards(files["rice.fits.fz"], {"ZNAXIS1": 31623, "ZNAXIS2": 31623}),
        "zero-tiles.fits.fz": _with_cards(files["rice.fits.fz"], {"ZTILE1": 0, "ZTILE2": 0}),
        "bomb.fits.gz": gzip.compress(plain + bytes(2**28), 1),
        "bomb.png": _png_bomb(33000),
    }


def _with_cards(content: bytes, cards: dict[str, int]) -> bytes:
    for keyword, value in cards.items():
        start = content.index(f"{keyword:8s}=".encode())
        content = content[: start + 10] + f"{value:20d}".encode() + content[start + 30 :]
    return content


def _png_bomb(side: int) -> bytes:
    """A valid PNG of side x side zeros, a few hundred kB long."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    packer = zlib.compressobj(9)
    row = bytes(side + 1)
    body = b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()])
    size = side.to_bytes(4, "big")
    start = chunk(b"IHDR", size + size + bytes([8, 0, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def write_all(folder: Path, flips: int, seed: int = 0) -> None:
    """Fill a folder with good, damaged and deceptive files."""
    for name, content in good_files().items():
        (folder / name).write_bytes(content)
        for mutated, damage in damaged(name, content, flips, seed):
            (folder / mutated).write_bytes(damage)
    for name, content in deceptive().items():
        (folder / name).write_bytes(content)
    for name in ODD_NAMES:
        (folder / name).write_bytes(good_files()["plain.fits"])
    write_special(folder)


def write_damaged(folder: Path, sources: Path, flips: int, seed: int = 0) -> None:
    """Fill a folder with damaged copies of all files of another."""
    for source in sorted(sources.glob("*.fit*")):
        for name, content in damaged(source.name, source.read_bytes(), flips, seed):
            (folder / name).write_bytes(content)


def write_special(folder: Path) -> None:
    """Links that lead nowhere or in circles, a pipe, a device, and a file without permissions."""
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "round.fits").symlink_to(folder / "round.fits")
    (folder / "dangling.fits").symlink_to(folder / "gone.fits")
    (folder / "endless.fits").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.fits")
    (folder / "folder.fits").mkdir()
    (folder / "unreadable.fits").write_bytes(good_files()["plain.fits"])
    (folder / "unreadable.fits").chmod(0)


def main(folder: str) -> None:
    """Cut every file; see the module."""
    import pyarrow as pa

    from elodin_spark import schema
    from elodin_spark.config.settings import QualitySettings, SlidingWindow
    from elodin_spark.cutouts.tile import TileSpec
    from elodin_spark.images.listing import list_files
    from elodin_spark.images.stage import DescribeSpec
    from elodin_spark.stage import fuse

    tile = TileSpec(SlidingWindow(size=32, step=32), thumbnail_px=16, quality=QualitySettings())
    spec = fuse(DescribeSpec(hdu="all"), tile)
    for file in list_files([folder]):
        started = time.monotonic()
        barred = file.path.startswith("unreadable")
        if barred and os.geteuid() == 0:
            os.seteuid(NOBODY)
        batch = pa.RecordBatch.from_pylist([file._asdict()], schema=schema.FILES)
        windows, failures = 0, []
        try:
            # Not collected: what is measured is the stage.
            for rows in spec.build(str)(iter([batch])):
                windows += rows.num_rows - rows["cutout_id"].null_count
                failures += [row for row in rows["failure"].to_pylist() if row]
        finally:
            if os.geteuid() == NOBODY:
                os.seteuid(0)
        outcome = {"path": file.path, "windows": windows, "failures": failures}
        spent = {"seconds": time.monotonic() - started, "peak_mib": _peak_mib()}
        print(json.dumps(outcome | spent), flush=True)


def _peak_mib() -> float:
    # Not getrusage, whose peak starts with that of the parent.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**10


if __name__ == "__main__":
    if len(sys.argv) == 4:
        write_all(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    main(sys.argv[1])
