"""Catalogs that live on: what is removed, merged, trained again, and written by two at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from elodin_spark import Catalog
from elodin_spark.catalog.report import info_text
from elodin_spark.catalog.search.batch import write_neighbors
from elodin_spark.catalog.search.options import SearchOptions
from elodin_spark.catalog.storage import store as store_module
from elodin_spark.cli.main import run_command
from elodin_spark.config.settings import Metric
from elodin_spark.errors import CatalogError, InputError, UnknownCutoutError

pytestmark = pytest.mark.spark

CODED = {"index_config": "PCAR32,IVF4,RaBitQ", "store": "f32", "recall": 1.0, "shard_rows": 1}
METRICS: tuple[Metric, ...] = ("l2", "jaccard", "label_scores")


@pytest.fixture(scope="module")
def tiles(survey, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("nights")
    return sorted(Path(shutil.copy(tile, folder)) for tile in survey.tiles)


@pytest.fixture(scope="module")
def make(small_settings, spark, tmp_path_factory: pytest.TempPathFactory):
    def make(paths: list[Path], neighbors: dict[str, Any], **run: Any) -> Catalog:
        settings = small_settings(
            paths,
            images={"paths": [str(path) for path in paths], "root": str(paths[0].parent), "hdu": "IMAGE"},
            cutouts={"generator": {"kind": "sliding_window", "size": 48, "step": 24}},
            neighbors={"metrics": METRICS, **neighbors},
            run={"batch_images": 1, "figures": False, **run},
        )
        catalog = Catalog.create(tmp_path_factory.mktemp("catalogs") / "catalog", settings)
        catalog.run()
        return catalog

    return make


@pytest.fixture(scope="module", params=["exact", "coded"])
def whole(request, make, tiles) -> Catalog:
    """Never changed: copied by who changes it."""
    return make(tiles, CODED if request.param == "coded" else {"index_config": "exact"}, repeats_arcsec=3)


@pytest.fixture
def catalog(whole: Catalog, tmp_path: Path) -> Catalog:
    return Catalog.open(shutil.copytree(whole.path, tmp_path / "catalog"))


def answers(catalog: Catalog, ids: np.ndarray, metric: Metric, k: int = 5) -> list[list[tuple[int, float]]]:
    table = catalog.search(SearchOptions(k=k, metric=metric, allow_overlap=True))(ids).to_pylist()
    return [[(row["neighbor_id"], row["distance"]) for row in table if row["query_id"] == i] for i in ids]


def left(before: list[list[tuple[int, float]]], gone: np.ndarray, k: int) -> list[list[tuple[int, float]]]:
    """Whole rankings without some cutouts."""
    return [[row for row in rows if row[0] not in gone][:k] for rows in before]


def test_what_is_removed_is_in_no_answer_and_stays_out(catalog: Catalog, tmp_path: Path, spark) -> None:
    ids = catalog.cutout_ids()
    image = catalog.table("images").to_pylist()[1]
    cutouts = catalog.table("cutouts").to_pylist()
    single = next(row["cutout_id"] for row in cutouts if row["image_id"] != image["image_id"])
    gone = np.array([row["cutout_id"] for row in cutouts if row["image_id"] == image["image_id"]] + [single])
    asked = np.setdiff1d(ids, gone)[::9]
    before = {metric: answers(catalog, asked, metric, len(ids)) for metric in METRICS}

    removal = catalog.remove([image["path"]], [single])

    assert (removal.n_images, removal.n_cutouts) == (1, len(gone))
    for opened in (catalog, Catalog.open(catalog.path)):
        np.testing.assert_array_equal(opened.cutout_ids(), np.setdiff1d(ids, gone))
        for metric in METRICS:
            assert answers(opened, asked, metric) == left(before[metric], gone, 5)
        with pytest.raises(UnknownCutoutError, match=f"cutout {single} was removed from"):
            opened.neighbors(single)
        with pytest.raises(UnknownCutoutError, match=f"cutout {single} was removed from"):
            opened.describe_cutouts([single])
        assert image["path"] not in opened.table("images")["path"].to_pylist()
        assert not np.isin(gone, opened.vectors()[0]).any()
    assert f"removed    {len(gone):,} cutouts, of these all of 1 image" in info_text(catalog.info())

    assert Catalog.open(catalog.path).run().batches_done == 0
    assert answers(Catalog.open(catalog.path), asked, "l2") == left(before["l2"], gone, 5)
    assert catalog.remove(cutouts=[single]).n_cutouts == 0  # a second time it is nothing new
    write_neighbors(spark, catalog, tmp_path / "graph", SearchOptions(k=3))
    graph = pq.read_table(tmp_path / "graph")
    np.testing.assert_array_equal(np.unique(graph["query_id"]), np.setdiff1d(ids, gone))
    assert not np.isin(graph["neighbor_id"], gone).any()
    one = spark.createDataFrame([(int(single),)], "cutout_id long")
    with pytest.raises(UnknownCutoutError, match="was removed"):
        write_neighbors(spark, catalog, tmp_path / "one", SearchOptions(k=3), one)


def test_what_is_not_there_cannot_be_removed(catalog: Catalog) -> None:
    path = catalog.table("images")["path"][0].as_py()
    for arguments, error, message in (
        (([], []), InputError, "nothing to remove was named"),
        (([path[:-1]], []), InputError, f"no image .* such as '{path}'"),
        (([7], []), InputError, "no image 7"),
        (([], [7]), UnknownCutoutError, "no cutout 7: nothing was removed"),
        ((catalog.table("images")["path"].to_pylist(), []), CatalogError, "delete the folder"),
    ):
        with pytest.raises(error, match=message):
            catalog.remove(*arguments)
    assert not list(catalog.path.glob("removed*"))


def test_images_that_vanished_are_named_and_stay_until_they_are_removed(
    make, tiles, tmp_path: Path, capsys
) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    catalog = make([Path(shutil.copy(tile, archive)) for tile in tiles[:2]], {"metrics": ["l2"]})
    n = len(catalog.cutout_ids())
    assert catalog.vanished_images() == []
    (archive / tiles[0].name).unlink()
    assert Catalog.open(catalog.path).vanished_images() == [tiles[0].name]
    assert run_command(["remove", str(catalog.path), "--vanished", "--dry-run"]) == 0
    assert len(Catalog.open(catalog.path).cutout_ids()) == n
    assert run_command(["remove", str(catalog.path), "--vanished"]) == 0
    assert tiles[0].name in capsys.readouterr().out
    assert 0 < len(Catalog.open(catalog.path).cutout_ids()) < n
    assert Catalog.open(catalog.path).vanished_images() == []
    shutil.rmtree(archive)
    with pytest.raises(InputError, match="mount it"):
        Catalog.open(catalog.path).vanished_images()
    archive.mkdir()
    with pytest.raises(InputError, match="is the archive mounted"):
        Catalog.open(catalog.path).vanished_images()


def remove_some(catalog: Catalog) -> np.ndarray:
    """A whole image and a cutout of each other one."""
    image, *others = catalog.table("images").to_pylist()
    cutouts = catalog.table("cutouts").to_pylist()
    of_image = [row["cutout_id"] for row in cutouts if row["image_id"] == image["image_id"]]
    singles = [
        next(row["cutout_id"] for row in cutouts if row["image_id"] == each["image_id"]) for each in others
    ]
    catalog.remove([image["image_id"]], singles)
    return np.array(of_image + singles)


def removed_sets(catalog: Catalog, gone: np.ndarray) -> list[np.ndarray]:
    """Which numbers in the files of each shard of label sets are IDs that were removed."""
    return [
        np.isin(np.fromfile(path, np.int64), gone)
        for path in catalog.path.glob("products/labels-*/*/ids.bin")
    ]


def test_compaction_frees_the_space_and_changes_no_answer(catalog: Catalog, capsys) -> None:
    asked = np.setdiff1d(catalog.cutout_ids(), gone := remove_some(catalog))[::9]
    before = {metric: answers(catalog, asked, metric) for metric in METRICS}
    old = catalog.info()
    shards = len(list(catalog.path.glob("products/shards-*/*/shard.json")))
    assert [found.any() for found in removed_sets(catalog, gone)] == [True] * shards
    catalog.settings.neighbors.__dict__["shard_rows"] = 10**6

    done = catalog.compact()

    assert len(removed_sets(catalog, gone)) == min(shards, 1)
    assert not any(found.any() for found in removed_sets(catalog, gone))
    assert done.n_vectors == len(gone)
    assert done.n_rows == 2 * len(gone) + 1
    assert (done.shards_before, done.shards_after) == (shards, min(shards, 1))
    for opened in (catalog, Catalog.open(catalog.path)):
        assert {metric: answers(opened, asked, metric) for metric in METRICS} == before
        with pytest.raises(UnknownCutoutError, match="was removed"):
            opened.neighbors(int(gone[0]))
    new = catalog.info()
    assert new["disk_bytes"] < old["disk_bytes"]
    for table in ("cutouts", "fingerprints"):
        assert new["tables"][table]["rows"] == old["tables"][table]["rows"] - len(gone)
    assert run_command(["compact", str(catalog.path)]) == 0  # nothing is left to do
    assert "dropped 0 rows of tables and 0 vectors of the index" in capsys.readouterr().out
    assert "nothing to do" in Catalog.open(catalog.path).run().text()
    assert {metric: answers(Catalog.open(catalog.path), asked, metric) for metric in METRICS} == before


class Killed(BaseException):
    """A process that ends at once."""


def test_killed_at_any_record_a_compaction_leaves_the_same_answers(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = np.setdiff1d(catalog.cutout_ids(), remove_some(catalog))[::15]
    before = {metric: answers(catalog, asked, metric) for metric in METRICS}
    write, killed = store_module.write_json, 0
    for step in range(20):
        some = Catalog.open(shutil.copytree(catalog.path, tmp_path / f"step{step}"))
        some.settings.neighbors.__dict__["shard_rows"] = 10**6
        written = []

        def failing(path: Path, value: object, written: list[Path] = written, step: int = step) -> None:
            if len(written) == step:
                raise Killed
            written.append(path)
            write(path, value)

        monkeypatch.setattr(store_module, "write_json", failing)
        try:
            some.compact()
        except Killed:
            killed += 1
        monkeypatch.setattr(store_module, "write_json", write)
        again = Catalog.open(some.path)
        assert {metric: answers(again, asked, metric) for metric in METRICS} == before
        some.compact()
        assert {metric: answers(Catalog.open(some.path), asked, metric) for metric in METRICS} == before
        for kind in ("shards", "labels"):
            assert len(list(some.path.glob(f"products/{kind}-*/*/shard.json"))) <= 1
        assert len(list(some.path.glob("tables/fingerprints/*"))) == len(some._store.commits())
        if killed == step:
            break
    assert killed == step > 2


def with_images(catalog: Catalog, paths: list[Path]) -> Catalog:
    images = catalog.settings.images.model_copy(update={"paths": tuple(map(str, paths))})
    return Catalog.open(catalog.path, catalog.settings.model_copy(update={"images": images}))


def shard_names(catalog: Catalog) -> list[str]:
    return [shard["name"] for shard in catalog.info()["shards"]]


@pytest.fixture(scope="module")
def nightly(make, tiles) -> Catalog:
    """A shard for each of three nights; never changed."""
    catalog = make(tiles[:2], CODED)
    with_images(catalog, tiles[:3]).run()
    return Catalog.open(catalog.path)


def test_nightly_shards_are_merged_up_to_shard_rows_and_answers_stay(nightly: Catalog, tmp_path) -> None:
    ids = nightly.cutout_ids()[::9]
    before = {metric: answers(nightly, ids, metric) for metric in METRICS}
    names, per_night = shard_names(nightly), len(nightly.cutout_ids()) // 3
    assert len(names) == 3
    for most, wanted in ((per_night, 3), (2 * per_night, 2), (3 * per_night, 1)):
        some = Catalog.open(shutil.copytree(nightly.path, tmp_path / str(most)))
        some.settings.neighbors.__dict__["shard_rows"] = most
        done = some.compact()
        assert (done.shards_before, done.shards_after, done.n_rows) == (3, wanted, 0)
        assert sum(shard["count"] for shard in some.info()["shards"]) == len(nightly.cutout_ids())
        assert len(list(some.path.glob("products/labels-*/*/shard.json"))) == wanted
        assert {metric: answers(some, ids, metric) for metric in METRICS} == before
        assert "nothing to do" in Catalog.open(some.path).run().text()
    assert set(names).isdisjoint(shard_names(some))


def test_a_night_after_compaction_is_one_more_shard(nightly: Catalog, tiles, make, tmp_path) -> None:
    some = Catalog.open(shutil.copytree(nightly.path, tmp_path / "some"))
    gone = remove_some(some)
    some.settings.neighbors.__dict__["shard_rows"] = 10**6
    some.compact()
    (merged,) = shard_names(some)
    later = with_images(Catalog.open(some.path), tiles)
    later.run()
    assert shard_names(later)[0] == merged
    assert len(shard_names(later)) == 2
    assert not np.isin(later.cutout_ids(), gone).any()
    exact = make(tiles, {"index_config": "exact"})
    exact.remove(cutouts=gone)
    ids = later.cutout_ids()[::9]
    assert [[i for i, _ in row] for row in answers(later, ids, "l2")] == [
        [i for i, _ in row] for row in answers(exact, ids, "l2")
    ]


def test_retraining_killed_or_not_the_old_index_answers_until_the_new_is_whole(
    nightly: Catalog, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = Catalog.open(shutil.copytree(nightly.path, tmp_path / "some"))
    ids, old = some.cutout_ids()[::9], some.info()["products"]["index"]
    remove_some(some)
    ids = np.intersect1d(ids, some.cutout_ids())
    before = answers(some, ids, "l2")
    with monkeypatch.context() as patched:

        def killed(*args: object) -> None:
            raise Killed

        patched.setattr("elodin_spark.spark.shards.scan_shards", killed)
        with pytest.raises(Killed):
            some.run(retrain=True)
    assert len(list(some.path.glob("products/shards-*"))) == 2
    assert answers(Catalog.open(some.path), ids, "l2") == before  # of the shards before
    assert Catalog.open(some.path).compact().shards_after == 3  # left alone
    assert Catalog.open(some.path).run().made == ("index",)
    new = Catalog.open(some.path)
    assert new.info()["products"]["index"]["built"]["folder"] != old["built"]["folder"]
    assert new.info()["products"]["index"]["rows"] == len(new.cutout_ids())
    assert len(list(some.path.glob("products/shards-*"))) == 1
    assert [[i for i, _ in row] for row in answers(new, ids, "l2")] == [[i for i, _ in row] for row in before]


def test_an_exact_index_is_not_trained(catalog: Catalog, capsys) -> None:
    before = catalog.info()["products"]["index"]
    config = str(catalog.path / "config.yaml")
    code = run_command(["run", config, "--set", f"catalog={catalog.path}", "--retrain"])
    after = Catalog.open(catalog.path).info()["products"]["index"]
    if "built" in before:
        assert code == 0
        assert after["built"]["folder"] != before["built"]["folder"]
    else:
        assert code == 2
        assert "an exact one is never trained" in capsys.readouterr().err
        assert after == before


def test_each_shard_is_shown_with_its_error(nightly: Catalog, tmp_path) -> None:
    shards = nightly.info()["shards"]
    assert all(0.5 < shard["ratio"] < 2 and not shard["retrain"] for shard in shards)
    text = info_text(nightly.info())
    assert all(f"{shard['name']:<30}{shard['count']:>14,}" in text for shard in shards)
    assert "train again" not in text
    some = Catalog.open(shutil.copytree(nightly.path, tmp_path / "some"))
    (file,) = some.path.glob(f"products/shards-*/{shards[-1]['name']}/shard.json")
    strange = {**json.loads(file.read_text()), "count": 5000, "quantization_error": 2 * shards[-1]["error"]}
    file.write_text(json.dumps(strange))
    assert [shard["retrain"] for shard in some.info()["shards"]] == [False, False, True]
    assert "1 of 3 do not fit the training: elodin-spark run CONFIG --retrain" in info_text(some.info())


def test_an_index_that_is_behind_its_tables_is_not_rewritten(make, tiles, tmp_path: Path) -> None:
    catalog = make(tiles[:2], {"index_config": "exact"})
    gone = remove_some(catalog)
    asked = catalog.cutout_ids()[::9]
    before = {metric: answers(catalog, asked, metric) for metric in METRICS}
    later = with_images(catalog, tiles[:3])
    later.run(["cutouts", "fingerprints"])  # killed before the index, as it were
    assert later.compact().n_vectors == 0
    assert {metric: answers(Catalog.open(later.path), asked, metric) for metric in METRICS} == before
    assert later.run().made == ("index",)
    assert not np.isin(gone, Catalog.open(later.path).vectors()[0]).any()
