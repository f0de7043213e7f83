"""The folder that the projector of TensorBoard opens."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.picturedcatalog import pictured_catalog, pictured_rows
from PIL import Image

from elodin_spark import Catalog
from elodin_spark.catalog.export import tensorboard
from elodin_spark.catalog.export.tensorboard import SPRITE_PX, looks_like_text, sprite_layout
from elodin_spark.cli.main import run_command
from elodin_spark.errors import CatalogError, InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("projector")
    pictured_catalog(place)
    return place / "catalog"


@pytest.fixture
def catalog(folder) -> Catalog:
    return Catalog.open(folder)


def read_config(path: Path) -> list[dict]:
    """The embeddings of the configuration, as far as its form goes."""
    text = (path / "projector_config.pbtxt").read_text()
    parts = re.findall(r"embeddings \{\n(.*?)\n\}\n", text, re.DOTALL)
    assert text == "".join(f"embeddings {{\n{part}\n}}\n" for part in parts)
    return [
        {
            "tensor_name": re.findall(r'tensor_name: "(.*)"', part)[0],
            "shape": [int(n) for n in re.findall(r"tensor_shape: (\d+)", part)],
            "file": re.findall(r'tensor_path: "(.*)"', part)[0],
            "metadata": re.findall(r'metadata_path: "(.*)"', part)[0],
            "sprite": re.findall(r'image_path: "(.*)"', part)[0],
            "side": [int(n) for n in re.findall(r"single_image_dim: (\d+)", part)],
        }
        for part in parts
    ]


def read_tensor(path: Path, embedding: dict) -> np.ndarray:
    """As TensorBoard does: text where it is text, else raw float32."""
    file = path / embedding["file"]
    if file.suffix == ".tsv":
        return np.array([line.split("\t") for line in file.read_text().splitlines()], np.float32)
    return np.fromfile(file, "<f4").reshape(embedding["shape"])


def read_metadata(path: Path) -> list[dict[str, str]]:
    head, *lines = (path / "metadata.tsv").read_text().splitlines()
    return [dict(zip(head.split("\t"), line.split("\t"), strict=True)) for line in lines]


def test_vectors_metadata_and_pictures_are_of_the_same_rows(catalog, tmp_path):
    done = catalog.export(tmp_path / "out", "tensorboard", method="tsne")
    vectors, places = read_config(tmp_path / "out")
    assert (vectors["tensor_name"], vectors["file"]) == ("fingerprints", "fingerprints.bytes")
    ids, wanted = catalog.vectors()
    assert (read_tensor(tmp_path / "out", vectors) == wanted).all()
    assert done.cutouts == len(ids)
    rows = read_metadata(tmp_path / "out")
    assert [int(row["cutout_id"]) for row in rows] == ids.tolist()
    described = catalog.describe_cutouts(ids)
    assert [row["image"] for row in rows] == [row["image"] for row in described]
    assert [row["labels"] for row in rows] == ["; ".join(row["labels"]) for row in described]
    assert [float(row["ra"]) for row in rows] == pytest.approx([row["ra"] for row in described], abs=1e-9)
    on_map = read_tensor(tmp_path / "out", places)
    assert places["tensor_name"] == "map_tsne"
    assert on_map.shape == (len(ids), 3) == tuple(places["shape"])
    assert (on_map[:, 2] == 0).all()
    from elodin_spark.catalog.maps import map_or_first

    at = {row["cutout_id"]: (row["x"], row["y"]) for row in map_or_first(catalog._store)[1].to_pylist()}
    assert (on_map[:, :2] == np.array([at[i] for i in ids.tolist()], np.float32)).all()
    with Image.open(tmp_path / "out" / "sprite.png") as picture:
        sprite = np.asarray(picture).astype(int)
    columns, lines, side = sprite_layout(len(ids))
    assert vectors["side"] == [side, side]
    assert sprite.shape == (lines * side, columns * side, 3)
    place_of = {row["cutout_id"]: at for at, row in enumerate(catalog.table("cutouts").to_pylist())}
    thumbnails = catalog.table("cutouts").column("thumbnail").to_pylist()
    for number, cutout in enumerate(ids.tolist()):
        middle = sprite[number // columns * side + side // 2, number % columns * side + side // 2]
        data = thumbnails[place_of[cutout]]
        if data is None:
            assert middle.tolist() == [241, 241, 239]
        else:
            from elodin_spark.display.thumbnails import decode_thumbnail

            assert np.abs(middle - decode_thumbnail(data)[16, 16].astype(int)).max() <= 2


@pytest.mark.parametrize("count", [1, 2, 64, 100, 10_000, 16_385, 100_000])
def test_a_sprite_is_never_larger_than_browsers_take(count):
    columns, lines, side = sprite_layout(count)
    assert columns * side <= SPRITE_PX
    assert lines * side <= SPRITE_PX
    assert columns * lines >= count > columns * (lines - 1)
    assert 1 <= side <= 64


def test_bytes_that_would_be_taken_for_text_are_written_as_text(tmp_path):
    rows = pictured_rows(tmp_path)
    for row in rows["fingerprints"]:
        row["vector"] = [0.0] * 7 + [2.0]
    catalog = pictured_catalog(tmp_path, rows)
    catalog.export(tmp_path / "out", "tensorboard")
    (vectors,) = read_config(tmp_path / "out")
    assert vectors["file"] == "fingerprints.tsv"
    assert (read_tensor(tmp_path / "out", vectors) == catalog.vectors()[1]).all()
    assert not (tmp_path / "out" / "fingerprints.bytes").exists()


def test_a_first_line_decides_what_looks_like_text(tmp_path):
    for content, text in ((b"\x00\x00\x0a\xff", True), (b"\x00\xff\x0a\x00", False), (b"", True)):
        (tmp_path / "a").write_bytes(content)
        assert looks_like_text(tmp_path / "a") == text


def test_cutouts_without_a_vector_are_left_out(catalog, tmp_path):
    rejected = catalog.select(where="rejected is not null").tolist()
    kept = catalog.select(where="rejected is null").tolist()
    done = catalog.export(tmp_path / "out", "tensorboard", [*rejected, *kept[:4]])
    assert (done.cutouts, done.left_out) == (4, len(rejected))
    assert {int(row["cutout_id"]) for row in read_metadata(tmp_path / "out")} == set(kept[:4])
    with pytest.raises(InputError, match=f"none of the {len(rejected)} cutouts has a vector"):
        catalog.export(tmp_path / "none", "tensorboard", rejected)


def test_names_with_tabs_and_lines_stay_on_one_line(tmp_path):
    rows = pictured_rows(tmp_path)
    rows["images"][0]["path"] = "a\tb\nc.fits"
    catalog = pictured_catalog(tmp_path, rows)
    catalog.export(tmp_path / "out", "tensorboard")
    assert "a b c.fits" in {row["image"] for row in read_metadata(tmp_path / "out")}


def test_an_earlier_export_is_replaced_and_nothing_else_is(catalog, tmp_path):
    out = tmp_path / "out"
    catalog.export(out, "tensorboard", method="tsne")
    catalog.export(out, "tensorboard", sample=5)
    assert not (out / "map_tsne.tsv").exists()
    assert [embedding["shape"][0] for embedding in read_config(out)] == [5]
    assert len(read_metadata(out)) == 5
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"holds something else \(thesis\.tex\)"):
        catalog.export(tmp_path / "full", "tensorboard")
    with pytest.raises(InputError, match="is a file"):
        catalog.export(tmp_path / "full" / "thesis.tex", "tensorboard")
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_more_points_than_it_draws_are_sampled_or_refused(catalog, tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "USUAL_POINTS", 9)
    assert catalog.export(tmp_path / "out", "tensorboard", where="rejected is null").cutouts == 9
    monkeypatch.setattr(tensorboard, "MOST_POINTS", 8)
    with pytest.raises(InputError, match="at most 8 points, and 12 cutouts"):
        catalog.export(tmp_path / "more", "tensorboard", sample=12)
    assert not (tmp_path / "more").exists()


def test_a_map_that_is_not_there_is_refused(catalog, tmp_path):
    with pytest.raises(InputError, match="no map by 'umap'"):
        catalog.export(tmp_path / "out", "tensorboard", method="umap")
    with pytest.raises(CatalogError):
        Catalog.open(tmp_path).export(tmp_path / "out", "tensorboard")


def test_the_command_line_exports_and_says_how_to_open_it(catalog, tmp_path, capsys):
    out = tmp_path / "projector"
    arguments = ["export", str(catalog.path), "--format", "tensorboard", "-o", str(out)]
    assert run_command([*arguments, "--map", "tsne"]) == 0
    assert f"tensorboard --logdir {out}\n" in capsys.readouterr().out
    assert {file.name for file in out.iterdir()} == {
        "fingerprints.bytes",
        "map_tsne.tsv",
        "metadata.tsv",
        "projector_config.pbtxt",
        "sprite.png",
    }
