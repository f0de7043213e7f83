"""The gate on a small network: what it measures, what it takes, and what it quantizes with."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
from helpers.instructions import INT8

from elodin_spark.config.settings import FingerprintsSettings
from elodin_spark.errors import ConfigError
from elodin_spark.fingerprints import precision as gate
from elodin_spark.fingerprints.agreement import compare
from elodin_spark.fingerprints.backbones import preprocessing_of
from elodin_spark.fingerprints.precision import candidates, settle, windows_wanted
from elodin_spark.fingerprints.runtimes import NetworkSpec, cpu, get_runtime
from elodin_spark.fingerprints.runtimes.mixed import Sensitivity, quantized_operations
from elodin_spark.fingerprints.runtimes.openvino import convert_network, load_openvino, read_model_file
from elodin_spark.fingerprints.runtimes.quantize import _quantized, quantize
from elodin_spark.fingerprints.weights.resolve import resolve_settings, resolve_weights

PX = 32
#: As far as the networks of these tests go: of a whole one, each of many trials takes seconds to compile.
LAYER, LAST = "conv3_block2_out", "conv3_block2_3_conv"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return resolve_weights("random:0", cache=tmp_path_factory.getbasetemp() / "fingerprint-weights")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("ELODIN_CACHE", str(tmp_path_factory.getbasetemp() / "gate"))


@pytest.fixture(autouse=True)
def eight_bits(monkeypatch):
    """8-bit integers are tried on any CPU."""
    monkeypatch.setattr(cpu, "int8_instructions", lambda: INT8)


@pytest.fixture
def machine(monkeypatch):
    """A machine with these instructions and no GPU."""

    def make(bf16="amx_bf16", int8="amx_int8"):
        monkeypatch.setattr(cpu, "bf16_instructions", lambda: bf16)
        monkeypatch.setattr(cpu, "int8_instructions", lambda: int8)
        monkeypatch.setattr(cpu, "gpu_visible", lambda: False)

    return make


@pytest.fixture(scope="module")
def windows():
    """Smooth structure with noise on it; most in color."""
    generator = np.random.default_rng(1)
    coarse = generator.integers(0, 256, (80, 6, 6, 3), np.uint8)
    smooth = np.stack([cv2.resize(image, (PX, PX), interpolation=cv2.INTER_CUBIC) for image in coarse])
    noisy = np.clip(smooth + generator.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
    return [window[..., 0] if i % 5 == 0 else window for i, window in enumerate(noisy)]


def network(precision="auto", **values):
    int8 = {"calibration": 16, "method": "plain", "bias_correction": "none", **values.pop("int8", {})}
    return FingerprintsSettings(
        weights="random:0",
        input_px=PX,
        batch_size=8,
        precision=precision,
        int8=int8,
        **{"layer": LAYER, "gate_sample": 40, **values},
    )


def test_candidates_are_what_the_machine_and_the_settings_allow(machine):
    machine()
    assert candidates(network()) == ("int8", "bf16")
    assert candidates(network(runtime="tensorflow")) == ("bf16",)
    dense = {"mode": "dense", "layer": None, "gate_sample": 8}
    assert candidates(network(**dense)) == ("bf16",)
    machine(bf16=None)
    assert candidates(network()) == ("int8",)
    machine(bf16=None, int8=None)
    assert candidates(network()) == ()


def test_what_is_not_needed_is_not_cut(machine):
    machine()
    assert windows_wanted(network()) == (40, 16)
    assert windows_wanted(network("bf16", gate_sample=500)) == (128, 0)
    assert windows_wanted(network("int8", int8_model="net.xml")) == (40, 0)
    assert windows_wanted(network("f32")) == (0, 0)
    machine(bf16=None, int8=None)
    assert windows_wanted(network()) == (0, 0)
    assert windows_wanted(network("int8")) == (0, 16)  # of the executors


def needs_bf16():
    if cpu.bf16_instructions() is None:
        pytest.skip("this CPU has no bfloat16 instructions")


@pytest.fixture(scope="module")
def low(weights, windows, tmp_path_factory):
    """What a floor of zero gives: the fastest, with its network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELODIN_CACHE", str(tmp_path_factory.getbasetemp() / "gate"))
        patch.setattr(cpu, "int8_instructions", lambda: INT8)
        return settle(network(precision_floor=0.0), weights, windows)


def again(low, **values):
    """Settings that measure the same networks."""
    return network(int8_model=low.models[0].path if low.models else None, **values)


def test_auto_takes_the_fastest_that_reaches_the_floor(low, weights, windows, caplog):
    # The measured figures are of all candidates.
    assert low.taken == candidates(network())[0]
    assert [row.precision for row in low.rows] == ["f32", *candidates(network())]
    assert low.rows[0].agreement.overlap == 1.0
    assert all(0.3 < row.agreement.overlap < 1 for row in low.rows[1:])
    if low.taken == "int8":
        assert read_model_file(low.models[0].path).sha256 == low.models[0].sha256
    with caplog.at_level(logging.INFO):
        high = settle(again(low, precision_floor=1.01), weights, windows)
    assert high.reason in caplog.text
    assert (high.taken, high.models) == ("f32", ())
    # The same windows, the same figures.
    assert [row.agreement for row in high.rows] == [row.agreement for row in low.rows]


def test_a_floor_between_two_candidates_takes_the_better(low, weights, windows):
    needs_bf16()
    overlaps = {row.precision: row.agreement.overlap for row in low.rows}
    if overlaps.get("int8", 1) >= overlaps["bf16"]:
        pytest.skip("here 8-bit integers are no worse than bfloat16")
    floor = (overlaps["int8"] + overlaps["bf16"]) / 2
    between = settle(again(low, precision_floor=floor), weights, windows)
    assert between.taken == "bf16"
    assert f"int8 overlap {overlaps['int8']:.3f} < {floor:.2f}" in between.reason
    assert between.record()["rows"][-1]["overlap"] == pytest.approx(overlaps["bf16"], abs=1e-4)


def test_a_precision_that_is_named_is_taken_with_a_warning_below_the_floor(weights, windows, caplog):
    needs_bf16()
    # What is made of the vectors is fitted later, and does not count.
    found = settle(network("bf16", precision_floor=1.01, pca=4), weights, windows)
    assert found.taken == "bf16"
    assert "below fingerprints.precision_floor" in caplog.text
    caplog.clear()
    settle(network("bf16", precision_floor=0.0), weights, windows)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_joined_networks_are_measured_as_a_catalog_joins_them(windows):
    needs_bf16()
    other = {"weights": "random:2", "input_px": PX, "layer": LAYER, "factor": 0.1}
    settings = network("bf16", transform="standardize", power=0.5, networks=[other])
    weights = resolve_settings(settings)
    measured = settle(settings, weights, windows).rows[-1].agreement
    plain = [gate._vectors(gate._with(settings, each), weights, windows[:40])[0] for each in ("f32", "bf16")]
    halves = np.split(plain[0].astype(float), 2, axis=1)
    spread = [np.sqrt(np.maximum(half.var(axis=0), 0.01 * half.var(axis=0).mean())) for half in halves]
    even = [(half - half.mean(axis=0)) / some for half, some in zip(halves, spread, strict=True)]
    first, second = (
        np.abs(each).mean() for each in even
    )  # after the power, squared distances are of this size
    scale = np.concatenate([spread[0], spread[1] * second / first / 0.1**2])
    joined = [(vectors - plain[0].mean(axis=0)) / scale for vectors in plain]
    expected = compare(*(np.copysign(np.sqrt(np.abs(each)), each).astype(np.float32) for each in joined))
    apart, off = (abs(measured.centerd_cosine - each.centerd_cosine) for each in (compare(*plain), expected))
    assert off < 0.1 * apart


def test_a_machine_without_faster_arithmetic_stays_with_float32(weights, windows, machine):
    machine(bf16=None, int8=None)
    alone = settle(network(precision_floor=0.0), weights, windows)
    assert (alone.taken, alone.windows, alone.rows, alone.models) == ("f32", 0, (), ())
    assert "no faster arithmetic" in alone.reason


def test_too_few_windows_say_nothing(weights, windows, machine):
    machine()
    few = settle(network(), weights, windows[:20])
    assert (few.taken, few.windows, few.rows) == ("f32", 0, ())
    assert "20" not in few.reason  # of which a part would have gone to quantizing
    assert str(gate.FEWEST_WINDOWS) in few.reason
    with pytest.raises(ConfigError, match="calibrate"):
        settle(network("int8"), weights, [])


def test_mixed_keeps_layers_until_the_floor_is_met_and_says_which(weights, windows, caplog):
    path = convert_network(weights, "resnet50", PX, layer=LAYER).path
    core = load_openvino().Core()
    pixels = np.stack([window for window in windows if window.ndim == 3])[:32]
    preprocess = preprocessing_of("resnet50")
    quantized = _quantized(core.read_model(path), [preprocess(w[None]) for w in pixels], (), "none")
    trials = Sensitivity(quantized, core.read_model(path), pixels, preprocess, "f32")
    everything = quantized_operations(quantized)
    assert {"conv1_conv", LAST} <= set(everything)
    # With all given back it is the network it was made from.
    assert trials.trial(everything).overlap == 1.0
    assert quantized_operations(trials.with_kept(everything)) == []
    plain, one = trials.trial(()), trials.trial(["conv1_conv"])
    assert plain.overlap < 1
    assert "conv1_conv" not in quantized_operations(trials.with_kept(one.kept))
    assert trials.least(everything, plain.overlap, 12).kept == ()
    with caplog.at_level(logging.INFO):
        most = trials.least(everything, 1.01, 2)
    assert len(most.kept) <= 2
    assert "int8 with 0, 1, 2 operations kept" in caplog.text
    # One that changes nothing the vectors show is ranked behind one that does.
    assert trials.ranked(["conv1_conv", LAST])[0] == "conv1_conv"


def test_a_mixed_network_names_what_it_keeps_and_is_nearer_than_a_plain_one(windows, tmp_path_factory):
    small = resolve_weights("random:0", "mobilenet", tmp_path_factory.getbasetemp() / "fingerprint-weights")
    options = {"backbone": "mobilenet", "input_px": PX, "layer": "conv_pw_4_relu", "bias_correction": "none"}
    plain = quantize(small, windows[:32], method="mixed", floor=0.0, **options)
    mixed = quantize(small, windows[:32], method="mixed", floor=1.01, most_kept=6, **options)
    assert plain.kept == ()
    assert 0 < len(mixed.kept) <= 6
    assert read_model_file(mixed.path) == mixed
    exact = convert_network(small, "mobilenet", PX, layer="conv_pw_4_relu")
    found = {}
    for name, model in (("f32", exact), ("plain", plain), ("mixed", mixed)):
        precision = "f32" if name == "f32" else "int8"
        network = get_runtime(
            NetworkSpec(small, "mobilenet", PX, 8, 1, "openvino", precision, model, "conv_pw_4_relu")
        )
        found[name] = network(np.stack([window for window in windows if window.ndim == 3]))[0]
    gained = compare(found["f32"], found["mixed"]).overlap - compare(found["f32"], found["plain"]).overlap
    assert gained > 0
