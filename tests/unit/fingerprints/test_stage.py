"""The fingerprint stage: order, company, rows that are not its own, and refusals."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elodin_spark.config.settings import FingerprintsSettings
from elodin_spark.errors import ConfigError
from elodin_spark.fingerprints.backbones import build_model
from elodin_spark.fingerprints.copies import learned_copy
from elodin_spark.fingerprints.known import save_known
from elodin_spark.fingerprints.labels import label_sets
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.runtimes import Runtime
from elodin_spark.fingerprints.runtimes.base import NetworkSpec
from elodin_spark.fingerprints.stage import Fingerprinter, FingerprintSpec
from elodin_spark.fingerprints.transform import VectorTransform
from elodin_spark.fingerprints.weights.resolve import resolve_weights
from elodin_spark.fingerprints.windows import resize_window
from elodin_spark.schema import FINGERPRINTED, TILED, rows_to_batch
from elodin_spark.stage import StageSpec, run_plain

PX, BATCH, TOP = 32, 3, 10


def spec_of(weights, batch_size=BATCH):
    return FingerprintSpec((NetworkSpec(weights, "resnet50", PX, batch_size, 1),), TOP, "r1")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    # One folder for all tests of a run: random weights are written once.
    return tmp_path_factory.getbasetemp() / "fingerprint-weights"


@pytest.fixture(scope="module")
def spec(cache):
    return spec_of(resolve_weights("random:0", cache=cache))


def _draw(shape, seed):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


#: Windows of several sizes and both kinds.
WINDOWS = [
    _draw((PX, PX), 0),
    _draw((40, 50), 1),
    _draw((PX, PX, 3), 2),
    _draw((64, 20, 3), 3),
    np.zeros((PX, PX), np.uint8),
    _draw((9, 9), 5),
]


@pytest.fixture(scope="module")
def expected(spec):
    """Vector of each window, made alone."""
    (runtime,) = spec.load(str)
    return [runtime(window[None])[0][0] for window in WINDOWS]


def window_row(cutout_id, window):
    return {
        "cutout_id": cutout_id,
        "image_id": 7,
        "x0": cutout_id,
        "pixel_shape": list(window.shape),
        "pixels": window.tobytes(),
    }


IMAGE = {"image_id": 7, "uri": "file:///a.fits", "path": "a.fits", "size_bytes": 10, "status": "ok"}
FAILURE = {"stage": "images", "uri": "file:///b.fits", "kind": "unreadable", "message": "no"}

#: What a row may be: a window, a window whose pixels do not fit, one without pixels, an image,
#: a failure.
KINDS = st.one_of(st.integers(0, len(WINDOWS) - 1), st.sampled_from(["bad", "bare", "image", "failure"]))


def make_row(cutout_id, kind):
    if kind == "bad":
        return window_row(cutout_id, WINDOWS[0]) | {"pixel_shape": [PX, PX + 1]}
    if kind == "bare":
        return {"cutout_id": cutout_id, "image_id": 7}
    if kind == "image":
        return {"image": IMAGE}
    if kind == "failure":
        return {"failure": FAILURE}
    return window_row(cutout_id, WINDOWS[kind])


def batches_of(kinds, sizes):
    rows = [make_row(i, kind) for i, kind in enumerate(kinds)]
    batches, start = [], 0
    for size in sizes:
        batches.append(rows_to_batch(rows[start : start + size], TILED))
        start += size
    return [*batches, rows_to_batch(rows[start:], TILED)]


@settings(deadline=None, max_examples=25)
@given(
    kinds=st.lists(KINDS, max_size=24),
    sizes=st.lists(st.integers(0, 9), max_size=5),
    keep_pixels=st.booleans(),
)
def test_rows_keep_their_place_and_vectors_do_not_depend_on_the_batches(
    spec, expected, kinds, sizes, keep_pixels
):
    spec = FingerprintSpec(**{**vars(spec), "keep_pixels": keep_pixels})
    batches = batches_of(kinds, sizes)
    before = pa.Table.from_batches(batches, schema=TILED).to_pylist()
    table = run_plain(spec, batches)
    assert table.schema.equals(FINGERPRINTED)
    table.validate(full=True)
    after = table.to_pylist()
    assert len(after) == len(kinds)
    for kind, old, new in zip(kinds, before, after, strict=True):
        changed = set() if keep_pixels else {"pixels", "pixel_shape"}
        if kind == "bad":
            changed |= {"failure"}
            assert new["failure"]["stage"] == "fingerprints"
            assert new["failure"]["kind"] == "bad_pixels"
            assert new["failure"]["cutout_id"] == old["cutout_id"]
            assert f"{PX * PX} bytes" in new["failure"]["message"]
        assert {name: new[name] for name in old if name not in changed} == {
            name: value for name, value in old.items() if name not in changed
        }
        if not keep_pixels:
            assert new["pixels"] is None
            assert new["pixel_shape"] is None
        if isinstance(kind, int):
            np.testing.assert_array_equal(np.float32(new["vector"]), expected[kind])
            labels, scores = label_sets(expected[kind][None], TOP)
            assert new["labels"] == labels[0].tolist()
            np.testing.assert_array_equal(np.float32(new["label_scores"]), scores[0])
            assert new["recipe"] == "r1"
        else:
            assert (new["vector"], new["labels"], new["label_scores"], new["recipe"]) == (None,) * 4


def test_batches_fill_across_incoming_batches(spec, monkeypatch):
    calls = []
    runtime_call = Runtime.__call__

    def counted(self, pixels):
        calls.append(len(pixels))
        return runtime_call(self, pixels)

    monkeypatch.setattr(Runtime, "__call__", counted)
    run_plain(spec, batches_of([0] * 8, [1] * 7))
    assert calls == [3, 3, 2]


def test_what_is_held_back_is_bounded(spec):
    """One gray window waits while color ones keep coming: rows must not pile up behind it."""
    taken = 0

    def endless():
        nonlocal taken
        for kind in [0] + [2] * 60:
            taken += 1
            yield rows_to_batch([make_row(taken, kind)], TILED)

    stage = spec.build(str)
    first = next(stage(endless()))
    assert first.column("cutout_id").to_pylist() == [1]
    assert first.column("vector").null_count == 0
    assert taken <= 4 * BATCH + 1


def test_a_large_incoming_batch_leaves_in_small_ones(spec):
    out = list(spec.build(str)(iter([rows_to_batch([make_row(i, "bare") for i in range(50)], TILED)])))
    assert max(batch.num_rows for batch in out) <= BATCH
    assert sum(batch.num_rows for batch in out) == 50


def test_no_batches_give_no_batches(spec):
    assert run_plain(spec, []).num_rows == 0


@pytest.mark.parametrize("shape", [None, [], [PX * PX], [PX, PX, 1], [0, 5], [-PX, -PX], [None, PX]])
def test_pixels_that_do_not_match_their_shape_become_a_failure_and_spare_the_others(spec, expected, shape):
    rows = [make_row(0, 0), window_row(1, WINDOWS[0]) | {"pixel_shape": shape}, make_row(2, 2)]
    first, bad, last = run_plain(spec, [rows_to_batch(rows, TILED)]).to_pylist()
    assert bad["vector"] is None
    assert bad["failure"]["kind"] == "bad_pixels"
    np.testing.assert_array_equal(np.float32(first["vector"]), expected[0])
    np.testing.assert_array_equal(np.float32(last["vector"]), expected[2])


def test_the_failure_of_a_window_names_its_file(spec):
    _, bad, alone = run_plain(spec, batches_of(["image", "bad", 0], [])).to_pylist()
    assert (bad["failure"]["uri"], bad["failure"]["hdu"]) == (IMAGE["uri"], None)
    assert alone["failure"] is None
    (unknown,) = run_plain(spec, batches_of(["bad"], [])).to_pylist()
    assert unknown["failure"]["uri"] is None


def test_a_vector_that_is_not_finite_becomes_a_failure(tmp_path):
    model = build_model("resnet50", PX)
    # In the last layer: a rectifier may turn a NaN of an earlier one into zero.
    scale = model.get_layer("conv5_block3_3_bn").gamma
    scale.assign(np.full(scale.shape, 3e38, np.float32))
    path = tmp_path / "overflow.weights.h5"
    model.save_weights(path)
    spec = spec_of(resolve_weights(str(path), cache=tmp_path))
    rows = run_plain(spec, batches_of([0, "image", 2], [])).to_pylist()
    assert [row["vector"] for row in rows] == [None] * 3
    assert [row["failure"] and row["failure"]["kind"] for row in rows] == ["not_finite", None, "not_finite"]


def test_a_window_of_zeros_has_a_vector_and_no_failure(spec, expected):
    (row,) = run_plain(spec, batches_of([4], [])).to_pylist()
    assert row["failure"] is None
    np.testing.assert_array_equal(np.float32(row["vector"]), expected[4])


def test_columns_that_lack_are_named(spec):
    batch = pa.RecordBatch.from_pydict({"cutout_id": [1]})
    with pytest.raises(ValueError, match="pixels"):
        list(spec.build(str)(iter([batch])))


def test_the_spec_is_small_and_travels_and_names_its_file(spec):
    assert isinstance(spec, StageSpec)
    assert spec.files == (spec.networks[0].weights.path,)
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert len(pickle.dumps(spec)) < 3000


def test_the_weights_are_loaded_from_where_they_are_on_this_machine(spec, tmp_path):
    moved = tmp_path / "moved.weights.h5"
    weights = spec.networks[0].weights
    with open(weights.path, "rb") as source:  # noqa: PTH123
        moved.write_bytes(source.read())
    asked = []

    def locate(path):
        asked.append(path)
        return str(moved)

    (found,) = spec_of(weights, batch_size=2).load(locate)
    assert found.weights.path == str(moved)
    assert asked == [weights.path]


def test_joined_networks_see_the_same_windows_each_in_its_size(spec, expected, cache):
    weights = replace(
        spec.networks[0].weights, joined=(resolve_weights("random:1", "mobilenet", cache=cache),)
    )
    settings = FingerprintsSettings(
        weights="random:0",
        input_px=PX,
        runtime="tensorflow",
        batch_size=BATCH,
        labels="units",
        networks=[{"weights": "random:1", "backbone": "mobilenet", "input_px": 48, "factor": 0.5}],
    )
    network = resolve_network(settings, weights)
    joined = FingerprintSpec.from_network(network)
    assert [each.input_px for each in joined.networks] == [PX, 48]
    assert joined.files == (weights.path, weights.joined[0].path)
    vectors, _, _ = Fingerprinter(joined)(WINDOWS)
    other, _, _ = Fingerprinter(replace(joined, networks=joined.networks[1:]))(WINDOWS)
    for vector, first, second in zip(vectors, expected, other, strict=True):
        assert vector.shape == (2048 + 1024,)
        np.testing.assert_array_equal(vector, np.concatenate([first, second]))
    names = {network.name, *(part.name for part in network.parts)}
    farther = settings.model_copy(
        update={"networks": (settings.networks[0].model_copy(update={"factor": 0.6}),)}
    )
    assert len(names | {resolve_network(farther, weights).name}) == 4
    rows = run_plain(joined, batches_of([0, 2, "image", 1], [2, 1])).to_pylist()
    np.testing.assert_array_equal(np.float32(rows[1]["vector"]), vectors[2])


def test_copies_are_seen_in_place_of_their_windows(spec):
    batch = batches_of([0, 1, 2, 3, 4, "bad"], [])
    found = run_plain(replace(spec, copied=True), batch)
    (runtime,) = spec.load(str)
    for cutout_id, window in enumerate(WINDOWS[:5]):
        copy = learned_copy(window, cutout_id)
        np.testing.assert_array_equal(
            found["vector"][cutout_id].values, runtime(resize_window(copy, PX)[None])[0][0]
        )
    assert found["failure"][5].is_valid


def test_labels_are_those_of_the_network_with_classes(spec, tmp_path):
    model = build_model("mobilenet", PX, classes=7)
    model.save_weights(tmp_path / "seven.weights.h5")
    seven = resolve_weights(str(tmp_path / "seven.weights.h5"), "mobilenet", cache=tmp_path)
    weights = replace(spec.networks[0].weights, joined=(seven,))
    assert (weights.labeled.classes, weights.describe()) == (
        7,
        "ResNet50, random weights (seed 0): not trained + MobileNet, seven.weights.h5",
    )
    settings = FingerprintsSettings(
        weights="random:0",
        input_px=PX,
        runtime="tensorflow",
        labels="classes",
        networks=[{"weights": str(tmp_path / "seven.weights.h5"), "backbone": "mobilenet", "input_px": PX}],
    )
    joined = FingerprintSpec.from_network(resolve_network(settings, weights))
    _, labels, scores = Fingerprinter(joined)(WINDOWS[:1])
    assert sorted(labels[0]) == list(range(7))
    assert scores[0].sum() == pytest.approx(1, abs=1e-5)


def test_two_stages_of_a_process_share_one_network(spec):
    spec.build(str)
    before = Runtime.builds
    spec.build(str)
    Fingerprinter(spec)
    assert Runtime.builds == before


def test_settings_become_a_spec(spec):
    weights = spec.networks[0].weights
    chosen = FingerprintsSettings(
        weights="random:0", input_px=64, top_labels=5, batch_size=8, threads=2, runtime="tensorflow"
    )
    made = FingerprintSpec.from_network(resolve_network(chosen, weights), "abc", keep_pixels=True)
    assert made == FingerprintSpec((NetworkSpec(weights, "resnet50", 64, 8, 2),), 5, "abc", True)


@pytest.mark.parametrize("fitted", [{"transform": "standardize"}, {"power": 0.5, "labels": "prototypes"}])
def test_what_is_fitted_to_a_catalog_is_refused_where_there_is_none(spec, fitted):
    settings = FingerprintsSettings(weights="random:0", input_px=64, runtime="tensorflow", **fitted)
    with pytest.raises(ConfigError, match="fitted to a catalog, and here is none"):
        FingerprintSpec.from_network(resolve_network(settings, spec.networks[0].weights))


def test_the_fingerprinter_takes_a_mixed_list(spec, expected):
    bad = np.zeros((4, 4), np.float64)
    vectors, labels, scores = Fingerprinter(spec)([*WINDOWS, None, bad, np.zeros((4, 4, 4), np.uint8)])
    for found, vector in zip(vectors[: len(WINDOWS)], expected, strict=True):
        np.testing.assert_array_equal(found, vector)
    assert [len(row) for row in labels[: len(WINDOWS)]] == [TOP] * len(WINDOWS)
    assert [len(row) for row in scores[: len(WINDOWS)]] == [TOP] * len(WINDOWS)
    assert vectors[len(WINDOWS) :] == labels[len(WINDOWS) :] == scores[len(WINDOWS) :] == [None] * 3


@pytest.mark.parametrize("transformed", [False, True])
def test_windows_that_are_known_do_not_go_through_the_network_again(
    spec, expected, tmp_path, monkeypatch, transformed
):
    kinds = [0, 2, "image", 1, "bare", 5, 3]
    rows = pa.Table.from_batches(batches_of(kinds, []), schema=TILED)
    plain = run_plain(spec, rows.to_batches())
    vectors = np.stack([expected[kind] for kind in kinds if isinstance(kind, int)])
    if transformed:
        settled = FingerprintsSettings(
            weights="random:0", transform="standardize", power=0.5, labels="prototypes", prototypes=3
        )
        spec = replace(spec, transform=VectorTransform.fit(vectors, settled).save(tmp_path))
    right = run_plain(spec, rows.to_batches())
    seen: list[int] = []
    through = Fingerprinter.run
    monkeypatch.setattr(
        Fingerprinter, "run", lambda self, windows: seen.append(len(windows)) or through(self, windows)
    )
    fit = plain.filter(pc.field("vector").is_valid())
    some = replace(spec, known=str(save_known(tmp_path, fit.slice(0, 2))))
    everything = replace(spec, known=str(save_known(tmp_path, fit)))
    assert run_plain(some, rows.to_batches()).equals(right)
    assert sum(seen) == 3
    assert run_plain(everything, rows.to_batches()).equals(right)
    assert sum(seen) == 3
    assert everything.files[-1] == everything.known
