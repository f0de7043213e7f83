"""Labels of a catalog: settings, counts, and how shared ones are printed."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from elodin_spark.catalog.build.labelindex import COUNTS_FILE, label_digest, read_label_counts
from elodin_spark.catalog.search.query import by_id
from elodin_spark.catalog.search.text import neighbors_csv, neighbors_table
from elodin_spark.config.load import parse_settings
from elodin_spark.config.settings import Metric
from elodin_spark.display.neighbors import DISTANCE_NAMES
from elodin_spark.errors import CatalogError, ConfigError

ROW: dict[str, Any] = {
    **{"query_id": 5, "neighbor_id": 7, "rank": 1, "distance": 0.25, "image": "a.fits"},
    **{"distance_over_repeat_median": None, "distance_percentile": None},
    **{"x0": 0, "y0": 0, "x1": 8, "y1": 8, "ra": None, "dec": None, "labels": ["sea", "egg"]},
}
EXPLAINED = [{"label": "egg", "weight": 3.21875}, {"label": "sea", "weight": 0.0}]


def settings(**neighbors: Any) -> Any:
    return parse_settings({"images": {"paths": "x"}, "neighbors": neighbors})


def test_shared_labels_are_printed_below_their_neighbor_and_in_a_column() -> None:
    rows = [{**ROW, "explain": EXPLAINED}, {**ROW, "rank": 2, "explain": []}]
    table = neighbors_table(rows, by_id((5,)), "rank_fusion", "a network")
    assert "(rank fusion distance)" in table
    assert table.splitlines()[-3].strip() == "shares: egg 3.22, sea 0.00"
    assert table.splitlines()[-1].strip() == "shares: no label"
    assert [row["explain"] for row in csv.DictReader(io.StringIO(neighbors_csv(rows)))] == [
        "egg:3.219;sea:0",
        "",
    ]
    plain = neighbors_table([ROW], by_id((5,)), "l2", "a network")
    assert "shares" not in plain
    assert "explain" not in neighbors_csv([ROW])


def test_every_metric_can_be_chosen_and_has_a_name() -> None:
    assert set(get_args(Metric)) == set(DISTANCE_NAMES)


def test_a_set_takes_no_more_labels_than_a_fingerprint_keeps() -> None:
    assert settings(labels=30).neighbors.labels == 30
    with pytest.raises(ConfigError, match=r"neighbors\.labels 31"):
        settings(labels=31)
    with pytest.raises(ConfigError):
        settings(labels=0)


def test_label_indices_are_built_again_when_their_labels_change() -> None:
    digests = [label_digest(settings(**some).neighbors) for some in ({}, {"labels": 5}, {"metrics": ["l2"]})]
    assert digests[0] != digests[1]
    assert digests[2] == []
    assert label_digest(settings(metrics=["l2", "cosine"]).neighbors) == []


def test_counts_that_are_missing_or_damaged_are_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"add jaccard to neighbors\.metrics"):
        read_label_counts(tmp_path, 3)
    np.save(tmp_path / COUNTS_FILE, np.array([1, 2, 3]))
    assert read_label_counts(tmp_path, 3).tolist() == [1, 2, 3]
    for wrong in (np.array([1, 2]), np.array([0.5, 1, 2])):
        np.save(tmp_path / COUNTS_FILE, wrong)
        with pytest.raises(CatalogError, match=COUNTS_FILE):
            read_label_counts(tmp_path, 3)
    (tmp_path / COUNTS_FILE).write_bytes(b"nonsense")
    with pytest.raises(CatalogError, match=COUNTS_FILE):
        read_label_counts(tmp_path, 3)
