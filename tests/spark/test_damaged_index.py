"""Indices that are truncated, missing or of another recipe, and two that write one catalog."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.smallcatalog import change_json

from elodin_spark import Catalog
from elodin_spark.config.load import dump_settings
from elodin_spark.errors import CatalogError

pytestmark = pytest.mark.spark

CODED = {"index_config": "PCAR32,IVF4,RaBitQ", "store": "f32", "recall": 1.0}


@pytest.fixture(scope="module")
def made(survey, small_settings, spark, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Catalog]:
    """Never changed: copied by who changes it."""
    folder = tmp_path_factory.mktemp("images")
    shutil.copy(survey.tiles[0], folder)
    catalogs = {}
    for name, neighbors in (("exact", {"index_config": "exact"}), ("coded", CODED)):
        settings = small_settings(
            folder,
            images={"paths": str(folder), "hdu": "IMAGE"},
            cutouts={"generator": {"kind": "sliding_window", "size": 48, "step": 24}},
            neighbors=neighbors,
            run={"figures": False},
        )
        catalogs[name] = Catalog.create(tmp_path_factory.mktemp(name) / "catalog", settings)
        catalogs[name].run()
    return catalogs


@pytest.fixture
def copy(made: dict[str, Catalog], tmp_path: Path) -> Callable[[str], Catalog]:
    return lambda name: Catalog.open(shutil.copytree(made[name].path, tmp_path / name))


@pytest.mark.parametrize(
    ("kind", "metric", "pattern"),
    [
        ("exact", "l2", "products/index-*/l2.index"),
        ("exact", "jaccard", "products/index-*/labels/shard-0/codes.bin"),
        ("coded", "l2", "products/shards-*/trained.index"),
        ("coded", "l2", "products/shards-*/trained.index.json"),
        ("coded", "l2", "products/shards-*/*/codes0.index"),
        ("coded", "l2", "products/shards-*/*/vectors.bin"),
        ("coded", "l2", "products/shards-*/*/ids.bin"),
        ("coded", "l2", "products/shards-*/*/shard.json"),
        ("coded", "jaccard", "products/shards-*/*/ids.bin"),
    ],
)
def test_a_truncated_or_missing_file_of_an_index_is_named(copy, kind: str, metric: Any, pattern: str) -> None:
    catalog = copy(kind)
    query = int(catalog.cutout_ids()[0])
    (file,) = catalog.path.glob(pattern)
    whole = file.read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 0):
        file.write_bytes(whole[:length])
        with pytest.raises(CatalogError, match=file.name):
            Catalog.open(catalog.path).neighbors(query, metric=metric)
    file.unlink()
    with pytest.raises(CatalogError, match=file.name):
        Catalog.open(catalog.path).neighbors(query, metric=metric)


def test_an_index_of_another_recipe_or_training_is_refused(copy, made) -> None:
    catalog = copy("exact")
    query, file = int(catalog.cutout_ids()[0]), catalog.path / "products/index.json"
    change_json(file, recipe_id="f" * 12)
    with pytest.raises(CatalogError, match=r"index of recipe ffffffffffff.*run the catalog again"):
        catalog.neighbors(query)
    file.unlink()
    assert Catalog.open(catalog.path).run().made == ("index",)
    assert Catalog.open(catalog.path).neighbors(query) == made["exact"].neighbors(query)

    coded = copy("coded")
    (record_file,) = coded.path.glob("products/shards-*/*/shard.json")
    shard = json.loads(record_file.read_text())
    record_file.write_text(json.dumps({**shard, "trained": "0" * 64}))
    with pytest.raises(CatalogError, match="belongs to another trained index or configuration"):
        coded.neighbors(query)
    change_json(coded.path / "products/index.json", trained="0" * 64)
    record_file.write_text(json.dumps(shard))
    with pytest.raises(CatalogError, match="not the trained index that"):
        Catalog.open(coded.path).neighbors(query)


HOLD = """
import sys
from elodin_spark.catalog.storage.store import Store
with Store(sys.argv[1]).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_refused_and_changes_nothing(copy, tmp_path: Path, caplog) -> None:
    catalog = copy("coded")
    ids = catalog.cutout_ids()
    before = [catalog.neighbors(int(i), 3) for i in ids[:3]]
    files = {
        file: file.read_bytes() for file in catalog.path.rglob("*") if file.is_file() and file.name[0] != "."
    }
    others = catalog.settings.model_copy(update={"seed": 7})
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(catalog.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "locked\n"
        for write in (
            catalog.run,
            catalog.compact,
            lambda: catalog.remove(cutouts=[int(ids[0])]),
            Catalog.open(catalog.path, others).run,  # opening writes nothing
        ):
            with pytest.raises(CatalogError, match=f"being written by another run .process {writer.pid} on"):
                write()
        assert [catalog.neighbors(int(i), 3) for i in ids[:3]] == before  # reading goes on
        writer.kill()
    assert {file: file.read_bytes() for file in files} == files
    with caplog.at_level("INFO"):
        assert "nothing to do" in catalog.run().text()
    assert f"process {writer.pid} on" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO"):
        catalog.run()
    assert "takes over" not in caplog.text


def test_of_many_that_make_one_catalog_one_does(made, tmp_path: Path) -> None:
    catalog, results = made["exact"], []
    together = threading.Barrier(4)

    def create() -> None:
        together.wait()
        try:
            Catalog.create(tmp_path / "new", catalog.settings)
            results.append("made")
        except CatalogError as error:
            results.append(str(error))

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count("made") == 1
    assert len(results) == 4
    assert dump_settings(Catalog.open(tmp_path / "new").settings)
