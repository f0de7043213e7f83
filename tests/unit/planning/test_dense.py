"""Plans of dense mode: what its blocks see, and where it is offered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from elodin_spark import schema
from elodin_spark.config.load import parse_settings
from elodin_spark.config.settings import Settings
from elodin_spark.fingerprints.dense import FeatureMap, seen_pixels
from elodin_spark.planning.counts import COUNTED, CountSpec
from elodin_spark.planning.denserates import DenseRate
from elodin_spark.planning.estimate import estimate_seconds, estimate_windows
from elodin_spark.planning.headers import Headers
from elodin_spark.planning.machines import Machines
from elodin_spark.planning.offers import dense_settings, overrides_of
from elodin_spark.planning.rates import CutImage, Rates
from elodin_spark.planning.sizes import TableSize
from elodin_spark.stage import run_plain

GENERATOR = {"kind": "sliding_window", "size": 64, "step": 32, "edge": "drop"}


def image(width: int, height: int, image_id: int) -> dict[str, Any]:
    row = dict.fromkeys(schema.IMAGES.names)
    row |= {"image_id": image_id, "uri": "/a.fits", "path": "a.fits", "hdu": 0, "size_bytes": 9}
    return row | {"width": width, "height": height, "status": "ok"}


@pytest.mark.parametrize(
    ("width", "height", "block", "halo"), [(640, 330, 256, 32), (2000, 70, 512, 128), (95, 40, 128, 0)]
)
def test_pixels_are_counted_as_blocks_see_them(width: int, height: int, block: int, halo: int) -> None:
    seen = []

    def run(pixels: np.ndarray) -> np.ndarray:
        seen.append(pixels.size)
        return np.zeros((pixels.shape[0] // 32, pixels.shape[1] // 32, 1), np.float32)

    pixels = np.zeros((height, width), np.uint8)
    features = FeatureMap(pixels.shape, lambda x0, y0, x1, y1: pixels[y0:y1, x0:x1], run, block, halo)
    corners = [(x, y) for y in range(0, height - 31, 32) for x in range(0, width - 31, 32)]
    features.pool(np.array([[x, y, x + 32, y + 32] for x, y in corners], np.int32))
    assert seen_pixels(pixels.shape, block, halo) == sum(seen)


def test_dense_mode_costs_the_pixels_that_its_blocks_see() -> None:
    sections: dict[str, Any] = {"images": {"paths": "x"}, "cutouts": {"generator": GENERATOR}}
    dense = {"mode": "dense", "block_px": 256, "halo_px": 32, "pca": 8, "pca_sample": 100}
    settings = parse_settings({**sections, "fingerprints": dense})
    spec = CountSpec.from_settings(settings)
    batch = schema.rows_to_batch([image(640, 330, 0), image(100, 90, 1)], schema.TARGETED)
    large, small = run_plain(spec, [batch]).to_pylist()
    # 20 x 10 cells in blocks of 8, of which 6 are kept, or 7 at an edge: 7, 6, 7 and 7, 3.
    seen = ((7 + 1) + (1 + 6 + 1) + (1 + 7)) * ((7 + 1) + (1 + 3)) * 32**2
    assert (large["windows"], large["dense_windows"], large["dense_px"]) == (19 * 9, 19 * 9, seen)
    assert (small["windows"], small["dense_px"]) == (2, 3 * 2 * 32**2)
    headers = Headers(seed=0, keep=2)
    headers.add(pa.Table.from_pylist([large, small], schema=COUNTED))
    size = TableSize(100.0, 1000.0)
    cut = (CutImage(0, 640 * 330, 171, 0, True, 1.0, None), CutImage(1, 9000, 2, 0, True, 1.0, None))
    measured = Rates(cut, 0.5, None, None, size, size, 1, DenseRate(3.0, 1e-3))
    windows = estimate_windows(headers, measured, settings.cutouts.quality)
    machines = Machines(0, 2, "local[2]")
    found = estimate_seconds(headers, measured, windows, 1, 2, settings, machines, fits=True)
    assert found["network"] == pytest.approx((seen + 3 * 2 * 32**2) * 1e-3)
    assert found["network_start"] == 6
    # All files are cut twice more, and gone through once more.
    assert found["transform"] == pytest.approx(2 * found["cut"] + found["network"])


def test_dense_mode_is_offered_where_it_gives_the_windows() -> None:
    def offer(generator: dict[str, Any], **fingerprints: Any) -> Settings | None:
        cutouts = {"generator": {"kind": "sliding_window", "size": 64, "step": 32} | generator}
        sections = {"images": {"paths": "x"}, "cutouts": cutouts, "fingerprints": fingerprints}
        return dense_settings(parse_settings(sections))

    offered = offer({})
    assert offered is not None
    assert (offered.fingerprints.mode, offered.cutouts.generator.edge) == ("dense", "drop")
    # As a run settles it, and with what does not say which network.
    settled = parse_settings(
        {
            "images": {"paths": "x"},
            "cutouts": {"generator": {"kind": "sliding_window", "size": 64, "step": 32}},
            "fingerprints": {"transform": "standardize", "power": 0.5, "copies": 256, "batch_size": 7},
        }
    )
    assert dense_settings(settled).fingerprints.networks == ()
    assert overrides_of(parse_settings({"images": {"paths": "x"}})) == [
        "fingerprints.mode=dense",
        "cutouts.generator.edge=drop",
    ]
    assert offer({"step": 48}) is None
    assert offer({"size": 100}) is None
    assert offer({"size": "6 arcsec"}) is None
    assert offer({}, backbone="vgg16") is None
    assert offer({}, layer="conv4_block6_out") is None
    assert offer({}, weights="random:0", augmentations=8) is None
    # What the weights of the package want of windows is not asked for.
    assert (offered.fingerprints.layer, offered.fingerprints.augmentations) == (None, 1)
    assert (
        dense_settings(
            parse_settings({"images": {"paths": "x"}, "cutouts": {"generator": {"kind": "blobs"}}})
        )
        is None
    )


@pytest.mark.parametrize(
    ("mode", "sample", "times"), [("dense", 100, 1), ("dense", 173, 0), ("window", 100, 0)]
)
def test_what_the_transform_is_fitted_to_is_seen_once(mode: str, sample: int, times: int) -> None:
    dense = {"mode": mode, "block_px": 256, "halo_px": 32, "transform": "standardize", "pca_sample": sample}
    settings = parse_settings(
        {"images": {"paths": "x"}, "cutouts": {"generator": GENERATOR}, "fingerprints": dense}
    )
    headers = Headers(seed=0, keep=1)
    batch = schema.rows_to_batch([image(640, 330, 0)], schema.TARGETED)
    headers.add(
        pa.Table.from_pylist(
            run_plain(CountSpec.from_settings(settings), [batch]).to_pylist(), schema=COUNTED
        )
    )
    size = TableSize(100.0, 1000.0)
    cut = (CutImage(0, 640 * 330, 171, 0, True, 1.0, None),)
    measured = Rates(cut, 0.5, 1.0, 2.0, size, size, 1, DenseRate(3.0, 1e-3))
    windows = estimate_windows(headers, measured, settings.cutouts.quality)
    found = estimate_seconds(
        headers, measured, windows, 1, 1, settings, Machines(0, 2, "local[2]"), fits=True
    )
    assert found["transform"] == pytest.approx(2 * found["cut"] + times * found["network"])
