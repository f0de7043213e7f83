"""Where weights come from, what is refused, and what the message then says."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from elodin_spark.config.backbones import get_backbone
from elodin_spark.errors import ConfigError, WeightsError
from elodin_spark.fingerprints.runtimes.framework import load_keras
from elodin_spark.fingerprints.runtimes.network import load_model
from elodin_spark.fingerprints.weights.resolve import (
    Weights,
    _imagenet_labels,
    default_cache,
    digest_arrays,
    random_arrays,
    resolve_weights,
)


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


def test_random_weights_are_the_same_arrays_for_the_same_seed_only(tmp_path, cache, headless):
    again = resolve_weights("random:0", cache=tmp_path / "elsewhere")
    other = resolve_weights("random:1", cache=cache)
    assert again.sha256 == headless.sha256
    assert again.path != headless.path
    assert other.sha256 != headless.sha256
    assert Path(headless.path).name == f"{headless.sha256}.weights.h5"
    assert (headless.name, headless.classes) == ("random:0", None)
    assert headless.describe() == "ResNet50, random weights (seed 0): not trained"
    assert headless.label_name(12) == "unit 12"


def test_random_arrays_equal_those_of_other_machines_to_the_bit():
    # Worked out once; a change of NumPy, or of the recipe, must not pass unnoticed.
    shapes = {"conv1_conv/kernel": (7, 7, 3, 64), "conv1_bn/gamma": (64,)}
    assert digest_arrays(random_arrays(shapes, 0)) == (
        "8e9a4819eee26c5cb53bba82e024c06d42aab7649f134c77769f9cc7738c76f1"
    )


def test_random_kernels_have_the_variance_of_he_and_filters_that_sum_to_zero():
    kernel = random_arrays({"a_conv/kernel": (3, 3, 64, 256)}, 7)["a_conv/kernel"]
    assert kernel.dtype == np.float32
    assert kernel.var() == pytest.approx(2 / (9 * 64), rel=0.01)
    assert np.abs(kernel.sum(axis=(0, 1, 2))).max() < 1e-5


def test_cached_random_weights_are_found_without_starting_tensorflow(cache, headless):
    program = (
        "import sys; from pathlib import Path\n"
        "import elodin_spark.fingerprints.stage\n"
        "from elodin_spark.fingerprints.weights.resolve import resolve_weights\n"
        "print(resolve_weights('random:0', cache=Path(sys.argv[1])).sha256)\n"
        "assert not {'tensorflow', 'keras', 'pyspark'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(cache)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == headless.sha256


def test_a_damaged_file_in_the_cache_of_random_weights_is_made_anew(cache):
    first = resolve_weights("random:1", cache=cache)
    whole = Path(first.path).read_bytes()
    Path(first.path).write_bytes(whole[:1000])
    assert resolve_weights("random:1", cache=cache) == first
    assert Path(first.path).stat().st_size == len(whole)
    assert not list(cache.glob(".new-*"))  # no scratch left


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


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(WeightsError, match="ELODIN_CACHE"):
        resolve_weights("random:0", cache=blocked)


def test_an_unknown_backbone_is_refused():
    with pytest.raises(ConfigError, match="resnet50"):
        resolve_weights("random:0", "resnet5")


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("ELODIN_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache() == Path("/home/somebody/.cache/elodin_spark/weights")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "elodin_spark" / "weights"
    monkeypatch.setenv("ELODIN_CACHE", str(tmp_path / "own"))
    assert default_cache() == tmp_path / "own" / "weights"


def test_weights_travel_to_workers(headless):
    assert pickle.loads(pickle.dumps(headless)) == headless
    assert len(pickle.dumps(headless)) < 2000


def test_a_file_in_the_cache_with_other_content_is_not_used(headless, cache):
    other = resolve_weights("random:1", cache=cache)
    with pytest.raises(WeightsError, match="other weights than random:0"):
        load_model(Weights(headless.name, other.path, headless.sha256, headless.backbone), "resnet50", 32)


def test_labels_of_imagenet_are_told_apart_by_their_wordnet_id():
    names = ("n02012849 crane", "n03126707 crane")
    weights = Weights("imagenet", "x", "y", "resnet50", 2, names)
    assert weights.label_name(0) != weights.label_name(1)
    assert weights.describe() == "ResNet50, imagenet"


def test_each_class_of_imagenet_is_called_by_its_wordnet_id_and_its_name(tmp_path, monkeypatch):
    keras = load_keras()
    index = {"1": ["n01443537", "goldfish"], "0": ["n01440764", "tench"], "2": ["n03126707", "crane"]}
    # In place of the download alone, and of its checksum.
    monkeypatch.setattr(keras.utils, "get_file", lambda *_, **__: str(tmp_path / "index.json"))
    (tmp_path / "index.json").write_text(json.dumps(index))
    assert _imagenet_labels() == ("n01440764 tench", "n01443537 goldfish", "n03126707 crane")
    (tmp_path / "index.json").write_text(json.dumps({"0": index["0"], "7": index["1"]}))
    assert _imagenet_labels() is None  # one is missing: no name rather than a wrong one


def test_another_keras_backend_is_an_error_that_names_the_variable(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(ConfigError, match="KERAS_BACKEND=tensorflow"):
        load_keras(backends=("tensorflow",))


IMAGENET = """
import hashlib, sys
from pathlib import Path
from elodin_spark.errors import WeightsError
from elodin_spark.config.backbones import get_backbone
from elodin_spark.fingerprints.weights.resolve import resolve_weights

home, cache = Path(sys.argv[1]), Path(sys.argv[2])
try:
    resolve_weights("imagenet", cache=cache)
except WeightsError as error:
    print(error)

import keras
from keras.src.applications import resnet

model = keras.applications.ResNet50(weights=None)
path = home / "models" / get_backbone("resnet50").imagenet_file
path.parent.mkdir(exist_ok=True)
model.save(home / "any.h5")
(home / "any.h5").rename(path)
# Keras checks the hash of the true file, which cannot be made: tell it the one of ours.
digest = hashlib.md5(path.read_bytes()).hexdigest()
resnet.WEIGHTS_HASHES["resnet50"] = (digest, "")
found = resolve_weights("imagenet", cache=cache)
assert (found.name, found.classes, found.label_names) == ("imagenet", 1000, None)

from elodin_spark.fingerprints.weights.resolve import digest_arrays
assert found.sha256 == digest_arrays({v.path: v.numpy() for v in model.variables})
assert resolve_weights(str(path), cache=cache).sha256 == found.sha256
print("LOADED")
"""


def test_imagenet_weights_come_from_keras_or_the_error_says_how_to_get_them(tmp_path):
    home = tmp_path / "keras"
    home.mkdir()
    nowhere = "http://127.0.0.1:9"  # nothing listens on the discard port
    environment = os.environ | {
        "KERAS_HOME": str(home),
        "https_proxy": nowhere,
        "http_proxy": nowhere,
        "no_proxy": "",
    }
    done = subprocess.run(
        [sys.executable, "-c", IMAGENET, str(home), str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    backbone = get_backbone("resnet50")
    for part in (backbone.imagenet_url, backbone.imagenet_file, f"{home}/models", "random:0"):
        assert part in done.stdout
    assert "LOADED" in done.stdout
