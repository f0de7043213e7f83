"""Dense mode against the network on the whole image, and against windows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elodin_spark.catalog.build.pipeline import fingerprinting, fingerprinting_windows
from elodin_spark.cutouts.picture import open_picture
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.errors import ConfigError
from elodin_spark.fingerprints.dense import STRIPE_BLOCKS, FeatureMap
from elodin_spark.fingerprints.labels import label_sets
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.runtimes import NetworkSpec, get_runtime
from elodin_spark.fingerprints.runtimes.framework import load_keras
from elodin_spark.fingerprints.runtimes.openvino import convert_network
from elodin_spark.fingerprints.stage import FingerprintSpec
from elodin_spark.fingerprints.weights.resolve import resolve_weights
from elodin_spark.images.describe import describe
from elodin_spark.images.listing import ImageFile
from elodin_spark.provenance import make_recipe, recipe_id
from elodin_spark.schema import FINGERPRINTED, IMAGES, rows_to_batch
from elodin_spark.stage import fuse, run_plain

PX = 64
#: Reach of ResNet50 around the center of a cell, px: half of its receptive field of 483.
REACH_PX = 241


def dense_spec(settings, weights, keep_pixels=False):
    network = resolve_network(settings.fingerprints, weights)
    return fingerprinting(settings, network, "r", described=True, keep_pixels=keep_pixels).specs[0]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return resolve_weights("random:0", cache=tmp_path_factory.getbasetemp() / "fingerprint-weights")


@pytest.fixture(scope="module", params=["tensorflow", "openvino"])
def runtime(request, weights, tmp_path_factory):
    model = None
    if request.param == "openvino":
        model = convert_network(weights, "resnet50", PX, tmp_path_factory.getbasetemp() / "converted")
    return get_runtime(NetworkSpec(weights, "resnet50", PX, 4, 1, request.param, "f32", model))


def sky(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth structure with noise on it."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (height // 16, width // 16), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + generator.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def feature_map(pixels, run, block_px, halo_px):
    return FeatureMap(pixels.shape, lambda x0, y0, x1, y1: pixels[y0:y1, x0:x1], run, block_px, halo_px)


@pytest.mark.parametrize("color", [False, True])
def test_the_mean_of_the_features_of_a_window_is_its_vector(runtime, color):
    window = sky(PX, PX)
    window = np.stack([window, window[::-1], window.T], axis=-1) if color else window
    vector = runtime(window[None])[0][0]
    pooled = runtime.features(window).mean(axis=(0, 1))
    np.testing.assert_allclose(pooled, vector, atol=1e-5 * np.abs(vector).max())


def test_cells_away_from_the_padding_do_not_know_where_the_image_was_cut(runtime):
    image = sky(640, 672)
    whole, part = runtime.features(image), runtime.features(image[64:, 32:])
    # Cells of the part that see nothing but its pixels, by the reach of the network.
    rows = [i for i in range(part.shape[0]) if REACH_PX <= 32 * i <= 576 - REACH_PX]
    columns = [j for j in range(part.shape[1]) if REACH_PX <= 32 * j <= 640 - REACH_PX]
    assert rows
    assert columns
    inside = part[np.ix_(rows, columns)]
    expected = whole[np.ix_([i + 2 for i in rows], [j + 1 for j in columns])]
    np.testing.assert_allclose(inside, expected, atol=1e-5 * np.abs(whole).max())
    assert np.abs(part[0] - whole[2, 1:]).max() > 1e-3 * np.abs(whole).max()


def test_with_a_full_halo_blocks_give_what_a_pass_over_the_whole_image_gives(runtime):
    image = sky(330, 600)
    whole = runtime.features(image[:320, :576])
    windows = np.array([[32 * x, 32 * y, 32 * x + 224, 32 * y + 224] for y in range(4) for x in range(12)])
    vectors = feature_map(image, runtime.features, 768, 256).pool(windows)
    expected = [whole[y : y + 7, x : x + 7].mean(axis=(0, 1)) for y in range(4) for x in range(12)]
    np.testing.assert_allclose(vectors, expected, atol=1e-5 * np.abs(whole).max())


@given(
    cells=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    block=st.integers(1, 12),
    halo=st.integers(0, 3),
    side=st.integers(1, 9),
    step=st.integers(1, 3),
)
def test_windows_get_their_cells_whatever_the_blocks(cells, block, halo, side, step):
    rows, columns = cells
    side = min(side, rows, columns)
    image = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    runs = []

    def read(x0, y0, x1, y1):
        assert 0 <= x0 < x1 <= columns * 32
        assert 0 <= y0 < y1 <= rows * 32
        assert max(x1 - x0, y1 - y0) <= (block + 2 * halo) * 32
        return image[y0 // 32 : y1 // 32, x0 // 32 : x1 // 32, None]

    def run(pixels):
        runs.append(pixels)
        return pixels

    features = FeatureMap((rows * 32 + 5, columns * 32 + 31), read, run, 32 * (block + 2 * halo), 32 * halo)
    corners = [(x, y) for y in range(0, rows - side + 1, step) for x in range(0, columns - side + 1, step)]
    windows = np.array([[32 * x, 32 * y, 32 * (x + side), 32 * (y + side)] for x, y in corners], np.int32)
    groups = list(features.groups(windows))
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(windows)))
    for group in groups:
        expected = [image[y : y + side, x : x + side].mean() for x, y in (corners[i] for i in group)]
        np.testing.assert_allclose(features.pool(windows[group])[:, 0], expected, rtol=1e-5)
    blocks = -(-rows // block) * -(-columns // block)
    if columns <= block * STRIPE_BLOCKS:
        assert len(runs) <= blocks  # each once


def test_of_a_wide_image_few_blocks_are_kept():
    columns = 40 * STRIPE_BLOCKS
    features = FeatureMap((320, 32 * columns), lambda *box: box, lambda box: box_cells(*box), 64, 0)
    windows = np.array(
        [[32 * x, 32 * y, 32 * x + 64, 32 * y + 64] for y in range(9) for x in range(columns - 1)]
    )
    most = 0
    for group in features.groups(windows):
        features.pool(windows[group])
        most = max(most, len(features._blocks))
    assert most <= 2 * (STRIPE_BLOCKS + 2)


def box_cells(x0, y0, x1, y1):
    return np.ones(((y1 - y0) // 32, (x1 - x0) // 32, 1), np.float32)


@pytest.fixture
def make_settings(survey, small_settings):
    def make(mode="dense", generator=(), cutouts=(), **fingerprints):
        generator = {"kind": "sliding_window", "size": 64, "step": 32, "edge": "drop"} | dict(generator)
        return small_settings(
            survey.tiles[0].parent,
            cutouts={"generator": generator} | dict(cutouts),
            fingerprints={"mode": mode, "block_px": 128, "halo_px": 32, "runtime": "tensorflow"}
            | fingerprints,
        )

    return make


@pytest.fixture
def images(survey):
    rows = [describe(ImageFile(str(tile), tile.name, tile.stat().st_size)) for tile in survey.tiles[:2]]
    return [{name: row[name] for name in IMAGES.names} for row in rows]


@pytest.mark.parametrize("keep_pixels", [False, True])
def test_rows_are_those_of_the_two_stages_but_for_the_vectors(make_settings, weights, images, keep_pixels):
    settings = make_settings()
    stages = (
        TileSpec.from_settings(settings),
        FingerprintSpec.from_network(
            resolve_network(make_settings("window").fingerprints, weights), "r", keep_pixels
        ),
    )
    expected = run_plain(fuse(*stages), [rows_to_batch(images, IMAGES)])
    spec = dense_spec(settings, weights, keep_pixels)
    table = run_plain(spec, [rows_to_batch(images, IMAGES)])
    assert table.schema.equals(FINGERPRINTED)
    table.validate(full=True)
    network = ["vector", "labels", "label_scores"]
    rows = {row["cutout_id"]: row for row in table.drop_columns(network).to_pylist()}
    same = {row["cutout_id"]: row for row in expected.drop_columns(network).to_pylist()}
    assert len(rows) == 2 * 25 + 1
    del rows[None], same[None]  # of the images
    assert rows == same
    # One image after the other, or each by itself: the same vectors.
    parts = [run_plain(spec, [rows_to_batch([image], IMAGES)]) for image in images[::-1]]
    alone = {row["cutout_id"]: row["vector"] for part in parts for row in part.to_pylist()}
    assert {row["cutout_id"]: row["vector"] for row in table.to_pylist()} == alone


def test_vectors_and_labels_are_those_of_the_features_of_the_image(make_settings, weights, images):
    settings = make_settings(block_px=640, halo_px=256)
    spec = dense_spec(settings, weights)
    table = run_plain(spec, [rows_to_batch(images[:1], IMAGES)]).to_pylist()
    with open_picture(images[0], "auto", None, {}, True) as (picture, _):
        whole = spec.network.load(str)[0].features(picture.read(0, 0, 192, 192))
    windows = [row for row in table if row["cutout_id"] is not None]
    assert len(windows) == 25
    for row in windows:
        x, y = row["x0"] // 32, row["y0"] // 32
        expected = whole[y : y + 2, x : x + 2].mean(axis=(0, 1))
        np.testing.assert_allclose(row["vector"], expected, atol=1e-5 * whole.max())
        assert row["labels"] == label_sets(np.float32([row["vector"]]), 30)[0][0].tolist()
        assert row["recipe"] == "r"


def test_an_image_that_is_read_box_by_box_gives_the_same_vectors(make_settings, weights, images, monkeypatch):
    spec = dense_spec(make_settings(), weights)
    whole = run_plain(spec, [rows_to_batch(images[:1], IMAGES)])
    monkeypatch.setattr("elodin_spark.cutouts.picture.WHOLE_PIXELS", 1000)
    table = run_plain(spec, [rows_to_batch(images[:1], IMAGES)])
    assert table["failure"].null_count == table.num_rows
    assert table["vector"].to_pylist() == whole["vector"].to_pylist()


def test_rejected_windows_have_no_vector(make_settings, weights, images):
    settings = make_settings(cutouts={"quality": {"min_edge_px": 10}})
    spec = dense_spec(settings, weights)
    rows = [
        row for row in run_plain(spec, [rows_to_batch(images[:1], IMAGES)]).to_pylist() if row["cutout_id"]
    ]
    inner = [row for row in rows if row["rejected"] is None]
    assert len(inner) == 9
    assert all((row["vector"] is None) == (row["rejected"] is not None) for row in rows)


def test_images_that_are_too_small_are_refused(make_settings, weights, images):
    settings = make_settings(generator={"size": 256})
    table = run_plain(dense_spec(settings, weights), [rows_to_batch(images, IMAGES)])
    failures = [row["failure"] for row in table.to_pylist() if row["failure"]]
    assert [failure["kind"] for failure in failures] == ["smaller_than_window"] * 2


def test_scores_of_a_head_are_those_of_the_network(tmp_path, tmp_path_factory):
    keras = load_keras()
    model = keras.applications.ResNet50(weights=None, classes=7, input_shape=(32, 32, 3))
    path = tmp_path / "headed.weights.h5"
    model.save_weights(path)
    headed = resolve_weights(str(path), cache=tmp_path)
    converted = convert_network(headed, "resnet50", PX, tmp_path_factory.getbasetemp() / "converted")
    for name, found in (("tensorflow", None), ("openvino", converted)):
        runtime = get_runtime(NetworkSpec(headed, "resnet50", PX, 4, 1, name, "f32", found))
        vectors, scores = runtime(sky(PX, PX)[None])
        np.testing.assert_allclose(runtime.scores(vectors), scores, atol=1e-5)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"generator": {"size": 100}}, "multiples of 32 px, and 100 is not"),
        ({"generator": {"size": 96, "step": None}}, "multiples of 32 px, and 48 is not"),
        ({"generator": {"size": "30 arcsec"}}, "30 arcsec is not"),
        ({"generator": {"edge": "shift"}}, "edge=drop"),
        ({"cutouts": {"generator": {"kind": "full_image"}}}, "not full_image"),
        ({"cutouts": {"steps": [{"type": "FlipLR"}]}}, "cutouts.steps"),
        ({"block_px": 200}, "block_px must be a multiple of 32 px"),
        ({"halo_px": 64}, "leaves nothing between two halos"),
        ({"precision": "int8", "int8_model": "a.xml", "runtime": "auto"}, "f32 or bf16, not int8"),
    ],
)
def test_settings_that_dense_mode_cannot_follow_are_refused(make_settings, sections, message):
    with pytest.raises(ConfigError, match=message):
        make_settings(**sections)


def test_dense_mode_is_part_of_the_recipe(make_settings):
    def named(**settings):
        return recipe_id(make_recipe(make_settings(**settings), "w", "0" * 64))

    names = {named(), named(mode="window"), named(halo_px=0), named(block_px=256)}
    assert len(names) == 4
    assert named(input_px=64) == named()
    assert named(mode="window", halo_px=0) == named(mode="window")


def test_windows_that_are_cut_already_cannot_have_it(make_settings, weights):
    with pytest.raises(ConfigError, match="run the stages cutouts and fingerprints together"):
        fingerprinting_windows(resolve_network(make_settings().fingerprints, weights), "r")
