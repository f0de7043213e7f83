"""Networks held against each other on an archive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.shapes import write_shapes

from elodin_spark.catalog.build.sample import sample_cutouts
from elodin_spark.config.load import parse_settings
from elodin_spark.config.settings import Settings
from elodin_spark.config.yamltext import read_yaml
from elodin_spark.errors import ConfigError, InputError, WeightsError
from elodin_spark.fingerprints.copies import copies, learned_copy
from elodin_spark.fingerprints.transform import Copied, VectorTransform, shares
from elodin_spark.images.listing import list_files
from elodin_spark.learning.quality import l2_index, nearest_others, precision_at_k
from elodin_spark.planning import networks
from elodin_spark.planning.labelfile import LabelFile
from elodin_spark.planning.networks import Choice, choices_of, compare_networks
from elodin_spark.planning.networksreport import comparison_facts, comparison_text, write_comparison

SMALL = {"input_px": 32}
ZERO = {"weights": "random:0", **SMALL}
ONE = {"weights": "random:1", **SMALL}
CHOICES = [
    Choice("zero", ZERO),
    Choice("one", ONE, configured=True),
    Choice("both", {**ZERO, "networks": [{**ONE, "factor": 0.5}]}),
]


def settings_of(paths: Path, **sections: Any) -> Settings:
    values = {"images": {"paths": str(paths)}, "cutouts": {"generator": {"kind": "full_image"}}}
    return parse_settings({**values, **sections})


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("shapes")
    return folder, write_shapes(folder)


@pytest.fixture(scope="module")
def comparison(archive):
    folder, classes = archive
    return compare_networks(settings_of(folder), CHOICES, sample=40, labels=LabelFile("it", "path", classes))


def without_speed(facts: dict[str, Any]) -> dict[str, Any]:
    return {**facts, "rows": [row | {"windows_per_s": None} for row in facts["rows"]]}


def test_each_network_runs_once_and_joined_ones_cost_the_sum(archive, comparison, monkeypatch) -> None:
    folder, classes = archive
    ran = []
    run = networks._run
    monkeypatch.setattr(
        networks, "_run", lambda part, windows: ran.append(part.weights) or run(part, windows)
    )
    again = compare_networks(settings_of(folder), CHOICES, sample=40, labels=LabelFile("it", "path", classes))
    assert ran == ["random:0", "random:1"]
    assert without_speed(comparison_facts(again)) == without_speed(comparison_facts(comparison))
    assert all(np.array_equal(a.near, b.near) for a, b in zip(again.rows, comparison.rows, strict=True))
    zero, one, both = again.rows
    assert 1 / both.windows_per_s == pytest.approx(1 / zero.windows_per_s + 1 / one.windows_per_s)
    assert (zero.length, one.length, both.length) == (2048, 2048, 4096)


def test_scores_are_those_of_vectors_as_a_new_catalog_has_them(archive, comparison) -> None:
    cutouts = comparison.cutouts
    assert len(cutouts) == 32
    windows = [cutout.window for cutout in cutouts]
    settings = settings_of(archive[0]).fingerprints
    learned = [learned_copy(cutout.window, cutout.cutout_id) for cutout in cutouts]
    shown = [*windows, *copies(windows, "shift", 0), *learned]
    both = np.hstack(
        [networks._run(networks._with_network(settings, one), shown).vectors for one in (ZERO, ONE)]
    )
    chosen = networks._with_network(settings, CHOICES[2].network)
    assert (chosen.transform, chosen.power, chosen.copies) == ("standardize", 0.5, 256)
    parts = shares([(2048,), (2048,)], [1.0, 0.5])
    fitted = VectorTransform.fit(both[:32], chosen, 0, parts, Copied(np.arange(32), both[64:]))
    vectors = fitted.apply(both[:64])
    near = nearest_others(l2_index(vectors[:32]))
    row = comparison.rows[2]
    assert row.precision == precision_at_k(near, comparison.labels, [cutout.path for cutout in cutouts])
    assert row.precision.value > 0.65  # disks and bars are easy
    distances = np.linalg.norm(vectors[:32, None] - vectors, axis=2)
    distances[np.arange(32), np.arange(32)] = np.inf
    assert row.found["shift"].value == np.mean(distances.argmin(axis=1) == np.arange(32, 64))
    for row in comparison.rows:
        assert list(row.found) == ["all", "rotation", "noise", "blur", "shift"]
        assert 0 < row.found["noise"].value <= 1


def test_labels_by_cutout_id_are_those_by_path(archive, comparison) -> None:
    by_id = {cutout.cutout_id: archive[1][cutout.path] for cutout in comparison.cutouts}
    found = compare_networks(
        settings_of(archive[0]), CHOICES[:1], sample=40, labels=LabelFile("it", "cutout_id", by_id)
    )
    assert found.rows[0].precision == comparison.rows[0].precision
    assert {cutout.cutout_id for cutout in found.cutouts} == set(by_id)


def test_only_labeled_images_are_sampled(archive) -> None:
    some = {path: label for path, label in archive[1].items() if int(path[-6:-4].strip("/")) < 11}
    found = compare_networks(
        settings_of(archive[0]), CHOICES[:1], sample=40, labels=LabelFile("it", "path", some)
    )
    assert {cutout.path for cutout in found.cutouts} == set(some)
    assert any("only 22 windows are labeled" in note for note in found.notes)


def test_queries_show_each_class_and_no_neighbor_is_of_the_image_of_its_query(tmp_path) -> None:
    write_shapes(tmp_path, each=2, px=80)
    settings = settings_of(
        tmp_path, cutouts={"generator": {"kind": "sliding_window", "size": 32, "step": 16}}
    )
    found = compare_networks(settings, CHOICES[:1], sample=60)
    assert found.labels is None
    assert found.rows[0].precision is None
    assert len(set(found.queries)) == 6
    for query, near in zip(found.queries, found.rows[0].near, strict=True):
        assert len(near) == 8
        assert found.cutouts[query].path not in {found.cutouts[row].path for row in near}
    assert networks._queries(9, ["b", "a", "a", "c", "a", "c", "b", "a", "a"]) == [1, 0, 3, 2, 6, 5]


def test_labels_that_cannot_be_used_are_refused(archive) -> None:
    folder, classes = archive
    paths = list(classes)
    for labels, wrong in [
        (
            {"nowhere.png": "disk", "b.png": "bar"},
            "none of the 2 labels .* below the archive root, as bar/0.png",
        ),
        (dict(list(classes.items())[:5]), "only 5 windows with labels could be cut"),
        (dict.fromkeys(paths[1:], "disk") | {paths[0]: "bar"}, "leave 1 class with two images or more"),
    ]:
        with pytest.raises(InputError, match=wrong):
            compare_networks(settings_of(folder), CHOICES, labels=LabelFile("it", "path", labels))


def test_classes_of_one_image_are_not_scored(archive) -> None:
    classes = archive[1] | {"bar/0.png": "a third"}
    found = compare_networks(
        settings_of(archive[0]), CHOICES[:1], sample=40, labels=LabelFile("it", "path", classes)
    )
    assert set(found.rows[0].precision.by_class) == {"disk", "bar"}
    assert any(note.endswith("one image of each: a third") for note in found.notes)


def test_what_is_not_at_hand_is_named_and_left_out(archive) -> None:
    lacking = Choice("mine", {"weights": "/nowhere/mine.safetensors"})
    found = compare_networks(settings_of(archive[0]), [lacking, CHOICES[0]], sample=20)
    assert [row.choice.name for row in found.rows] == ["zero"]
    (line,) = found.skipped
    assert line.startswith("mine is left out: ")
    assert "\n" not in line
    assert line in comparison_text(found)
    with pytest.raises(WeightsError, match="nowhere"):
        compare_networks(settings_of(archive[0]), [lacking], sample=20)


def test_a_layer_that_a_further_network_lacks_is_told_by_its_own_setting(archive) -> None:
    wrong = Choice("mine", {**ZERO, "networks": [{**ONE, "layer": "nowhere"}]})
    found = compare_networks(settings_of(archive[0]), [wrong, CHOICES[0]], sample=20)
    assert "left out: fingerprints.networks.0.layer: resnet50 has no layer 'nowhere'" in found.skipped[0]


def test_labels_and_images_that_are_of_no_use_are_named(archive, tmp_path) -> None:
    classes = write_shapes(tmp_path, each=11)
    for i in range(5):
        (tmp_path / f"broken-{i}.png").write_bytes(b"no picture")
    broken = {f"broken-{i}.png": "bar" for i in range(5)}
    settings = settings_of(tmp_path)

    def notes(labels: LabelFile | None, choices: list[Choice] = CHOICES[:1]) -> tuple[str, ...]:
        return compare_networks(settings, choices, sample=40, labels=labels).notes

    found = notes(LabelFile("it", "path", classes | broken | {"gone.png": "bar"}))
    assert "1 label of it names no image of the archive: gone.png" in found
    (line,) = [note for note in found if "gave no window" in note]
    assert line.startswith("5 images gave no window: broken-")
    assert line.endswith(" and 2 more")
    assert line.count("broken-") == 3
    assert line in notes(None)
    few = {path: label for path, label in classes.items() if path[-5] in "0123"}
    with pytest.raises(
        InputError, match=r"only 10 windows .* more\. Label more .*\. 1 label .* gone\.png\. 5 images"
    ):
        notes(LabelFile("it", "path", few | broken | {"gone.png": "bar"}))
    with pytest.raises(InputError, match=r"none of the 5 labels .* 5 images gave no window"):
        notes(LabelFile("it", "path", {**broken, "broken-0.png": "disk"}))
    cutouts = sample_cutouts(settings, list_files([str(tmp_path)]), 40)
    by_id = {cutout.cutout_id: classes[cutout.path] for cutout in cutouts} | dict.fromkeys(range(4), "bar")
    assert "4 labels of it name no window of the archive: 0, 1, 2 and 1 more" in notes(
        LabelFile("it", "cutout_id", by_id)
    )


def test_few_windows_are_told_without_a_word_of_a_catalog(archive, caplog) -> None:
    found = compare_networks(settings_of(archive[0]), CHOICES[:1], sample=20)
    (line,) = [note for note in found.notes if "standardized by 20 windows" in note]
    assert line.endswith("are drawn towards their mean: raise --sample")
    assert "catalog" not in " ".join([*found.notes, *caplog.messages])


def test_joined_networks_are_left_out_where_the_transform_forbids_them(archive) -> None:
    settings = settings_of(archive[0], fingerprints={"transform": "whiten"})
    found = compare_networks(settings, [CHOICES[0], CHOICES[2]], sample=20)
    assert [row.length for row in found.rows] == [10]
    assert "transform is whiten" in found.skipped[0]
    with pytest.raises(ConfigError, match="transform is whiten"):
        compare_networks(settings, CHOICES[2:], sample=20)


def test_what_the_configuration_names_is_a_choice() -> None:
    def names(fingerprints: dict[str, Any], **sections: Any) -> list[tuple[str, bool]]:
        settings = settings_of(Path("x"), fingerprints=fingerprints, **sections)
        return [(choice.name, choice.configured) for choice in choices_of(settings, fingerprints)]

    assert names({}) == [("survey", False), ("imagenet-lite", False), ("survey + imagenet-lite", True)]
    assert names({"weights": "survey"})[:2] == [("survey", True), ("imagenet-lite", False)]
    joined = {"weights": "survey", "networks": [{"weights": "imagenet-lite", "factor": 0.5}]}
    assert names(joined)[3:] == [("survey + imagenet-lite, as configured", True)]
    assert names({"weights": "/a/mine.h5"})[3:] == [("mine.h5", True)]
    assert names({"augmentations": 1})[3:] == [("survey + imagenet-lite, as configured", True)]
    window = {"generator": {"kind": "sliding_window", "size": 224, "step": 96, "edge": "drop"}}
    assert names({"mode": "dense"}, cutouts=window)[3:] == [("survey, as configured", True)]
    dense = settings_of(Path("x"), fingerprints={"mode": "dense"}, cutouts=window)
    (mine,) = [choice for choice in choices_of(dense, {"mode": "dense"}) if choice.configured]
    seen = networks._with_network(dense.fingerprints, mine.network)
    assert ([part.weights for part in seen.parts], seen.copies) == (["survey"], 0)
    assert names({"transform": "whiten"})[0] == ("survey", True), (
        "joined ones are told of where they are taken"
    )


def test_the_settings_of_a_choice_take_it_whatever_was_named() -> None:
    named = {
        "weights": "imagenet",
        "input_px": 224,
        "layer": "avg_pool",
        "networks": [ZERO],
        "precision": "bf16",
    }
    text = networks._lines(Choice("survey", {"weights": "survey"}), named)
    pasted = read_yaml(text)["fingerprints"]
    taken = settings_of(Path("x"), fingerprints={**named, **pasted}).fingerprints
    plain = settings_of(Path("x"), fingerprints={"weights": "survey", "precision": "bf16"}).fingerprints
    assert taken == plain
    assert networks._lines(CHOICES[0], {}) == "fingerprints:\n  weights: random:0\n  input_px: 32\n"


def test_a_sample_tells_where_its_windows_are_from(archive) -> None:
    settings = settings_of(archive[0])
    files = list_files(settings.images.paths)
    done: list[int] = []
    found = sample_cutouts(settings, files, 7, progress=done.append)
    assert len(found) == done[-1] == 7
    assert {cutout.path for cutout in found} <= set(archive[1])
    wanted = {found[3].cutout_id, found[5].cutout_id}
    assert [c.cutout_id for c in sample_cutouts(settings, files, 7, cutout_ids=wanted)] == [
        c.cutout_id for c in found if c.cutout_id in wanted
    ]
    (one,) = sample_cutouts(settings, files, 7, paths={found[2].path})
    assert one.cutout_id == found[2].cutout_id
    assert np.array_equal(one.window, found[2].window)
    assert sample_cutouts(settings, files, 7, paths={"nowhere.png"}) == []


def test_the_files_and_the_table_say_the_same(comparison, tmp_path) -> None:
    table, sheet = write_comparison(comparison, tmp_path / "new")
    assert sheet.read_bytes().startswith(b"\x89PNG")
    facts = json.loads(table.read_text())
    assert (facts["windows"], facts["seed"], facts["labels"]) == (32, 0, {"bar": 16, "disk": 16})
    text = comparison_text(comparison)
    lines = text.splitlines()
    for found, row in zip(comparison.rows, facts["rows"], strict=True):
        (line,) = [one for one in lines if one.startswith((f"{row['choice']} ", f"{row['choice']} *"))]
        precision, kept = found.precision, row["precision_at_10"]
        assert f"{precision.value:.3f} [{precision.low:.3f}, {precision.high:.3f}]" in line
        assert [kept[name] for name in ("value", "low", "high")] == pytest.approx(
            [precision.value, precision.low, precision.high], abs=1e-4
        )
        assert f"{row['copies_found']['all']['value']:.2f}" in line
        assert f"{row['vector_length']:,}" in line
    assert "to take both:" in text
    assert "to take one:" not in text
    assert "note: only 32 windows are labeled" in text
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_comparison(comparison, tmp_path / "file")


def test_neighbors_that_lack_are_said_where_there_is_a_precision(archive) -> None:
    folder, _ = archive
    settings = settings_of(folder)
    cutouts = sample_cutouts(settings, list_files([str(folder)]), 40)
    few = cutouts[:8]
    said = "some images leave 7 windows of others: precision is that of as many neighbors, not of 10"
    scored = np.ones(8, bool)
    assert said in networks._notes(settings, 8, few, ["a", "b"] * 4, scored)
    assert said not in networks._notes(settings, 8, few, None, None)
    enough = networks._notes(settings, 40, cutouts, ["a"] * len(cutouts), np.ones(len(cutouts), bool))
    assert not any("leave" in note for note in enough)
