"""Labels without a name are shown by the cutouts that show them best."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.figures import assert_readable, drawn_texts, jpeg, neighbor_panels, panel
from helpers.smallcatalog import Rows, tables, write_catalog
from PIL import Image

from elodin_spark import Catalog
from elodin_spark.catalog.build.label_sheets import draw_sheet, make_examples
from elodin_spark.catalog.search.figures import panels_of, with_label_pictures
from elodin_spark.catalog.storage.store import Store
from elodin_spark.cli.main import run_command
from elodin_spark.display.labels import LabelPictures, labels_figure
from elodin_spark.display.neighbors import neighbors_figure

N_LABELS = 6


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Windows whose thumbnails have a color each, by their place in the table."""
    found = tables(images=6, across=4, seed=9)
    for at, row in enumerate(found["cutouts"]):
        row["thumbnail"] = jpeg((at % 250, 250 - at % 250, 40))
    return found


@pytest.fixture(scope="module")
def catalog(rows: Rows, tmp_path_factory) -> Catalog:
    made = write_catalog(tmp_path_factory.mktemp("examples") / "catalog", rows, classes=False)
    assert make_examples(made._store)
    assert not make_examples(made._store)
    return Catalog.open(made.path)


def best_of(rows: Rows, label: int, without: set[int] = frozenset()) -> list[int]:  # type: ignore[assignment]
    """By score, none that overlaps one before."""
    windows = {row["cutout_id"]: row for row in rows["cutouts"]}
    scored = sorted(
        (-dict(zip(row["labels"], row["label_scores"], strict=True))[label], row["cutout_id"])
        for row in rows["fingerprints"]
        if label in row["labels"] and row["cutout_id"] not in without
    )
    kept: list[dict[str, Any]] = []
    for _, cutout in scored[:20]:
        one = windows[cutout]
        if not any(
            one["image_id"] == other["image_id"]
            and abs(one["x0"] - other["x0"]) < 32
            and abs(one["y0"] - other["y0"]) < 32
            for other in kept
        ):
            kept.append(one)
    return [row["cutout_id"] for row in kept[:5]]


def test_examples_are_the_cutouts_that_have_most_of_a_label(catalog, rows) -> None:
    found = catalog.label_examples()
    assert found == {f"unit {label}": best_of(rows, label) for label in range(N_LABELS)}
    assert all(len(ids) > 2 for ids in found.values())


def test_labels_with_names_need_no_examples(rows, tmp_path: Path) -> None:
    named = write_catalog(tmp_path / "catalog", rows)
    assert not make_examples(named._store)
    assert named.label_examples() == {}
    assert named.label_sheet() is None
    assert "like" not in named.neighbors(int(named.vectors()[0][0]), 1, explain=True)[0]["explain"][0]


def test_shared_labels_say_what_they_are_like(catalog, rows, capsys) -> None:
    query = rows["fingerprints"][0]
    found = catalog.neighbors(query["cutout_id"], 5, "jaccard", explain=True)
    for row in found:
        assert row["explain"]
        for each in row["explain"]:
            assert each["like"] == best_of(rows, int(each["label"].split()[1]))[:2]
    assert run_command(["neighbors", str(catalog.path), str(query["cutout_id"]), "-k", "2", "--explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (first, *_) = [line for line in lines if "shares: " in line]
    label = int(first.split()[2])
    one, other = best_of(rows, label)[:2]
    assert first.startswith(f"      shares: unit {label} (like cutouts {one}, {other}) ")
    command = ["neighbors", str(catalog.path), str(query["cutout_id"]), "--explain", "--format", "json"]
    assert run_command(command) == 0
    assert json.loads(capsys.readouterr().out)[0]["explain"][0]["like"]


def test_removed_cutouts_are_no_examples(rows, tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "catalog", rows, classes=False)
    assert make_examples(catalog._store)
    gone = {ids[0] for ids in catalog.label_examples().values()}
    catalog.remove(cutouts=sorted(gone))
    left = catalog.label_examples()
    assert not gone & {cutout for ids in left.values() for cutout in ids}
    assert make_examples(catalog._store), "chosen again"
    assert catalog.label_examples() == {
        f"unit {label}": best_of(rows, label, gone) for label in range(N_LABELS)
    }


def color_of(picture: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(picture)) as image:
        return np.asarray(image.convert("RGB")).mean(axis=(0, 1))


def test_neighbors_are_drawn_with_what_their_labels_look_like(catalog, rows) -> None:
    thumbnails = {row["cutout_id"]: row["thumbnail"] for row in rows["cutouts"]}
    query = rows["fingerprints"][0]["cutout_id"]
    asked = [*catalog.describe_cutouts([query]), *catalog.neighbors(query, 4)]
    panels = with_label_pictures(catalog._store, panels_of(catalog._store, asked))
    for one in panels:
        wanted = [
            next(i for i in best_of(rows, int(label.split()[1])) if i != one.cutout_id)
            for label in one.labels
        ]
        assert list(one.label_pictures) == [thumbnails[i] for i in wanted]
    figure = neighbors_figure(panels[0], panels[1:], metric="l2")
    strips = [ax for ax in figure.axes if ax.get_label() == "label"]
    assert len(strips) == 3 * len(panels)
    shown = np.asarray(strips[0].images[0].get_array()).reshape(-1, 3).mean(axis=0)
    assert np.abs(shown - color_of(panels[0].label_pictures[0])).max() < 2
    texts = [text for text, _ in drawn_texts(figure)]
    numbers = ", ".join(label.split()[1] for label in panels[1].labels)
    assert f"units {numbers}, like" in texts
    assert not any(text.startswith("unit ") for text in texts)
    # Framed: those that the query has as well.
    frames = [ax.spines["left"].get_edgecolor() for ax in strips]
    shared = [label in panels[0].labels for one in panels for label in one.labels]
    assert len(set(frames)) == 2
    assert [frame == frames[3 + shared[3:].index(True)] for frame in frames[3:]] == shared[3:]


@pytest.mark.parametrize("count", [0, 1, 2, 9, 30])
def test_pictures_of_labels_leave_the_figure_readable(count: int) -> None:
    strip = {
        "labels": ("prototype 1000", "prototype 7", "prototype 12"),
        "label_pictures": [jpeg(), None, jpeg()],
    }
    panels = [
        panel(number, rank=number, distance=0.5, distance_percentile=0.03, **strip) for number in range(count)
    ]
    figure = neighbors_figure(panel(99, **strip), panels, metric="l2", note="Nothing is like it")
    texts = drawn_texts(figure)
    assert_readable(figure, texts)
    pictures = [ax.get_window_extent() for ax in figure.axes if ax.get_label()]
    for at, picture in enumerate(pictures):
        assert picture.y0 >= figure.bbox.y0
        assert not any(
            min(picture.x1, other.x1) - max(picture.x0, other.x0) > 0
            and min(picture.y1, other.y1) - max(picture.y0, other.y0) > 0
            for other in pictures[at + 1 :]
        )
    assert neighbors_figure(panel(0), neighbor_panels(2), metric="l2")


def test_the_sheet_shows_each_label_with_its_examples(catalog, tmp_path: Path) -> None:
    assert draw_sheet(Store(catalog.path), tmp_path / "units.png")
    with Image.open(tmp_path / "units.png") as picture:
        assert min(picture.size) > 300
    assert not draw_sheet(
        write_catalog(tmp_path / "none", tables(2, 2), classes=False)._store, tmp_path / "x.png"
    )


@pytest.mark.parametrize("count", [1, 61, 300])
def test_a_sheet_of_any_number_of_labels_is_readable(count: int) -> None:
    colors = [(n % 256, 80, 255 - n % 256) for n in range(count)]
    labels = [LabelPictures(f"{n} · 12,345", [jpeg(colors[n])] * (n % 6)) for n in range(count)]
    figure = labels_figure(labels, title=f"{count} labels", note="A note.", subtitle="A footer")
    texts = drawn_texts(figure)
    assert_readable(figure, texts)
    assert {label.name for label in labels} <= {text for text, _ in texts}
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)  # type: ignore[attr-defined]
    boxes = dict(texts)
    for at in (n for n in range(count) if n % 6):
        box = boxes[labels[at].name]
        below = pixels[round(pixels.shape[0] - box.y0) + 15, round(box.x0) + 15]
        assert np.abs(below - colors[at]).max() < 14
