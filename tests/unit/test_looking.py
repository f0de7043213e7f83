"""Asking by a pixel, folding duplicates, and what a removal would take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from smallcatalog import SIDE, STEP, Rows, tables, write_catalog

from elodin_spark import Catalog
from elodin_spark.cli import run_command
from elodin_spark.errors import InputError

WIDTH = 3 * STEP + SIDE  # px, of an image of four windows on a side


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Images r/0.fits to g/5.fits; the fifth is the second HDU of the fourth, the sixth is deep/r/0.fits."""
    found = tables(images=7, across=4, seed=5)
    for number, image in enumerate(found["images"]):
        image |= {"width": WIDTH, "height": WIDTH, "uri": f"/data/{image['path']}"}
        if number == 4:
            image |= {"path": found["images"][3]["path"], "hdu": 2}
        if number == 5:
            image["path"] = "deep/r/0.fits"
        if number == 6:
            image |= {"path": "bad.fits", "status": "failed", "error": "truncated"}
    return found


@pytest.fixture(scope="module")
def catalog(rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return write_catalog(tmp_path_factory.mktemp("looking") / "catalog", rows)


def windows_of(rows: Rows, number: int) -> list[dict[str, Any]]:
    """Windows of an image that have fingerprints."""
    image, known = rows["images"][number]["image_id"], {row["cutout_id"] for row in rows["fingerprints"]}
    return [r for r in rows["cutouts"] if r["image_id"] == image and r["cutout_id"] in known]


# ---- pixels ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "number"),
    [("r/0.fits", 0), ("g/1.fits", 1), ("1.fits", 1), ("r/2.fits", 2), ("g/3.fits[2]", 4), ("3.fits[0]", 3)],
)
def test_a_pixel_asks_with_the_window_that_shows_it_best(catalog, rows, name: str, number: int) -> None:
    windows = windows_of(rows, number)
    for x, y in np.random.default_rng(number).integers(0, WIDTH, (20, 2)).tolist():
        holding = [w for w in windows if w["x0"] <= x < w["x1"] and w["y0"] <= y < w["y1"]]
        found = catalog.query(at=f"{name}:{x},{y}")
        if holding:
            off = [(x - w["x0"] - 15.5) ** 2 + (y - w["y0"] - 15.5) ** 2 for w in holding]
            best = min(w["cutout_id"] for w, d in zip(holding, off, strict=True) if d == min(off))
            assert found.cutout_ids == (best,)
            assert f"which holds pixel {x},{y} of {rows['images'][number]['path']}" in found.name
        assert catalog.query(at=(name, x, y)).cutout_ids == found.cutout_ids
    rows_found = catalog.neighbors(at=f"{name}:{x},{y}", k=2)
    assert {row["query_id"] for row in rows_found} == set(found.cutout_ids)


def test_a_pixel_that_no_window_holds_asks_with_the_nearest(rows, tmp_path: Path) -> None:
    (corner,) = [w for w in windows_of(rows, 0) if (w["x0"], w["y0"]) == (0, 0)]
    some = {row["cutout_id"] for row in windows_of(rows, 1)} | {corner["cutout_id"]}
    few = {name: [r for r in rows[name] if r["cutout_id"] in some] for name in ("cutouts", "fingerprints")}
    bare = write_catalog(tmp_path / "few", {"images": rows["images"], **few})
    query = bare.query(at=f"r/0.fits:{SIDE + 3},{SIDE + 4}")  # pixel 31 reaches to 31.5
    assert query.cutout_ids == (corner["cutout_id"],)
    assert f"{np.hypot(3.5, 4.5):.3g} px from pixel {SIDE + 3},{SIDE + 4} of r/0.fits" in query.name
    with pytest.raises(InputError, match=r"no cutout of r/2\.fits has a fingerprint"):
        bare.query(at="r/2.fits:1,1")


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("g/1.fit:3,4", r"no image 'g/1\.fit' in .*; did you mean g/1\.fits"),
        ("elsewhere/2.fist:3,4", r"did you mean r/2\.fits"),
        ("spiral:3,4", r"no image 'spiral' in .*; it has bad\.fits, deep/r/0\.fits, "),
        (".fits:3,4", r"several images end in '\.fits': .* and 1 more"),
        ("3.fits:3,4", r"g/3\.fits holds several images: say which of g/3\.fits\[0\], g/3\.fits\[2\]"),
        ("3.fits[1]:3,4", r"g/3\.fits has no image in HDU 1; it has in 0, 2"),
        ("bad.fits:3,4", r"bad\.fits could not be used: truncated"),
        (f"1.fits:{WIDTH},4", rf"pixel {WIDTH},4 is outside g/1\.fits, which is 80 x 80 px: x from 0 to 79"),
        ("1.fits:4,-1", r"pixel 4,-1 is outside"),
        ("1.fits", "a pixel is IMAGE:X,Y"),
        ("1.fits:3", "a pixel is IMAGE:X,Y"),
        ("1.fits:a,b", "a pixel is IMAGE:X,Y"),
        (("1.fits", 3), r"a pixel is IMAGE:X,Y, .*or \(image, x, y\)"),
        (("1.fits", np.nan, 3), "got x nan"),
    ],
)
def test_pixels_that_cannot_be_asked_with_are_refused(catalog, at, words: str) -> None:
    with pytest.raises(InputError, match=words):
        catalog.query(at=at)


def test_of_two_images_of_one_end_the_whole_path_is_meant_first(catalog, rows) -> None:
    assert catalog.query(at="r/0.fits:9,9").cutout_ids[0] in {w["cutout_id"] for w in windows_of(rows, 0)}
    assert catalog.query(at="p/r/0.fits:9,9").cutout_ids[0] in {w["cutout_id"] for w in windows_of(rows, 5)}


def test_a_file_may_be_named_as_it_is_reached_from_here(catalog, rows, monkeypatch, tmp_path) -> None:
    (tmp_path / "data").symlink_to("/data")
    monkeypatch.chdir(tmp_path)
    for name in ("/data/g/1.fits", "data/g/1.fits"):
        query = catalog.query(at=f"{name}:9,9")
        assert query.cutout_ids[0] in {w["cutout_id"] for w in windows_of(rows, 1)}


def test_the_command_line_asks_by_a_pixel(catalog, rows, capsys) -> None:
    assert run_command(["neighbors", str(catalog.path), "--at", "1.fits:9,9", "-k", "2"]) == 0
    assert ", which holds pixel 9,9 of g/1.fits (L2 distance)" in capsys.readouterr().out
    assert run_command(["neighbors", str(catalog.path), "--at", "1.fits:9,900"]) == 2
    assert "outside g/1.fits" in capsys.readouterr().err


# ---- duplicates ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def doubled(rows: Rows, tmp_path_factory) -> tuple[Catalog, dict[int, int]]:
    """The vectors of image 2 are those of image 1 again, rounded otherwise; the twin of each cutout."""
    known = {row["cutout_id"]: row for row in rows["fingerprints"]}
    twins, changed = {}, dict(known)
    for one, other in zip(windows_of(rows, 1), windows_of(rows, 2), strict=True):
        vector = (np.array(known[one["cutout_id"]]["vector"]) * (1 + 1e-3)).tolist()
        changed[other["cutout_id"]] = {**known[other["cutout_id"]], "vector": vector}
        twins |= {one["cutout_id"]: other["cutout_id"], other["cutout_id"]: one["cutout_id"]}
    made = {**rows, "fingerprints": list(changed.values())}
    return write_catalog(tmp_path_factory.mktemp("doubled") / "catalog", made), twins


@pytest.mark.parametrize("metric", ["l2", "jaccard", "cosine"])
@pytest.mark.parametrize("overlap", [True, False])
def test_duplicates_are_folded_into_the_nearest_of_them(doubled, metric: str, overlap: bool) -> None:
    catalog, twins = doubled
    query = next(iter(twins))
    how = {"metric": metric, "allow_overlap": overlap}
    plain = catalog.neighbors(query, 200, **how)
    folded = catalog.neighbors(query, 200, fold_duplicates=True, **how)
    ids = [row["cutout_id"] for row in folded]
    assert (
        ids
        == [
            row["cutout_id"]
            for at, row in enumerate(plain)
            if twins.get(row["cutout_id"]) not in {other["cutout_id"] for other in plain[:at]}
        ]
        or not overlap
    )  # what is folded no longer stands in the way of what overlaps it
    assert len(ids) < len(plain) or not overlap
    assert not any(twins.get(i) in ids for i in ids)
    for row in folded:
        twin = twins.get(row["cutout_id"])
        assert row["duplicates"] == ([] if twin in (None, query) else [twin])
    assert twins[query] in ids, "a duplicate of the query is a neighbor"
    assert "duplicates" not in plain[0]


def test_only_what_a_filter_keeps_is_folded(doubled, capsys) -> None:
    catalog, twins = doubled
    query = next(iter(twins))
    kept = catalog.neighbors(query, 50, where="path = 'g/1.fits'", fold_duplicates=True)
    assert kept
    assert not any(row["duplicates"] for row in kept)
    command = ["neighbors", str(catalog.path), str(query), "--fold-duplicates", "-k", "60", "--allow-overlap"]
    assert run_command(command) == 0
    assert capsys.readouterr().out.count("  and 1 duplicate\n") >= 10
    assert run_command([*command, "--format", "csv"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.endswith(",duplicates")
    assert sum(line.rsplit(",", 1)[1].isdigit() for line in lines) >= 10


def test_a_vector_from_outside_finds_each_picture_once(doubled) -> None:
    catalog, twins = doubled
    one = next(iter(twins))
    _, (vector,) = catalog.vectors([one])
    found = catalog.neighbors(vector=vector, k=1, fold_duplicates=True)
    assert [(row["cutout_id"], row["duplicates"]) for row in found] == [(one, [twins[one]])]


# ---- what a removal would take -----------------------------------------------------------------


def test_a_dry_run_lists_what_would_be_removed_and_removes_nothing(rows, tmp_path, capsys) -> None:
    catalog = write_catalog(tmp_path / "catalog", rows)
    single = windows_of(rows, 1)[3]
    before = catalog.cutout_ids().tolist()
    of_image = sum(row["image_id"] == rows["images"][2]["image_id"] for row in rows["cutouts"])
    command = ["remove", str(catalog.path), "--image", "r/2.fits", "--cutout", str(single["cutout_id"])]
    assert run_command([*command, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"would remove {of_image + 1} cutouts and 1 image; nothing was removed",
        f"  r/2.fits, {of_image} cutouts",
        "  cutout {cutout_id}, [{x0}:{x1}, {y0}:{y1}] of g/1.fits".format(**single),
    ]
    assert Catalog.open(catalog.path).cutout_ids().tolist() == before
    assert run_command([*command[:2], "--image", "r/9.fits", "--dry-run"]) == 2
    assert "no image 'r/9.fits'" in capsys.readouterr().err
    assert run_command(command) == 0
    assert capsys.readouterr().out.startswith(f"removed {of_image + 1} cutouts and 1 image;")
    assert len(Catalog.open(catalog.path).cutout_ids()) == len(before) - of_image - 1


def test_a_long_dry_run_is_cut_short(catalog, rows, capsys) -> None:
    ids = [row["cutout_id"] for row in windows_of(rows, 1) + windows_of(rows, 2)]
    arguments = [part for number in ids for part in ("--cutout", str(number))]
    assert run_command(["remove", str(catalog.path), *arguments, "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"  and {len(ids) - 20} more"
    assert not (catalog.path / "removed.parquet").exists()
