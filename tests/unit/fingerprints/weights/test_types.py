"""What is known of weights, and how they are called."""

from __future__ import annotations

import pickle

from elodin_spark.fingerprints.weights.types import Weights


def test_weights_travel_to_workers():
    weights = Weights("random:0", "/cache/x.weights.h5", "0" * 64, "resnet50")
    assert pickle.loads(pickle.dumps(weights)) == weights
    assert len(pickle.dumps(weights)) < 2000


def test_labels_of_imagenet_are_told_apart_by_their_wordnet_id():
    names = ("n02012849 crane", "n03126707 crane")
    weights = Weights("imagenet", "x", "y", "resnet50", 2, names)
    assert weights.label_name(0) != weights.label_name(1)
    assert weights.describe() == "ResNet50, imagenet"
