"""Where weights come from, what is refused, and what the message then says."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from elodin_spark.config.settings import FingerprintsSettings
from elodin_spark.errors import ConfigError, WeightsError
from elodin_spark.fingerprints.runtimes.framework import load_keras
from elodin_spark.fingerprints.runtimes.network import load_model
from elodin_spark.fingerprints.weights.resolve import resolve_settings, resolve_weights
from elodin_spark.fingerprints.weights.types import Weights, digest_arrays


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    # One folder for all tests of a run: random weights are written once.
    return tmp_path_factory.getbasetemp() / "fingerprint-weights"


@pytest.fixture(scope="module")
def headless(cache):
    return resolve_weights("random:0", cache=cache)


@pytest.fixture(scope="module")
def files(tmp_path_factory, headless):
    """Models with known arrays, as Keras itself saves them, by kind."""
    keras = load_keras()
    folder = tmp_path_factory.mktemp("files")
    plain = load_model(headless, "resnet50", 32)
    headed = keras.applications.ResNet50(weights=None, include_top=True, classes=7, input_shape=(32, 32, 3))
    generator = np.random.default_rng(5)
    for variable in headed.variables:
        variable.assign(generator.uniform(0.5, 1.5, variable.shape).astype(np.float32))
    inner = keras.applications.ResNet50(
        weights=None, include_top=False, pooling="avg", input_shape=(32, 32, 3)
    )
    inner.set_weights(plain.get_weights())
    nested = keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.Rescaling(255.0), inner, keras.layers.Dense(5, name="kinds")]
    )
    for kind, model in {"plain": plain, "headed": headed, "nested": nested}.items():
        for suffix in (".keras", ".h5"):
            model.save(folder / f"{kind}{suffix}")
        if kind != "nested":
            model.save_weights(folder / f"{kind}.weights.h5")
    head = {f"predictions/{name}": getattr(nested.layers[-1], name).numpy() for name in ("kernel", "bias")}
    hashes = {kind: digest_arrays(_arrays(m)) for kind, m in {"plain": plain, "headed": headed}.items()}
    hashes["nested"] = digest_arrays(_arrays(inner) | head)
    return folder, hashes


def _arrays(model):
    return {variable.path: variable.numpy() for variable in model.variables}


@pytest.mark.parametrize(
    ("file", "classes"),
    [
        ("plain.keras", None),
        ("plain.h5", None),
        ("plain.weights.h5", None),
        ("headed.keras", 7),
        ("headed.h5", 7),
        ("headed.weights.h5", 7),
        # A backbone inside a trained classifier is found by its layer names.
        ("nested.keras", 5),
        ("nested.h5", 5),
    ],
)
def test_every_layout_keras_writes_gives_the_same_arrays(files, cache, file, classes):
    folder, hashes = files
    found = resolve_weights(str(folder / file), cache=cache)
    # The hash is of the content, not of the file: three layouts, one hash.
    assert found.sha256 == hashes[file.split(".")[0]]
    assert (found.name, found.classes) == (file, classes)
    assert found.label_name(3) == ("unit 3" if classes is None else "class 3")


def test_the_cached_file_loads_into_the_network_with_its_head(files, cache):
    folder, hashes = files
    found = resolve_weights(str(folder / "headed.weights.h5"), cache=cache)
    model = load_model(found, "resnet50", 32)
    assert digest_arrays(_arrays(model)) == hashes["headed"]
    assert [tuple(output.shape) for output in model.outputs] == [(None, 2048), (None, 7)]


def test_file_uris_are_read(files, cache, tmp_path):
    folder, _ = files
    link = tmp_path / "with space.weights.h5"
    link.symlink_to(folder / "plain.weights.h5")
    assert "%20" in link.as_uri()
    assert resolve_weights(link.as_uri(), cache=cache).name == "with space.weights.h5"


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
def test_a_truncated_file_is_named_in_the_error(files, tmp_path, suffix):
    folder, _ = files
    whole = (folder / f"plain{suffix}").read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=f"{path}.*(damaged|fit)"):
        resolve_weights(str(path), cache=tmp_path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "notes.h5"
    path.write_text("not weights")
    with pytest.raises(WeightsError, match="not a Keras file"):
        resolve_weights(str(path), cache=tmp_path)


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
def test_weights_of_a_small_other_network_are_refused(tmp_path, suffix):
    keras = load_keras()
    model = keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.Conv2D(64, 7, name="conv1_conv"), keras.layers.Dense(3)]
    )
    path = tmp_path / f"other{suffix}"
    (model.save_weights if suffix == ".weights.h5" else model.save)(path)
    with pytest.raises(WeightsError, match="does not fit ResNet50"):
        resolve_weights(str(path), cache=tmp_path)


def test_weights_of_a_near_relation_are_refused(tmp_path):
    keras = load_keras()
    model = keras.applications.ResNet50V2(
        weights=None, include_top=False, pooling="avg", input_shape=(32, 32, 3)
    )
    path = tmp_path / "v2.weights.h5"
    model.save_weights(path)
    with pytest.raises(WeightsError, match="does not fit ResNet50"):
        resolve_weights(str(path), cache=tmp_path)


def test_code_inside_a_model_file_is_not_run(tmp_path):
    keras = load_keras()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x + 1)])
    path = tmp_path / "lambda.keras"
    model.save(path)
    with pytest.raises(WeightsError, match=str(path)):
        resolve_weights(str(path), cache=tmp_path)


def test_weights_that_hold_nan_are_refused(files, tmp_path):
    path = tmp_path / "diverged.weights.h5"
    path.write_bytes((files[0] / "plain.weights.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        file["layers/conv2d/vars/0"][0, 0, 0, 0] = np.nan
    with pytest.raises(WeightsError, match="conv1_conv/kernel holds NaN"):
        resolve_weights(str(path), cache=tmp_path)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("random", "random:0"),
        ("random:", "random:0"),
        ("random:-1", "random:0"),
        ("random:x", "random:0"),
        ("nosuch://bucket/w.h5", "no known kind of archive.*fingerprints.weights"),
        ("file://elsewhere/w.h5", "is of this machine"),
        ("imagenett", "no weights file at"),
        ("/nowhere/w.h5", "no weights file at /nowhere/w.h5"),
    ],
)
def test_what_cannot_be_had_is_refused_with_what_to_write(tmp_path, weights, message):
    with pytest.raises(WeightsError, match=message):
        resolve_weights(weights, cache=tmp_path)


def test_an_unknown_backbone_is_refused():
    with pytest.raises(ConfigError, match="resnet50"):
        resolve_weights("random:0", "resnet5")


def test_a_file_in_the_cache_with_other_content_is_not_used(headless, cache):
    other = resolve_weights("random:1", cache=cache)
    with pytest.raises(WeightsError, match="other weights than random:0"):
        load_model(Weights(headless.name, other.path, headless.sha256, headless.backbone), "resnet50", 32)


def test_another_keras_backend_is_an_error_that_names_the_variable(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(ConfigError, match="KERAS_BACKEND=tensorflow"):
        load_keras(backends=("tensorflow",))


def test_what_is_wrong_with_a_further_network_is_told_by_its_name(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ELODIN_CACHE", str(tmp_path))
    settings = FingerprintsSettings(weights="survey", networks=[{"weights": str(tmp_path / "none.h5")}])
    with pytest.raises(WeightsError, match=r"^fingerprints\.networks\.0: no weights file at"):
        resolve_settings(settings)
    with pytest.raises(WeightsError, match=r"^no weights file at"):
        resolve_settings(settings.parts[1])
