"""Windows of every generator as the pipeline lays them, against slow searches over pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from elodin_spark import ids
from elodin_spark.config.load import parse_settings
from elodin_spark.config.settings import Blobs, Generator, Positions, SlidingWindow, Sources
from elodin_spark.cutouts.layout import Layout, lay_windows
from elodin_spark.cutouts.picture import HeldRows, WholePicture
from elodin_spark.cutouts.sources import detect_sources
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.images import sky
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.stage import fuse, run_plain

Box = tuple[int, int, int, int]


@dataclass
class ArrayPlane:
    """An image in memory."""

    pixels: np.ndarray
    mask_bits: dict[str, int] = field(default_factory=dict)
    bad_bits: tuple[str, ...] = ()
    flux_unit: None = None
    saturation_level: float | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.pixels.shape

    def read(self, y0: int, y1: int, x0: int = 0, x1: int | None = None) -> np.ndarray:
        return self.pixels[y0:y1, x0:x1]

    def mask(self, *_: Any) -> None:
        return None

    variance = mask


def lay(
    generator: Generator,
    pixels: np.ndarray,
    scale: float | None = None,
    wcs: str | None = None,
    targets: tuple[dict[str, Any], ...] = (),
) -> Layout:
    """As the pipeline does it; checks what holds of all windows."""
    image = {"pixel_scale": scale, "wcs": wcs}
    picture = WholePicture(HeldRows(pixels), (), False)
    found = lay_windows(generator, picture, ArrayPlane(pixels), image, targets)
    height, width = pixels.shape
    assert found.windows.dtype == np.int32
    assert len(set(boxes(found))) == len(found) == len(found.shifted)
    for x0, y0, x1, y1 in boxes(found):
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert x1 - x0 == y1 - y0
    return found


def boxes(layout: Layout) -> list[Box]:
    return [tuple(row) for row in layout.windows.tolist()]


# ---- sliding windows -----------------------------------------------------------------------


@st.composite
def sliding(draw: st.DrawFn) -> tuple[int, int, float, list[tuple[int, int]], SlidingWindow]:
    """Height, width, scale, (size, step) of each size as they should come out in px, and settings."""
    height, width = draw(st.integers(8, 60)), draw(st.integers(8, 60))
    scale = draw(st.floats(0.05, 3.0))
    wanted, given_sizes = [], []
    for size in draw(st.lists(st.integers(1, min(height, width)), min_size=1, max_size=3)):
        as_angle = draw(st.booleans())
        # Settings keep 6 digits of an angle, and this stays clear of where one more px begins.
        angle = f"{(size + draw(st.floats(-0.4, 0.4))) * scale:.5g} arcsec"
        given_sizes.append(angle if as_angle else size)
        wanted.append(size)
    smallest = min(wanted)
    step = draw(st.none() | st.integers(1, smallest))
    edge = draw(st.sampled_from(["shift", "drop"]))
    steps = [max(1, size // 2) if step is None else step for size in wanted]
    made = SlidingWindow(size=tuple(given_sizes), step=step, edge=edge)
    return height, width, scale, list(zip(wanted, steps, strict=True)), made


def along(length: int, size: int, step: int, edge: str) -> Iterator[int]:
    """Every place on an axis tried in turn."""
    for start in range(length):
        fits_in = start + size <= length
        if fits_in and (start % step == 0 or (edge == "shift" and start + size == length)):
            yield start


@settings(max_examples=120, deadline=None)
@given(sliding())
def test_sliding_windows_of_several_sizes_are_those_of_a_search(case: Any) -> None:
    height, width, scale, sizes, generator = case
    found = lay(generator, np.zeros((height, width), np.float32), scale)
    expected: list[Box] = []
    for size, step in sizes:
        for y in along(height, size, step, generator.edge):
            for x in along(width, size, step, generator.edge):
                if (x, y, x + size, y + size) not in expected:
                    expected.append((x, y, x + size, y + size))
    assert boxes(found) == expected
    step_of = dict(sizes)
    shifted = [any(start % step_of[x1 - x0] for start in (x0, y0)) for x0, y0, x1, _ in expected]
    assert found.shifted.tolist() == shifted


@settings(max_examples=60, deadline=None)
@given(sliding())
def test_windows_of_each_size_cover_every_pixel_unless_the_edge_is_dropped(case: Any) -> None:
    height, width, scale, sizes, generator = case
    found = lay(generator, np.zeros((height, width), np.float32), scale)
    for size, step in sizes:
        seen = np.zeros((height, width), bool)
        for x0, y0, x1, y1 in boxes(found):
            if x1 - x0 == size:
                seen[y0:y1, x0:x1] = True
        for y in range(height):
            for x in range(width):
                beyond = [
                    place >= (length - size) // step * step + size
                    for place, length in ((y, height), (x, width))
                ]
                lost = generator.edge == "drop" and any(beyond)
                assert seen[y, x] != lost


# ---- blobs ---------------------------------------------------------------------------------


def blob_image(seed: int, height: int, width: int, sharp: bool = False) -> np.ndarray:
    """A few round blobs, or where `sharp` many pixels that touch by corners."""
    rng = np.random.default_rng(seed)
    if sharp:
        return (rng.random((height, width)) ** 8).astype(np.float32)
    y, x = np.mgrid[:height, :width]
    image = rng.random((height, width)) * 0.05 + 0.1
    for _ in range(rng.integers(1, 5)):
        cy, cx, r = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(1, 4)
        image += rng.uniform(0.5, 2) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * r * r))
    return image.astype(np.float32)


def slowly_smoothed(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean out to 4 sigma, the edge pixels repeated outside, one pixel after the other."""
    reach = int(4 * sigma + 0.5)
    kernel = np.array([math.exp(-0.5 * (d / sigma) ** 2) for d in range(-reach, reach + 1)])
    kernel /= kernel.sum()
    padded = np.pad(image.astype(np.float64), reach, mode="edge")
    weights = np.outer(kernel, kernel)
    height, width = image.shape
    return np.array(
        [
            [(padded[y : y + 2 * reach + 1, x : x + 2 * reach + 1] * weights).sum() for x in range(width)]
            for y in range(height)
        ]
    )


def regions(bright: np.ndarray) -> Iterator[list[tuple[int, int]]]:
    """Pixels that hang together by edges or corners, by a flood from each."""
    left = {(int(y), int(x)) for y, x in np.argwhere(bright)}
    while left:
        flood, region = [left.pop()], []
        while flood:
            y, x = flood.pop()
            region.append((y, x))
            around = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= around
            flood += around
        yield region


blob_cases = (st.integers(0, 2**31), st.integers(20, 44), st.integers(20, 44), st.integers(0, 9))


@settings(max_examples=25, deadline=None)
@given(*blob_cases, st.integers(8, 20), st.booleans())
def test_blobs_are_the_regions_of_a_flood(
    seed: int, height: int, width: int, padding: int, least: int, sharp: bool
) -> None:
    image, sigma = blob_image(seed, height, width, sharp), 0.4 if sharp else 1.5
    smoothed = slowly_smoothed(image, sigma)
    level = 1.6 * smoothed.mean()
    assume(np.abs(smoothed / level - 1).min() > 1e-5)  # no pixel that rounding decides
    generator = Blobs(sigma=sigma, threshold=1.6, padding=padding, min_size=least)
    expected = set()
    for region in regions(smoothed > level):
        rows, columns = zip(*region, strict=True)
        low = (min(columns) - padding, min(rows) - padding)
        high = (max(columns) + 1 + padding, max(rows) + 1 + padding)
        side = min(max(high[0] - low[0], high[1] - low[1], least), height, width)
        corner = [
            min(max(math.floor((a + b - side) / 2), 0), length - side)
            for a, b, length in zip(low, high, (width, height), strict=True)
        ]
        expected.add((corner[0], corner[1], corner[0] + side, corner[1] + side))
    found = boxes(lay(generator, image))
    assert found == sorted(expected, key=lambda box: (box[1], box[0], box[2]))


@settings(max_examples=40, deadline=None)
@given(*blob_cases)
def test_blobs_turn_with_the_image(seed: int, height: int, width: int, padding: int) -> None:
    image = blob_image(seed, height, width)
    smoothed = slowly_smoothed(image, 1.5)
    assume(np.abs(smoothed / (1.6 * smoothed.mean()) - 1).min() > 1e-5)
    generator = Blobs(sigma=1.5, threshold=1.6, padding=padding, min_size=8)
    found = boxes(lay(generator, image))
    across = boxes(lay(generator, np.ascontiguousarray(image.T)))
    assert {(y0, x0, y1, x1) for x0, y0, x1, y1 in across} == set(found)
    flipped = boxes(lay(generator, np.ascontiguousarray(image[:, ::-1])))
    back = [(width - x1, y0, width - x0, y1) for x0, y0, x1, y1 in flipped]
    # A side that cannot be parted evenly has its odd pixel on the left in both.
    for one, other in ((found, back), (back, found)):
        for box in one:
            assert any(max(abs(a - b) for a, b in zip(box, near, strict=True)) <= 1 for near in other)


# ---- sources and positions -----------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(70, 110),
    st.integers(70, 110),
    st.lists(st.integers(1, 70), min_size=1, max_size=3),
)
def test_each_source_has_its_window_of_each_size(
    seed: int, height: int, width: int, sizes: list[int]
) -> None:
    image = blob_image(seed, height, width) * 100
    known = detect_sources(image, threshold_sigma=3.0, min_area_px=5)
    found = lay(Sources(size=tuple(sizes)), image)
    expected = set()
    for x, y in zip(known.x, known.y, strict=True):
        for size in sizes:
            left = min(max(math.ceil(x - size / 2), 0), width - size)
            top = min(max(math.ceil(y - size / 2), 0), height - size)
            expected.add((left, top, left + size, top + size))
    assert set(boxes(found)) == expected
    assert found.sources is not None
    for (x0, y0, x1, y1), source in zip(boxes(found), found.sources, strict=True):
        assert x0 - 0.5 <= source["x"] <= x1 - 0.5
        assert y0 - 0.5 <= source["y"] <= y1 - 0.5


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(70, 110), st.integers(70, 110), st.floats(1, 6))
def test_windows_by_extent_hold_the_isophote(seed: int, height: int, width: int, factor: float) -> None:
    image = blob_image(seed, height, width) * 100
    known = detect_sources(image, threshold_sigma=3.0, min_area_px=5)
    found = boxes(lay(Sources(extent_factor=factor), image))
    for x0, y0, x1, y1 in known.boxes.tolist():
        if max(x1 - x0, y1 - y0) <= min(height, width):
            assert any(a <= x0 and b <= y0 and c >= x1 and d >= y1 for a, b, c, d in found)
    assert bool(found) == bool(len(known))


HEADER = fits.Header(
    {"NAXIS": 2, "NAXIS1": 90, "NAXIS2": 70, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 0.001,
     "CRVAL2": -40.0, "CRPIX1": 40.0, "CRPIX2": 30.0, "CDELT1": -2e-4, "CDELT2": 2e-4, "RADESYS": "ICRS"}
)  # fmt: skip
WCS_TEXT = sky.header_text(HEADER)
places = st.lists(st.tuples(st.floats(-20, 110), st.floats(-20, 90)), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(places, st.integers(1, 70), st.sampled_from(["shift", "drop"]), st.randoms(use_true_random=False))
def test_positions_give_the_same_windows_in_any_order(
    at: list[tuple[float, float]], size: int, edge: str, random: Any
) -> None:
    for x, y in at:  # none that rounding moves by a pixel
        for value, length in ((x, 90), (y, 70)):
            assume(min(abs(value + 0.5), abs(value - length + 0.5)) > 1e-3)
            assume(abs((value - size / 2) % 1 - 0.5) < 0.499)
    ra, dec = WCS(HEADER).all_pix2world(*np.array(at).T, 0)
    targets = [
        {"position_id": str(i), "ra": float(ra[i] % 360), "dec": float(dec[i])} for i in range(len(at))
    ]
    generator = Positions(catalog="unused.csv", size=(size,), edge=edge)
    expected: dict[Box, set[str]] = {}
    for i, (x, y) in enumerate(at):
        wanted = math.ceil(x - size / 2), math.ceil(y - size / 2)
        corner = min(max(wanted[0], 0), 90 - size), min(max(wanted[1], 0), 70 - size)
        if -0.5 <= x < 89.5 and -0.5 <= y < 69.5 and (edge == "shift" or corner == wanted):
            expected.setdefault((*corner, corner[0] + size, corner[1] + size), set()).add(str(i))
    for _ in range(2):
        found = lay(generator, np.zeros((70, 90), np.float32), 0.72, WCS_TEXT, tuple(targets))
        assert set(boxes(found)) == set(expected)
        assert found.position_ids is not None
        for box, name in zip(boxes(found), found.position_ids, strict=True):
            assert name in expected[box]
        random.shuffle(targets)


# ---- IDs -----------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), min_size=2, max_size=8, unique=True))
def test_parts_that_read_alike_when_joined_have_different_ids(parts: list[tuple[str, str]]) -> None:
    made = [ids.stable_id(*part) for part in parts]
    assert len(set(made)) == len(parts)
    assert all(0 <= number < 2**63 for number in made)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for number in range(4):
        (folder / f"night{number % 2}").mkdir(exist_ok=True)
        image = blob_image(number, 64, 50 + number)
        fits.writeto(folder / f"night{number % 2}" / f"{number}.fits", image)
    return folder


def cut(folder: Path, kind: dict[str, Any], order: list[int], rows: int) -> dict[int, tuple[Any, ...]]:
    """Window and pixels by ID, the files and the rows of the descriptions taken in `order`."""
    run = parse_settings({"images": {"paths": str(folder)}, "cutouts": {"generator": kind}})
    files = list_files([str(folder)])
    images = run_plain(DescribeSpec(), files_to_batches([files[i] for i in order], rows))
    tiled = run_plain(
        fuse(TileSpec.from_settings(run)), images.take(order[::-1]).to_batches(max_chunksize=rows)
    )
    cutouts = [row for row in tiled.to_pylist() if row["cutout_id"] is not None]
    names = {image["image_id"]: image["path"] for image in images.to_pylist()}
    for row in cutouts:
        window = [row[name] for name in ("x0", "y0", "x1", "y1")]
        assert row["cutout_id"] == ids.cutout_id(names[row["image_id"]], 0, *window)
    found = {r["cutout_id"]: (r["image_id"], r["x0"], r["y0"], r["x1"], r["pixels"]) for r in cutouts}
    assert len(found) == len(cutouts)
    return found


@pytest.mark.parametrize(
    "kind",
    [
        {"kind": "sliding_window", "size": [32, 16], "step": 11},
        {"kind": "blobs", "sigma": 1.5, "padding": 2},
        {"kind": "sources", "size": 24},
    ],
    ids=lambda kind: kind["kind"],
)
@settings(max_examples=5, deadline=None)
@given(st.permutations(range(4)), st.integers(1, 4))
def test_ids_do_not_depend_on_the_order_of_files_and_rows(
    archive: Path, kind: dict[str, Any], order: list[int], rows: int
) -> None:
    expected = cut(archive, kind, [0, 1, 2, 3], 4)
    assert len({values[0] for values in expected.values()}) == 4
    assert cut(archive, kind, order, rows) == expected


def test_ids_do_not_depend_on_where_the_archive_is(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "moved").symlink_to(archive)
    kind = {"kind": "sliding_window", "size": 32}
    here, there = (cut(folder, kind, [0, 1, 2, 3], 4) for folder in (archive, tmp_path / "moved"))
    assert here == there
    by_image: dict[int, list[int]] = {}
    for number, values in here.items():
        by_image.setdefault(values[0], []).append(number)
    assert all(set(a).isdisjoint(b) for a, b in pairwise(by_image.values()))
