"""Known repeats of a catalog: its noise floor, and neighbors that are repeats of each other."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from elodin_spark import Catalog
from elodin_spark.catalog.build.typical import measure_noise
from elodin_spark.catalog.report import info_text
from elodin_spark.catalog.search.batch import write_neighbors
from elodin_spark.catalog.search.options import SearchOptions
from elodin_spark.cli.main import run_command
from elodin_spark.errors import CatalogError

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module", params=["exact", "coded"])
def catalog(request, survey, small_settings, spark, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(2)
    for epoch in range(3):  # of one field
        with fits.open(survey.tiles[0]) as hdulist:
            data = hdulist["IMAGE"].data
            hdulist["IMAGE"].data = data + rng.normal(0, data.std() / 2, data.shape).astype(np.float32)
            hdulist.writeto(folder / f"epoch{epoch}.fits")
    coded = {"index_config": "PCAR32,IVF4,RaBitQ", "store": "f32", "recall": 1.0, "metrics": ["l2"]}
    settings = small_settings(
        folder,
        images={"paths": str(folder), "hdu": "IMAGE"},
        cutouts={"generator": {"kind": "sliding_window", "size": 48, "step": 24}},
        neighbors=coded if request.param == "coded" else {"index_config": "exact"},
        run={"figures": False, "repeats_arcsec": 3},
    )
    made = Catalog.create(tmp_path_factory.mktemp("catalogs") / "catalog", settings)
    made.run()
    return made


def pairs_of(catalog: Catalog) -> np.ndarray:
    pairs = catalog.repeats()
    return np.column_stack([pairs.column("id_a").to_numpy(), pairs.column("id_b").to_numpy()])


def distances(catalog: Catalog, pairs: np.ndarray) -> np.ndarray:
    ids, vectors = catalog.vectors()
    a, b = (vectors[np.searchsorted(ids, pairs[:, side])].astype(np.float64) for side in (0, 1))
    return np.sqrt(((a - b) ** 2).sum(axis=1))


def test_the_noise_floor_is_the_median_distance_of_repeats(catalog: Catalog, capsys) -> None:
    pairs = pairs_of(catalog)
    assert len(pairs) > 10
    noise = catalog.info()["products"]["index"]["noise"]
    assert (noise["pairs"], noise["known"], noise["max_sep_arcsec"]) == (len(pairs), len(pairs), 3)
    wanted = np.percentile(distances(catalog, pairs), [16, 50, 84])
    np.testing.assert_allclose([noise[name] for name in ("p16", "median", "p84")], wanted, rtol=1e-9)
    assert f"noise      repeats within 3 arcsec lie {wanted[1]:.4g} apart" in info_text(catalog.info())
    query = int(pairs[0, 0])
    for row in catalog.neighbors(query, 5):
        assert row["distance_over_repeat_median"] == pytest.approx(row["distance"] / wanted[1])
    assert run_command(["neighbors", str(catalog.path), str(query)]) == 0
    assert "distance  distance_over_repeat_median  distance_percentile" in capsys.readouterr().out
    assert run_command(["neighbors", str(catalog.path), str(query), "--format", "csv"]) == 0
    (row, *_) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert float(row["distance_over_repeat_median"]) == pytest.approx(float(row["distance"]) / wanted[1])
    if "jaccard" in catalog.settings.neighbors.metrics:
        assert catalog.neighbors(query, 5, "jaccard")[0]["distance_over_repeat_median"] is None


def test_the_floor_is_measured_again_when_a_cutout_was_removed(catalog: Catalog, tmp_path: Path) -> None:
    some = Catalog.open(shutil.copytree(catalog.path, tmp_path / "some"))
    assert not measure_noise(some._store, some.settings.seed)
    far = pairs_of(some)[np.argmax(distances(some, pairs_of(some)))]
    some.remove(cutouts=[int(far[0])])
    left = pairs_of(some)
    assert not (left == far[0]).any()
    some.run()
    noise = some.info()["products"]["index"]["noise"]
    assert noise["known"] == len(left)
    assert noise["median"] == pytest.approx(np.median(distances(some, left)))


def test_repeats_are_left_out_or_listed_with_the_best_of_them(
    catalog: Catalog, spark, tmp_path: Path, capsys
) -> None:
    pairs = pairs_of(catalog)
    known = {tuple(pair) for pair in pairs.tolist()} | {tuple(pair[::-1]) for pair in pairs.tolist()}
    query = int(pairs[0, 0])
    everything = [row["neighbor_id"] for row in catalog.neighbors(query, 10**6, allow_overlap=True)]
    alone = [
        row["neighbor_id"] for row in catalog.neighbors(query, 10**6, allow_overlap=True, repeats="leave-out")
    ]
    wanted: list[int] = []
    for i in everything:
        if not any((i, other) in known for other in [query, *wanted]):
            wanted.append(i)
    assert alone == wanted != everything
    grouped = catalog.neighbors(query, 10**6, allow_overlap=True, repeats="group")
    listed = [i for row in grouped for i in (row["neighbor_id"], *row["repeats"])]
    assert sorted(listed) == sorted(everything)  # each once
    assert all((row["neighbor_id"], i) in known for row in grouped for i in row["repeats"])
    assert any(row["repeats"] for row in grouped)

    command = ["neighbors", str(catalog.path), str(query), "--repeats", "group", "--format", "json"]
    assert run_command([*command, "--plot", str(tmp_path / "group.png")]) == 0
    assert json.loads(capsys.readouterr().out) == list(catalog.neighbors(query, repeats="group"))
    write_neighbors(spark, catalog, tmp_path / "some", SearchOptions(k=3, repeats="leave-out"))
    rows = spark.read.parquet(str(tmp_path / "some")).where(f"query_id = {query}").orderBy("rank").collect()
    assert [row["neighbor_id"] for row in rows] == [
        row["neighbor_id"] for row in catalog.neighbors(query, 3, repeats="leave-out")
    ]


def test_without_known_repeats_one_is_told_how_to_find_them(catalog: Catalog, tmp_path: Path) -> None:
    some = Catalog.open(shutil.copytree(catalog.path, tmp_path / "some"))
    (some.path / "products/repeats.json").unlink()
    with pytest.raises(CatalogError, match=r"set run\.repeats_arcsec"):
        some.neighbors(int(some.cutout_ids()[0]), repeats="group")
