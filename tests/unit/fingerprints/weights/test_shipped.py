"""Packing trained weights, and those that come with the package."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.limits import HANG_S

from elodin_spark.cli.main import run_command
from elodin_spark.config import shipped
from elodin_spark.config.backbones import get_backbone
from elodin_spark.config.settings import FingerprintsSettings
from elodin_spark.errors import ConfigError, InputError, WeightsError
from elodin_spark.fingerprints.backbones import build_model, named_weights
from elodin_spark.fingerprints.runtimes.network import load_model
from elodin_spark.fingerprints.weights.resolve import resolve_settings, resolve_weights
from elodin_spark.fingerprints.weights.shipped import find_shipped, pack_weights

STEM = shipped.STEMS["survey"]


@pytest.fixture(scope="module")
def model():
    """A ResNet50 whose kernels are zero but for the first, which is quick to pack."""
    built = build_model("resnet50", 32, classes=3)
    variables = named_weights(built)
    rng = np.random.default_rng(1)
    for name, variable in variables.items():
        if name.startswith(("conv1_", "predictions")):
            variable.assign(rng.uniform(0.1, 1, variable.shape))
        elif name.endswith("kernel"):
            variable.assign(np.zeros(variable.shape))
    return built


@pytest.fixture(scope="module")
def packed(tmp_path_factory, model):
    """A folder as the package may have one."""
    folder = tmp_path_factory.mktemp("package")
    card = {"data": "a test", "seed": 1}
    return pack_weights(model, folder / f"{STEM}.safetensors", card, input_px=64), folder


@pytest.fixture
def package(packed, tmp_path, monkeypatch):
    """A copy of it in place of the package's own."""
    folder = tmp_path / "weights"
    shutil.copytree(packed[1], folder)
    monkeypatch.setattr(shipped, "FOLDER", folder)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def test_the_weights_of_the_package_give_the_network_that_was_packed(package, packed, model, cache):
    described, _ = packed
    found = resolve_weights("survey", cache=cache)
    assert (found.name, found.sha256, found.classes) == ("survey", described.arrays_sha256, None)
    assert found.describe() == "ResNet50, survey"
    loaded = {name: value.numpy() for name, value in named_weights(load_model(found, "resnet50", 32)).items()}
    for name, variable in named_weights(model).items():
        if not name.startswith("predictions"):
            np.testing.assert_allclose(loaded[name], variable.numpy(), atol=1 / 254 + 1e-6, err_msg=name)
    # The same file by its path is the same network, by another name.
    other = resolve_weights(str(package / described.file), cache=cache)
    assert (other.name, other.path) == (described.file, found.path)
    Path(found.path).unlink()
    assert resolve_weights("survey", cache=cache) == found


def test_the_checksum_of_the_package_is_that_of_what_is_kept_so_that_the_network_is_built_once(cache):
    described = shipped.shipped_weights()
    assert described is not None
    assert resolve_weights("survey", cache=cache).sha256 == described.arrays_sha256
    again = (
        "import sys; from pathlib import Path\n"
        "from elodin_spark.fingerprints.weights.resolve import resolve_weights\n"
        "resolve_weights('survey', cache=Path(sys.argv[1])); assert 'keras' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", again, str(cache)], check=True, timeout=HANG_S)


def test_arrays_in_any_order_make_the_same_file(packed, model, tmp_path):
    described, _ = packed
    values = {name: value.numpy() for name, value in named_weights(model).items()}
    shuffled = {name: values[name] for name in sorted(values)}
    again = pack_weights(shuffled, tmp_path / described.file, described.card, input_px=64)
    assert again.sha256 == described.sha256
    with pytest.raises(WeightsError, match="does not fit"):
        pack_weights({"conv1_conv/kernel": np.zeros(3)}, tmp_path / "other.safetensors", {}, input_px=64)


def test_weights_of_the_package_are_the_default_at_the_size_of_their_training(package):
    assert (FingerprintsSettings().weights, FingerprintsSettings().input_px) == ("survey", 64)
    assert FingerprintsSettings(weights=None, input_px=128).input_px == 128
    for weights in ("imagenet", "random:0"):
        chosen = FingerprintsSettings(weights=weights)
        assert (chosen.weights, chosen.input_px) == (weights, 224)
    other = FingerprintsSettings(backbone="MobileNetV2")
    assert (other.weights, other.input_px) == ("imagenet", 224)


def test_a_package_without_weights_says_so_and_what_else_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    assert (FingerprintsSettings().weights, FingerprintsSettings().input_px) == ("imagenet", 224)
    with pytest.raises(WeightsError, match=r"without its weights survey.*imagenet.*random:0.*model-card"):
        resolve_weights("survey", cache=tmp_path)


def test_all_of_the_package_is_in_its_wheel_and_its_source_distribution(tmp_path):
    root = Path(shipped.__file__).parents[2]
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(root / name, tmp_path)
    shutil.copytree(root / "LICENSES", tmp_path / "LICENSES")
    package = tmp_path / "elodin_spark"
    shutil.copytree(root / "elodin_spark", package, ignore=shutil.ignore_patterns("__pycache__", f"{STEM}.*"))
    for ending in ("safetensors", "json"):
        (package / "weights" / f"{STEM}.{ending}").write_text(ending)
    command = [sys.executable, "-m", "build", "--no-isolation", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 0, done.stdout + done.stderr
    files = {path.relative_to(tmp_path).as_posix() for path in package.rglob("*") if path.is_file()}
    for needed in ("py.typed", "spark/log4j2.properties", f"weights/{STEM}.safetensors"):
        assert f"elodin_spark/{needed}" in files
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert {name for name in names if name.startswith("elodin_spark/")} == files
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("/METADATA"))
        licenses = {name.partition("/licenses/")[2] for name in names if "/licenses/" in name}
        (scripts,) = (archive.read(name).decode() for name in names if name.endswith("/entry_points.txt"))
    assert "License-Expression: BSD-3-Clause AND Apache-2.0" in metadata
    assert "elodin-spark = elodin_spark.__main__:main" in scripts
    (source,) = (tmp_path / "dist").glob("*.tar.gz")
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert files <= inside
    theirs = {"LICENSE", "NOTICE", "LICENSES/Apache-2.0.txt", "LICENSES/WordNet-3.0.txt"}
    assert licenses == theirs
    assert {"pyproject.toml", "README.md"} | theirs <= inside


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [(truncate, "damaged or truncated"), (flip, "SHA-256"), (Path.unlink, "cannot be read")],
)
def test_damaged_weights_of_the_package_are_refused_by_name(package, tmp_path, harm, reason):
    path = package / f"{STEM}.safetensors"
    harm(path)
    with pytest.raises(WeightsError, match=f"{path}.*{reason}.*install elodin_spark again"):
        resolve_weights("survey", cache=tmp_path)


def test_a_damaged_description_of_the_weights_is_refused_by_name(package):
    path = package / f"{STEM}.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(WeightsError, match=f"{path}.*damaged"):
        FingerprintsSettings()


def test_weights_of_the_package_fit_their_own_network_only_and_need_no_checksum(package, tmp_path):
    with pytest.raises(WeightsError, match=r"survey are of ResNet50, not of MobileNetV2.*imagenet"):
        resolve_weights("survey", "mobilenetv2", cache=tmp_path)
    with pytest.raises(ConfigError, match="survey, which are checked without"):
        resolve_weights("survey", cache=tmp_path, sha256="0" * 64)


def test_the_layers_and_turns_that_the_weights_want_are_the_default_but_in_dense_mode(package):
    path = package / f"{STEM}.json"
    known = json.loads(path.read_text())
    plain = FingerprintsSettings()
    assert (plain.layer, plain.augmentations) == (None, 1)
    path.write_text(json.dumps({**known, "layer": "conv2_block3_out+conv5_block3_out", "augmentations": 8}))
    wanted = FingerprintsSettings()
    assert (wanted.layer, wanted.augmentations) == ("conv2_block3_out+conv5_block3_out", 8)
    named = FingerprintsSettings(layer="avg_pool", augmentations=4)
    assert (named.layer, named.augmentations) == ("avg_pool", 4)
    for others in ({"mode": "dense"}, {"weights": "random:0"}, {"backbone": "mobilenetv2"}):
        found = FingerprintsSettings(**others)
        assert (found.layer, found.augmentations) == (None, 1)
    for whole in ({"augmentations": 4}, {"layer": "avg_pool"}):
        with pytest.raises(ValueError, match="no layer and 1 turn"):
            FingerprintsSettings(mode="dense", **whole)


def test_the_command_line_packs_a_file_of_keras_and_shows_it(model, tmp_path, capsys, packed):
    source, card = tmp_path / "x.weights.h5", tmp_path / "card.json"
    model.save_weights(source)
    card.write_text(json.dumps({"data": "a test", "seed": 1}))
    out = tmp_path / f"{STEM}.safetensors"
    words = ["weights", "pack", str(source), str(out), "--input-px", "64", "--card", str(card)]
    assert run_command([*words, "--augmentations", "3"]) != 0
    assert run_command([*words, "--layer", "conv9"]) != 0
    said = capsys.readouterr().err
    assert "--augmentations is 1, 4 or 8, got 3" in said
    assert "has no layer 'conv9'" in said
    assert run_command([*words, "--layer", "avg_pool", "--augmentations", "8"]) == 0
    wanted = json.loads(out.with_suffix(".json").read_text())
    assert (wanted["layer"], wanted["augmentations"]) == ("avg_pool", 8)
    assert run_command(words) == 0
    # The same network packed from memory or from a file is the same file.
    assert packed[0].sha256 in capsys.readouterr().out
    assert json.loads(out.with_suffix(".json").read_text()) == packed[0].model_dump(mode="json")
    assert run_command(["weights", "show", str(out)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["sha256"], shown["parameters"]) == (packed[0].sha256, 23_587_712)
    truncate(out)
    assert run_command(["weights", "show", str(out)]) == 2
    assert str(out) in capsys.readouterr().err
    card.write_text("[]")
    assert run_command(words) == 2


def test_a_card_that_json_cannot_write_is_refused(model, tmp_path):
    for card in ({"score": float("nan")}, {"model": model}):
        with pytest.raises(InputError, match="the card of weights"):
            pack_weights(model, tmp_path / "w.safetensors", card, input_px=64)
    with pytest.raises(InputError, match=r"NAME\.safetensors"):
        pack_weights(model, tmp_path / "w.h5", {}, input_px=64)


NAMES = ("n1 cat", "n2 dog", "n2 cat")


def test_a_head_is_kept_with_the_names_of_its_classes(model, tmp_path):
    path = tmp_path / "headed.safetensors"
    described = pack_weights(model, path, {}, input_px=64, label_names=NAMES)
    found = resolve_weights(str(path), cache=tmp_path)
    assert (found.classes, found.label_names, found.label_name(1)) == (3, NAMES, "n2 dog")
    assert found.sha256 == described.arrays_sha256
    loaded = load_model(found, "resnet50", 32).get_layer("predictions")
    wanted = model.get_layer("predictions")
    np.testing.assert_allclose(loaded.kernel.numpy(), wanted.kernel.numpy(), atol=1e-3)
    np.testing.assert_array_equal(loaded.bias.numpy(), wanted.bias.numpy())
    # Without names the same network has no head, and another hash.
    plain = pack_weights(model, tmp_path / "plain.safetensors", {}, input_px=64)
    assert plain.arrays_sha256 != described.arrays_sha256
    assert resolve_weights(str(tmp_path / "plain.safetensors"), cache=tmp_path).label_names is None


def test_names_that_are_not_those_of_a_head_are_refused(model, tmp_path):
    path = tmp_path / "headed.safetensors"
    body = {name: a.numpy() for name, a in named_weights(model).items() if not name.startswith("predictions")}
    for network, names, why in (
        (model, NAMES[:2], "2 classes are named, and the head has 3"),
        (body, NAMES, "have no head"),
        (model, ("a", "b", ""), "printable"),
        (model, ("a", "b", "c\nd"), "printable"),
        (model, ("a", "b", "c" * 201), "1 to 200"),
    ):
        with pytest.raises(InputError, match=why):
            pack_weights(network, path, {}, input_px=64, label_names=names)
    kernel = np.zeros((7, 3), np.float32)
    with pytest.raises(WeightsError, match=r"its head has a kernel of shape \(7, 3\)"):
        pack_weights(
            {**body, "predictions/kernel": kernel, "predictions/bias": kernel[0]},
            path,
            {},
            input_px=64,
            label_names=NAMES,
        )
    assert not path.exists()


def test_the_command_line_packs_a_head_whose_classes_a_file_names(model, tmp_path, capsys):
    source, names, out = (tmp_path / name for name in ("x.weights.h5", "names.txt", "out.safetensors"))
    model.save_weights(source)
    words = ["weights", "pack", str(source), str(out), "--input-px", "64", "--classes", str(names)]
    assert run_command(words) == 2
    assert f"{names} cannot be read" in capsys.readouterr().err
    names.write_text("\n".join(NAMES) + "\n")
    assert run_command(words) == 0
    capsys.readouterr()
    assert run_command(["weights", "show", str(out)]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == 3
    assert resolve_weights(str(out), cache=tmp_path).label_names == NAMES


def test_weights_bring_their_backbone_and_what_they_want():
    lite = FingerprintsSettings(weights="imagenet-lite")
    assert (lite.backbone, lite.input_px, lite.augmentations) == ("efficientnetlite0", 128, 4)
    assert lite.layer == "block7a_project_bn+avg_pool"
    assert FingerprintsSettings(backbone="EfficientNet-Lite0") == lite
    assert FingerprintsSettings(weights="imagenet-lite", backbone=None) == lite
    alone = FingerprintsSettings(weights="survey")
    assert alone == FingerprintsSettings(backbone="resnet50") == FingerprintsSettings(networks=[])
    assert alone == FingerprintsSettings().alone() != FingerprintsSettings()
    named = FingerprintsSettings(weights="imagenet-lite", layer="avg_pool", augmentations=1, input_px=224)
    assert (named.layer, named.augmentations, named.input_px) == ("avg_pool", 1, 224)
    plain = FingerprintsSettings(weights="random:0", backbone="efficientnetlite0")
    assert (plain.layer, plain.augmentations, plain.input_px) == (None, 1, 224)
    # The backbone is what was named, and what is wrong is said when the weights are looked for.
    other = FingerprintsSettings(weights="imagenet-lite", backbone="resnet50")
    assert (other.weights, other.layer, other.input_px) == ("imagenet-lite", None, 224)
    with pytest.raises(WeightsError, match=r"are of EfficientNetLite0, not of ResNet50.*to eff"):
        resolve_settings(other)


@pytest.mark.parametrize("name", shipped.STEMS)
def test_each_of_the_package_is_whole_and_damage_to_one_harms_no_other(name, tmp_path, monkeypatch):
    other = next(each for each in shipped.STEMS if each != name)
    folder = tmp_path / "weights"
    shutil.copytree(shipped.FOLDER, folder)
    monkeypatch.setattr(shipped, "FOLDER", folder)
    flip(folder / f"{shipped.STEMS[other]}.safetensors")
    known = shipped.shipped_weights(name)
    assert find_shipped(name, get_backbone(known.backbone)) == (folder / known.file, known)
    with pytest.raises(WeightsError, match=f"weights {other}: .*SHA-256.*install elodin_spark again"):
        resolve_weights(other, cache=tmp_path)
    (folder / f"{shipped.STEMS[other]}.json").unlink()
    with pytest.raises(WeightsError, match=f"comes without its weights {other}"):
        resolve_weights(other, cache=tmp_path)
