"""Asking by a pixel, folding duplicates, what a removal would take, and distances in context."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.smallcatalog import SIDE, STEP, Rows, tables, write_catalog

from elodin_spark import Catalog
from elodin_spark.catalog.build.typical import Typical, measure_typical
from elodin_spark.catalog.search.query import Query
from elodin_spark.cli.main import run_command
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
        found = catalog.resolve(Query.from_pixel(f"{name}:{x},{y}"))
        if holding:
            off = [(x - w["x0"] - 15.5) ** 2 + (y - w["y0"] - 15.5) ** 2 for w in holding]
            best = min(w["cutout_id"] for w, d in zip(holding, off, strict=True) if d == min(off))
            assert found.cutout_ids == (best,)
            assert f"which holds pixel {x},{y} of {rows['images'][number]['path']}" in found.name
        assert catalog.resolve(Query.from_pixel(name, x, y)).cutout_ids == found.cutout_ids
    rows_found = catalog.neighbors(Query.from_pixel(f"{name}:{x},{y}"), k=2)
    assert {row["query_id"] for row in rows_found} == set(found.cutout_ids)


def test_a_pixel_is_of_the_grid_that_steps_leave(rows, tmp_path: Path) -> None:
    size = 2 * WIDTH
    steps = [{"type": "Resize", "parameters": {"output_size": size}}]
    changed = write_catalog(tmp_path / "resized", rows, images={"paths": "/data", "steps": steps})
    at = size - 1
    assert (
        f"from pixel {at},{at} of r/0.fits" in changed.resolve(Query.from_pixel(f"r/0.fits:{at},{at}")).name
    )
    with pytest.raises(InputError, match=f"which is {size} x {size} px"):
        changed.resolve(Query.from_pixel(f"r/0.fits:{size},0"))
    windows = windows_of(rows, 0)
    last = max(windows, key=lambda window: window["x0"] + window["y0"])
    assert changed.cutout_at(image="r/0.fits") == last["cutout_id"]  # the middle is where all of them end


def test_a_pixel_that_no_window_holds_asks_with_the_nearest(rows, tmp_path: Path) -> None:
    (corner,) = [w for w in windows_of(rows, 0) if (w["x0"], w["y0"]) == (0, 0)]
    some = {row["cutout_id"] for row in windows_of(rows, 1)} | {corner["cutout_id"]}
    few = {name: [r for r in rows[name] if r["cutout_id"] in some] for name in ("cutouts", "fingerprints")}
    bare = write_catalog(tmp_path / "few", {"images": rows["images"], **few})
    query = bare.resolve(Query.from_pixel(f"r/0.fits:{SIDE + 3},{SIDE + 4}"))  # pixel 31 reaches to 31.5
    assert query.cutout_ids == (corner["cutout_id"],)
    assert f"{np.hypot(3.5, 4.5):.3g} px from pixel {SIDE + 3},{SIDE + 4} of r/0.fits" in query.name
    with pytest.raises(InputError, match=r"no cutout of r/2\.fits has a fingerprint"):
        bare.resolve(Query.from_pixel("r/2.fits:1,1"))


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
        catalog.resolve(Query.from_pixel(*at) if isinstance(at, tuple) else Query.from_pixel(at))


def test_of_two_images_of_one_end_the_whole_path_is_meant_first(catalog, rows) -> None:
    assert catalog.resolve(Query.from_pixel("r/0.fits:9,9")).cutout_ids[0] in {
        w["cutout_id"] for w in windows_of(rows, 0)
    }
    assert catalog.resolve(Query.from_pixel("p/r/0.fits:9,9")).cutout_ids[0] in {
        w["cutout_id"] for w in windows_of(rows, 5)
    }


def test_a_file_may_be_named_as_it_is_reached_from_here(catalog, rows, monkeypatch, tmp_path) -> None:
    (tmp_path / "data").symlink_to("/data")
    monkeypatch.chdir(tmp_path)
    for name in ("/data/g/1.fits", "data/g/1.fits"):
        query = catalog.resolve(Query.from_pixel(f"{name}:9,9"))
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
    ids = [row["neighbor_id"] for row in folded]
    assert (
        ids
        == [
            row["neighbor_id"]
            for at, row in enumerate(plain)
            if twins.get(row["neighbor_id"]) not in {other["neighbor_id"] for other in plain[:at]}
        ]
        or not overlap
    )  # what is folded no longer stands in the way of what overlaps it
    assert len(ids) < len(plain) or not overlap
    assert not any(twins.get(i) in ids for i in ids)
    for row in folded:
        twin = twins.get(row["neighbor_id"])
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
    found = catalog.neighbors(Query.from_vector(vector), k=1, fold_duplicates=True)
    assert [(row["neighbor_id"], row["duplicates"]) for row in found] == [(one, [twins[one]])]


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


# ---- distances in context ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(rows: Rows, tmp_path_factory) -> Catalog:
    settings = {"neighbors": {"metrics": ["l2", "jaccard", "label_scores"]}}
    catalog = write_catalog(tmp_path_factory.mktemp("measured") / "catalog", rows, **settings)
    assert catalog.neighbors(int(catalog.vectors()[0][0]), 2)[0]["distance_percentile"] is None
    assert measure_typical(catalog._store, seed=0)
    assert not measure_typical(catalog._store, seed=0)
    return Catalog.open(catalog.path)


def distance(metric: str, one: dict[str, Any], other: dict[str, Any]) -> float:
    a, b = (np.array(row["vector"], np.float32).astype(float) for row in (one, other))
    if metric == "l2":
        return float(np.linalg.norm(a - b))
    if metric == "cosine":
        return float(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    first, second = set(one["labels"]), set(other["labels"])
    if metric == "jaccard":
        return 1 - len(first & second) / len(first | second)
    shares = [
        dict(zip(row["labels"], np.array(row["label_scores"]) / np.sum(row["label_scores"]), strict=True))
        for row in (one, other)
    ]
    return float(np.sqrt(sum((shares[0].get(i, 0) - shares[1].get(i, 0)) ** 2 for i in first | second)))


@pytest.mark.parametrize("metric", ["l2", "cosine", "jaccard", "label_scores"])
def test_a_percentile_is_the_share_of_pairs_that_are_nearer(measured, rows, metric: str) -> None:
    known = rows["fingerprints"]
    assert len(known) <= 320, "all of them are in the sample"
    pairs = np.array([distance(metric, a, b) for at, a in enumerate(known) for b in known[:at]])
    asked = known[3]
    for row in measured.neighbors(asked["cutout_id"], 300, metric, allow_overlap=True)[::9]:
        nearer = 100 * (pairs < row["distance"] - 1e-9).mean()
        equal = 100 * (np.abs(pairs - row["distance"]) <= 1e-9).mean()
        # Between two percentiles it is interpolated, and equal distances are a step.
        assert nearer - 1.01 <= row["distance_percentile"] <= nearer + equal + 1.01
    typical = measured.typical(metric)
    assert typical.pairs[[0, -1]] == pytest.approx([pairs.min(), pairs.max()], abs=1e-6)
    assert typical.percentile(pairs.min() / 2) == 0
    assert typical.percentile(pairs.max() * 2) == 100
    nearest = [measured.neighbors(row["cutout_id"], 1, metric)[0]["distance"] for row in known]
    facts = measured.info()["products"]["index"]["distances"][metric]
    assert facts["nearest"] == pytest.approx(np.percentile(nearest, [16, 50, 84]), rel=0.02, abs=0.01)
    assert facts["pairs"] == pytest.approx(np.percentile(pairs, [16, 50, 84]), rel=0.02, abs=0.01)


def test_ranks_have_no_percentile(measured, rows) -> None:
    assert measured.typical("rank_fusion") is None
    found = measured.neighbors(rows["fingerprints"][0]["cutout_id"], 2, "rank_fusion")
    assert found[0]["distance_percentile"] is None


@pytest.mark.parametrize(
    ("best", "words"),
    [
        (0.5, ""),
        (0.9, ""),
        (2.5, "little is like it: the nearest is farther than that of 95 of 100"),
        (6.0, "nothing"),
    ],
)
def test_an_answer_says_when_nothing_is_near(best: float, words: str) -> None:
    typical = Typical.of(np.linspace(1, 10, 1000), np.linspace(0.1, 2, 200))
    assert typical.remark(best).startswith(words)
    assert bool(typical.remark(best)) == bool(words)


def test_what_is_like_nothing_is_told_so(measured, rows, tmp_path: Path, capsys) -> None:
    far = np.full(len(rows["fingerprints"][0]["vector"]), 50.0)
    np.save(tmp_path / "far.npy", far)
    ask = ["neighbors", str(measured.path), "-k", "3"]
    assert run_command([*ask, "--vector", str(tmp_path / "far.npy")]) == 0
    _, _, columns, *_, last = capsys.readouterr().out.splitlines()
    assert "distance  distance_percentile" in columns
    assert last == "      nothing is like it: the nearest is no nearer than two cutouts taken at random"
    assert run_command([*ask, str(rows["fingerprints"][0]["cutout_id"]), "--format", "csv"]) == 0
    assert ",distance_percentile" in capsys.readouterr().out
    assert run_command(["info", str(measured.path)]) == 0
    assert "distances  68 % of pairs of cutouts lie " in capsys.readouterr().out


def test_distances_are_measured_again_without_what_was_removed(measured, rows, tmp_path: Path) -> None:
    catalog = Catalog.open(shutil.copytree(measured.path, tmp_path / "copy"))
    pairs = catalog.typical().pairs
    catalog.remove(cutouts=[row["cutout_id"] for row in windows_of(rows, 1)])
    assert measure_typical(catalog._store, seed=0)
    assert (catalog.typical().pairs != pairs).any()


def test_of_hardly_any_cutouts_nothing_is_said(tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "few", tables(images=2, across=2))
    assert measure_typical(catalog._store, seed=0)
    assert catalog.typical() is None
