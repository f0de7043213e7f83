"""Every network of keras.applications, and the layer to take."""

from __future__ import annotations

import importlib

import keras
import numpy as np
import pytest

from elodin_spark.config.backbones import BACKBONES, get_backbone
from elodin_spark.config.load import parse_settings
from elodin_spark.errors import ConfigError
from elodin_spark.fingerprints.backbones import build_model, named_weights, preprocessing_of
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.runtimes import cpu
from elodin_spark.fingerprints.runtimes.network import (
    fold_normalization,
    layer_lengths,
    load_folded,
    load_model,
    take_layer,
    vector_length,
)
from elodin_spark.fingerprints.stage import FingerprintSpec
from elodin_spark.fingerprints.weights.resolve import resolve_weights
from elodin_spark.provenance import make_recipe, network_id, recipe_id

CONSTRUCTORS = {name for name in dir(keras.applications) if name[0].isupper()}
#: Built by Keras.
APPLICATIONS = {name: entry for name, entry in BACKBONES.items() if not entry.ours}
PX = 32


def module_of(backbone):
    return importlib.import_module(f"keras.src.applications.{BACKBONES[backbone].module}")


def application(backbone, **arguments):
    return getattr(keras.applications, BACKBONES[backbone].title)(**arguments)


def pictures(count=3, side=PX, seed=0):
    # Not noise alone: of that, pooled features all look alike.
    rng = np.random.default_rng(seed)
    smooth = (
        np.add.outer(np.arange(side), np.arange(side))[None, :, :, None]
        % (20 + 30 * np.arange(count))[:, None, None, None]
    )
    return (smooth + rng.integers(0, 60, (count, side, side, 3))).clip(0, 255).astype(np.float32)


def randomize(model, seed):
    """Fill a network with reproducible weights that are none of its defaults."""
    rng = np.random.default_rng(seed)
    for variable in named_weights(model).values():
        spread = 1.0 / np.sqrt(max(1, np.prod(variable.shape[:-1]))) if len(variable.shape) > 1 else 0.2
        noise = rng.normal(0, spread, variable.shape)
        one = variable.path.endswith(("gamma", "variance"))
        variable.assign(np.abs(1 + noise) + 0.1 if one else noise)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def answers(model, pixels):
    """What a network gives, without the program that ``predict`` would make for one call."""
    outputs = model(pixels, training=False)
    return [output.numpy() for output in outputs] if isinstance(outputs, list) else outputs.numpy()


def fingerprints(**values):
    return parse_settings({"images": {"paths": "/data"}, "fingerprints": values}).fingerprints


def test_the_table_holds_every_application():
    assert {entry.title for entry in APPLICATIONS.values()} == CONSTRUCTORS
    for name in APPLICATIONS:
        assert callable(getattr(module_of(name), BACKBONES[name].title))


ONE_OF_EACH_MODULE = sorted({entry.module: name for name, entry in APPLICATIONS.items()}.values())


@pytest.mark.parametrize("backbone", ONE_OF_EACH_MODULE)
def test_pixels_are_preprocessed_as_the_application_wants(backbone):
    pixels = np.random.default_rng(1).integers(0, 256, (2, 5, 4, 3), np.uint8)
    wanted = module_of(backbone).preprocess_input(pixels.astype(np.float32))
    np.testing.assert_allclose(preprocessing_of(backbone)(pixels), wanted, rtol=1e-5, atol=1e-5)


class Asked(Exception):
    pass


@pytest.mark.parametrize("backbone", [name for name, e in APPLICATIONS.items() if e.module != "mobilenet_v3"])
def test_sizes_are_those_of_the_application(backbone, monkeypatch):
    # The constructor asks for its sizes before it builds anything.
    def asked(_, *, default_size, min_size, **__):
        raise Asked(default_size, min_size)

    monkeypatch.setattr(keras.src.applications.imagenet_utils, "obtain_input_shape", asked)
    with pytest.raises(Asked) as found:
        application(backbone, weights=None)
    assert found.value.args == (BACKBONES[backbone].input_px, BACKBONES[backbone].min_px)


def test_weights_come_from_where_the_application_has_them():
    for entry in APPLICATIONS.values():
        known = [value for value in vars(module_of(entry.name)).values() if isinstance(value, str)]
        if entry.module == "resnet_v2":
            known = [module_of("resnet50").BASE_WEIGHTS_PATH]
        assert any(url.startswith("https:") and entry.imagenet_url.startswith(url) for url in known), entry
        stems = getattr(module_of(entry.name), "WEIGHTS_HASHES", ())
        if entry.imagenet_url not in known and stems:
            assert any(stem in entry.imagenet_url.rsplit("/", 1)[-1] for stem in stems), entry


@pytest.mark.parametrize(
    "backbone", ["vgg16", "mobilenet", "inceptionv3", "densenet121", "efficientnetlite0"]
)
def test_a_network_is_built_with_the_same_names_each_time(backbone):
    entry = BACKBONES[backbone]
    keras.layers.Conv2D(1, 1)  # numbered through the process
    model = build_model(backbone, entry.min_px)
    assert model.outputs[0].shape[1:] == (entry.vector_length,) == (vector_length(backbone),)
    assert not any(name.startswith("conv2d/") for name in named_weights(model)) or backbone == "inceptionv3"
    if backbone == "inceptionv3":
        again = build_model(backbone, entry.min_px)
        assert list(named_weights(again)) == list(named_weights(model))
        assert next(iter(named_weights(model))) == "conv2d/kernel"
    with pytest.raises(ConfigError, match=f"{entry.title} takes images of {entry.min_px} px or more"):
        build_model(backbone, entry.min_px - 1)


@pytest.mark.parametrize("backbone", ["mobilenet", "efficientnetb0"])
def test_imagenet_weights_give_the_answers_of_the_application(backbone, tmp_path, monkeypatch):
    source = application(backbone, weights=None)
    randomize(source, 3)
    source.save(tmp_path / "source.h5")
    asked = []

    def get_file(name, url, **_):
        asked.append((name, url))
        if name == "imagenet_class_index.json":
            raise OSError("no internet")
        return str(tmp_path / "source.h5")

    # In place of the download alone.
    monkeypatch.setattr(module_of(backbone).file_utils, "get_file", get_file)
    monkeypatch.setattr(keras.utils, "get_file", get_file)
    weights = resolve_weights("imagenet", backbone, cache=tmp_path)
    entry = BACKBONES[backbone]
    assert asked[0] == (entry.imagenet_file, entry.imagenet_url)
    assert (weights.classes, weights.label_name(3)) == (1000, "class 3")
    whole = application(backbone)  # "imagenet" by default
    prepared = preprocessing_of(backbone)(pictures(2, entry.input_px).astype(np.uint8))
    model = load_folded(weights, backbone, entry.input_px)
    vectors, scores = answers(model, prepared)
    np.testing.assert_allclose(scores, answers(whole, prepared), rtol=2e-3, atol=1e-6)
    assert vectors.shape == (2, entry.vector_length)
    assert np.ptp(scores) > 1e-6


@pytest.mark.parametrize(
    ("backbone", "suffix"),
    [
        ("mobilenet", ".h5"),
        ("efficientnetb0", ".keras"),
        ("efficientnetb0", ".weights.h5"),
        ("efficientnetlite0", ".keras"),
    ],
)
def test_a_trained_network_is_read_from_each_kind_of_file(backbone, suffix, tmp_path):
    keras.layers.Normalization()  # numbered through the process
    if BACKBONES[backbone].ours:
        base = build_model(backbone, PX)
    else:
        base = application(backbone, weights=None, include_top=False, input_shape=(PX, PX, 3), pooling="avg")
    model = keras.Model(base.inputs[0], keras.layers.Dense(5, activation="softmax")(base.output))
    randomize(model, 4)
    path = tmp_path / f"mine{suffix}"
    model.save_weights(path) if suffix == ".weights.h5" else model.save(path)
    found = resolve_weights(str(path), backbone, cache=tmp_path)
    assert found.classes == 5
    scores = answers(load_model(found, backbone, PX), pictures())[1]
    np.testing.assert_allclose(scores, answers(model, pictures()), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backbone", ["xception", "efficientnetb0", "efficientnetlite0"])
def test_random_weights_tell_pictures_apart_and_fold(backbone, tmp_path):
    entry = BACKBONES[backbone]
    weights = resolve_weights("random:0", backbone, cache=tmp_path)
    assert resolve_weights("random:0", backbone, cache=tmp_path / "other").sha256 == weights.sha256
    model = load_model(weights, backbone, entry.min_px)
    prepared = preprocessing_of(backbone)(pictures(3, entry.min_px).astype(np.uint8))
    vectors = answers(model, prepared)
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors[0] - vectors[1]) > 0.01 * np.linalg.norm(vectors[0])
    folded = answers(fold_normalization(model), prepared)
    np.testing.assert_allclose(folded, vectors, atol=1e-4 * np.abs(vectors).max())


def test_a_layer_is_pooled_and_keeps_the_classes():
    model = build_model("mobilenet", PX, 4)
    taken = take_layer(model, "conv_pw_5_relu")
    plain = keras.Model(model.inputs[0], model.get_layer("conv_pw_5_relu").output)
    vectors, scores = answers(taken, pictures())
    np.testing.assert_allclose(vectors, answers(plain, pictures()).mean(axis=(1, 2)), rtol=1e-4)
    np.testing.assert_allclose(scores, answers(model, pictures())[1], rtol=1e-5)
    assert vectors.shape[1] == vector_length("mobilenet", "conv_pw_5_relu") == 256
    assert len(take_layer(build_model("mobilenet", PX), "conv_pw_5_relu").layers) < 50
    assert take_layer(model, None) is model


def test_layers_are_joined_in_the_order_they_are_named(tmp_path):
    names, joined = ("conv_pw_5_relu", "conv_pw_2_relu"), "conv_pw_5_relu+conv_pw_2_relu"
    model = build_model("mobilenet", PX)
    apart = [answers(take_layer(model, name), pictures()) for name in names]
    vectors = answers(take_layer(model, joined), pictures())
    np.testing.assert_allclose(vectors, np.concatenate(apart, axis=1), rtol=1e-5)
    assert layer_lengths("mobilenet", joined) == tuple(part.shape[1] for part in apart)
    assert vector_length("mobilenet", joined) == vectors.shape[1]
    assert layer_lengths("mobilenet") == (1024,)
    with pytest.raises(ConfigError, match="names a layer twice"):
        take_layer(model, "conv_pw_5_relu+conv_pw_5_relu")
    weights = resolve_weights("random:0", "mobilenet", cache=tmp_path)
    found = {}
    network = {"backbone": "mobilenet", "input_px": PX, "layer": joined}
    for runtime, precision in (("tensorflow", "f32"), ("openvino", "f32"), ("tensorflow", "bf16")):
        chosen = fingerprints(**network, runtime=runtime, precision=precision)
        spec = FingerprintSpec.from_network(resolve_network(chosen, weights))
        if precision == "bf16" and not (cpu.bf16_instructions() or cpu.gpu_visible()):
            with pytest.raises(ConfigError, match="this CPU has no bfloat16 instructions"):
                spec.load(str)
            continue
        found[runtime, precision], _ = spec.load(str)[0](pictures().astype(np.uint8))
    exact = found["tensorflow", "f32"]
    np.testing.assert_allclose(found["openvino", "f32"], exact, atol=1e-4 * np.abs(exact).max())
    for low in (vectors for (_, precision), vectors in found.items() if precision == "bf16"):
        np.testing.assert_allclose(low, exact, atol=0.05 * np.abs(exact).max())


@pytest.mark.parametrize("runtime", ["tensorflow", "openvino"])
@pytest.mark.parametrize(("augmentations", "alike"), [(1, 1), (4, 4), (8, 8)])
def test_turned_windows_have_one_vector_where_turns_are_averaged(augmentations, alike, runtime, tmp_path):
    weights = resolve_weights("random:0", "mobilenet", cache=tmp_path)
    network = {"backbone": "mobilenet", "input_px": PX, "batch_size": 4, "runtime": runtime}
    spec = FingerprintSpec.from_network(
        resolve_network(fingerprints(**network, augmentations=augmentations), weights)
    )
    window = pictures(1).astype(np.uint8)[0]
    views = [np.rot90(one, quarter) for one in (window, window[:, ::-1]) for quarter in range(4)]
    vectors, _ = spec.load(str)[0](np.stack(views))
    size = np.abs(vectors).max()
    same = [bool(np.allclose(vectors[0], vector, atol=1e-4 * size)) for vector in vectors]
    assert same == [i < alike for i in range(8)]
    gray, _ = spec.load(str)[0](np.stack(views)[..., 0])
    assert np.allclose(gray[0], gray[1], atol=1e-4 * size) == (augmentations > 1)
    plain = FingerprintSpec.from_network(resolve_network(fingerprints(**network, augmentations=1), weights))
    each, _ = plain.load(str)[0](np.stack(views[:augmentations]))
    np.testing.assert_allclose(vectors[0], each.mean(axis=0), atol=1e-4 * size)
    assert (spec.recipe == plain.recipe) == (augmentations == 1)


def test_a_layer_of_any_network_is_the_same_in_each_runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("ELODIN_CACHE", str(tmp_path))
    values = {"backbone": "efficientnetb0", "input_px": PX, "layer": "block3a_expand_conv"}
    weights = resolve_weights("random:0", "efficientnetb0")
    network = load_model(weights, "efficientnetb0", PX)
    layer = keras.Model(network.inputs[0], network.get_layer("block3a_expand_conv").output)
    wanted = answers(layer, pictures().astype(np.uint8).astype(np.float32)).mean(axis=(1, 2))
    for runtime in ("tensorflow", "openvino"):
        spec = FingerprintSpec.from_network(resolve_network(fingerprints(**values, runtime=runtime), weights))
        vectors, scores = spec.load(str)[0](pictures().astype(np.uint8))
        assert scores is None
        np.testing.assert_allclose(vectors, wanted, atol=1e-4 * np.abs(wanted).max())
        with pytest.raises(ConfigError, match="has no layer 'block3'"):
            resolve_network(fingerprints(**values | {"layer": "block3", "runtime": runtime}), weights)


def test_an_unknown_layer_is_refused_with_near_ones():
    with pytest.raises(ConfigError, match=r"mobilenet has no layer 'conv_pw5'; .*conv_pw_5"):
        vector_length("mobilenet", "conv_pw5")
    with pytest.raises(ConfigError, match="the last are"):
        vector_length("mobilenet", "!")
    with pytest.raises(ConfigError, match=r"mobilenet has no layer 'conv_pw5'"):
        vector_length("mobilenet", "conv_pw_5_relu+conv_pw5")


def test_settings_name_networks_as_people_write_them():
    assert fingerprints(backbone="Inception_V3").backbone == "inceptionv3"
    assert fingerprints(backbone="EfficientNetV2-B0").backbone == "efficientnetv2b0"
    assert get_backbone("VGG16").title == "VGG16"
    with pytest.raises(ConfigError, match="unknown backbone 'resnet51': did you mean 'resnet"):
        fingerprints(backbone="resnet51")


def test_the_size_is_the_networks_own_unless_one_is_given():
    assert fingerprints(weights="imagenet").input_px == 224
    assert fingerprints(weights="random:0").input_px == 224
    assert fingerprints().input_px == 64  # of the weights that come with the package
    assert fingerprints(input_px=None, backbone="nasnetlarge").input_px == 331
    assert fingerprints(input_px=96, backbone="xception").input_px == 96
    with pytest.raises(ConfigError, match="InceptionV3 takes 75 px or more"):
        fingerprints(backbone="inceptionv3", input_px=74)
    with pytest.raises(ConfigError, match="unknown backbone"):
        fingerprints(backbone="alexnet", input_px=None)


def test_the_recipe_holds_the_size_and_the_layer():
    def recipe(**values):
        settings = parse_settings({"images": {"paths": "/data"}, "fingerprints": {"networks": [], **values}})
        return make_recipe(settings, "w", "1" * 64)

    assert recipe()["fingerprints"]["input_px"] == 64
    plain = recipe(weights="random:0")["fingerprints"]
    assert plain["input_px"] == 224
    assert not plain.keys() & {"layer", "augmentations"}
    assert recipe(layer="conv4_block6_out")["fingerprints"]["layer"] == "conv4_block6_out"
    assert "augmentations" not in recipe(augmentations=1)["fingerprints"]
    assert recipe(augmentations=4)["fingerprints"]["augmentations"] == 4
    assert recipe_id(recipe()) == recipe_id(recipe(input_px=64))
    assert len({recipe_id(recipe(layer=layer)) for layer in (None, "a", "b")}) == 3
    assert len({network_id("1" * 64, "f32", layer=layer) for layer in (None, "a", "b")}) == 3


def test_lengths_of_the_blocks_of_resnet50_are_those_of_keras():
    model = build_model("resnet50", 32, 2)
    ends = [layer for layer in model.layers if layer.name.endswith("_out") and "block" in layer.name]
    assert len(ends) == 16
    for layer in ends:
        assert layer_lengths("resnet50", layer.name) == (layer.output.shape[-1],)
    both = [model.get_layer(name).output.shape[-1] for name in ("conv2_block3_out", "conv5_block3_out")]
    assert list(layer_lengths("resnet50", "conv2_block3_out+conv5_block3_out")) == both
