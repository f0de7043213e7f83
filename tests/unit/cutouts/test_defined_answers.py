"""Windows that nothing can be said of: a reason or a defined vector, and the others are spared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from elodin_spark.catalog.build.pipeline import fingerprinting
from elodin_spark.config.load import parse_settings
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.weights.resolve import resolve_weights
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.stage import run_plain

SIDE = 64


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return resolve_weights("random:0", cache=tmp_path_factory.getbasetemp() / "fingerprint-weights")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good image among those that are not."""
    folder = tmp_path_factory.mktemp("hard")
    good = np.random.default_rng(0).normal(100, 5, (SIDE, SIDE)).astype(np.float32)
    half = good.copy()
    half[:32] = np.nan
    infinite = good.copy()
    infinite[5, 5], infinite[6, 6] = np.inf, -np.inf
    blank = fits.Header({"BLANK": -32768})
    kinds: dict[str, Any] = {
        "good": good,
        "half": half,
        "infinite": infinite,
        "nothing": np.full_like(good, np.nan),
        "constant": np.full_like(good, 7),
        "zeros": np.zeros((SIDE, SIDE), np.int16),
        "line": np.zeros(SIDE, np.float32),
        "cube": np.zeros((3, SIDE, SIDE), np.float32),
        "small": good[:8],
    }
    for name, pixels in kinds.items():
        fits.writeto(folder / f"{name}.fits", pixels)
    fits.writeto(folder / "blank.fits", np.full((SIDE, SIDE), -32768, np.int16), blank)
    return folder


def run(
    paths: Path, weights: Weights, mode: str = "window", **quality: Any
) -> dict[str, list[dict[str, Any]]]:
    """Rows of each file, its image left out."""
    settings = parse_settings(
        {
            "images": {"paths": str(paths), "root": str(paths if paths.is_dir() else paths.parent)},
            "cutouts": {
                "generator": {"kind": "sliding_window", "size": 32, "step": 32, "edge": "drop"},
                "quality": quality,
            },
            "fingerprints": {"weights": "random:0", "input_px": 32, "batch_size": 3, "mode": mode}
            | {"block_px": 128, "halo_px": 32, "runtime": "tensorflow"},
        }
    )
    spec = fingerprinting(settings, resolve_network(settings.fingerprints, weights), "r")
    files = list_files(settings.images.paths, settings.images.root, {})
    rows: dict[str, list[dict[str, Any]]] = {}
    path = ""
    for row in run_plain(spec, files_to_batches(files)).to_pylist():
        path = Path(row["image"]["path"]).stem if row["image"] else path
        rows.setdefault(path, [])
        if not row["image"]:
            rows[path].append(row)
    return rows


@pytest.mark.parametrize("mode", ["window", "dense"])
def test_each_image_gets_its_answer_and_the_good_one_its_own(
    images: Path, weights: Weights, mode: str
) -> None:
    found = run(images, weights, mode)
    (alone,) = run(images / "good.fits", weights, mode).values()
    assert found["good"] == alone
    for name in ("good", "infinite", "constant", "zeros"):
        assert len(found[name]) == 4
        for row in found[name]:
            assert (row["failure"], row["rejected"]) == (None, None)
            assert np.isfinite(row["vector"]).all()
            assert all(score > 0 for score in row["label_scores"])
    for name in ("nothing", "blank"):
        assert [row["nodata_fraction"] for row in found[name]] == [1] * 4
        for row in found[name]:
            assert row["rejected"] == "no pixel of the window has data"
            assert (row["failure"], row["vector"], row["labels"]) == (None, None, None)
    assert [row["rejected"] is None for row in found["half"]] == [
        row["vector"] is not None for row in found["half"]
    ]
    assert sum(row["vector"] is not None for row in found["half"]) == 2
    for name, kind in (("line", "no_image"), ("cube", "not_2d"), ("small", "smaller_than_window")):
        assert [row["failure"]["kind"] for row in found[name]] == [kind]


def test_all_flat_windows_have_one_vector(images: Path, weights: Weights) -> None:
    found = run(images, weights)
    flat = [row["vector"] for name in ("constant", "zeros") for row in found[name]]
    assert all(vector == flat[0] for vector in flat)


def test_rules_are_asked_where_there_is_some_data(images: Path, weights: Weights) -> None:
    found = run(images, weights, nodata={"reject_above": 0.0005})
    assert [row["rejected"] is not None for row in found["infinite"]] == [True, False, False, False]
    assert found["nothing"][0]["rejected"] == "no pixel of the window has data"
    filled = run(images, weights, nodata={"fill_above": 0})["infinite"]
    assert all(row["vector"] is not None for row in filled)
    assert filled[0]["vector"] != run(images, weights)["infinite"][0]["vector"]
