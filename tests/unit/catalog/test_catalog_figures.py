"""Figures that are drawn of a catalog when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers.picturedcatalog import pictured_catalog, pictured_rows

from elodin_spark import Catalog
from elodin_spark.catalog import figures
from elodin_spark.catalog.figures import groups_of, reason_kind
from elodin_spark.cli.main import run_command
from elodin_spark.display import onimage, quality, timings
from elodin_spark.errors import CatalogError, InputError, UnknownCutoutError


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("figures")
    pictured_catalog(place)
    return place / "catalog"


@pytest.fixture
def catalog(folder) -> Catalog:
    return Catalog.open(folder)


@pytest.fixture
def seen(monkeypatch) -> dict:
    """What whole pages are made of, which are drawn all the same."""
    caught: dict = {}
    for module, name in (
        (onimage, "on_image_figure"),
        (quality, "quality_figure"),
        (timings, "timings_figure"),
    ):
        monkeypatch.setattr(module, name, partial(_caught, caught, name, getattr(module, name)))
    return caught


def _caught(caught: dict, name: str, draw: Callable, *args, **options):
    caught[name] = (args, options)
    return draw(*args, **options)


def fingerprinted(catalog: Catalog) -> list[int]:
    return catalog.select(where="rejected is null").tolist()


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_every_figure_is_written_by_its_extension(catalog, tmp_path, kind):
    ids = fingerprinted(catalog)
    written = [
        catalog.plot_contact_sheet(ids[:5], tmp_path / f"sheet.{kind}"),
        catalog.plot_on_image(ids[0], tmp_path / f"on.{kind}", k=3),
        catalog.plot_quality(tmp_path / f"quality.{kind}"),
        catalog.plot_timings(tmp_path / f"timings.{kind}"),
        catalog.plot_map(tmp_path / f"map.{kind}", color_by="label"),
        catalog.plot_sky(tmp_path / f"sky.{kind}", color_by="band", highlight=ids[:1]),
    ]
    begins = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[kind]
    assert all(path.read_bytes().startswith(begins) for path in written)


def test_windows_are_drawn_on_the_images_they_were_cut_from_as_these_are_cut(catalog, tmp_path, seen):
    query = fingerprinted(catalog)[0]
    catalog.plot_on_image(query, tmp_path / "a.png", k=8)
    ((images,), options) = seen["on_image_figure"]
    found = catalog.neighbors(query, k=8)
    (asked,) = catalog.describe_cutouts([query])
    wanted = {(asked["image"], None, asked["x0"], asked["y0"], asked["x1"], asked["y1"])}
    wanted |= {(row["image"], row["rank"], row["x0"], row["y0"], row["x1"], row["y1"]) for row in found}
    drawn = {(i.name, w.rank, w.x0, w.y0, w.x1, w.y1) for i in images for w in i.windows}
    assert drawn == wanted
    assert images[0].name == asked["image"], "that of the query first"
    assert all(image.pixels.shape == (80, 80) and image.upwards for image in images)
    assert all(image.pixels.std() > 5 for image in images), "stretched"
    assert options["title"] == f"Cutout {query} and its 8 nearest neighbors on their images"


def test_an_image_that_is_gone_is_an_outline_and_without_any_there_is_no_figure(tmp_path, seen):
    rows = pictured_rows(tmp_path)
    catalog = pictured_catalog(tmp_path, rows)
    query = fingerprinted(catalog)[0]
    first = catalog.cutout(query).image["uri"]
    Path(first).unlink()
    catalog.plot_on_image(query, tmp_path / "a.png", k=10)
    ((images,), _) = seen["on_image_figure"]
    assert [image.pixels is None for image in images] == [True] + [False] * (len(images) - 1)
    for row in rows["images"]:
        Path(row["uri"]).unlink(missing_ok=True)
    with pytest.raises(InputError, match="none of the images can be read"):
        catalog.plot_on_image(query, tmp_path / "a.png", k=10)


def test_at_most_so_many_images_are_shown(catalog, tmp_path, seen, monkeypatch):
    monkeypatch.setattr(figures, "MOST_IMAGES", 2)
    catalog.plot_on_image(fingerprinted(catalog)[0], tmp_path / "a.png", k=12)
    ((images,), options) = seen["on_image_figure"]
    assert len(images) == 2
    assert options["note"] == "2 of 3 images."


def test_several_queries_have_no_figure_on_images(catalog, tmp_path):
    with pytest.raises(InputError, match="of one cutout or image"):
        catalog.plot_on_image(fingerprinted(catalog)[:2], tmp_path / "a.png")


def test_quality_counts_failures_rejections_and_measures_by_image(catalog, tmp_path, seen):
    catalog.plot_quality(tmp_path / "a.png")
    ((images,), options) = seen["quality_figure"]
    assert options["failures"] == {"truncated": 2, "no_image": 1}
    assert options["rejected"] == {"no data, more than 0.1": 3}
    assert options["title"] == "Quality of 48 cutouts of 3 images, 3 rejected"
    assert [image.name for image in images] == sorted(catalog.images.column("path").to_pylist())
    cutouts = catalog.cutouts.to_pylist()
    paths = dict(
        zip(*(catalog.images.column(name).to_pylist() for name in ("image_id", "path")), strict=True)
    )
    for image in images:
        own = [row for row in cutouts if paths[row["image_id"]] == image.name]
        assert (image.cutouts, image.rejected) == (16, 1)
        sigma = [row["sky_sigma"] for row in own if row["sky_sigma"] is not None]
        sigma = np.array(sigma)[np.isfinite(sigma)]
        assert image.spread["sky_sigma"] == pytest.approx(np.percentile(sigma, (16, 50, 84)).tolist())
        assert "saturated_fraction" not in image.spread


def test_of_many_images_the_worst_are_measured(catalog, tmp_path, seen, monkeypatch):
    monkeypatch.setattr(quality, "MOST_IMAGES", 2)
    catalog.plot_quality(tmp_path / "a.png")
    ((images,), options) = seen["quality_figure"]
    assert len(images) == 2
    assert options["note"].startswith("The 2 images of which most")
    assert "of 3 images" in options["title"]


def test_timings_are_those_of_info_and_the_rate_of_each_batch(catalog, tmp_path, seen):
    catalog.plot_timings(tmp_path / "a.png")
    ((seconds, rates), options) = seen["timings_figure"]
    assert {name: round(time, 1) for name, time in seconds.items()} == catalog.info()["seconds"]
    assert seconds["projection"] == 1.5
    assert rates == [], "these batches have no times"
    assert options["note"].startswith("3 images, 48 cutouts")


def test_points_are_told_apart_by_label_image_or_band(catalog):
    import pyarrow as pa

    ids = pa.array(catalog.cutout_ids())
    described = catalog.describe_cutouts(catalog.cutout_ids())
    assert groups_of(catalog._store, ids, None) is None
    assert groups_of(catalog._store, ids, "image") == [row["image"] for row in described]
    assert groups_of(catalog._store, ids, "band") == [row["image"][0] for row in described]
    first = [row["labels"][0] if row["labels"] else None for row in described]
    assert groups_of(catalog._store, ids, "label") == first
    with pytest.raises(InputError, match="by label, image or band, not by 'mag'"):
        groups_of(catalog._store, ids, "mag")  # type: ignore[arg-type]


def test_unknown_cutouts_and_a_catalog_without_a_map_are_refused(catalog, tmp_path):
    with pytest.raises(UnknownCutoutError):
        catalog.plot_contact_sheet([1], tmp_path / "a.png")
    with pytest.raises(UnknownCutoutError):
        catalog.plot_sky(tmp_path / "a.png", highlight=[1])
    from helpers.smallcatalog import tables, write_catalog

    with pytest.raises(CatalogError, match="has no map"):
        write_catalog(tmp_path / "catalog", tables(2, 2)).plot_map(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("0.483 of the window has no data, more than 0.3", "no data, more than 0.3"),
        ("1.000 of the window has mask bit CR, more than 0.1", "mask bit CR, more than 0.1"),
        ("the window is 3 px from the edge of the image, less than 8", "edge of the image, less than 8 px"),
        ("no pixel of the window has data", "no pixel of the window has data"),
    ],
)
def test_reasons_are_counted_without_their_measures(reason, kind):
    assert reason_kind(reason) == kind


@pytest.mark.parametrize(
    "command",
    [
        "sheet {catalog} -o {out}/a.png --where 'x0>0' --sample 5",
        "sheet {catalog} -o {out}/a.png {id}",
        "on-image {catalog} {id} -o {out}/a.png -k 3 --metric jaccard",
        "quality {catalog} -o {out}/a.png",
        "timings {catalog} -o {out}/a.png",
        "map {catalog} -o {out}/a.png --method tsne --color-by image",
        "sky {catalog} -o {out}/a.png --highlight {id}",
    ],
)
def test_the_command_line_draws_each(catalog, tmp_path, capsys, command):
    arguments = command.format(catalog=catalog.path, out=tmp_path, id=fingerprinted(catalog)[0])
    assert run_command(["plot", *arguments.replace("'", "").split()]) == 0
    assert capsys.readouterr().out == f"figure: {tmp_path}/a.png\n"
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_the_command_line_says_what_is_wrong(catalog, tmp_path, capsys):
    assert run_command(["plot", "map", str(catalog.path), "-o", f"{tmp_path}/a.png", "--method", "umap"]) == 2
    assert "no map by 'umap', but by tsne" in capsys.readouterr().err
    assert run_command(["plot", "sheet", str(catalog.path), "-o", f"{tmp_path}/a.gif"]) == 2
    assert "end the name in one of .png, .pdf, .svg" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["sheet", "on-image", "quality", "timings", "map", "sky"])
def test_help_has_an_example_of_each(kind, capsys):
    assert run_command(["plot", kind, "--help"]) == 0
    assert f"Example: elodin-spark plot {kind} " in " ".join(capsys.readouterr().out.split())
