"""Neighbors of many cutouts by executors."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from elodin_spark import Catalog, Query
from elodin_spark.cli.spark_jobs import neighbors_job

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module", params=["exact", "PCAR32,IVF4,RaBitQ"])
def catalog(request, survey, small_settings, spark, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    settings = small_settings(
        survey.tiles[0].parent,
        images={"paths": str(survey.tiles[0].parent), "hdu": "IMAGE"},
        cutouts={"generator": {"kind": "sliding_window", "size": 48, "step": 32}},
        neighbors={"index_config": request.param},
        run={"figures": False},
    )
    made = Catalog.create(tmp_path_factory.mktemp("catalog") / "many", settings)
    made.run()
    return made


def job(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        neighbors_job("", arguments=[str(each) for each in arguments])
    return int(ended.value.code or 0)


def rows(folder: Path) -> dict[int, list[tuple[int, int, float]]]:
    found: dict[int, list[tuple[int, int, float]]] = {}
    for row in pq.read_table(folder).sort_by([("query_id", "ascending"), ("rank", "ascending")]).to_pylist():
        found.setdefault(row["query_id"], []).append((row["rank"], row["neighbor_id"], row["distance"]))
    return found


def one_by_one(catalog: Catalog, ids: list[int], **how: object) -> dict[int, list[tuple[int, int, float]]]:
    return {
        i: [(row["rank"], row["neighbor_id"], row["distance"]) for row in catalog.neighbors(i, 4, **how)]  # type: ignore[arg-type]
        for i in ids
    }


def test_the_graph_of_a_catalog_holds_what_each_query_gives(catalog: Catalog, tmp_path: Path, capsys) -> None:
    ids = catalog.cutout_ids().tolist()
    assert job(catalog.path, "--all", "--out", tmp_path / "graph", "-k", 4) == 0
    assert f"{4 * len(ids):,} neighbors" in capsys.readouterr().out
    assert rows(tmp_path / "graph") == one_by_one(catalog, ids)


def test_some_cutouts_by_the_other_metric(catalog: Catalog, tmp_path: Path) -> None:
    ids = catalog.cutout_ids().tolist()[3:9]
    (tmp_path / "ids.csv").write_text("name,cutout_id\n" + "".join(f"x,{i}\n" for i in ids))
    out = tmp_path / "some"
    options = ("-k", 4, "--metric", "jaccard", "--allow-overlap")
    assert job(catalog.path, "--ids", tmp_path / "ids.csv", "--out", out, *options) == 0
    assert rows(out) == one_by_one(catalog, ids, metric="jaccard", allow_overlap=True)


def test_the_job_says_of_a_neighbor_what_python_says(catalog: Catalog, tmp_path: Path) -> None:
    ids = catalog.cutout_ids().tolist()[3:9]
    (tmp_path / "ids.csv").write_text("cutout_id\n" + "".join(f"{i}\n" for i in ids))
    out, by = tmp_path / "told", [("query_id", "ascending"), ("rank", "ascending")]
    options = ("-k", 4, "--fold-duplicates", "--explain")
    assert job(catalog.path, "--ids", tmp_path / "ids.csv", "--out", out, *options) == 0
    found = pq.read_table(out).sort_by(by)
    expected = catalog.neighbors(ids, 4, fold_duplicates=True, explain=True).to_arrow()
    assert {"distance_percentile", "duplicates", "explain"} < set(found.column_names)
    assert found.to_pylist() == expected.select(found.column_names).sort_by(by).to_pylist()


def test_filters_reach_the_workers(catalog: Catalog, tmp_path: Path, capsys) -> None:
    cutouts = catalog.table("cutouts")
    ra, dec = cutouts.column("ra")[0].as_py(), cutouts.column("dec")[0].as_py()
    cone, apart = ((ra, dec), 40.0), 12.0
    out = tmp_path / "near"
    where = "x0 % 64 = 0 or score('unit 3') > 0.1"
    options = ("--cone", ra, dec, 40, "--min-separation", apart, "-k", 4, "--where", where)
    assert job(catalog.path, "--all", "--out", out, *options) == 0
    capsys.readouterr()
    ids = catalog.cutout_ids().tolist()
    assert rows(out) == {
        i: found
        for i, found in one_by_one(catalog, ids, cone=cone, min_separation_arcsec=apart, where=where).items()
        if found
    }
    assert 0 < len({row[1] for found in rows(out).values() for row in found}) < len(ids)


def test_positions_ask_with_the_cutouts_nearest_to_them(catalog: Catalog, tmp_path: Path, capsys) -> None:
    cutouts = catalog.table("cutouts")
    places = [(cutouts["ra"][at].as_py(), cutouts["dec"][at].as_py() + 1e-5) for at in (5, 40, 5)]
    lines = [f"p{at},{ra!r},{dec!r}" for at, (ra, dec) in enumerate([*places, (10.0, 80.0)])]
    (tmp_path / "places.csv").write_text("\n".join(["position_id,ra,dec", *lines, "p4,,1.0"]))
    out = tmp_path / "placed"
    assert job(catalog.path, "--positions", tmp_path / "places.csv", "--out", out, "-k", 3) == 0
    assert "9 neighbors in" in (printed := capsys.readouterr().out)
    assert "2 positions without a cutout" in printed
    found = pq.read_table(out).sort_by([("position_id", "ascending"), ("rank", "ascending")]).to_pylist()
    expected = [
        (f"p{at}", row["query_id"], row["rank"], row["neighbor_id"], row["distance"])
        for at, place in enumerate(places)
        for row in catalog.neighbors(Query.from_position(place), k=3)
    ]
    names = ("position_id", "query_id", "rank", "neighbor_id", "distance")
    assert [tuple(row[name] for name in names) for row in found] == expected
    assert all(0 <= row["separation_arcsec"] < 0.1 for row in found)
    left = (tmp_path / "placed.unmatched.csv").read_text().splitlines()
    assert [line.split(",")[0].strip('"') for line in left] == ["position_id", "p3", "p4"]
    assert "the nearest cutout, " in left[1]
    far = ("--positions", tmp_path / "far.csv", "--out", tmp_path / "far")
    (tmp_path / "far.csv").write_text("ra,dec\n10,80\n")
    assert job(catalog.path, *far) == 2
    assert "no position of" in capsys.readouterr().err
    assert job(catalog.path, *far) == 2
    assert "far.unmatched.csv exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("cutout_id\n12\n", 2, "no fingerprint of cutout 12"),
        ("id\n12\n", 2, "no column cutout_id"),
        ("cutout_id\ntwelve\n", 2, "'twelve' is not a whole number"),
        ("cutout_id\n1.5\n", 2, "'1.5' is not a whole number"),
    ],
)
def test_ids_that_cannot_be_answered_are_named(
    catalog: Catalog, tmp_path: Path, capsys, text: str, code: int, words: str
) -> None:
    (tmp_path / "ids.csv").write_text(text)
    assert job(catalog.path, "--ids", tmp_path / "ids.csv", "--out", tmp_path / "out") == code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_with_a_colon_is_written(catalog: Catalog, tmp_path: Path) -> None:
    assert job(catalog.path, "--all", "-k", 1, "--out", tmp_path / "night 21:05") == 0
    assert list((tmp_path / "night 21:05").glob("*.parquet"))


def test_other_mistakes_are_named(catalog: Catalog, tmp_path: Path, capsys) -> None:
    (tmp_path / "there").mkdir()
    assert job(catalog.path, "--all", "--out", tmp_path / "there") == 2
    assert job(catalog.path, "--all", "--out", tmp_path / "out", "-k", 0) == 2
    assert job(catalog.path, "--ids", tmp_path / "no.csv", "--out", tmp_path / "out") == 2
    assert job(catalog.path, "--all", "--out", tmp_path / "out", "--where", "sky > ; 3") == 2
    assert job(catalog.path, "--all", "--out", tmp_path / "out", "--radius", 3) == 2
    said = capsys.readouterr().err
    for words in (
        "there exists",
        "greater than or equal to 1",
        "no table of IDs",
        "cannot be parsed",
        "--radius goes",
    ):
        assert words in said
