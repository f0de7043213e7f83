"""Large and damaged images: memory, disk and time stay within bounds."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from helpers.fitsforms import NX
from helpers.limits import HANG_S
from helpers.paths import ROOT

from elodin_spark.errors import ImageError
from elodin_spark.images.planes import open_plane

# ---- memory --------------------------------------------------------------------------------


def measured(code: str, **files: Path) -> Any:
    """Run code in a process of its own that prints JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, files.values())],
        capture_output=True, text=True, cwd=ROOT, timeout=HANG_S, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(("bitpix", "itemsize"), [(-32, 4), (16, 2)])
def test_a_20000_px_square_image_is_cut_in_less_than_100_mb(
    tmp_path: Path, bitpix: int, itemsize: int
) -> None:
    side = 20_000
    header = fits.PrimaryHDU().header
    header["BITPIX"], header["NAXIS"] = bitpix, 2
    header["NAXIS1"] = header["NAXIS2"] = side
    if bitpix == 16:
        header["BZERO"] = 32768
    path = tmp_path / "large.fits"
    start = len(header.tostring())
    at = start + (12_345 * side + 6_789) * itemsize
    with path.open("wb") as file:  # a sparse file: no blocks but these
        file.write(header.tostring().encode())
        file.seek(at)
        file.write(np.array([42], ">f4" if bitpix < 0 else ">i2").tobytes())
        file.truncate(start + -(-side * side * itemsize // 2880) * 2880)
    found = measured(
        """
import json, resource, sys
from elodin_spark.images.planes import open_plane
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
with open_plane(sys.argv[1], 0) as plane:
    plane.read(0, 8)
    before = peak()
    values = [float(plane.read(12_345, 12_346, 6_789, 6_790)[0, 0])]
    for y in range(0, 20_000 - 224, 2_222):
        for x in range(0, 20_000 - 224, 2_222):
            plane.read(y, y + 224, x, x + 224)
    for y in range(0, 20_000, 250):
        plane.read(y, y + 250)
print(json.dumps({"more_mb": peak() - before, "values": values}))
""",
        path=path,
    )
    assert found["values"] == [42.0 + (32768 if bitpix == 16 else 0)]
    assert found["more_mb"] < 100


def test_memory_is_returned_after_each_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).normal(100, 5, (1000, 1000)).astype(np.float32)
    plain, tiled, packed = tmp_path / "a.fits", tmp_path / "a.fits.fz", tmp_path / "a.fits.gz"
    fits.writeto(plain, pixels)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pixels)]).writeto(tiled)
    packed.write_bytes(gzip.compress(plain.read_bytes(), 1))
    found = measured(
        """
import json, os, sys, psutil
from elodin_spark.images.planes import open_plane
sizes = []
for number in range(51):
    path = sys.argv[1 + number % 3]
    with open_plane(path, int(path.endswith("fz"))) as plane:
        for y in range(0, 900, 100):
            plane.read(y, y + 200 if y < 800 else 1000)
    sizes.append(psutil.Process().memory_info().rss / 2**20)
files = len(os.listdir("/proc/self/fd"))
print(json.dumps({"early": max(sizes[6:12]), "late": max(sizes[-6:]), "files": files}))
""",
        plain=plain, tiled=tiled, packed=packed,
    )  # fmt: skip
    assert found["late"] < found["early"] + 10
    assert found["files"] < 12


def test_unpacking_leaves_no_file_behind(
    image_forms: dict[str, tuple[Path, np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with open_plane(str(image_forms["whole gz"][0]), 1) as plane:
        assert list(tmp_path.iterdir()) == []  # not even while it is open
        assert plane.read(0, 1).shape == (1, NX)


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from elodin_spark.images import streams

    path = tmp_path / "a.fits.gz"
    path.write_bytes(gzip.compress(bytes(2880)))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(streams, "_unpack", full)
    with pytest.raises(ImageError, match="TMPDIR") as caught, open_plane(str(path), 0):
        pass
    assert caught.value.kind == "no_space"


def test_a_file_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from elodin_spark.images import streams

    monkeypatch.setattr(streams, "MAX_UNPACKED_BYTES", 2**21)
    path = tmp_path / "a.fits.gz"
    path.write_bytes(gzip.compress(bytes(2**22)))
    with pytest.raises(ImageError) as caught, open_plane(str(path), 0):
        pass
    assert caught.value.kind == "too_large"


# ---- damage --------------------------------------------------------------------------------


def lying_header(cards: dict[str, Any]) -> bytes:
    lines = [f"{key:8}= {value!s:>20}" for key, value in cards.items()] + ["END"]
    return "".join(line.ljust(80) for line in lines).ljust(2880).encode()


def test_a_header_of_a_billion_pixels_over_3_kb_is_refused_without_allocating(tmp_path: Path) -> None:
    side = 31_623
    primary = {"SIMPLE": "T", "BITPIX": -64, "NAXIS": 2, "NAXIS1": side, "NAXIS2": side}
    plain = tmp_path / "a.fits"
    plain.write_bytes(lying_header(primary) + bytes(3000))
    packed = tmp_path / "b.fits.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    table = {
        "XTENSION": "'BINTABLE'", "BITPIX": 8, "NAXIS": 2, "NAXIS1": 8, "NAXIS2": 1, "PCOUNT": 3000,
        "GCOUNT": 1, "TFIELDS": 1, "TTYPE1": "'COMPRESSED_DATA'", "TFORM1": "'1PB(3000)'", "ZIMAGE": "T",
        "ZBITPIX": 16, "ZNAXIS": 2, "ZNAXIS1": side, "ZNAXIS2": side, "ZTILE1": side, "ZTILE2": side,
        "ZCMPTYPE": "'RICE_1  '",
    }  # fmt: skip
    tiled = tmp_path / "c.fits.fz"
    empty = lying_header({"SIMPLE": "T", "BITPIX": 8, "NAXIS": 0})
    content = np.array([3000, 0], ">i4").tobytes() + bytes(3000)
    tiled.write_bytes(empty + lying_header(table) + content.ljust(5760, b"\0"))
    found = measured(
        """
import json, resource, sys, time
from elodin_spark.errors import ImageError
from elodin_spark.images.planes import open_plane
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
try:
    with open_plane("/none.fits", 0): pass
except ImageError: pass
before, kinds = peak(), []
for path in sys.argv[1:]:
    try:
        with open_plane(path, int(path.endswith("fz"))) as plane:
            plane.read(0, 1)
    except ImageError as error:
        kinds.append(error.kind)
print(json.dumps({"kinds": kinds, "more_mb": peak() - before}))
""",
        plain=plain, packed=packed, tiled=tiled,
    )  # fmt: skip
    assert found["kinds"] == ["truncated", "truncated", "unreadable"]
    assert found["more_mb"] < 20


@pytest.mark.parametrize(
    "cards",
    [
        {"NAXIS": 2**31 - 1},
        {"NAXIS": -2},
        {"NAXIS1": -5},
        {"PCOUNT": -2880},
        {"GCOUNT": -1},
        {"TFIELDS": 2**31 - 1},
    ],
)
def test_counts_that_cannot_be_are_refused_at_once(tmp_path: Path, cards: dict[str, int]) -> None:
    good = {
        "XTENSION": "'IMAGE   '",
        "BITPIX": 8,
        "NAXIS": 2,
        "NAXIS1": 5,
        "NAXIS2": 5,
        "PCOUNT": 0,
        "GCOUNT": 1,
    }
    path = tmp_path / "a.fits"
    empty = lying_header({"SIMPLE": "T", "BITPIX": 8, "NAXIS": 0})
    path.write_bytes(empty + lying_header(good | cards) + bytes(2880))
    with pytest.raises(ImageError, match=next(iter(cards))), open_plane(str(path), 1):
        pass


def test_a_header_without_end_is_refused_before_the_file_is_read_through(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    header = lying_header({"SIMPLE": "T", "BITPIX": 8, "NAXIS": 0})
    with path.open("wb") as file:
        file.write(header.replace(b"END", b"EMD"))
        file.truncate(2**34)
    with pytest.raises(ImageError) as caught, open_plane(str(path), 0):
        pass
    assert caught.value.kind == "truncated"


def mutated(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    heads = [o for o in range(0, len(content), 2880) if content[o : o + 8] in (b"SIMPLE  ", b"XTENSION")]
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = min(rng.choice(heads) + rng.randrange(2880), len(content) - 1)
        kind = rng.random()
        if kind < 0.3:
            damaged[at] ^= 1 << rng.randrange(8)
        elif kind < 0.5:
            damaged[at] = rng.choice(b"0123456789-+.E TF'/")
        elif kind < 0.6:
            damaged[at : at + rng.randrange(400)] = bytes(min(400, len(content) - at))[: rng.randrange(400)]
        elif kind < 0.7:
            del damaged[at:]
            return bytes(damaged)
        else:  # another number in a card that is one
            start = at - at % 80
            if damaged[start + 8 : start + 10] == b"= ":
                number = rng.choice((0, -1, 1, 3, 299, 65536, 2**31 - 1, 2**32, 2**62, -(2**31), 10**30))
                damaged[start + 10 : start + 30] = f"{number:>20}".encode()[:20]
    return bytes(damaged)


def test_damaged_files_are_refused_or_read_but_never_hang_or_crash(
    image_forms: dict[str, tuple[Path, np.ndarray]], tmp_path: Path
) -> None:
    rng = random.Random(3)
    names = ["int16", "float32", "rice", "rice floats", "gzip 1", "hcompress", "plio"]
    for number in range(350):
        content = mutated(image_forms[names[number % len(names)]][0].read_bytes(), rng)
        (tmp_path / f"{number:03}.fits").write_bytes(content)
    found = measured(
        """
import collections, json, pathlib, sys
from elodin_spark.errors import ImageError
from elodin_spark.images.planes import open_plane
kinds = collections.Counter()
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        with open_plane(str(path), 1) as plane:
            plane.read(0, min(plane.shape[0], 64), 0, min(plane.shape[1], 512))
            plane.mask(0, 1)
        kinds["ok"] += 1
    except ImageError as error:
        kinds[error.kind] += 1
        assert len(str(error)) > 20
print(json.dumps({"kinds": kinds}))
""",
        folder=tmp_path,
    )
    assert sum(found["kinds"].values()) == 350
    assert found["kinds"]["ok"] > 20
    assert found["kinds"]["unreadable"] > 20
