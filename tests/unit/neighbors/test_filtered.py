"""Neighbors among some cutouts, and apart on the sky, against brute force, astropy and mocpy."""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import Latitude, Longitude, SkyCoord
from astropy.io import fits
from helpers.labels import label_index
from hypothesis import given
from hypothesis import settings as cases
from hypothesis import strategies as st
from mocpy import MOC
from numpy.typing import NDArray

from elodin_spark.catalog.search.engine import NeighborSearch
from elodin_spark.catalog.search.options import SearchOptions
from elodin_spark.cutouts.cells import position_cells
from elodin_spark.errors import InputError, UnknownCutoutError
from elodin_spark.neighbors.base import Index
from elodin_spark.neighbors.flat import L2Index
from elodin_spark.neighbors.ivf.factory import choose_index_config
from elodin_spark.neighbors.ivf.index import ApproximateL2Index
from elodin_spark.neighbors.ivf.shard import add_shard
from elodin_spark.neighbors.ivf.training import train
from elodin_spark.neighbors.labels.index import TieBroken
from elodin_spark.neighbors.regions import PlacedWindows, directions, within_cone, within_moc

N, D, LABELS = 3000, 24, 40


@pytest.fixture(scope="module")
def ids() -> NDArray[np.int64]:
    return np.random.default_rng(0).choice(2**62, N, replace=False)


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    return np.random.default_rng(1).integers(0, 4, (N, D)).astype(np.float32)


@pytest.fixture(scope="module")
def exact(ids, vectors) -> L2Index:
    return L2Index.build([(ids, vectors)], D)


@pytest.fixture(scope="module", params=["l2", "jaccard", "approximate"])
def index(request, ids, vectors, exact, tmp_path_factory: pytest.TempPathFactory) -> Index:
    if request.param == "l2":
        return exact
    if request.param == "jaccard":
        sets = [np.flatnonzero(row) for row in np.random.default_rng(2).random((N, LABELS)) < 0.2]
        return TieBroken(label_index([(ids, sets)], LABELS), exact)
    folder = tmp_path_factory.mktemp("index")
    train(choose_index_config(N, D, 1, factory="IVF16,SQ8", store="f32"), [vectors], folder / "trained.index")
    add_shard(folder / "shard", folder / "trained.index", [(ids, vectors)])
    return ApproximateL2Index.open(folder / "trained.index", [folder / "shard"], nprobe=16, candidates=N)


@pytest.mark.parametrize("share", [0.001, 0.3, 1.0])
def test_a_filter_leaves_the_order_and_gives_all_that_are_allowed(index, ids, share: float) -> None:
    rng = np.random.default_rng(3)
    allowed = rng.choice(ids, max(3, int(share * N)), replace=False)
    queries = np.concatenate([allowed[:2], ids[:4]])  # of which some are not allowed themselves
    k = min(7, allowed.size)
    near, distances = index.search(queries, k, allowed=np.append(allowed, -5))
    whole, far = index.search(queries, N)
    assert index.search(queries, N, allowed=np.append(allowed, -5))[0].shape == (len(queries), allowed.size)
    for row in range(len(queries)):
        keep = np.isin(whole[row], allowed)
        assert near[row].tolist() == whole[row][keep][:k].tolist()
        np.testing.assert_allclose(distances[row], far[row][keep][:k], rtol=1e-12)


def table(ids: NDArray[np.int64], ra: NDArray[np.float64], dec: NDArray[np.float64]) -> pa.Table:
    columns = {name: np.arange(len(ids)) for name in ("image_id", "x0", "y0")}
    columns |= {"x1": columns["x0"] + 1, "y1": columns["y0"] + 1}
    return pa.table({"cutout_id": ids, **columns, "ra": ra, "dec": dec}).sort_by("cutout_id")


@pytest.fixture(scope="module")
def sky(ids) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Around RA 0 and both poles, and some without a position."""
    rng = np.random.default_rng(4)
    ra = rng.normal(0, 2, N) % 360
    dec = np.concatenate([rng.normal(0, 2, N // 2), 90 - np.abs(rng.normal(0, 2, N // 4))])
    dec = np.concatenate([dec, -90 + np.abs(rng.normal(0, 2, N - dec.size))])
    ra[::50] = dec[::50] = np.nan
    return ra, dec


@pytest.mark.parametrize("cone", [(0.0, 0.0, 1.5), (359.9, 0.1, 1.0), (123.0, 90.0, 1.0), (10.0, -89.5, 0.7)])
def test_a_cone_holds_what_astropy_says(exact, ids, vectors, sky, cone) -> None:
    ra, dec = sky
    known = np.isfinite(ra)
    apart = SkyCoord(ra[known], dec[known], unit="deg").separation(SkyCoord(*cone[:2], unit="deg"))
    inside = ids[known][apart.deg <= cone[2]]
    assert 20 < inside.size < N
    answer = NeighborSearch(
        SearchOptions(k=9, cone=(cone[:2], cone[2] * 3600)), exact, table(ids, ra, dec), "the test"
    )
    queries = ids[:6]
    found = answer(queries)
    assert len(found) == 9 * len(queries)
    order = {int(i): at for at, i in enumerate(ids)}
    for query in queries:
        others = inside[inside != query]
        distance = np.linalg.norm(
            vectors[[order[int(i)] for i in others]].astype(float) - vectors[order[int(query)]], axis=1
        )
        best = sorted(zip(distance.tolist(), others.tolist(), strict=True))[:9]
        rows = found.filter(pa.compute.equal(found.column("query_id"), int(query)))
        assert rows.column("neighbor_id").to_pylist() == [i for _, i in best]


@cases(max_examples=40)
@given(st.floats(0, 360), st.floats(-90, 90), st.floats(1e-3, 179), st.integers(0, 2**32 - 1))
def test_cones_on_any_sky(ra: float, dec: float, radius: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(0, 360, 200), np.degrees(np.arcsin(rng.uniform(-1, 1, 200)))
    apart = SkyCoord(lon, lat, unit="deg").separation(SkyCoord(ra, dec, unit="deg")).deg
    sure = np.abs(apart - radius) > 1e-9
    assert np.array_equal(within_cone(ra, dec, radius * 3600, lon, lat)[sure], (apart <= radius)[sure])


@pytest.mark.parametrize(("name", "kind"), [("a.fits", "fits"), ("a.json", "json"), ("a.txt", "ascii")])
def test_a_moc_holds_what_mocpy_says(exact, ids, sky, tmp_path: Path, name: str, kind: str) -> None:
    places = [Longitude(1 * u.deg), Longitude(0 * u.deg)], [Latitude(0 * u.deg), Latitude(90 * u.deg)]
    first, second = (
        MOC.from_cone(lon, lat, radius=1 * u.deg, max_depth=12) for lon, lat in zip(*places, strict=True)
    )
    moc = first.union(second)
    moc.save(str(tmp_path / name), format=kind)
    ra, dec = sky
    known = np.isfinite(ra)
    expected = np.zeros(N, bool)
    expected[known] = moc.contains_lonlat(ra[known] * u.deg, dec[known] * u.deg)
    assert np.array_equal(within_moc(tmp_path / name, ra, dec), expected)
    answer = NeighborSearch(
        SearchOptions(k=5, moc=str(tmp_path / name)), exact, table(ids, ra, dec), "the test"
    )
    found = answer(ids[:5]).column("neighbor_id").to_numpy()
    assert found.size == 25
    assert np.isin(found, ids[expected]).all()


@cases(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(0, 0), (359.9999, 10), (50, 90), (50, -90)]))
def test_neighbors_keep_apart_as_astropy_measures(seed: int, center: tuple[float, float]) -> None:
    rng = np.random.default_rng(seed)
    n = 60
    ids, vectors = np.arange(1, n + 1), rng.normal(size=(n, 4)).astype(np.float32)
    middle = SkyCoord(*center, unit="deg")
    around = middle.directional_offset_by(rng.uniform(0, 360, n) * u.deg, rng.uniform(0, 20, n) * u.arcsec)
    limit = 6.0
    answer = NeighborSearch(
        SearchOptions(k=n, min_separation_arcsec=limit),
        L2Index.build([(ids, vectors)], 4),
        table(ids, around.ra.deg, around.dec.deg),
        "the test",
    )
    found = answer([1]).column("neighbor_id").to_pylist()
    order = np.argsort(np.linalg.norm(vectors - vectors[0], axis=1), kind="stable")
    kept = [0]
    for row in order[order != 0]:
        if (around[row].separation(around[kept]).arcsec > limit).all():
            kept.append(int(row))
    assert found == ids[kept[1:]].tolist()


def test_separation_and_overlap_are_told_apart(exact, ids) -> None:
    ra, dec = np.zeros(N), np.linspace(-80, 80, N)
    ra[1:3], dec[1:3] = ra[0], dec[0]
    rows = table(ids, ra, dec)
    keep = {int(i) for i in ids[1:3]}
    whole = (
        NeighborSearch(SearchOptions(k=N - 1), exact, rows, "x")(ids[:1]).column("neighbor_id").to_pylist()
    )
    assert keep <= set(whole)
    apart = SearchOptions(k=N - 1, allow_overlap=True, min_separation_arcsec=1)
    some = NeighborSearch(apart, exact, rows, "x")(ids[:1]).column("neighbor_id").to_pylist()
    assert set(whole) - set(some) == keep


def test_places_that_are_not_known_are_near_nothing() -> None:
    from elodin_spark.neighbors.suppression import WindowTable

    xyz = directions(np.array([10.0, np.nan, 10.0]), np.array([5.0, np.nan, 5.0]))
    edges = np.arange(3)
    placed = PlacedWindows(WindowTable(edges, edges, edges, edges + 1, edges + 1), xyz, 1.0, overlap=True)
    assert placed.overlaps(0, placed).tolist() == [True, False, True]
    assert placed.overlaps(1, placed).tolist() == [False, True, False]  # itself, by its pixels


def test_an_empty_sky_gives_no_neighbors_but_still_checks_the_query(exact, ids, sky) -> None:
    answer = NeighborSearch(SearchOptions(k=3, cone=((180.0, 0.0), 360)), exact, table(ids, *sky), "the test")
    assert answer(ids[:2]).num_rows == 0
    with pytest.raises(UnknownCutoutError):
        answer([17])


@pytest.mark.parametrize(
    "wrong",
    [
        {"k": 0},
        {"min_separation_arcsec": 0.0},
        {"min_separation_arcsec": float("nan")},
        {"cone": ((0.0, 91.0), 1.0)},
        {"cone": ((0.0, 0.0), 0.0)},
        {"cone": (0.0, 0.0, 1.0)},
        {"cone": ((float("nan"), 0.0), 1.0)},
    ],
)
def test_options_out_of_range_are_refused(wrong) -> None:
    with pytest.raises(InputError):
        SearchOptions(**{"k": 3, **wrong})


def test_other_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hamming"):
        SearchOptions(k=3, metric="hamming")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no MOC at"):
        within_moc(tmp_path / "none.fits", np.zeros(1), np.zeros(1))
    for name in ("bad.fits", "bad.json", "bad.txt"):
        (tmp_path / name).write_text("{nonsense")
        with pytest.raises(InputError, match="is not a MOC"):
            within_moc(tmp_path / name, np.zeros(1), np.zeros(1))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '{"30": [1, 2]}'),
        ("a.json", '{"3": [1], "61": []}'),
        ("a.json", '{"-1": [1]}'),
        ("a.json", '{"3": [768]}'),
        ("a.json", '{"3": [-1]}'),
        ("a.txt", "30/1 2"),
        ("a.txt", "3/1-4 61/"),
        ("a.txt", "3/1,4 5/8 255/7"),
        ("a.txt", "3/1-768"),
        ("a.fits", {"MOCORDER": 30}),
        ("a.fits", {"MOCORD_S": 61}),
        ("a.fits", 4 * 4**30),
        ("a.fits", 3),
    ],
)
def test_a_moc_of_orders_that_there_are_not_is_refused(
    tmp_path: Path, name: str, content: str | int | dict[str, int]
) -> None:
    path = tmp_path / name
    if isinstance(content, str):
        path.write_text(content)
    else:
        uniq = content if isinstance(content, int) else 4 * 4**5
        table = fits.BinTableHDU.from_columns([fits.Column("UNIQ", "K", array=np.array([4 * 4**3, uniq]))])
        table.header.update({"PIXTYPE": "HEALPIX", "ORDERING": "NUNIQ", "COORDSYS": "C", "MOCVERS": "1.1"})
        table.header.update({"MOCORDER": 29} | (content if isinstance(content, dict) else {}))
        table.writeto(path)
    with pytest.raises(InputError, match="make"):
        within_moc(path, np.zeros(1), np.zeros(1))


def test_a_moc_of_the_largest_order_is_read(tmp_path: Path) -> None:
    cells = position_cells(np.array([10.0]), np.array([20.0]), 29)
    (tmp_path / "a.txt").write_text(f"5/0 29/{cells[0]}")
    (tmp_path / "a.json").write_text(f'{{"29": [{cells[0]}]}}')
    for name in ("a.txt", "a.json"):
        inside = within_moc(tmp_path / name, np.array([10.0, 10.001]), np.array([20.0, 20.0]))
        assert inside.tolist() == [True, False]
