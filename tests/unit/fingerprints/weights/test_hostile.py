"""Weights files that promise more than they hold, hold more than one network, or bring code."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from elodin_spark.config.backbones import get_backbone
from elodin_spark.errors import WeightsError
from elodin_spark.fingerprints.runtimes.framework import load_keras
from elodin_spark.fingerprints.weights.keras_files import read_arrays

BACKBONE = get_backbone("mobilenet")


def sparse(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("layers/conv2d/vars").create_dataset(
            "0", shape=(2**40,), dtype="f4", chunks=(2**16,), compression="gzip"
        )


def elsewhere(path: Path) -> None:
    (path.parent / "secret").write_bytes(b"secret!!")
    with h5py.File(path, "w") as file:
        file.create_group("layers/conv2d/vars").create_dataset(
            "0", shape=(2,), dtype="f4", external=[(str(path.parent / "secret"), 0, 8)]
        )


def archive(path: Path, config: object, weights: Callable[[Path], None] | None = None) -> None:
    inner = path.with_name("inner.h5")
    (weights or (lambda file: h5py.File(file, "w").close()))(inner)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("config.json", json.dumps(config))
        file.write(inner, "model.weights.h5")


def layer(module: str, name: str, **config: object) -> dict[str, object]:
    return {"module": module, "class_name": name, "config": config}


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("config.json", "{}")
        with file.open("model.weights.h5", "w") as member:
            for _ in range(256):
                member.write(bytes(2**20))


def old_resnet(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"res2a_branch2a"]
        file.create_group("res2a_branch2a/res2a_branch2a").create_dataset(
            "kernel:0", data=np.zeros((1, 1, 64, 64))
        )


def sequential(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("layers/functional/layers/conv2d/vars").create_dataset("0", data=np.zeros(3))


def promise(path: Path) -> None:
    array = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}
    header = json.dumps({"conv1/kernel": array}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)


def long_header(path: Path) -> None:
    path.write_bytes((2**60).to_bytes(8, "little") + b"{}")


HOSTILE: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "sparse": ("a.weights.h5", sparse, "says it holds 4,398,046,511,104 bytes"),
    "sparse in an archive": ("a.keras", lambda p: archive(p, {}, sparse), "says it holds 4,398,046,511,104"),
    "external": ("a.weights.h5", elsewhere, "lies in another file"),
    "external in an archive": ("a.keras", lambda p: archive(p, {}, elsewhere), "lies in another file"),
    "zip bomb": ("a.keras", bomb, "has 268,435,456 bytes unpacked"),
    "configuration bomb": ("a.keras", lambda p: archive(p, {"a": "0" * 2**25}), "config.json in it has"),
    "lambda": (
        "a.keras",
        lambda p: archive(p, {"config": {"layers": [layer("keras.layers", "Lambda")]}}),
        "is code",
    ),
    "function": ("a.keras", lambda p: archive(p, [layer("builtins", "function", config="eval")]), "is code"),
    "foreign class": (
        "a.keras",
        lambda p: archive(p, layer("os", "system")),
        "names os.system, which is code",
    ),
    "huge layer": (
        "a.keras",
        lambda p: archive(p, layer("keras.layers", "Dense", units=10**9)),
        "1,000,000,000",
    ),
    "safetensors of nothing": ("a.safetensors", promise, "is damaged or truncated"),
    "safetensors of a header alone": ("a.safetensors", long_header, "is damaged or truncated"),
    "nested": ("a.keras", lambda p: archive(p, nested(900)), "cannot be read"),
    "Keras 2.2": ("a.h5", old_resnet, "of the ResNet50 of Keras 2.2"),
    "Sequential": ("a.weights.h5", sequential, "Sequential model around the network"),
}


def nested(depth: int) -> object:
    value: object = {}
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_refused_in_one_sentence_before_it_is_unpacked(tmp_path: Path, what: str) -> None:
    name, make, message = HOSTILE[what]
    make(tmp_path / name)
    with pytest.raises(WeightsError, match=f"weights file {tmp_path / name} .*{message}") as error:
        read_arrays(tmp_path / name, BACKBONE)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".h5", ".keras", ".weights.h5"])
@pytest.mark.parametrize("twice", [True, False])
def test_two_networks_in_one_file_are_refused(tmp_path: Path, suffix: str, twice: bool) -> None:
    keras = load_keras()
    networks = [
        keras.applications.MobileNet(weights=None, include_top=False, pooling="avg", input_shape=(32, 32, 3))
        for _ in range(2 if twice else 1)
    ]
    for number, network in enumerate(networks):
        network.name = f"network{number}"
    entry = keras.Input((32, 32, 3))
    found = [network(entry) for network in networks]
    if not twice:
        other = entry
        for number in range(3):
            other = keras.layers.Conv2D(8, 3, name=f"other{number}")(other)
        found.append(keras.layers.GlobalAveragePooling2D()(other))
    model = keras.Model(entry, keras.layers.Concatenate()(found))
    path = tmp_path / f"two{suffix}"
    (model.save_weights if suffix == ".weights.h5" else model.save)(path)
    with pytest.raises(WeightsError, match="does not fit MobileNet") as error:
        read_arrays(path, BACKBONE)
    if suffix != ".weights.h5":
        assert (
            "twice: two networks are in it" if twice else "3 convolutions beside it, such as other0"
        ) in str(error.value)
