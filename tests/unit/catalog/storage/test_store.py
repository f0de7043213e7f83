"""The folder of a catalog: what counts as done, and who may write."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.limits import HANG_S
from helpers.smallcatalog import change_json

from elodin_spark import schema
from elodin_spark.catalog.build.resolve import recipe_of, require_recipe, settle_transform, settled_network
from elodin_spark.catalog.storage.store import Commit, Store
from elodin_spark.config.load import parse_settings
from elodin_spark.config.settings import FingerprintsSettings
from elodin_spark.diskfiles import read_json
from elodin_spark.errors import CatalogError
from elodin_spark.fingerprints.transform import VectorTransform, load_transform
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.provenance import make_recipe, recipe_id

WEIGHTS = Weights("random:0", "/cache/w.weights.h5", "0" * 64, "resnet50")
SETTINGS = parse_settings({"images": {"paths": "/data"}, "fingerprints": {"networks": []}})


def make(path: Path) -> Store:
    return Store.create(path, SETTINGS, make_recipe(SETTINGS, "random:0", "0" * 64), WEIGHTS, "/data")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make(tmp_path / "catalog")


def write(store: Store, batch: int, messages: list[str]) -> str:
    part = store.new_part("failures", batch)
    (store.path / part).mkdir(parents=True)
    rows = [{"kind": "test", "message": message} for message in messages]
    table = pa.Table.from_batches([schema.rows_to_batch(rows, schema.FAILURES)])
    pq.write_table(table, store.path / part / "part-0.parquet")
    return part


def test_only_committed_rows_are_read(store):
    part = write(store, 0, ["a", "b"])
    write(store, 1, ["never committed"])
    assert store.dataset("failures").to_table().num_rows == 0
    store.commit(Commit(0, ("x.fits",), {"failures": [part]}, {"failures": 2}))
    assert store.dataset("failures").to_table()["message"].to_pylist() == ["a", "b"]
    assert store.n_rows("failures") == 2
    assert Store(store.path).commits() == store.commits()


def test_what_a_killed_run_left_is_swept_and_what_is_committed_stays(store):
    kept, left = write(store, 0, ["a"]), write(store, 1, ["b"])
    store.commit(Commit(0, ("x.fits",), {"failures": [kept]}, {"failures": 1}))
    folder, half = store.new_product("index"), store.new_product("index")
    store.commit_product("index", folder, {"digest": "d"})
    (store.path / "commits" / "000001.json.tmp").write_text("{")
    half.mkdir(exist_ok=True)
    store.sweep()
    assert (store.path / kept).is_dir()
    assert not (store.path / left).exists()
    assert folder.is_dir()
    assert not half.exists()
    assert not list((store.path / "commits").glob("*.tmp"))


def test_a_product_replaces_the_one_before(store):
    assert store.product("index") is None
    with pytest.raises(CatalogError, match="no index yet"):
        store.product_folder("index")
    old, new = store.new_product("index"), store.new_product("index")
    store.commit_product("index", old, {"digest": "1"})
    new = store.new_product("index")
    store.commit_product("index", new, {"digest": "2"})
    assert store.product_folder("index") == new
    assert not old.exists()


def _hold(path: str, locked: multiprocessing.Event, done: multiprocessing.Event) -> None:
    with Store(path).lock():
        locked.set()
        done.wait(HANG_S)


def test_two_writers_at_once_are_refused_and_a_dead_one_holds_nothing(store):
    context = multiprocessing.get_context("spawn")
    locked, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(store.path), locked, done))
    other.start()
    assert locked.wait(HANG_S)
    with pytest.raises(CatalogError, match=f"process {other.pid} on"), store.lock():
        pass
    other.kill()
    other.join()
    with store.lock():
        pass


def test_a_folder_with_anything_in_it_is_not_overwritten(tmp_path, store):
    store.commit(Commit(0, ("x.fits",), {}, {"cutouts": 1}))
    with pytest.raises(CatalogError, match="already holds a catalog"):
        make(store.path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(CatalogError, match="not an empty folder"):
        make(tmp_path / "mine")
    (tmp_path / "file").touch()
    with pytest.raises(CatalogError, match="not an empty folder"):
        make(tmp_path / "file")


@pytest.fixture
def refused(tmp_path: Path) -> Store:
    """Two batches whose files were all refused, and what came of them."""
    chosen = {"labels": "units", "transform": "standardize"}
    settings = parse_settings({"images": {"paths": "/data"}, "fingerprints": {"networks": [], **chosen}})
    recipe = make_recipe(settings, "random:0", "0" * 64)
    store = Store.create(tmp_path / "catalog", settings, recipe, WEIGHTS, "/data")
    for batch in range(2):
        part = write(store, batch, ["too small"])
        store.commit(Commit(batch, (f"{batch}.fits",), {"failures": [part]}, {"failures": 1, "cutouts": 0}))
    vectors = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    store.keep_transform(VectorTransform.fit(vectors, settings.fingerprints), 40, 1.0)
    store.commit_product("index", store.new_product("index"), {"digest": "d"})
    return store


def test_a_catalog_without_a_cutout_is_begun_anew_and_nothing_of_it_is_left(refused):
    store = refused
    assert store.empty
    with pytest.raises(CatalogError, match="already holds a catalog"):  # which is this very one
        Store.create(store.path, SETTINGS, store.meta["recipe"], WEIGHTS, "/data")
    other = parse_settings(
        {
            "images": {"paths": "/data"},
            "cutouts": {"generator": {"kind": "full_image"}},
            "fingerprints": {"networks": []},
        }
    )
    anew = Store.create(store.path, other, make_recipe(other, "random:0", "0" * 64), WEIGHTS, "/elsewhere")
    assert (anew.commits(), anew.product("index"), anew.transform) == ([], None, None)
    assert anew.meta["root"] == "/elsewhere"
    assert {each.name for each in anew.path.rglob("*")} == {
        *("catalog.json", "config.yaml", ".lock"),
        *("commits", "tables", "products"),
    }
    with pytest.raises(CatalogError, match="another run has begun"):
        store.refresh_same()  # who had it open by the recipe before


def test_files_that_were_all_refused_are_as_new_and_others_stay(refused):
    store = refused
    store.forget_refusals()
    again = Store(store.path)
    assert again.commits() == []
    assert again.n_rows("failures") == 0
    again.sweep()
    assert not any((again.path / "tables" / "failures").iterdir())
    again.commit(Commit(0, ("x.fits",), {}, {"cutouts": 1}))
    again.forget_refusals()
    assert len(again.commits()) == 1
    again.refresh_same()


def test_a_cutout_counts_unless_it_is_rejected_and_its_table_is_whole(store):
    def cut(batch: int, *reasons: str | None) -> Path:
        part = store.new_part("cutouts", batch)
        (store.path / part).mkdir(parents=True)
        rows = [{"cutout_id": 10 * batch + i, "rejected": reason} for i, reason in enumerate(reasons)]
        table = pa.Table.from_batches([schema.rows_to_batch(rows, schema.CUTOUTS)])
        pq.write_table(table, store.path / part / "part-0.parquet")
        store.commit(Commit(batch, (f"{batch}.fits",), {"cutouts": [part]}, {"cutouts": len(rows)}))
        return store.path / part / "part-0.parquet"

    rejected = cut(0, "no pixel of the window has data", "too near the edge")
    assert store.empty
    cut(1, "too near the edge", None)
    assert not store.empty
    (store.path / "commits" / "000001.json").unlink()
    store._keep(batches=1)
    assert store.empty
    rejected.write_bytes(b"")
    with pytest.raises(CatalogError, match="is damaged"):  # who knows what it held
        Store(store.path).forget_refusals()


def test_damage_is_named(store):
    (store.path / "commits" / "000000.json").write_text("{")
    with pytest.raises(CatalogError, match=r"000000\.json is damaged"):
        store.commits()
    change_json(store.path / "catalog.json", format=99)
    with pytest.raises(CatalogError, match="format 99"):
        Store(store.path)
    (store.path / "catalog.json").write_text("{")
    with pytest.raises(CatalogError, match="cannot be read"):
        Store(store.path)


def test_labels_are_called_by_class_or_unit(tmp_path, store):
    assert store.label_name(7) == "unit 7"
    classes = Weights("w.h5", "/w", "1" * 64, "resnet50", classes=2, label_names=("n1 cat", "n2 dog"))
    named = Store.create(tmp_path / "named", SETTINGS, store.meta["recipe"], classes, "/data")
    assert named.label_name(1) == "n2 dog"
    assert (named.labels, named.label_count(64)) == ("classes", 2)


@pytest.mark.parametrize(("labels", "count"), [("units", 6), ("prototypes", 3)])
def test_labels_need_not_be_those_of_the_head(tmp_path, labels, count):
    weights = Weights("w.h5", "/w", "1" * 64, "resnet50", classes=2, label_names=("n1 cat", "n2 dog"))
    chosen = {"labels": labels, "prototypes": 3, "transform": "standardize", "pca": 4}
    settings = parse_settings({"images": {"paths": "/data"}, "fingerprints": {"networks": [], **chosen}})
    recipe = make_recipe(settings, "w.h5", "1" * 64, units=labels == "units")
    store = Store.create(tmp_path / "catalog", settings, recipe, weights, "/data")
    before = store.meta["recipe_id"]
    assert store.transform is None
    vectors = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    store.keep_transform(VectorTransform.fit(vectors, settings.fingerprints), 40, 1.5)
    assert (store.labels, store.label_name(1), store.label_count(4)) == (labels, f"{labels[:-1]} 1", count)
    again = Store(store.path)
    assert load_transform(again.transform).dimension == 4
    assert again.meta["recipe"]["fingerprints"]["transform"]["sha256"] == again.transform.sha256
    assert again.meta["recipe_id"] == recipe_id(again.meta["recipe"]) != before


HEADED = Weights("w.h5", "/w", "1" * 64, "resnet50", classes=2, label_names=("n1 cat", "n2 dog"))
#: Settings of which a catalog settles what they leave open, and what that is.
LEFT_OPEN = [
    ({}, {"transform": "standardize", "power": 0.5, "copies": 256, "precision": "f32"}),
    ({"power": 0.7}, {"transform": "standardize", "power": 0.7, "copies": 256}),
    ({"copies": 9}, {"transform": "standardize", "power": 0.5, "copies": 9}),
    ({"copies": 0}, {"transform": "standardize", "power": 0.5, "copies": 0}),
    ({"transform": "standardize"}, {"transform": "standardize", "power": None, "copies": None}),
    ({"transform": "standardize", "copies": 9}, {"transform": "standardize", "copies": 9}),
    ({"transform": "none"}, {"transform": "none", "power": None}),
    ({"transform": "none", "labels": "units"}, {"transform": "none", "labels": "units"}),
    ({"transform": "whiten", "power": 1.0}, {"transform": "whiten", "power": 1.0}),
    ({"labels": "units"}, {"labels": "units", "power": 0.5}),
    ({"labels": "prototypes", "prototypes": 7}, {"labels": "prototypes"}),
    ({"precision": "auto"}, {"precision": "f32"}),
    ({"precision": "bf16"}, {"precision": "bf16"}),
    ({"weights": "imagenet", "layer": None, "input_px": None, "augmentations": None}, {"augmentations": 1}),
]


@pytest.mark.parametrize("weights", [WEIGHTS, HEADED], ids=["no head", "head"])
@pytest.mark.parametrize(("asked", "right"), LEFT_OPEN, ids=[str(asked) for asked, _ in LEFT_OPEN])
@pytest.mark.parametrize("fitted", [False, True])
def test_what_a_catalog_settled_is_read_back_as_it_was_settled(tmp_path, weights, asked, right, fitted):
    settings = parse_settings({"images": {"paths": "/data"}, "fingerprints": {"networks": [], **asked}})
    network = settle_transform(settings.fingerprints, weights)
    if network.precision == "auto":  # measured elsewhere
        network = network.model_copy(update={"precision": "f32"})
    settled = settings.model_copy(update={"fingerprints": network})
    store = Store.create(
        tmp_path / "c", settings, recipe_of(settled, weights, "openvino"), weights, "/data", "openvino"
    )
    if fitted and network.fitted:
        vectors = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
        store.keep_transform(VectorTransform.fit(vectors, network), 200, 1.5)
    labels = "prototypes" if weights is WEIGHTS else "classes"
    again = Store(store.path)
    for once in (settings, settled):  # a settled one is settled already
        found = settled_network(again, once)
        assert found == settled
        require_recipe(again, found, weights)
    assert {name: getattr(network, name) for name in right} == right
    assert again.labels == network.labels == asked.get("labels", labels)
    # The runtime is kept beside the recipe, as its vectors are the same: any other "auto" must be settled.
    assert [name for name in type(network).model_fields if getattr(network, name) == "auto"] == ["runtime"]
    assert set(again.settled) >= {
        name for name, field in FingerprintsSettings.model_fields.items() if field.default == "auto"
    } - {"runtime"}


@pytest.mark.parametrize("transform", ["none", "whiten"])
def test_a_transform_that_is_left_out_later_brings_no_second_network(tmp_path, transform):
    def of(**asked):
        return parse_settings({"images": {"paths": "/data"}, "fingerprints": asked})

    settings = of(transform=transform)
    settled = settings.model_copy(update={"fingerprints": settle_transform(settings.fingerprints, WEIGHTS)})
    store = Store.create(
        tmp_path / "c", settings, recipe_of(settled, WEIGHTS, "openvino"), WEIGHTS, "/data", "openvino"
    )
    found = settled_network(store, of())
    require_recipe(store, found, WEIGHTS)
    assert found.fingerprints.transform == transform
    assert (found.fingerprints.networks, found.fingerprints.augmentations) == ((), 8)


def test_labels_of_a_catalog_that_called_them_units_beside_prototypes_are_mended_by_the_next_run(tmp_path):
    network = settle_transform(SETTINGS.fingerprints, WEIGHTS)
    settled = SETTINGS.model_copy(update={"fingerprints": network})
    store = Store.create(
        tmp_path / "c", SETTINGS, recipe_of(settled, WEIGHTS, "openvino"), WEIGHTS, "/data", "openvino"
    )
    vectors = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    store.keep_transform(VectorTransform.fit(vectors, network), 40, 1.5)
    file = store.path / "catalog.json"
    change_json(file, labels="units")
    faulty = file.read_text()
    opened = Store(store.path)
    assert (opened.labels, opened.label_name(50)) == ("prototypes", "prototype 50")
    require_recipe(opened, settled_network(opened, SETTINGS), WEIGHTS)
    assert file.read_text() == faulty
    with opened.lock():
        opened.sweep()
    assert read_json(file) == store.meta == Store(store.path).meta


@pytest.mark.parametrize("left", [[], ["config.yaml"], ["config.yaml", ".catalog.json.0a.tmp"], [".lock"]])
def test_a_folder_that_a_kill_left_before_it_was_a_catalog_is_begun_again(tmp_path, left):
    for name in ("commits", "tables", "products"):
        (tmp_path / name).mkdir()
    for name in left:
        (tmp_path / name).write_text("{")
    store = make(tmp_path)
    assert store.commits() == []
    store.sweep()
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("own", ["config.yaml", "tables/galaxies.csv", "thesis/draft.tex"])
def test_a_folder_of_somebody_elses_is_left_as_it_is(tmp_path, own):
    (tmp_path / own).parent.mkdir(exist_ok=True)
    (tmp_path / own).write_text("mine")
    with pytest.raises(CatalogError, match="not an empty folder"):
        make(tmp_path)
    assert (tmp_path / own).read_text() == "mine"
