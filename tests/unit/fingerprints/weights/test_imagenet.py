"""The weights and names of classes that Keras downloads, or how to get them where it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from elodin_spark.config.backbones import get_backbone
from elodin_spark.errors import WeightsError
from elodin_spark.fingerprints.runtimes.framework import load_keras
from elodin_spark.fingerprints.weights.imagenet import imagenet_labels
from elodin_spark.fingerprints.weights.resolve import resolve_weights


def test_each_class_of_imagenet_is_called_by_its_wordnet_id_and_its_name(tmp_path, monkeypatch):
    keras = load_keras()
    index = {"1": ["n01443537", "goldfish"], "0": ["n01440764", "tench"], "2": ["n03126707", "crane"]}
    # In place of the download alone, and of its checksum.
    monkeypatch.setattr(keras.utils, "get_file", lambda *_, **__: str(tmp_path / "index.json"))
    (tmp_path / "index.json").write_text(json.dumps(index))
    assert imagenet_labels() == ("n01440764 tench", "n01443537 goldfish", "n03126707 crane")
    (tmp_path / "index.json").write_text(json.dumps({"0": index["0"], "7": index["1"]}))
    assert imagenet_labels() is None  # one is missing: no name rather than a wrong one


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

from elodin_spark.fingerprints.weights.types import digest_arrays
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


def test_a_network_that_keras_does_not_have_is_answered_with_the_weights_there_are(tmp_path):
    with pytest.raises(WeightsError, match=r"does not have EfficientNetLite0.*imagenet-lite.*random:0"):
        resolve_weights("imagenet", "efficientnetlite0", cache=tmp_path)
