"""The network at work, against Keras itself."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.paths import DATA

from elodin_spark.errors import WeightsError
from elodin_spark.fingerprints.labels import label_sets
from elodin_spark.fingerprints.runtimes import NetworkSpec, Runtime, get_runtime
from elodin_spark.fingerprints.runtimes.framework import load_keras
from elodin_spark.fingerprints.runtimes.network import fold_normalization, load_model
from elodin_spark.fingerprints.runtimes.openvino import convert_network
from elodin_spark.fingerprints.weights.resolve import resolve_weights
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.fingerprints.windows import resize_window

PX, BATCH = 48, 4


@pytest.fixture(scope="module")
def headless(tmp_path_factory):
    # One folder for all tests of a run: random weights are written once.
    return resolve_weights("random:0", cache=tmp_path_factory.getbasetemp() / "fingerprint-weights")


@pytest.fixture(scope="module")
def headed(headless, tmp_path_factory):
    """Weights with a head and with normalizations that are far from the identity."""
    folder = tmp_path_factory.mktemp("headed")
    keras = load_keras()
    model = keras.applications.ResNet50(weights=None, classes=9, input_shape=(32, 32, 3))
    generator = np.random.default_rng(2)
    for variable in model.variables:
        name = variable.path.split("/")[-1]
        if name in ("gamma", "moving_variance"):
            variable.assign(generator.uniform(0.5, 1.5, variable.shape).astype(np.float32))
        elif name != "kernel":
            variable.assign(generator.normal(0, 0.5, variable.shape).astype(np.float32))
        else:
            fan_in = int(np.prod(variable.shape[:-1]))
            kernel = generator.normal(0, np.sqrt(1 / fan_in), variable.shape)
            variable.assign(kernel.astype(np.float32))
    path = folder / "headed.weights.h5"
    model.save_weights(path)
    return resolve_weights(str(path), cache=folder)


@pytest.fixture(scope="module", params=["tensorflow", "openvino", "keras"])
def load(request, tmp_path_factory):
    """Function from weights to a runtime, for each framework; Keras runs on TensorFlow here."""

    def load(weights, precision="f32"):
        model = None
        if request.param == "openvino":
            folder = tmp_path_factory.getbasetemp() / "models"
            model = convert_network(weights, "resnet50", PX, folder)
        return get_runtime(NetworkSpec(weights, "resnet50", PX, BATCH, 1, request.param, precision, model))

    return load


@pytest.fixture(scope="module")
def runtime(load, headless):
    return load(headless)


@pytest.fixture(scope="module")
def windows():
    """Smooth structure with noise on it, as an image of the sky has."""
    generator = np.random.default_rng(1)
    coarse = generator.integers(0, 256, (10, 6, 6, 3), np.uint8)
    smooth = np.stack([cv2.resize(image, (PX, PX), interpolation=cv2.INTER_CUBIC) for image in coarse])
    return np.clip(smooth + generator.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def plain_forward(weights: Weights, pixels: np.ndarray) -> list[np.ndarray]:
    """The definition: keras.applications' own preprocessing and model, in one call."""
    keras = load_keras()
    model = load_model(weights, "resnet50", pixels.shape[1])
    prepared = keras.applications.imagenet_utils.preprocess_input(pixels.astype(np.float32), mode="caffe")
    outputs = model(prepared, training=False)
    return [output.numpy() for output in (outputs if isinstance(outputs, list) else [outputs])]


def test_vectors_are_those_of_the_plain_keras_model(headless, runtime, windows):
    vectors, scores = runtime(windows)
    (expected,) = plain_forward(headless, windows)
    assert vectors.dtype == np.float32
    assert vectors.shape == (10, 2048)
    assert scores is None
    assert np.abs(vectors - expected).max() < 1e-5 * np.abs(expected).max()


def test_vectors_and_scores_of_weights_with_a_head_are_those_of_the_plain_keras_model(load, headed, windows):
    vectors, scores = load(headed)(windows)
    expected, probabilities = plain_forward(headed, windows)
    assert np.abs(vectors - expected).max() < 1e-4 * np.abs(expected).max()
    assert scores is not None
    assert scores.shape == (10, 9)
    np.testing.assert_allclose(scores, probabilities, atol=1e-5)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)


def test_folding_leaves_no_normalization_and_the_same_answers_where_it_may_not_fold():
    keras = load_keras()
    inputs = keras.Input((8, 8, 3))
    shared = keras.layers.Conv2D(4, 3, name="shared")(inputs)
    normal = keras.layers.BatchNormalization(name="stays")(shared)
    both = keras.layers.Add()([shared, normal])
    last = keras.layers.Conv2D(5, 3, use_bias=False, name="last")(both)
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="goes", scale=False)(last))
    generator = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(generator.uniform(0.5, 1.5, variable.shape).astype(np.float32))
    folded = fold_normalization(model)
    kinds = {layer.name: type(layer).__name__ for layer in folded.layers}
    assert (kinds["stays"], kinds["goes"]) == ("BatchNormalization", "Identity")
    x = generator.normal(size=(2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(folded(x).numpy(), model(x, training=False).numpy(), rtol=1e-5)


def test_depthwise_and_dense_layers_carry_normalizations_and_activated_ones_do_not():
    keras = load_keras()
    layers, normal = keras.layers, keras.layers.BatchNormalization
    inputs = keras.Input((8, 8, 3))
    deep = normal(name="deep")(layers.DepthwiseConv2D(3, depth_multiplier=2)(inputs))
    late = normal(name="late")(layers.Conv2D(4, 1, activation="relu")(deep))
    read = layers.Conv2D(4, 1)(late)
    seen = normal(name="seen")(read)
    flat = normal(name="flat")(layers.Dense(5)(layers.GlobalAveragePooling2D()(seen)))
    model = keras.Model(inputs, [flat, read])  # `read` is asked for as it is
    generator = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(generator.uniform(0.5, 1.5, variable.shape).astype(np.float32))
    folded = fold_normalization(model)
    left = {layer.name for layer in folded.layers if isinstance(layer, normal)}
    assert left == {"late", "seen"}
    x = generator.normal(size=(2, 8, 8, 3)).astype(np.float32)
    for output, expected in zip(folded(x), model(x, training=False), strict=True):
        np.testing.assert_allclose(output.numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_every_normalization_of_the_backbone_is_folded(headless):
    folded = fold_normalization(load_model(headless, "resnet50", PX))
    assert not [layer.name for layer in folded.layers if "BatchNorm" in type(layer).__name__]


def test_a_gray_window_has_the_vector_of_its_three_equal_channels(runtime, windows):
    gray = windows[..., 0]
    one, _ = runtime(gray)
    three, _ = runtime(np.repeat(gray[..., None], 3, axis=-1))
    np.testing.assert_allclose(one, three, rtol=1e-6, atol=1e-6 * np.abs(three).max())


def test_colors_are_read_as_red_green_blue(runtime, windows):
    there, _ = runtime(windows)
    back, _ = runtime(windows[..., ::-1])
    assert np.abs(there - back).max() > 1e-2 * np.abs(there).max()


def test_a_vector_depends_on_its_window_only_to_the_bit(runtime, windows):
    together, _ = runtime(windows)
    for i in (0, 3, 5, 9):
        alone, _ = runtime(windows[i : i + 1])
        np.testing.assert_array_equal(alone[0], together[i])
    order = np.random.default_rng(4).permutation(10)
    shuffled, _ = runtime(windows[order])
    np.testing.assert_array_equal(shuffled, together[order])


def test_windows_of_another_size_are_resized_first(runtime, windows):
    large = np.stack([cv2.resize(window, (70, 90), interpolation=cv2.INTER_LINEAR) for window in windows[:3]])
    resized = np.stack([resize_window(window, PX) for window in large])
    assert resized.shape == (3, PX, PX, 3)
    np.testing.assert_array_equal(runtime(large)[0], runtime(resized)[0])


def test_shrinking_averages_areas():
    window = np.random.default_rng(0).integers(0, 256, (12, 8), np.uint8)
    means = window.reshape(4, 3, 4, 2).mean(axis=(1, 3))
    assert np.abs(resize_window(window, 4) - means).max() <= 0.5


@pytest.mark.parametrize("shape", [(5, 40), (40, 5), (5, 5), (40, 40), (1, 1), (16, 16)])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_any_shape_becomes_a_square_and_a_flat_window_stays_flat(shape, channels):
    flat = np.full(shape + channels, 77, np.uint8)
    resized = resize_window(flat, 16)
    assert resized.shape == (16, 16, *channels)
    assert resized.dtype == np.uint8
    assert (resized == 77).all()


def test_flat_windows_have_ordinary_vectors(runtime):
    vectors, _ = runtime(np.stack([np.zeros((PX, PX), np.uint8), np.full((PX, PX), 255, np.uint8)]))
    assert np.isfinite(vectors).all()
    assert not np.array_equal(vectors[0], vectors[1])


def test_no_windows_give_no_vectors(runtime):
    vectors, scores = runtime(np.empty((0, 8, 8), np.uint8))
    assert vectors.shape == (0, 2048)
    assert scores is None


@pytest.mark.parametrize(
    "bad",
    [np.zeros((2, 8, 8), np.float32), np.zeros((8, 8), np.uint8), np.zeros((2, 8, 8, 4), np.uint8)],
)
def test_other_arrays_are_refused(runtime, bad):
    with pytest.raises(ValueError, match="uint8"):
        runtime(bad)


def test_the_network_of_a_process_is_built_once(headless):
    before = Runtime.builds
    first = get_runtime(NetworkSpec(headless, "resnet50", 32, 2, 1))
    again = get_runtime(NetworkSpec(headless, "resnet50", 32, 2, 1))
    assert first is again
    assert Runtime.builds == before + 1


def test_a_missing_or_damaged_weights_file_is_an_error_that_names_it(headless, tmp_path):
    gone = Weights(headless.name, str(tmp_path / "gone.weights.h5"), headless.sha256, "resnet50")
    with pytest.raises(WeightsError, match=r"gone\.weights\.h5"):
        get_runtime(NetworkSpec(gone, "resnet50", PX, 7, 1))
    cut = tmp_path / "cut.weights.h5"
    cut.write_bytes(Path(headless.path).read_bytes()[:5_000_000])
    damaged = Weights(headless.name, str(cut), "0" * 64, "resnet50")
    with pytest.raises(WeightsError, match=r"cut\.weights\.h5"):
        get_runtime(NetworkSpec(damaged, "resnet50", PX, 7, 1))


def test_random_weights_tell_real_galaxies_apart(runtime):
    folder = DATA / "efigi"
    paths = sorted(folder.rglob("*.jp*g"))[:400:20]
    if not paths:
        pytest.skip(f"no galaxy images under {folder}")
    images = [cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1] for path in paths]
    here, _ = runtime(np.stack([image[4:84, 4:84] for image in images]))
    moved, _ = runtime(np.stack([image[8:88, 6:86] for image in images]))
    assert 0.1 < np.abs(here).mean() < 1e3  # neither vanished nor exploded
    distances = np.linalg.norm(moved[:, None] - here[None], axis=2)
    nearest = (distances.argmin(axis=1) == np.arange(len(images))).mean()
    assert nearest >= 0.5  # by chance: 1 in 20
    sets = [set(labels.tolist()) for labels in label_sets(here, 30)[0]]
    shared = [len(a & b) / len(a | b) for i, a in enumerate(sets) for b in sets[:i]]
    assert np.mean(shared) < 0.6  # not one label set for all
