"""Which runtime is taken, what is refused, and what goes into the recipe."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import numpy as np
import pytest

from elodin_spark.config.load import parse_settings
from elodin_spark.config.settings import FingerprintsSettings
from elodin_spark.errors import ConfigError, MissingDependencyError
from elodin_spark.fingerprints.backbones import PREPROCESSING
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.runtimes import cpu, selection
from elodin_spark.fingerprints.runtimes.base import NetworkSpec
from elodin_spark.fingerprints.runtimes.framework import installed, load_keras
from elodin_spark.fingerprints.runtimes.selection import choose_runtime
from elodin_spark.fingerprints.stage import FingerprintSpec
from elodin_spark.fingerprints.weights.resolve import resolve_weights
from elodin_spark.provenance import make_recipe, network_id, recipe_id


@pytest.fixture
def machine(monkeypatch):
    """A machine with these packages, instructions and devices; none of them is at hand here."""

    def make(packages=("tensorflow", "openvino"), bf16=None, gpu=False, cuda=False, backend=None):
        monkeypatch.setattr(selection, "installed", lambda name: name in packages)
        monkeypatch.setattr(cpu, "bf16_instructions", lambda: bf16)
        monkeypatch.setattr(cpu, "gpu_visible", lambda: gpu)
        monkeypatch.setattr(selection, "_tensorflow_has_cuda", lambda: cuda)
        monkeypatch.delenv("KERAS_BACKEND", raising=False)
        if backend is not None:
            monkeypatch.setenv("KERAS_BACKEND", backend)

    return make


@pytest.mark.parametrize(
    ("there", "precision", "taken", "why"),
    [
        ({}, "f32", "openvino", "CPU"),
        ({"bf16": "amx_bf16"}, "bf16", "openvino", "amx_bf16"),
        ({"packages": ("tensorflow",)}, "f32", "tensorflow", "OpenVINO"),
        ({"gpu": True, "cuda": True}, "f32", "tensorflow", "GPU"),
        ({"gpu": True, "cuda": True}, "bf16", "tensorflow", "GPU"),
        ({"gpu": True, "cuda": True, "backend": "jax"}, "f32", "keras", "jax"),
        ({"gpu": True, "cuda": False}, "f32", "openvino", "CPU"),
    ],
)
def test_auto_takes_by_device_and_instructions_and_says_why(machine, caplog, there, precision, taken, why):
    machine(**there)
    with caplog.at_level(logging.INFO):
        choice = choose_runtime(FingerprintsSettings(precision=precision))
    assert choice.runtime == taken
    assert why in choice.reason
    assert choice.reason in caplog.text
    assert taken in caplog.text


def test_a_catalog_stays_with_the_runtime_it_was_begun_with(machine, caplog):
    machine()
    assert choose_runtime(FingerprintsSettings(), "tensorflow").runtime == "tensorflow"
    assert not caplog.text
    machine(packages=("tensorflow",), bf16="avx512_bf16")
    assert choose_runtime(FingerprintsSettings(), "openvino").runtime == "tensorflow"
    assert "begun with runtime openvino" in caplog.text
    with pytest.raises(MissingDependencyError, match=r"elodin_spark\[openvino\]"):
        choose_runtime(FingerprintsSettings(precision="bf16"), "openvino")


def test_bf16_without_its_instructions_is_refused(machine, caplog):
    machine()
    with pytest.raises(ConfigError, match="bfloat16 instructions"):
        choose_runtime(FingerprintsSettings(precision="bf16"))
    # Named, it is the executors' matter.
    named = FingerprintsSettings(precision="bf16", runtime="openvino")
    assert choose_runtime(named).runtime == "openvino"
    assert "refuse" in caplog.text
    with pytest.raises(ConfigError, match="precision=f32"):
        cpu.require_bf16()


@pytest.mark.parametrize(
    ("runtime", "extra"), [("openvino", "openvino"), ("tensorflow", "cpu"), ("keras", "jax")]
)
def test_a_runtime_that_is_not_installed_is_an_error_that_names_its_extra(machine, runtime, extra):
    machine(packages=())
    with pytest.raises(MissingDependencyError, match=rf"elodin_spark\[{extra}\]"):
        choose_runtime(FingerprintsSettings(runtime=runtime))


def test_settings_of_precision_that_do_not_go_together_are_refused():
    for values, why in (
        ({"int8_model": "net.xml"}, "int8_model"),
        ({"precision": "int8", "int8_model": "net.xml", "runtime": "keras"}, "openvino"),
        ({"precision": "auto", "gate_sample": 0}, "gate_sample"),
    ):
        with pytest.raises(ConfigError, match=why):
            parse_settings({"images": {"paths": "/data"}, "fingerprints": values})


def test_precision_auto_and_int8_without_its_network_are_matters_of_a_run(tmp_path_factory):
    weights = resolve_weights("random:0", cache=tmp_path_factory.getbasetemp() / "fingerprint-weights")
    for precision, why in (("auto", "settled by a run"), ("int8", "a run quantizes it")):
        with pytest.raises(ConfigError, match=why):
            resolve_network(
                FingerprintsSettings(weights="random:0", input_px=48, precision=precision), weights
            )


def test_the_recipe_holds_the_arithmetic_but_not_the_runtime_in_f32():
    def made(by=None, model=None, **values):
        settings = parse_settings({"images": {"paths": "/data"}, "fingerprints": {"networks": [], **values}})
        return recipe_id(make_recipe(settings, "w", "1" * 64, by, model))

    exact = made()
    assert made("openvino") == made("tensorflow", runtime="tensorflow") == exact
    reduced = made("openvino", precision="bf16")
    assert len({exact, reduced, made("tensorflow", precision="bf16")}) == 3
    eight = {"precision": "int8", "int8_model": "net.xml"}
    quantized = made("openvino", "a" * 64, **eight)
    assert len({exact, reduced, quantized, made("openvino", "b" * 64, **eight)}) == 4
    with pytest.raises(ValueError, match="runtime"):
        made(precision="bf16")
    names = {network_id("1" * 64, "f32"), network_id("1" * 64, "bf16", "openvino")}
    assert len(names) == 2


def test_a_spec_names_the_files_its_runtime_reads(monkeypatch, tmp_path_factory):
    # One folder for all tests of a run: networks are converted once.
    monkeypatch.setenv("ELODIN_CACHE", str(tmp_path_factory.getbasetemp()))
    weights = resolve_weights("random:0", cache=tmp_path_factory.getbasetemp() / "fingerprint-weights")
    settings = FingerprintsSettings(weights="random:0", input_px=48, runtime="openvino")
    spec = FingerprintSpec.from_network(resolve_network(settings, weights))
    assert [file.rsplit(".", 1)[1] for file in spec.files] == ["xml", "bin"]
    assert spec.recipe == weights.sha256[:12]
    (runtime,) = spec.load(str)
    assert type(runtime).__name__ == "OpenVINORuntime"
    assert runtime.output_shapes == [(2048,)]


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_preprocessing_is_that_of_keras(mode):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), np.uint8)
    keras = load_keras()
    expected = keras.applications.imagenet_utils.preprocess_input(pixels.astype(np.float32), mode=mode)
    np.testing.assert_allclose(PREPROCESSING[mode](pixels), expected, atol=2e-5)
    gray = PREPROCESSING[mode](pixels[..., 0])
    np.testing.assert_array_equal(gray, PREPROCESSING[mode](np.repeat(pixels[..., :1], 3, axis=-1)))


TELEMETRY = """
import sys
from elodin_spark.fingerprints.runtimes.openvino import load_openvino
from elodin_spark.fingerprints.runtimes.quantize import _load_nncf
load_openvino(), _load_nncf()
print([name for name in sys.modules if name.startswith(("openvino_telemetry", "tensorflow", "keras"))])
"""


def test_openvino_and_nncf_are_imported_without_what_reports_their_use(tmp_path):
    home = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", TELEMETRY], capture_output=True, text=True, env=home)
    assert done.stdout.strip() == "[]", done.stderr
    assert not list(tmp_path.iterdir())


CONVERTER = """
import sys
from elodin_spark.fingerprints.runtimes.openvino import load_openvino
openvino = load_openvino()
print("openvino.tools.ovc" in sys.modules, hasattr(openvino, "nothing_of_the_kind"))
from openvino import convert_model
print(convert_model is sys.modules["openvino.tools.ovc"].convert_model is openvino.convert_model)
print("openvino_telemetry" in sys.modules)
"""


def test_openvino_is_imported_without_its_converter_which_comes_when_it_is_asked_for():
    done = subprocess.run([sys.executable, "-c", CONVERTER], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False", "True", "False"], done.stderr


JAX = """
import sys
import numpy as np
from pathlib import Path
from elodin_spark.fingerprints.runtimes import NetworkSpec, get_runtime
from elodin_spark.fingerprints.weights.resolve import resolve_weights

weights = resolve_weights("random:0", cache=Path(sys.argv[1]))
windows = np.load(sys.argv[2])
runtime = get_runtime(NetworkSpec(weights, "resnet50", 32, 4, 1, "keras"))
found = [runtime(windows)[0]]
np.testing.assert_array_equal(runtime(windows[5:6])[0], found[0][5:6])
np.testing.assert_array_equal(runtime(windows[::-1])[0], found[0][::-1])
if sys.argv[4] == "bf16":
    runtime = get_runtime(NetworkSpec(weights, "resnet50", 32, 4, 1, "keras", "bf16"))
    found.append(runtime(windows[..., 0])[0])
np.savez(sys.argv[3], *found)
import keras
print(keras.config.backend())
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_keras_on_another_backend_gives_the_vectors_of_tensorflow(backend, tmp_path, tmp_path_factory):
    if not installed(backend):
        pytest.skip(f"{backend} is not installed: the keras runtime is not tested on it")
    cache = tmp_path_factory.getbasetemp() / "fingerprint-weights"
    weights = resolve_weights("random:0", cache=cache)
    windows = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
    np.save(tmp_path / "windows.npy", windows)
    also = "bf16" if cpu.bf16_instructions() else ""
    arguments = [str(cache), str(tmp_path / "windows.npy"), str(tmp_path / "found.npz"), also]
    done = subprocess.run(
        [sys.executable, "-c", JAX, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": backend},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == [backend]
    (runtime,) = FingerprintSpec((NetworkSpec(weights, "resnet50", 32, 4, 1),)).load(str)
    expected = [runtime(windows)[0], runtime(windows[..., 0])[0]]
    with np.load(tmp_path / "found.npz") as file:
        found = [file[name] for name in file.files]
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4, atol=1e-4 * np.abs(expected[0]).max())
    for vectors in found[1:]:
        cosines = [np.corrcoef(a, b)[0, 1] for a, b in zip(vectors, expected[1], strict=True)]
        assert min(cosines) > 0.999


@pytest.mark.parametrize(
    ("isa", "left"),
    [
        ("", {"avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"}),
        ("AVX512_CORE_BF16", {"avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16"}),
        ("avx512_core_vnni", {"avx2", "avx_vnni", "avx512f", "avx512_vnni"}),
        ("AVX512_CORE", {"avx2", "avx_vnni", "avx512f"}),
        ("AVX2_VNNI", {"avx2", "avx_vnni"}),
        ("AVX2", {"avx2"}),
        ("AVX", set()),
        ("DEFAULT", {"avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"}),
    ],
)
def test_instructions_beyond_those_that_onednn_may_use_do_not_count(isa, left, monkeypatch):
    every = frozenset({"avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"})
    monkeypatch.setattr(cpu, "_flags_of_machine", lambda: every)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", isa)
    assert cpu.cpu_flags() == left
    assert (cpu.bf16_instructions() is None) == ("avx512_bf16" not in left)
