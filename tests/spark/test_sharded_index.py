"""Catalogs whose index is built in shards by executors."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elodin_spark import Catalog
from elodin_spark.catalog.build.shardedindex import TRAINED_FILE
from elodin_spark.catalog.report import info_text
from elodin_spark.errors import CatalogError, ConfigError

pytestmark = pytest.mark.spark

METRICS = ("l2", "jaccard", "cosine", "label_scores", "rank_fusion")
NEIGHBORS = {"metrics": list(METRICS), "index_config": "PCAR32,IVF4,RaBitQ", "store": "f32", "recall": 1.0}


@pytest.fixture(scope="module")
def images(survey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nights")
    for tile in survey.tiles:
        shutil.copy(tile, folder)
    return folder


@pytest.fixture(scope="module")
def make(small_settings, spark, tmp_path_factory: pytest.TempPathFactory):
    def make(name: str, paths: Any, **neighbors: Any) -> Catalog:
        settings = small_settings(
            paths,
            images={"paths": [str(path) for path in paths], "root": str(paths[0].parent), "hdu": "IMAGE"},
            cutouts={"generator": {"kind": "sliding_window", "size": 48, "step": 24}},
            neighbors={**NEIGHBORS, **neighbors},
            run={"batch_images": 1, "figures": False},
        )
        catalog = Catalog.create(tmp_path_factory.mktemp("catalogs") / name, settings)
        catalog.run()
        return catalog

    return make


@pytest.fixture(scope="module")
def tiles(images: Path) -> list[Path]:
    return sorted(images.glob("*.fits*"))


@pytest.fixture(scope="module")
def exact(make, tiles) -> Catalog:
    return make("exact", tiles, index_config="exact")


@pytest.fixture(scope="module")
def sharded(make, tiles) -> Catalog:
    return make("sharded", tiles, shard_rows=1)  # a shard for each batch


def answers(catalog: Catalog, metric: Any = "l2") -> list[list[tuple[int, float]]]:
    ids = catalog.cutout_ids()[::7]
    return [
        [(row["neighbor_id"], row["distance"]) for row in catalog.neighbors(int(i), 5, metric)] for i in ids
    ]


def shards(catalog: Catalog, kind: str = "shards") -> list[Path]:
    return sorted(file.parent for file in catalog.path.glob(f"products/{kind}-*/*/shard.json"))


def test_shards_answer_like_the_exact_index_at_full_recall(exact: Catalog, sharded: Catalog) -> None:
    assert len(shards(sharded)) == 4
    assert not shards(exact)
    assert [shard.name for shard in shards(sharded, "labels")] == [shard.name for shard in shards(sharded)]
    for metric in METRICS:
        for some, others in zip(answers(exact, metric), answers(sharded, metric), strict=True):
            assert [i for i, _ in some] == [i for i, _ in others], metric
            np.testing.assert_allclose([d for _, d in some], [d for _, d in others], rtol=1e-5, atol=1e-9)
    query = int(exact.cutout_ids()[0])
    explained = [catalog.neighbors(query, 5, "jaccard", explain=True) for catalog in (exact, sharded)]
    assert explained[0] == explained[1]
    assert all(
        row["explain"] == sorted(row["explain"], key=lambda each: -each["weight"]) for row in explained[0]
    )
    assert any(row["explain"] for row in explained[0])


def test_one_shard_answers_like_four(make, tiles, sharded: Catalog) -> None:
    one = make("one", tiles, shard_rows=10**6)
    assert len(shards(one)) == 1
    trained = [
        next(each.path.glob(f"products/shards-*/{TRAINED_FILE}")).read_bytes() for each in (one, sharded)
    ]
    assert trained[0] == trained[1]
    for metric in METRICS:
        assert answers(one, metric) == answers(sharded, metric)


def test_the_accuracy_is_measured_and_shown(sharded: Catalog) -> None:
    record = sharded.info()["products"]["index"]
    assert record["accuracy"]["recall@10"] == 1.0
    assert record["accuracy"]["queries"] == len(sharded.cutout_ids())
    assert 1 <= record["search"]["nprobe"] <= 4
    text = info_text(sharded.info())
    assert "PCAR32,IVF4,RaBitQ" in text
    assert "recall@10 1.000" in text


def test_a_rerun_builds_only_the_shards_that_are_missing(sharded: Catalog) -> None:
    before = answers(sharded), answers(sharded, "label_scores")
    made = shards(sharded) + shards(sharded, "labels")
    times = {shard: (shard / "shard.json").stat().st_mtime_ns for shard in made}
    gone = [made[1], made[6]]
    for shard in gone:
        shutil.rmtree(shard)
    (sharded.path / "products/index.json").unlink()  # killed before the index was complete
    again = Catalog.open(sharded.path)
    assert again.run().made == ("index",)
    changed = [s for s in made if (s / "shard.json").stat().st_mtime_ns != times[s]]
    assert changed == gone
    assert (answers(again), answers(again, "label_scores")) == before
    assert "nothing to do" in Catalog.open(sharded.path).run().text()


def test_new_images_become_a_shard_under_the_same_trained_index(make, tiles) -> None:
    catalog = make("appended", tiles[:3], shard_rows=10**6)
    before, trained = shards(catalog), catalog.info()["products"]["index"]["trained"]
    settings = catalog.settings.model_copy(
        update={"images": catalog.settings.images.model_copy(update={"paths": tuple(map(str, tiles))})}
    )
    later = Catalog.open(catalog.path, settings)
    later.run()
    assert later.info()["products"]["index"]["trained"] == trained
    assert set(before) < set(shards(later))
    assert len(shards(later)) == 2
    assert len(shards(later, "labels")) == 2
    assert len(answers(later, "jaccard")[0]) == 5
    assert sum(len(row) for row in answers(later)) == 5 * len(later.cutout_ids()[::7])


def test_label_sets_sorted_into_lists_are_measured_and_cut_to_the_labels_wanted(
    make, tiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elodin_spark.catalog.build.labelindex.list_count", lambda count: 8)
    catalog = make("lists", tiles[:3], labels=12, recall=0.9)
    facts = catalog.info()["products"]["index"]["label_index"]
    assert (facts["lists"], 1 <= facts["nprobe"] <= 8) == (8, True)
    assert facts["accuracy"]["jaccard"]["recall@10"] >= 0.9
    assert 0.5 < facts["accuracy"]["label_scores"]["recall@10"] <= 1
    assert "of 8 lists searched" in info_text(catalog.info())
    query = int(catalog.cutout_ids()[3])
    rows = catalog.neighbors(query, 40, "jaccard", allow_overlap=True, explain=True)
    sets = {row["cutout_id"]: set(row["labels"][:12]) for row in catalog.table("fingerprints").to_pylist()}
    for row in rows:
        other = sets[row["neighbor_id"]]
        assert row["distance"] == pytest.approx(1 - len(sets[query] & other) / len(sets[query] | other))
        assert len(row["explain"]) == min(5, len(sets[query] & other))


def test_a_damaged_shard_is_named(make, tiles) -> None:
    catalog = make("damaged", tiles[:1])
    (shard,) = shards(catalog)
    vectors = shard / "vectors.bin"
    vectors.write_bytes(vectors.read_bytes()[:-10])
    with pytest.raises(CatalogError, match=shard.name):
        Catalog.open(catalog.path).neighbors(int(catalog.cutout_ids()[0]))


def test_a_recipe_that_cannot_be_cut_is_refused(make, tiles) -> None:
    with pytest.raises(ConfigError, match="inverted lists"):
        make("graph", tiles[:1], index_config="HNSW32")
