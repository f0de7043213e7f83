"""Self-supervised training: what is minimized, and that a killed one goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.learning import encoded, write_set
from helpers.limits import HANG_S
from safetensors import safe_open

from elodin_spark.cli.main import run_command
from elodin_spark.config.pretrain import PretrainSettings
from elodin_spark.errors import ConfigError, InputError, WeightsError
from elodin_spark.fingerprints.backbones import build_model, named_weights
from elodin_spark.fingerprints.runtimes.framework import installed, load_keras
from elodin_spark.fingerprints.weights.shipped import pack_weights
from elodin_spark.learning.batches import ViewBatch
from elodin_spark.learning.checkpoint import latest_checkpoint, save_checkpoint
from elodin_spark.learning.cutoutset import CutoutSet
from elodin_spark.learning.history import HISTORY, append_history, cut_history, read_history
from elodin_spark.learning.labeled import LabeledSet
from elodin_spark.learning.objective import alike_loss, contrastive_loss, kind_loss, shape_loss
from elodin_spark.learning.pretrain import learning_rate, pretrain
from elodin_spark.learning.pretrainmodel import PretrainModel


def test_the_contrastive_loss_is_that_of_its_definition() -> None:
    ops = load_keras().ops
    rows = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    likeness = np.exp(unit @ unit.T / 0.2)
    np.fill_diagonal(likeness, 0)
    other = [(i + 5) % 10 for i in range(10)]
    expected = -np.mean([np.log(likeness[i, j] / likeness[i].sum()) for i, j in enumerate(other)])
    assert float(contrastive_loss(ops, ops.convert_to_tensor(rows), 0.2)) == pytest.approx(expected, rel=1e-4)


def test_what_is_not_known_does_not_count() -> None:
    ops = load_keras().ops
    scores = np.array([[4.0, 0, 0], [0, 9, 0], [0, 0, 2]], np.float32)
    kinds = np.array([0, -1, 2])
    each = [np.log(np.exp(scores[i]).sum()) - scores[i, kinds[i]] for i in (0, 2)]
    held = ops.convert_to_tensor
    assert float(kind_loss(ops, held(scores), held(kinds))) == pytest.approx(np.mean(each), rel=1e-4)
    assert float(kind_loss(ops, held(scores), held(np.full(3, -1)))) == 0
    found, known = np.array([[0.2, 7.0], [2.0, 0.0]], np.float32), np.array([[1, 0], [1, 0]], np.float32)
    # Half of the square of 0.2, and 0.5 (2 - 0.25).
    expected = (0.02 + 0.875) / 2
    none = held(np.zeros((2, 2), np.float32))
    assert float(shape_loss(ops, held(found), none, held(known))) == pytest.approx(expected)
    assert float(shape_loss(ops, held(found), none, none)) == 0


def test_those_of_a_class_are_found_among_all_whose_class_is_known() -> None:
    ops = load_keras().ops
    rows = np.random.default_rng(0).normal(3, 2, (7, 5)).astype(np.float32)
    classes = np.array([0, 1, -1, 0, 0, 1, 2])
    known = rows[classes >= 0]
    scaled = (known - known.mean(axis=0)) / known.std(axis=0)
    scaled = np.sign(scaled) * scaled**2 / np.abs(scaled) / np.sqrt(np.sqrt(scaled**2 + 0.01))
    unit = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    likeness = np.exp(unit @ unit.T / 0.1)
    np.fill_diagonal(likeness, 0)
    kinds = classes[classes >= 0]
    each = []
    for i, kind in enumerate(kinds[:-1]):  # nothing is like the last
        same = [j for j in range(len(kinds)) if kinds[j] == kind and j != i]
        each.append(-np.mean([np.log(likeness[i, j] / likeness[i].sum()) for j in same]))
    held = ops.convert_to_tensor
    found = alike_loss(ops, held(rows), held(classes), 0.1)
    assert float(found) == pytest.approx(np.mean(each), rel=1e-3)
    assert float(alike_loss(ops, held(rows), held(np.full(7, -1)), 0.1)) == 0
    half = alike_loss(ops, ops.cast(held(rows), "bfloat16"), held(classes), 0.1)
    assert float(half) == pytest.approx(np.mean(each), rel=0.05)


def test_attributes_are_those_of_what_is_learned(tmp_path, capsys) -> None:
    known, out = str(tmp_path / "x.csv"), str(tmp_path / "out")
    assert run_command(["pretrain", "--set", "cutouts=0", "--attributes", known, "--out", out]) != 0
    assert "--attributes are those of --learn" in capsys.readouterr().err


def test_a_catalog_is_learned_from_alone(tmp_path, capsys) -> None:
    catalogs = [tmp_path / name for name in ("one", "two")]
    for catalog in catalogs:
        catalog.mkdir()
        (catalog / "catalog.json").write_text("{}")
    pq.write_table(pa.table({"jpeg": [b""]}), tmp_path / "cutouts.parquet")
    for others in ([catalogs[1]], [tmp_path / "cutouts.parquet"]):
        for given in ([catalogs[0], *others], [*others, catalogs[0]]):
            assert run_command(["pretrain", *map(str, given), "--out", str(tmp_path / "out")]) != 0
            assert "is a catalog, and a catalog is learned from alone" in capsys.readouterr().err


def test_the_teacher_is_an_average_of_the_network_and_frozen_stages_stay() -> None:
    values = {"frozen": 2, "start": "survey", "teacher_decay": 0.75, "precision": "f32", "warmup_steps": 0}
    settings = PretrainSettings.model_validate({**values, "stretches": [{"px": 32, "steps": 9}]})
    rng = np.random.default_rng(0)
    batch = ViewBatch(
        step=0,
        views=rng.integers(0, 255, (8, 32, 32, 3), np.uint8),
        kinds=np.full(8, -1),
        shapes=np.full((8, 3), np.nan, np.float32),
        profiles=rng.normal(size=(8, 48)).astype(np.float32),
        classes=np.array([0, 1, -1, -1] * 2),
        attributes=rng.normal(size=(8, 2)).astype(np.float32),
        epoch=0,
        taken=1,
    )
    model = PretrainModel(settings, 4, 3, learning_rate(settings), 2, 2, threads=1)
    began = model.weights()
    losses = model.step(batch)
    assert losses["class"] > 0.3
    assert losses["attributes"] > 0.1
    state = model.state()
    moved = []
    for name, value in model.weights().items():
        now = state[f"backbone/{name}"]
        np.testing.assert_allclose(value, 0.75 * began[name] + 0.25 * now, rtol=1e-4, atol=1e-6)
        if not np.array_equal(now, began[name]):
            moved.append(name)
    assert {name.split("_")[0] for name in moved} == {"conv3", "conv4", "conv5"}
    assert any(name.startswith("conv3") and name.endswith("moving_mean") for name in moved)
    other = PretrainModel(settings, 4, 3, learning_rate(settings), 2, 2, threads=1)
    other.load_state(state)
    again = other.state()
    assert set(again) == set(state)
    assert any(name.startswith("teacher/") for name in state)
    for name, value in state.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)


def test_the_rate_rises_and_then_falls() -> None:
    settings = PretrainSettings(stretches=({"px": 32, "steps": 60}, {"px": 64, "steps": 40}), warmup_steps=20)
    rate = learning_rate(settings)
    rates = [rate(step) for step in range(100)]
    assert np.argmax(rates) in (19, 20)
    assert rates[0] == pytest.approx(1e-3 / 20)
    assert 0 < rates[-1] < 2e-5
    assert [settings.px_at(step) for step in (0, 59, 60, 99)] == [32, 32, 64, 64]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cutouts": 1, "stamps": 0}, "at least 2"),
        ({"contrast": 0, "profile": 0, "stamps": 0}, "nothing is left to learn"),
        (
            {"contrast": 0, "profile": 0, "stamps": 0, "labeled": 4, "labels": 0, "alike": 0},
            "nothing is left",
        ),
        ({"frozen": 2}, "name weights by start"),
        ({"stretches": []}, "at least 1"),
    ],
)
def test_settings_that_teach_nothing_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PretrainSettings(**values)  # type: ignore[arg-type]


def test_of_damaged_checkpoints_the_one_before_is_taken(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    paths = [save_checkpoint(tmp_path, i, {"a": np.full(3, i)}, {"epoch": i}) for i in (1, 2, 3)]
    assert not paths[0].exists()  # two are kept
    state, facts = latest_checkpoint(tmp_path) or ({}, {})
    assert facts == {"epoch": 3, "step": 3}
    assert state["a"].tolist() == [3, 3, 3]
    content = bytearray(paths[2].read_bytes())
    content[len(content) // 2] ^= 1
    paths[2].write_bytes(bytes(content))
    assert (latest_checkpoint(tmp_path) or ({}, {}))[1]["step"] == 2
    paths[1].write_bytes(paths[1].read_bytes()[:-40])
    with pytest.raises(InputError, match="all checkpoints"):
        latest_checkpoint(tmp_path)


def test_a_history_that_a_kill_cut_off_is_read_and_cut_to_the_checkpoint(tmp_path: Path) -> None:
    assert read_history(tmp_path) == []
    for step in (10, 20, 30):
        append_history(tmp_path, {"step": step, "loss": 1 / step})
    path = tmp_path / HISTORY
    path.write_text(path.read_text() + '{"step": 40, "lo')
    assert [line["step"] for line in read_history(tmp_path)] == [10, 20, 30]
    cut_history(tmp_path, 20)
    assert read_history(tmp_path) == [{"step": step, "loss": 1 / step} for step in (10, 20)]
    append_history(tmp_path, {"step": 30})
    assert [line["step"] for line in read_history(tmp_path)] == [10, 20, 30]


#: A training of seconds.
SMALL = {
    "stretches": "[{px: 32, steps: 6}]",
    "cutouts": 2,
    "stamps": 2,
    "stamp_pool": 8,
    "stamp_px": 32,
    "source_px": 32,
    "checkpoint_steps": 2,
    "check_steps": 6,
    "checked": 100,
    "precision": "f32",
    "warmup_steps": 2,
}


def command(cutouts: Path, out: Path, **changed: object) -> list[str]:
    settings = [f"--set={name}={value}" for name, value in {**SMALL, **changed}.items()]
    program = [sys.executable, "-m", "elodin_spark", "pretrain", str(cutouts), "--out", str(out)]
    return [*program, "--threads", "1", *settings]


@pytest.fixture(scope="module")
def cutouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with two JPEGs that cannot be decoded."""
    rng = np.random.default_rng(0)
    files = [encoded(rng.integers(0, 255, (32, 32, 3), np.uint8), "JPEG") for _ in range(9)]
    files[3] = files[3][: len(files[3]) // 2]
    files[6] = b"no JPEG at all"
    path = tmp_path_factory.mktemp("cutouts") / "cutouts.parquet"
    pq.write_table(pa.table({"jpeg": files}), path)
    return path


def test_a_killed_training_goes_on_and_its_weights_say_what_they_are(cutouts: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_DETERMINISTIC_OPS": "1"}
    start, out = tmp_path / "start.safetensors", tmp_path / "out"
    begun = build_model("resnet50", 32)
    pack_weights(begun, start, {}, input_px=32)
    labels = tmp_path / "kinds"
    for i in range(6):
        (labels / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        (labels / "ab"[i % 2] / f"{i}.png").write_bytes(
            encoded(np.full((40, 40, 3), 40 * i, np.uint8), "PNG")
        )
    (tmp_path / "known.csv").write_text(
        "file,size\n" + "".join(f"{'ab'[i % 2]}/{i}.png,{i}\n" for i in range(6)), encoding="utf-8"
    )
    asked = [
        *command(cutouts, out, start=start, learning_rate=1e-9, labeled=2, teacher_decay=0.5, frozen=4),
        *("--learn", f"mine={labels}", "--attributes", str(tmp_path / "known.csv")),
    ]

    process = subprocess.Popen(asked, env=environment, stderr=subprocess.DEVNULL)
    while not list(out.glob("checkpoint-*2.npz")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "weights.safetensors").exists()
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for words in (
        "going on from step",
        "skipped 2 of 9 cutouts",
        "training: 6 of 6 steps",
        "simulated 0.",
        "mine-held ",
    ):
        assert words in done.stderr
    steps = [json.loads(line)["step"] for line in (out / "history.jsonl").open()]
    assert steps == sorted(set(steps))
    assert steps[-1] == 6
    assert (out / "training.png").stat().st_size > 10_000
    card = json.loads((out / "weights.json").read_text())["card"]
    assert card["recipe"]["seed"] == 0
    assert card["cutouts"][0]["name"] == "cutouts.parquet"
    assert card["labeled"] == {"name": "mine", "cutouts": 6, "held_out": pytest.approx(1 / 3)}
    assert {"class", "attributes", "alike"} <= set(card["losses"])
    with safe_open(out / "weights.safetensors", "numpy") as weights:
        # Next to nothing was learned at such a rate: it is what the training began with.
        kernel = named_weights(begun)["conv1_conv/kernel"].numpy()
        np.testing.assert_allclose(weights.get_tensor("conv1_conv/kernel"), kernel, atol=1e-3)


def test_a_folder_of_another_training_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    settings = PretrainSettings(cutouts=0)
    facts = {"settings": json.loads(settings.model_dump_json()), "backend": "tensorflow"}
    save_checkpoint(tmp_path, 2, {"a": np.zeros(1)}, facts)
    with pytest.raises(ConfigError, match="another temperature, seed"):
        pretrain(None, tmp_path, settings.model_copy(update={"temperature": 0.5, "seed": 1}))
    save_checkpoint(tmp_path, 4, {"a": np.zeros(1)}, facts | {"backend": "jax"})
    with pytest.raises(ConfigError, match="KERAS_BACKEND=jax"):
        pretrain(None, tmp_path, settings)
    assert not (tmp_path / "stamps").exists()


def test_cutouts_are_asked_for_where_they_are_to_be_learned_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set cutouts to 0"):
        pretrain(None, tmp_path, PretrainSettings())
    with pytest.raises(ConfigError, match="name a set of them"):
        pretrain(None, tmp_path, PretrainSettings(cutouts=0, labeled=2))
    lonely = LabeledSet("mine", [np.zeros((8, 8, 3), np.uint8)] * 2, ["a", "b"])
    with pytest.raises(InputError, match="0 of 2 are held out"):
        pretrain(None, tmp_path, PretrainSettings(cutouts=0, labeled=2), labeled=lonely)
    few = CutoutSet.read(write_set(tmp_path / "set", rows=3, files=1))
    with pytest.raises(InputError, match="fill no batch of 48"):
        pretrain(few, tmp_path, PretrainSettings(stamp_pool=1, stamp_px=32, checked=100))


@pytest.mark.skipif(
    not installed("torch"), reason="torch is not installed: training on it is NOT tested here"
)
def test_the_network_of_pytorch_is_that_of_keras() -> None:
    import torch

    from elodin_spark.learning.torchresnet import ResNet50

    rng = np.random.default_rng(0)
    model = build_model("resnet50", 64)
    named = named_weights(model)
    for name, item in named.items():
        if not name.endswith("kernel"):
            item.assign(
                rng.uniform(0.5, 1.5, item.shape) if "variance" in name else rng.normal(0, 0.1, item.shape)
            )
    weights = {name: np.asarray(item) for name, item in named.items()}
    network = ResNet50(bf16=False)
    network.load(weights)
    network.eval()
    images = rng.normal(0, 50, (3, 64, 64, 3)).astype(np.float32)
    with torch.no_grad():
        found = network(torch.from_numpy(images)).numpy()
    expected = np.asarray(model.predict(images, verbose=0))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    # What goes out makes the same network again.
    for name, value in network.weights().items():
        named[name].assign(value)
    np.testing.assert_allclose(np.asarray(model.predict(images, verbose=0)), expected, rtol=1e-3, atol=1e-2)


def test_weights_to_begin_with_are_refused_by_name(tmp_path: Path) -> None:
    values = PretrainSettings(cutouts=0, stamp_pool=1)
    with pytest.raises(
        ConfigError, match=r"start is survey or a file of weights, and there is no no\.safetensors"
    ):
        pretrain(None, tmp_path, values.model_copy(update={"start": "no.safetensors"}))
    path = tmp_path / "small.safetensors"
    path.write_bytes(b"\x02" + bytes(7) + b"{")
    with pytest.raises(WeightsError, match=f"{path}"):
        pretrain(None, tmp_path, values.model_copy(update={"start": str(path)}))
    assert not (tmp_path / "stamps").exists()
