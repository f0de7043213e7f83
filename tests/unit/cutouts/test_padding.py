"""What holds no data though it is finite: told, and seen by stretch, detection and quality alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from elodin_spark.config.settings import QualitySettings, SlidingWindow, Sources
from elodin_spark.cutouts import picture as pictures
from elodin_spark.cutouts.layout import lay_windows
from elodin_spark.cutouts.padding import padding_values
from elodin_spark.cutouts.picture import open_picture
from elodin_spark.cutouts.pixels import to_uint8
from elodin_spark.cutouts.sources import detect_sources
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.images.describe import describe
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.stage import fuse, run_plain

SIZE = 160
PLACES = [(x, y) for y in range(24, SIZE, 28) for x in range(24, SIZE, 28)]


def frame(seed: int = 3, pedestal: float = 1000.0, gain: float = 1.0) -> np.ndarray:
    """Sky of noise 10 with stars on a grid."""
    y, x = np.mgrid[:SIZE, :SIZE]
    pixels = np.random.default_rng(seed).normal(pedestal, 10, (SIZE, SIZE))
    for column, row in PLACES:
        pixels += 400 * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 8)
    return (gain * pixels).astype(np.float32)


def border(width: int = 30) -> np.ndarray:
    edge = np.ones((SIZE, SIZE), bool)
    edge[width:-width, width:-width] = False
    return edge


def scattered(count: int = 40) -> np.ndarray:
    flags = np.zeros(SIZE * SIZE, bool)
    flags[np.random.default_rng(4).choice(SIZE * SIZE, count, replace=False)] = True
    return flags.reshape(SIZE, SIZE)


def wedge() -> np.ndarray:
    """What a turned exposure leaves of a grid, 40 % of it."""
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.abs(x - SIZE / 2) + np.abs(y - SIZE / 2) > 90


#: Where padding lies, its value, the frame around it.
PADDED: dict[str, tuple[np.ndarray, float, np.ndarray]] = {
    "zeros around": (border(), 0.0, frame()),
    "zeros, most of the frame": (border(38), 0.0, frame()),
    "zeros of a turned exposure": (wedge(), 0.0, frame()),
    "dead columns": (np.arange(SIZE)[None, :] % 40 == np.zeros((SIZE, 1)), 0.0, frame()),
    "-9999": (border(), -9999.0, frame()),
    "-32768": (border(), -32768.0, frame(pedestal=0)),
    "-99": (border(), -99.0, frame(pedestal=0, gain=0.1)),
    "1e30": (wedge(), 1e30, frame(pedestal=0)),
    "-1e30": (border(), -1e30, frame(pedestal=0)),
    "one pixel of 3.4e38": (scattered(1), float(np.finfo(np.float32).max), frame()),
    "nothing, in units of 1e-18": (border(), 1e20, frame(gain=1e-18)),
}


@pytest.mark.parametrize("name", PADDED)
def test_padding_is_told(name: str) -> None:
    where, value, pixels = PADDED[name]
    assert padding_values(pixels) == ()
    padded = np.where(where, np.float32(value), pixels)
    assert padding_values(padded) == (float(np.float32(value)),)


def test_two_values_of_one_frame_are_told() -> None:
    pixels = frame()
    pixels[:20], pixels[-20:] = 0, 1e30
    assert set(padding_values(pixels)) == {0.0, float(np.float32(1e30))}


def disc() -> np.ndarray:
    """A planet on a black sky."""
    y, x = np.mgrid[:SIZE, :SIZE]
    light = np.clip((65 - np.hypot(x - SIZE / 2, y - SIZE / 2)) / 15, 0, 1)
    return (light * frame()).astype(np.float32)


#: Frames of which every pixel is data.
DATA: dict[str, np.ndarray] = {
    "sky of zero, some pixels of which are 0": np.rint(frame(pedestal=0)),
    "counts of photons": np.random.default_rng(5).poisson(0.2, (SIZE, SIZE)).astype(np.float32),
    "many counts of photons": np.random.default_rng(5).poisson(30, (SIZE, SIZE)).astype(np.float32),
    "saturated stars": np.minimum(frame(), 1300),
    "no noise": np.where(border(70), 0, 7).astype(np.float32),
    "a model without noise": np.maximum(frame(pedestal=0) - 60, 0),
    "a gradient from zero": np.tile(np.arange(SIZE, dtype=np.float32), (SIZE, 1)),
    "a bright disc with a halo": disc(),
    "all alike": np.zeros((SIZE, SIZE), np.float32),
    "no data at all": np.full((SIZE, SIZE), np.nan, np.float32),
}


@pytest.mark.parametrize("name", DATA)
def test_data_are_not_taken_for_padding(name: str) -> None:
    assert padding_values(DATA[name]) == ()


# ---- all see the same ------------------------------------------------------------------------

WAYS = ("whole", "box by box", "compressed", "NaN", "BLANK")


def stored(folder: Path, way: str, pixels: np.ndarray, where: np.ndarray, value: float) -> Path:
    padded = np.where(where, np.float32(np.nan if way == "NaN" else value), pixels)
    if way == "compressed":
        image: Any = fits.CompImageHDU(padded, compression_type="GZIP_2", quantize_level=0)
        fits.HDUList([fits.PrimaryHDU(), image]).writeto(folder / "a.fits")
    elif way == "BLANK":
        counts = np.where(where, -7, np.rint(pixels)).astype(np.int16)
        fits.writeto(folder / "a.fits", counts, fits.Header({"BLANK": -7}))
    else:
        fits.writeto(folder / "a.fits", padded)
    return folder / "a.fits"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("value", "blank"), [(0.0, "auto"), (1e30, "auto"), (-9999.0, "auto"), (1003.5, 1003.5)]
)
def test_padding_is_neither_shown_nor_detected_nor_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, value: float, blank: Any
) -> None:
    if way == "box by box":
        monkeypatch.setattr(pictures, "WHOLE_PIXELS", 100)
    where, pixels = wedge(), frame()
    if way == "BLANK":
        pixels = np.rint(pixels)
    (file,) = list_files([str(stored(tmp_path, way, pixels, where, value))])
    row = describe(file)
    oracle = np.where(where, np.nan, pixels)
    quality = QualitySettings(blank=blank)
    with open_picture(row, "auto", None, {}, True, True, blank) as (picture, plane):
        np.testing.assert_array_equal(plane.read(0, SIZE), oracle)
        np.testing.assert_array_equal(plane.read_rows([3, 80]), oracle[[3, 80]])
        shown = to_uint8(picture.read(0, 0, SIZE, SIZE))
        # Levels by NumPy alone, of the pixels that are data.
        known = oracle[~where].astype(np.float64)
        sky = np.median(known)
        noise = 1.482602218505602 * np.median(np.abs(known - sky))
        black, white = sky - 1.5 * noise, np.percentile(known, 99.8)
        stretch = np.arcsinh((oracle - black) / (4 * noise)) / np.arcsinh((white - black) / (4 * noise))
        expected = np.rint(255 * np.clip(np.nan_to_num(stretch), 0, 1))
        assert np.abs(shown - expected).max() <= 1
        found = lay_windows(Sources(size=16), picture, plane, row, (), quality).sources
    sources = detect_sources(oracle)
    assert found is not None
    assert len(found) == len(sources) > 5
    np.testing.assert_allclose(sorted(s["flux"] for s in found), np.sort(sources.flux))
    spec = fuse(DescribeSpec(), TileSpec(SlidingWindow(size=40, step=40), quality=quality))
    rows = [r for r in run_plain(spec, files_to_batches([file])).to_pylist() if r["cutout_id"] is not None]
    for r in rows:
        cut = np.s_[r["y0"] : r["y1"], r["x0"] : r["x1"]]
        assert r["nodata_fraction"] == pytest.approx(where[cut].mean())
        assert (r["rejected"] is not None) == where[cut].all()
        assert r["sky"] is None or abs(r["sky"] - 1000) < 20


def test_nothing_is_taken_for_blank_where_that_is_asked_for(tmp_path: Path) -> None:
    padded = np.where(wedge(), np.float32(0), frame())
    fits.writeto(tmp_path / "a.fits", padded)
    (file,) = list_files([str(tmp_path)])
    with open_picture(describe(file), "auto", None, {}, True, True, None) as (_, plane):
        np.testing.assert_array_equal(plane.read(0, SIZE), padded)


# ---- detection sees mask and variance --------------------------------------------------------


def write(path: Path, pixels: np.ndarray, mask: np.ndarray, variance: np.ndarray | None = None) -> Path:
    bits = fits.Header({"MP_BAD": 0, "MP_CR": 3, "MP_SAT": 1, "MP_EDGE": 5})
    hdus: list[Any] = [
        fits.PrimaryHDU(),
        fits.ImageHDU(pixels, name="IMAGE"),
        fits.ImageHDU(mask, bits, "MASK"),
    ]
    if variance is not None:
        hdus.append(fits.ImageHDU(variance, name="VARIANCE"))
    fits.HDUList(hdus).writeto(path)
    return path


def detected(path: Path, quality: QualitySettings | None = None) -> list[dict[str, Any]]:
    row = describe(list_files([str(path)])[0])
    with open_picture(row, (), None, {}, False) as (picture, plane):
        found = lay_windows(Sources(size=16), picture, plane, row, (), quality).sources
    assert found is not None
    return found


def at(places: list[tuple[int, int]]) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.any([np.hypot(x - column, y - row) < 7 for column, row in places], axis=0)


@pytest.mark.parametrize(
    ("bit", "settings", "lost"),
    [
        (0, {}, True),
        (3, {}, True),
        (1, {}, False),  # saturated: its light is real
        (5, {}, False),
        (5, {"bad_bits": ("EDGE",)}, True),
        (0, {"bad_bits": ("EDGE",)}, False),
    ],
)
def test_no_source_lies_on_a_bad_pixel(
    tmp_path: Path, bit: int, settings: dict[str, Any], lost: bool
) -> None:
    spoilt = PLACES[::3]
    path = write(tmp_path / "a.fits", frame(), at(spoilt).astype(np.int32) << bit)
    found = {(round(s["x"]), round(s["y"])) for s in detected(path, QualitySettings(**settings))}
    assert found == set(PLACES) - (set(spoilt) if lost else set())


def test_where_the_variance_is_high_less_is_a_source_and_where_it_is_infinite_none(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    pixels, variance = frame(), np.full((SIZE, SIZE), 4.0, np.float32)  # up to a factor of 25
    loud = at([(66, 66)])  # narrower than a box of the sky
    pixels[loud] += rng.normal(0, 200, loud.sum()).astype(np.float32)
    mask = np.zeros((SIZE, SIZE), np.int32)
    path = write(tmp_path / "a.fits", pixels, mask)
    near = sum(np.hypot(s["x"] - 66, s["y"] - 66) < 9 for s in detected(path))
    assert near > 0
    variance[loud] *= 401
    variance[at([PLACES[0]])] = np.inf
    known = write(tmp_path / "b.fits", pixels, mask, variance)
    found = detected(known)
    assert not any(np.hypot(s["x"] - 66, s["y"] - 66) < 9 for s in found)
    assert {(round(s["x"]), round(s["y"])) for s in found} == set(PLACES) - {PLACES[0]}


def test_a_variance_of_one_value_changes_nothing(tmp_path: Path) -> None:
    pixels, mask = frame(), np.zeros((SIZE, SIZE), np.int32)
    plain = detected(write(tmp_path / "a.fits", pixels, mask))
    same = detected(write(tmp_path / "b.fits", pixels, mask, np.full((SIZE, SIZE), 7.0, np.float32)))
    zero = detected(write(tmp_path / "c.fits", pixels, mask, np.zeros((SIZE, SIZE), np.float32)))
    assert zero == plain
    assert [(round(s["x"]), round(s["y"])) for s in same] == [(round(s["x"]), round(s["y"])) for s in plain]


# ---- what is not known is null ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "bad_bits", "masked"),
    [
        ({"MP_BAD": 0}, None, 0.5),
        ({"MP_BAD": 0}, ("CR",), None),
        ({"MP_ODD": 0}, None, None),
        ({"MP_ODD": 0}, ("ODD",), 0.5),
        ({}, None, None),
        ({}, ("BIT0",), 0.5),
        ({}, (), None),
    ],
)
def test_the_masked_fraction_is_null_where_no_bad_bit_is_known(
    tmp_path: Path, names: dict[str, int], bad_bits: tuple[str, ...] | None, masked: float | None
) -> None:
    mask = np.zeros((SIZE, SIZE), np.int16)
    mask[:, ::2] = 1
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(frame(), name="IMAGE"),
        fits.ImageHDU(mask, fits.Header(names), "MASK"),
    ]
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    spec = fuse(
        DescribeSpec(), TileSpec(SlidingWindow(size=80, step=80), quality=QualitySettings(bad_bits=bad_bits))
    )
    rows = run_plain(spec, files_to_batches(list_files([str(tmp_path)]))).to_pylist()[1:]
    assert [row["masked_fraction"] for row in rows] == [masked] * 4
    (name,) = [key.removeprefix("MP_") for key in names] or ["BIT0"]
    assert [row["mask_fractions"] for row in rows] == [[(name, 0.5)]] * 4
