"""What neighbors can be asked of: cutouts, positions, vectors, pictures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from helpers.smallcatalog import DIMENSION, SCALE, SIDE, Rows, tables, write_catalog
from hypothesis import given
from hypothesis import settings as cases
from hypothesis import strategies as st

from elodin_spark import Catalog
from elodin_spark.catalog.search.positions import within
from elodin_spark.catalog.search.query import Query
from elodin_spark.cli.main import run_command
from elodin_spark.errors import InputError, UnknownCutoutError
from elodin_spark.fingerprints.labels import label_sets


@pytest.fixture(scope="module")
def rows() -> Rows:
    found = tables(images=6, across=5, seed=1)
    # The fifth image shows what the fourth does, in another band.
    fourth, fifth = (image["image_id"] for image in found["images"][3:5])
    there = [row for row in found["cutouts"] if row["image_id"] == fourth]
    for row, other in zip(there, [r for r in found["cutouts"] if r["image_id"] == fifth], strict=True):
        other["ra"], other["dec"] = row["ra"], row["dec"]
    for row in found["cutouts"]:
        if row["image_id"] == found["images"][5]["image_id"]:
            row["ra"] = row["dec"] = None  # without a WCS
    return found


@pytest.fixture(scope="module")
def catalog(rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return write_catalog(tmp_path_factory.mktemp("queries") / "catalog", rows)


@pytest.fixture(scope="module")
def ids(rows: Rows) -> list[int]:
    return [row["cutout_id"] for row in rows["fingerprints"]]


def pairs(found: Sequence[dict[str, Any]]) -> list[tuple[int, float]]:
    return [(row["neighbor_id"], row["distance"]) for row in found]


# ---- several cutouts -------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["l2", "jaccard"])
def test_several_cutouts_are_answered_in_their_order_each_as_alone(catalog, ids, metric) -> None:
    asked = [ids[7], ids[2], ids[9]]
    for given_ids in (asked, tuple(asked), np.array(asked), iter(asked)):
        found = catalog.neighbors(given_ids, 4, metric)
        assert [row["query_id"] for row in found] == [i for i in asked for _ in range(4)]
    for i in asked:
        alone = catalog.neighbors(i, 4, metric)
        assert {row["query_id"] for row in alone} == {i}
        assert pairs([row for row in found if row["query_id"] == i]) == pairs(alone)


def test_more_neighbors_than_there_are_gives_all(catalog, ids) -> None:
    assert len(catalog.neighbors(ids[0], 10_000, allow_overlap=True)) == len(ids) - 1
    assert len(
        catalog.neighbors(Query.from_vector(np.zeros(DIMENSION)), k=10_000, allow_overlap=True)
    ) == len(ids)


# ---- positions -------------------------------------------------------------------------------


def test_a_position_asks_with_the_cutout_whose_center_is_nearest(catalog, rows, ids) -> None:
    placed = [row for row in rows["cutouts"] if row["cutout_id"] in set(ids) and row["ra"] is not None]
    centers = SkyCoord([row["ra"] for row in placed], [row["dec"] for row in placed], unit="deg")
    rng = np.random.default_rng(0)
    for target in rng.choice(len(placed), 8, replace=False):
        place = centers[target].directional_offset_by(rng.uniform(0, 360) * u.deg, 3 * u.arcsec)
        apart = centers.separation(place).arcsec
        same = [placed[i]["cutout_id"] for i in np.flatnonzero(apart < apart.min() + 1e-6)]
        found = catalog.neighbors(Query.from_position(place), k=3)
        assert {row["query_id"] for row in found} == {min(same)}
        assert pairs(found) == pairs(catalog.neighbors(min(same), 3))


def test_of_cutouts_at_one_place_that_of_the_smallest_id_is_asked_with(catalog, rows, ids) -> None:
    image = rows["images"][3]["image_id"]
    row = next(row for row in rows["cutouts"] if row["image_id"] == image and row["cutout_id"] in set(ids))
    same = [r["cutout_id"] for r in rows["cutouts"] if (r["ra"], r["dec"]) == (row["ra"], row["dec"])]
    assert len(same) == 2
    assert catalog.resolve(Query.from_position((row["ra"], row["dec"]))).cutout_ids == (min(same),)


def test_a_cutout_without_a_fingerprint_is_passed_over(catalog, rows, ids) -> None:
    rejected = next(row for row in rows["cutouts"] if row["rejected"] is not None)
    query = catalog.resolve(Query.from_position((rejected["ra"], rejected["dec"]), 1 * u.arcmin))
    assert query.cutout_ids[0] in ids


def test_half_the_window_is_how_far_a_position_may_be(catalog, rows, ids) -> None:
    # South of all cutouts of the first image.
    row = next(row for row in rows["cutouts"] if row["cutout_id"] == ids[0])
    half = SIDE / 2 * SCALE
    near = catalog.resolve(Query.from_position((row["ra"], row["dec"] - 0.99 * half / 3600)))
    assert near.cutout_ids == (ids[0],)
    assert f"{0.99 * half:.3g} arcsec from RA" in near.name
    beyond = (row["ra"], row["dec"] - 1.01 * half / 3600)
    words = rf"within 8 arcsec of .*; the nearest, {ids[0]}, is 8\.08 arcsec away: give a larger radius"
    with pytest.raises(InputError, match=words):
        catalog.neighbors(Query.from_position(beyond))
    assert catalog.resolve(Query.from_position(beyond, radius_arcsec=9)).cutout_ids == (ids[0],)
    with pytest.raises(InputError, match="within 2 arcsec"):
        catalog.resolve(Query.from_position(beyond, radius_arcsec=2))


@cases(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_nearest_places_are_those_that_astropy_finds(catalog, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ra, dec = rng.uniform(0, 360, 5), np.degrees(np.arcsin(rng.uniform(-1, 1, 5)))
    known = catalog.table("cutouts").filter(catalog.table("cutouts").column("ra").is_valid())
    found = catalog.places.nearest(ra, dec)
    centers = SkyCoord(known.column("ra").to_numpy(), known.column("dec").to_numpy(), unit="deg")
    inside = np.isin(known.column("cutout_id").to_numpy(), catalog.vectors()[0])
    for lon, lat, apart in zip(ra, dec, found.separation_arcsec, strict=True):
        expected = centers[inside].separation(SkyCoord(lon, lat, unit="deg")).arcsec.min()
        assert apart == pytest.approx(expected, rel=1e-9)
    assert not within(found, None).any() or within(found, 648_000).all()


# ---- vectors ---------------------------------------------------------------------------------


def test_a_vector_finds_what_is_nearest_to_it(catalog, rows, tmp_path: Path) -> None:
    vector = np.random.default_rng(4).normal(size=DIMENSION)
    table = {
        row["cutout_id"]: np.array(row["vector"], np.float32).astype(float) for row in rows["fingerprints"]
    }
    wide = vector.astype(np.float32).astype(float)
    best = sorted((float(np.linalg.norm(other.astype(float) - wide)), i) for i, other in table.items())
    found = catalog.neighbors(Query.from_vector(vector), k=7, allow_overlap=True)
    assert [row["neighbor_id"] for row in found] == [i for _, i in best[:7]]
    assert [row["distance"] for row in found] == pytest.approx([d for d, _ in best[:7]])
    np.save(tmp_path / "v.npy", vector)
    for same in (tmp_path / "v.npy", str(tmp_path / "v.npy"), vector.tolist(), vector.astype(np.float32)):
        assert pairs(catalog.neighbors(Query.from_vector(same), k=7, allow_overlap=True)) == pairs(found)
    # Nearer neighbors still leave out those that overlap them, and filters hold.
    apart = catalog.neighbors(Query.from_vector(vector), k=99)
    assert apart[0]["neighbor_id"] == best[0][1]
    assert len(apart) < len(table)
    kept = catalog.neighbors(Query.from_vector(vector), k=99, allow_overlap=True, where="bands = 'r'")
    allowed = {row["neighbor_id"] for row in kept}
    assert [row["neighbor_id"] for row in kept] == [i for _, i in best if i in allowed]
    assert 0 < len(kept) < len(table)
    assert catalog.neighbors(Query.from_vector(vector), where="1 = 0").to_arrow().num_rows == 0
    far = catalog.neighbors(Query.from_vector(vector), k=99, min_separation_arcsec=20)
    assert 0 < len(far) < len(apart)


def test_the_vector_of_a_cutout_finds_that_cutout_first(catalog, ids) -> None:
    known, vectors = catalog.vectors([ids[5]])
    found = catalog.neighbors(Query.from_vector(vectors[0]), k=3, allow_overlap=True)
    assert (found[0]["neighbor_id"], found[0]["distance"]) == (known[0], 0)
    assert pairs(found[1:]) == pairs(catalog.neighbors(ids[5], 2, allow_overlap=True))


def test_a_vector_alone_has_no_labels_to_compare(catalog) -> None:
    for how in ({}, {"where": "1 = 0"}, {"where": "edge_px > 50"}):
        with pytest.raises(InputError, match="no labels to compare"):
            catalog.neighbors(Query.from_vector(np.zeros(DIMENSION)), metric="jaccard", **how)


def test_a_vector_has_labels_where_these_are_its_units(rows, ids, tmp_path: Path) -> None:
    units = [
        {**row, "labels": labels.tolist(), "label_scores": scores.tolist()}
        for row in rows["fingerprints"]
        for (labels,), (scores,) in [label_sets(np.array([row["vector"]], np.float32), 30)]
    ]
    catalog = write_catalog(tmp_path / "units", {**rows, "fingerprints": units}, classes=False)
    vector = np.array(units[3]["vector"], np.float32)
    for where in (None, "1 = 1"):
        found = catalog.neighbors(
            Query.from_vector(vector), k=9, metric="jaccard", allow_overlap=True, where=where
        )
        assert (found[0]["neighbor_id"], found[0]["distance"]) == (ids[3], 0)
        by_id = catalog.neighbors(ids[3], 8, "jaccard", allow_overlap=True)
        assert pairs(found[1:]) == pairs(by_id)
    assert {row["neighbor_id"] for row in catalog.neighbors(ids[3], 999, where="score('unit 2') > 1")} <= {
        row["cutout_id"] for row in units if row["vector"][2] > 1
    }
    with pytest.raises(InputError, match="they are 'unit 0' to 'unit 7'"):
        catalog.neighbors(ids[3], where="score('unit 8') > 1")


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        (np.full(DIMENSION, np.nan), "component 0 of the vector is nan"),
        (np.array([0.0] * (DIMENSION - 1) + [np.inf]), f"component {DIMENSION - 1} of the vector is inf"),
        (np.zeros(DIMENSION + 1), rf"shape \({DIMENSION + 1},\); those of this catalog .* \({DIMENSION},\)"),
        (np.zeros((1, DIMENSION)), rf"shape \(1, {DIMENSION}\)"),
        (0.0, r"shape \(\)"),
        (np.zeros(DIMENSION, complex), "complex128"),
        (["a"] * DIMENSION, "<U1"),
        ([[0.0], [0.0, 1.0]], "no array of numbers"),
        ("none.npy", "there is no file none.npy"),
    ],
)
def test_vectors_that_are_none_are_refused(catalog, vector, words: str) -> None:
    with pytest.raises(InputError, match=words):
        catalog.neighbors(Query.from_vector(vector))


def test_files_that_hold_no_vector_are_refused(catalog, tmp_path: Path) -> None:
    np.save(tmp_path / "pickled.npy", np.array([Evil()], object), allow_pickle=True)
    np.savez(tmp_path / "several.npz", a=np.zeros(DIMENSION))
    (tmp_path / "text.npy").write_text("1 2 3")
    (tmp_path / "empty.npy").touch()
    for name in ("pickled.npy", "several.npz", "text.npy", "empty.npy"):
        with pytest.raises(InputError, match=f"{name} "):
            catalog.neighbors(Query.from_vector(tmp_path / name))


# ---- what cannot be asked --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "value", "error", "words"),
    [
        ("id", (12,), UnknownCutoutError, "no fingerprint of cutout 12"),
        ("id", ([12, 13],), UnknownCutoutError, "12, 13"),
        ("id", (-1,), UnknownCutoutError, "cutout -1"),
        ("id", ([],), InputError, "no cutout ID"),
        ("id", (1.5,), InputError, "a whole number"),
        ("id", ("12",), InputError, "a whole number"),
        ("position", ((0.0, 91.0),), InputError, r"Dec in \[-90, 90\]; got 0, 91"),
        ("position", ((np.nan, 0.0),), InputError, "got nan, 0"),
        ("position", ((0.0,),), InputError, "RA and Dec in degrees"),
        ("position", ("north",), InputError, "RA and Dec in degrees"),
        ("position", ((0.0, 0.0), 0.0), InputError, "a radius is above 0"),
        ("position", ((0.0, 0.0), np.nan), InputError, "a radius is above 0"),
        (
            "position",
            ((200.0, 60.0),),
            InputError,
            "center within 8 arcsec of RA 200, Dec 60",
        ),
        ("image", ("none.fits",), InputError, "no file or folder .*none.fits"),
    ],
)
def test_what_cannot_be_asked_is_said(catalog, way, value, error, words: str, monkeypatch) -> None:
    monkeypatch.setattr("elodin_spark.catalog.catalog.network_of", lambda *of: None)
    with pytest.raises(error, match=words):
        catalog.neighbors(getattr(Query, f"from_{way}")(*value))


def test_a_condition_that_keeps_nothing_still_checks_the_query(catalog) -> None:
    with pytest.raises(UnknownCutoutError, match="cutout 12"):
        catalog.neighbors(12, where="1 = 0")


def test_one_band_cannot_be_asked_with_where_cutouts_are_of_several(
    tmp_path: Path, rows, monkeypatch
) -> None:
    monkeypatch.setattr("elodin_spark.catalog.catalog.network_of", lambda *of: None)
    color = {"grouping": {"kind": "header", "keywords": ["OBJECT"]}, "channels": ["i", "r", "g"]}
    catalog = write_catalog(tmp_path / "color", rows, images={"paths": "/data", "color": color})
    (tmp_path / "one.fits").touch()
    with pytest.raises(
        InputError, match=r"one\.fits is one plane, and the cutouts of .* are of several bands"
    ):
        catalog.neighbors(Query.from_image(tmp_path / "one.fits"))


def test_zero_neighbors_are_refused(catalog, ids) -> None:
    for query in (ids[0], Query.from_vector(np.zeros(DIMENSION))):
        with pytest.raises(InputError, match=r"'k': .*greater than or equal to 1"):
            catalog.neighbors(query, k=0)


def test_a_catalog_without_positions_says_so(catalog, rows, tmp_path: Path) -> None:
    bare = {**rows, "cutouts": [{**row, "ra": None, "dec": None} for row in rows["cutouts"]]}
    with pytest.raises(InputError, match=r"no cutout of .* has a position"):
        write_catalog(tmp_path / "bare", bare).neighbors(Query.from_position((0.0, 0.0)))


# ---- the command line ------------------------------------------------------------------------


def test_the_command_line_asks_by_all_of_them(catalog, rows, ids, tmp_path: Path, capsys) -> None:
    def ask(*arguments: object, code: int = 0) -> str:
        assert run_command(["neighbors", *map(str, (catalog.path, *arguments))]) == code
        printed = capsys.readouterr()
        return printed.out if code == 0 else printed.err

    row = next(row for row in rows["cutouts"] if row["cutout_id"] == ids[0])
    by_place = ask("--position", row["ra"], row["dec"], "-k", 2)
    assert by_place.startswith(f"nearest neighbors of cutout {ids[0]}, ")
    assert f"arcsec from RA {row['ra']:g}, Dec {row['dec']:g} deg (L2 distance)" in by_place
    several = ask(ids[3], ids[4], "-k", 2)
    assert several.count("nearest neighbors of cutout") == 2
    assert several.index(str(ids[3])) < several.index(str(ids[4]))
    table = list(csv.DictReader(io.StringIO(ask(ids[3], ids[4], "-k", 2, "--format", "csv"))))
    assert [int(each["query_id"]) for each in table] == [ids[3]] * 2 + [ids[4]] * 2
    np.save(tmp_path / "v.npy", np.zeros(DIMENSION))
    by_vector = json.loads(ask("--vector", tmp_path / "v.npy", "-k", 3, "--format", "json"))
    assert pairs(by_vector) == pairs(catalog.neighbors(Query.from_vector(np.zeros(DIMENSION)), k=3))
    assert "the vector of" in ask("--vector", tmp_path / "v.npy")
    assert "got nothing" in ask(code=2)
    assert "CUTOUT_ID" in ask("spiral", code=2)
    assert "CUTOUT_ID and --vector together" in ask(ids[0], "--vector", tmp_path / "v.npy", code=2)
    assert "one cutout or image, not of 2 cutouts" in ask(
        ids[0], ids[1], "--plot", tmp_path / "p.png", code=2
    )
    assert run_command(["neighbors", str(catalog.path), str(ids[0]), "-k", "999"]) == 0
    assert "the catalog holds no more that answer" in capsys.readouterr().err
    ask("--position", row["ra"], row["dec"], "--plot", tmp_path / "near.png")
    assert (tmp_path / "near.png").stat().st_size > 1000
