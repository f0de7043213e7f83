"""Opening a catalog, and asking it, writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.smallcatalog import tables, write_catalog

from elodin_spark import Catalog, Query
from elodin_spark.catalog.build.run import run_catalog
from elodin_spark.config.load import load_config
from elodin_spark.errors import CatalogError
from elodin_spark.fingerprints.weights.types import Weights


def state(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Of each file and folder below, and of the folder itself, when it was changed and what it holds."""
    return {
        entry: (entry.stat().st_mtime_ns, entry.read_bytes() if entry.is_file() else b"")
        for entry in (folder, *folder.rglob("*"))
    }


def test_a_catalog_is_opened_and_asked_without_a_write(tmp_path: Path) -> None:
    path = write_catalog(tmp_path / "catalog", tables(images=3, across=3)).path
    before = state(path)
    catalog = Catalog.open(path)
    query = int(catalog.cutout_ids()[0])
    for metric in ("l2", "cosine", "jaccard", "rank_fusion"):
        assert len(catalog.neighbors(query, 3, metric, where="ra >= 0", explain=True)) == 3
    row = catalog.describe_cutouts([query])[0]
    assert catalog.neighbors(Query.from_position((row["ra"], row["dec"])), 3)
    assert catalog.info()["tables"]["cutouts"]["rows"] == 27
    catalog.check()
    assert state(path) == before


def test_settings_are_kept_by_the_run_they_are_given_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write_catalog(tmp_path / "catalog", tables(images=2, across=3))
    weights = Weights("w.h5", "/w", "1" * 64, "resnet50", made._store.meta["classes"])
    monkeypatch.setattr("elodin_spark.catalog.catalog.resolve_settings", lambda _: weights)
    before = state(made.path)
    others = made.settings.model_copy(update={"seed": 7})
    opened = Catalog.open(made.path, others)
    assert opened.settings.seed == 7
    assert state(made.path) == before
    with made._store.lock(), pytest.raises(CatalogError, match="being written by another run"):
        opened.run(["positions"])
    opened.run(["positions"])
    kept = load_config(made.path / "config.yaml")
    assert kept.seed == 7
    assert kept.fingerprints == others.fingerprints, "what was left open stays open"
    changed = state(made.path)[made.path / "config.yaml"]
    run_catalog(opened._store, opened.settings, lambda: opened._network, ["positions"], config=kept)
    assert state(made.path)[made.path / "config.yaml"] == changed, "the same settings are not written again"


def test_a_catalog_is_found_after_the_process_changed_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = write_catalog(Path("catalog"), tables(images=2, across=3))
    opened = Catalog.open("catalog")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    query = int(opened.cutout_ids()[0])
    assert opened.path == tmp_path / "catalog"
    assert opened.neighbors(query, 3) == made.neighbors(query, 3)
