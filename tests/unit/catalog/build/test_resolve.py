"""Settings held against a catalog: what differs is told before what this machine cannot do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from elodin_spark.catalog.build.resolve import (
    begin,
    check_index,
    require_recipe,
    settle_transform,
    settled_network,
    to_begin,
)
from elodin_spark.catalog.storage.store import Commit, Store
from elodin_spark.config.load import parse_settings
from elodin_spark.config.settings import Settings
from elodin_spark.errors import CatalogError, ConfigError
from elodin_spark.fingerprints.runtimes import cpu
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.provenance import make_recipe

HEADED = Weights("w.h5", "/w", "1" * 64, "resnet50", classes=2, label_names=("n1 cat", "n2 dog"))
BARE = Weights("random:0", "/cache/w.weights.h5", "0" * 64, "resnet50")


def settings_of(paths: str = "/data", **fingerprints: Any) -> Settings:
    return parse_settings(
        {"images": {"paths": paths}, "fingerprints": {"weights": "random:1", **fingerprints}}
    )


def store_of(path: Path, settings: Settings, weights: Weights = BARE, model: str | None = None) -> Store:
    """A catalog with a cutout."""
    network = settle_transform(settings.fingerprints, weights)
    settled = settings.model_copy(update={"fingerprints": network})
    recipe = make_recipe(settled, weights.name, weights.sha256, "openvino", model)
    store = Store.create(path, settings, recipe, weights, "/data", "openvino")
    store.commit(Commit(0, ("x.fits",), {}, {"cutouts": 1}))
    return store


def test_int8_on_a_catalog_of_f32_is_refused_for_the_precision(tmp_path):
    store, asked = store_of(tmp_path / "c", settings_of()), settings_of(precision="int8")
    with pytest.raises(CatalogError, match=r"recipe \(fingerprints.precision: 'float32', not 'int8'\)"):
        require_recipe(store, settled_network(store, asked), BARE)


def test_bf16_where_this_machine_has_none_is_refused_for_the_precision(tmp_path, monkeypatch):
    store, asked = store_of(tmp_path / "c", settings_of()), settings_of(precision="bf16")
    monkeypatch.setattr(cpu, "bf16_instructions", lambda: None)
    monkeypatch.setattr(cpu, "gpu_visible", lambda: False)
    store.meta["runtime"] = None  # so that a runtime would be chosen
    with pytest.raises(CatalogError, match=r"recipe \(fingerprints.precision: 'float32', not 'bfloat16'\)"):
        require_recipe(store, settled_network(store, asked), BARE)


def test_other_weights_are_told_before_their_quantized_network_and_their_head(tmp_path):
    int8 = store_of(tmp_path / "int8", settings_of(precision="int8"), model="2" * 64)
    asked = settled_network(int8, settings_of(precision="auto"))
    assert asked.fingerprints.precision == "int8"
    other = Weights("random:1", "/cache/w1.weights.h5", "3" * 64, "resnet50")
    with pytest.raises(CatalogError, match=r"recipe \(fingerprints.weights: 'random:0', not 'random:1'"):
        require_recipe(int8, asked, other)
    with pytest.raises(ConfigError, match="needs a quantized network"):  # of the same weights
        require_recipe(int8, asked, BARE)
    classes = store_of(tmp_path / "classes", settings_of(), HEADED)
    asked = settled_network(classes, settings_of())
    assert asked.fingerprints.labels == "classes"
    with pytest.raises(CatalogError, match=r"recipe \(fingerprints.weights: 'w.h5', not 'random:0'"):
        require_recipe(classes, asked, BARE)


def test_a_layer_that_a_further_network_lacks_is_told_by_its_own_setting():
    lacking = {"weights": "random:0", "input_px": 32, "layer": "nowhere"}
    with pytest.raises(
        ConfigError, match=r"^fingerprints\.networks\.1\.layer: resnet50 has no layer 'nowhere'"
    ):
        check_index(settings_of(networks=[{"weights": "random:2"}, lacking]))
    with pytest.raises(ConfigError, match=r"^fingerprints\.layer: resnet50 has no layer 'nowhere'"):
        check_index(settings_of(layer="nowhere"))


def test_a_catalog_without_a_cutout_is_begun_anew_only_where_it_does_not_fit(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        fits.writeto(tmp_path / name / "x.fits", np.zeros((99, 99), np.float32))
    settings, path = settings_of(str(tmp_path / "a")), tmp_path / "catalog"
    assert to_begin(path, settings)
    store, settled, weights, _ = begin(path, settings)
    assert not to_begin(path, settings)  # what is settled and fitted is kept
    assert to_begin(path, settings_of(str(tmp_path / "a"), pca=20))
    assert to_begin(path, settings_of(str(tmp_path / "b")))
    assert to_begin(path, settings_of(str(tmp_path / "none")))
    require_recipe(store, settled, weights)
    with pytest.raises(CatalogError, match=r"or begin it anew with Catalog\.create, for it holds no cutout"):
        require_recipe(store, settled_network(store, settings_of(str(tmp_path / "a"), pca=20)), weights)
    anew, *_ = begin(path, settings_of(str(tmp_path / "b")))
    assert anew.meta["root"] == str(tmp_path / "b")
    anew.commit(Commit(0, ("x.fits",), {}, {"cutouts": 1}))
    assert not to_begin(path, settings)
    with pytest.raises(CatalogError, match="already holds a catalog"):
        begin(path, settings)
