"""Which stages a run is put together from; nothing of a network is read for that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elodin_spark import schema
from elodin_spark.catalog.build.pipeline import (
    cutting,
    fingerprinting,
    fingerprinting_whole,
    fingerprinting_windows,
    from_files,
    listing_windows,
)
from elodin_spark.config.load import parse_settings
from elodin_spark.config.settings import Settings
from elodin_spark.errors import ConfigError
from elodin_spark.fingerprints.resolve import ResolvedNetwork
from elodin_spark.fingerprints.weights.types import Weights

#: There is no such file.
WEIGHTS = Weights("w.h5", "/none/w.weights.h5", "1" * 64, "resnet50")
SLIDING = {"kind": "sliding_window", "size": 64, "step": 32, "edge": "drop"}


def made(mode: str = "window", **fingerprints: Any) -> tuple[Settings, ResolvedNetwork]:
    chosen = {"mode": mode, "weights": "random:0", "runtime": "tensorflow", "transform": "none"}
    chosen |= {"labels": "units"} | fingerprints
    cutouts = {"generator": SLIDING, "texture": ["haralick"], "quality": {"min_edge_px": 5}}
    settings = parse_settings(
        {"images": {"paths": "/data", "bands": "r", "hdu": "SCI"}, "cutouts": cutouts, "fingerprints": chosen}
    )
    return settings, ResolvedNetwork(settings.fingerprints, WEIGHTS)


def names(stages: Any) -> list[str]:
    return [type(spec).__name__.removesuffix("Spec") for spec in stages.specs]


def test_stages_follow_the_input_and_the_mode() -> None:
    settings, network = made(ahead=3)
    assert names(from_files(settings)) == ["Describe"]
    assert names(cutting(settings)) == ["Describe", "Tile"]
    assert names(listing_windows(settings, described=True)) == ["Tile", "CutoutIds"]
    assert names(fingerprinting(settings, network, "r")) == ["Describe", "Tile", "Ahead", "Fingerprint"]
    assert names(fingerprinting_windows(network, "r")) == ["Fingerprint"]
    settings, network = made("dense")
    assert names(fingerprinting(settings, network, "r", described=True)) == ["Dense"]
    with pytest.raises(ConfigError, match="run the stages cutouts and fingerprints together"):
        fingerprinting_windows(network, "r")


@pytest.mark.parametrize("mode", ["window", "dense"])
def test_chosen_windows_alone_are_kept_before_the_network_where_it_sees_windows(mode: str) -> None:
    settings, network = made(mode, ahead=0)
    chosen = np.array([3, 5], np.int64)
    stages = fingerprinting(settings, network, "r", described=True, chosen=chosen)
    right = ["Tile", "KeepCutouts", "Fingerprint"] if mode == "window" else ["Dense", "KeepCutouts"]
    assert names(stages) == right
    assert stages.output_schema.names == schema.FINGERPRINTED.names


def test_what_is_known_goes_to_the_network_stage() -> None:
    settings, network = made()
    known = Path("/none/known")
    last = fingerprinting(settings, network, "abc", keep_pixels=True, known=known).specs[-1]
    assert (last.recipe, last.keep_pixels, last.known) == ("abc", True, "/none/known")
    assert last.files == (WEIGHTS.path, "/none/known")
    assert fingerprinting_windows(network, network.name).specs[-1].recipe == "1" * 12


@pytest.mark.parametrize("mode", ["window", "dense"])
def test_an_image_to_ask_with_is_one_window_whatever_its_band_and_edge(mode: str) -> None:
    settings, network = made(mode)
    describe, first, *_ = fingerprinting_whole(settings, network, "r", hdu=None, transform=None).specs
    assert (describe.hdu, describe.bands, describe.mjd) == (None, None, None)
    tile = first.tile if mode == "dense" else first
    assert (tile.texture, tile.quality.min_edge_px) == ((), 0)
    assert tile.generator.kind == ("full_image" if mode == "window" else "sliding_window")
    assert settings.cutouts.generator.kind == "sliding_window", "the settings stay as they are"


def test_the_network_of_a_fit_has_vectors_of_its_own() -> None:
    _, network = made(transform="standardize", labels="units", storage="float16")
    plain = network.untransformed().settings
    assert (plain.transform, plain.labels, plain.storage) == ("none", "units", "float32")
    assert (network.untransformed().weights, network.untransformed().model) == (
        network.weights,
        network.model,
    )
