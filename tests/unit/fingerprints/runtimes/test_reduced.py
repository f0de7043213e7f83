"""Vectors in bfloat16 and in 8-bit integers: near to float32, and as repeatable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from elodin_spark.config.settings import FingerprintsSettings
from elodin_spark.errors import ConfigError, WeightsError
from elodin_spark.fingerprints.runtimes import NetworkSpec, get_runtime
from elodin_spark.fingerprints.runtimes import cpu as cpu_room
from elodin_spark.fingerprints.runtimes.openvino import (
    adopt_model,
    convert_network,
    load_openvino,
    read_model_file,
)
from elodin_spark.fingerprints.runtimes.quantize import quantize
from elodin_spark.fingerprints.runtimes.selection import model_for
from elodin_spark.fingerprints.weights.resolve import resolve_weights

PX, BATCH = 48, 4
KEPT = "conv1_conv"
#: As far as the networks of these tests go; whole ones are quantized by tests of runs on Spark.
LAYER, CONVOLUTIONS = "conv3_block4_out", 24
HOW = {"input_px": PX, "layer": LAYER, "bias_correction": "none"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    # One folder for all tests of a run: random weights are written once.
    return resolve_weights("random:0", cache=tmp_path_factory.getbasetemp() / "fingerprint-weights")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.getbasetemp() / "models"


@pytest.fixture(scope="module")
def windows():
    """Smooth structure with noise on it, as an image of the sky has."""
    generator = np.random.default_rng(1)
    coarse = generator.integers(0, 256, (24, 6, 6, 3), np.uint8)
    smooth = np.stack([cv2.resize(image, (PX, PX), interpolation=cv2.INTER_CUBIC) for image in coarse])
    return np.clip(smooth + generator.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def converted(weights, folder):
    return convert_network(weights, "resnet50", PX, folder, layer=LAYER)


@pytest.fixture(scope="module")
def quantized(weights, folder, windows):
    return quantize(weights, windows[:16], keep=[KEPT], **HOW, cache=folder)


@pytest.fixture(scope="module")
def exact(weights, converted, windows):
    return get_runtime(NetworkSpec(weights, "resnet50", PX, BATCH, 1, "openvino", "f32", converted, LAYER))(
        windows
    )


@pytest.fixture(scope="module", params=["openvino bf16", "tensorflow bf16", "openvino int8"])
def runtime(request, weights, converted, quantized):
    name, precision = request.param.split()
    if precision == "bf16" and cpu_room.bf16_instructions() is None:
        pytest.skip("this CPU has no bfloat16 instructions")
    model = {"bf16": converted, "int8": quantized}[precision] if name == "openvino" else None
    return get_runtime(NetworkSpec(weights, "resnet50", PX, BATCH, 1, name, precision, model, LAYER))


def centerd_cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of rows about the mean of `b`: what all vectors share hides what tells them apart."""
    a, b = a - b.mean(axis=0), b - b.mean(axis=0)
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_vectors_are_near_those_in_float32_and_not_the_same(runtime, windows, exact):
    vectors, _ = runtime(windows)
    lowest = {"bf16": 0.99, "int8": 0.9}[runtime.spec.precision]
    assert vectors.dtype == np.float32
    assert centerd_cosine(vectors, exact[0]).min() > lowest
    assert np.abs(vectors - exact[0]).max() > 1e-4 * np.abs(exact[0]).max()


def test_a_vector_depends_on_its_window_only_to_the_bit(runtime, windows):
    together, _ = runtime(windows)
    order = np.random.default_rng(4).permutation(10)
    np.testing.assert_array_equal(runtime(windows[order])[0], together[order])
    np.testing.assert_array_equal(runtime(windows[7:8])[0], together[7:8])


def test_a_gray_window_has_the_vector_of_its_three_equal_channels(runtime, windows):
    gray = windows[:6, :, :, 0]
    one, _ = runtime(gray)
    three, _ = runtime(np.repeat(gray[..., None], 3, axis=-1))
    # Another rounding of the first sums may move an integer by one.
    assert centerd_cosine(one, three).min() > 0.995


def test_the_same_windows_give_the_same_quantized_network_and_others_another(
    weights, folder, windows, converted, quantized, tmp_path
):
    again = quantize(weights, list(windows[:16]), keep=[KEPT], **HOW, cache=tmp_path)
    other = quantize(weights, windows[8:], keep=[KEPT], **HOW, cache=tmp_path)
    assert again.sha256 == quantized.sha256 != other.sha256
    assert again == replace(quantized, path=again.path)
    assert quantized.quantized
    assert Path(quantized.files[1]).stat().st_size < Path(converted.files[1]).stat().st_size / 3


def test_a_layer_that_is_kept_has_no_integers(quantized):
    model = load_openvino().Core().read_model(quantized.path)
    kinds = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Convolution":
            source = node.input_value(1).get_node()
            while source.get_type_name() != "Constant":
                source = source.input_value(0).get_node()
            kinds[node.get_friendly_name()] = source.get_element_type().get_type_name()
    assert len(kinds) == CONVOLUTIONS
    assert {name for name, kind in kinds.items() if kind != "i8"} == {KEPT}


def test_a_conversion_is_found_again_and_made_again_where_it_is_damaged(weights, converted, tmp_path):
    first = convert_network(weights, "resnet50", PX, tmp_path, layer=LAYER)
    written = Path(first.path).stat().st_mtime_ns
    # The same in another folder, whatever this process did in between.
    assert first.sha256 == converted.sha256
    assert convert_network(weights, "resnet50", PX, tmp_path, layer=LAYER) == first
    assert Path(first.path).stat().st_mtime_ns == written
    with open(first.files[1], "r+b") as file:  # noqa: PTH123
        file.truncate(1000)
    with pytest.raises(WeightsError, match="damaged"):
        get_runtime(NetworkSpec(weights, "resnet50", PX, 5, 1, "openvino", "f32", first, LAYER))
    assert convert_network(weights, "resnet50", PX, tmp_path, layer=LAYER).sha256 == first.sha256
    first.check()


def test_a_quantized_network_is_adopted_under_its_hash_and_only_for_its_weights(weights, quantized, tmp_path):
    kept = tmp_path / "mine.xml"
    for source, target in zip(quantized.files, (kept, kept.with_suffix(".bin")), strict=True):
        target.write_bytes(Path(source).read_bytes())
    assert read_model_file(kept) == replace(quantized, path=str(kept))
    adopted = adopt_model(kept, tmp_path / "cache")
    assert Path(adopted.path).stem == quantized.sha256 == adopted.sha256
    adopted.check()
    settings = FingerprintsSettings(
        weights="random:0", input_px=PX + 16, layer=LAYER, precision="int8", int8_model=str(kept)
    )
    with pytest.raises(ConfigError, match=f"at {PX} px"):
        model_for(settings, "openvino", weights)


def test_a_model_of_somebody_else_is_refused(converted, tmp_path):
    with pytest.raises(WeightsError, match=r"none\.xml"):
        read_model_file(tmp_path / "none.xml")
    openvino = load_openvino()
    model = openvino.Core().read_model(converted.path)
    model.set_rt_info("{}", ["elodin_spark"])
    openvino.save_model(model, tmp_path / "foreign.xml")
    with pytest.raises(WeightsError, match=r"foreign\.xml"):
        read_model_file(tmp_path / "foreign.xml")


def test_quantizing_without_windows_or_with_a_layer_there_is_not_is_refused(weights, folder, windows):
    with pytest.raises(ConfigError, match="calibrate"):
        quantize(weights, [], input_px=PX, cache=folder)
    with pytest.raises(ConfigError, match="conv9"):
        quantize(weights, windows, input_px=PX, keep=["conv9"], cache=folder)
