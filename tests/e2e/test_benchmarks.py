"""The benchmarks run, and what they compare is equal: they stop where it is not."""

from __future__ import annotations

import pytest
from helpers.benchmarks import result
from helpers.paths import ROOT

pytestmark = pytest.mark.e2e


def test_cutting_makes_the_pixels_and_thumbnails_of_the_loop() -> None:
    found = result("cutting.py", "--side", "310", "--size", "100", "--step", "50", "--repeats", "1")
    assert len(found["rows"]) == 7
    for row in found["rows"]:
        assert row["windows"] == 25
        assert row["ours, windows/s of CPU"] > 0
        assert row["ratio, CPU"] > 0


def test_memory_is_measured_for_plain_and_compressed_images() -> None:
    found = result("cutting_memory.py", "--sides", "300", "--compressed", "300", "--window", "100")
    assert [(row["image"], row["quality columns"]) for row in found["rows"]] == [
        ("plain", "no"),
        ("plain", "yes"),
        ("RICE .fz", "no"),
        ("RICE .fz", "yes"),
    ]
    assert {row["windows"] for row in found["rows"]} == {25}
    assert all(row["growth of the peak, MiB"] > 0 for row in found["rows"])


def test_dense_mode_is_faster_and_a_full_halo_leaves_no_error() -> None:
    arguments = [
        "--side",
        "448",
        "--steps",
        "32",
        "--halos",
        "0",
        "256",
        "--halo-core",
        "128",
        "--repeats",
        "1",
    ]
    found = result("dense.py", *arguments)
    assert [row["windows"] for row in found["rows"]] == [64]
    assert found["rows"][0]["ratio, CPU"] > 1
    without, full = found["halos"]
    assert full["error, largest"] < 1e-4 < without["error, median"]


def test_each_precision_is_compared_with_float32() -> None:
    sizes = ["--px", "32", "--windows", "40", "--calibration", "16", "--repeats", "1", "--dense-px", "0"]
    found = result("precision.py", "--sets", "simulated", "--methods", "plain, no bias correction", *sizes)
    exact, *others = found["rows"]
    assert (exact["precision"], exact["overlap of 10"], exact["centerd cosine"]) == ("f32", 1.0, 1.0)
    assert others[-1]["precision"] == "int8, plain, no bias correction"
    for row in others:
        assert 0 < row["overlap of 10"] <= 1
        assert 0.5 < row["centerd cosine"] < 1
        assert row["images/s of CPU"] > 0


@pytest.mark.spark
def test_the_join_finds_what_the_loops_find() -> None:
    found = result("positions_join.py", "--positions", "20000", "--images", "20", "--master", "local[1]")
    assert [row["images done"] for row in found["rows"]] == [20, 20, 20]
    assert found["found"]["matches"] > 10
    on, off = (found["found"][f"positions on {what}"] for what in ("an image", "none"))
    assert on + off == 20000


def test_an_index_is_built_by_executors() -> None:
    sizes = ("--counts", "6000", "--shard-rows", "4000", "--dimension", "64")
    found = result("sharded_index.py", *sizes, "--index-config", "IVF16,SQ8", "--target", str(10**10))
    (row,), told = found["rows"], found["extrapolated"]
    assert row["shards"] == 2
    assert row["recall@10"] >= 0.95
    assert row["adding, vectors/s"] > 0
    assert row["worker peak, MiB"] > 50
    assert told["shards"] == 5000
    # Beside these, the search among 16 centroids is next to nothing.
    assert told["coding, core-hours"] > 0.5 * 1e10 * row["adding, CPU µs/vector"] / 1e6 / 3600
    assert told["disk, TB"] == pytest.approx(row["B/vector on disk"] / 100)


def test_filters_keep_the_same_in_each_checkout() -> None:
    arguments = ["--cutouts", "9000", "--rounds", "1", "--before", str(ROOT)]
    found = result("filter.py", *arguments)
    assert len(found["rows"]) == 5
    assert all(row["kept"] > 0 and row["before, s"] > 0 for row in found["rows"])


def test_the_explorer_is_asked_as_a_page_asks(tmp_path) -> None:
    arguments = ["--cutouts", "5000", "--clicks", "5", "--filters", "8", "--catalog", str(tmp_path / "c")]
    rows = {row["what"]: row for row in result("explore.py", *arguments)["rows"]}
    assert rows["click to nine pictures"]["n"] == 5
    assert 0 < rows["filter to mask"]["p50"] <= rows["filter to mask"]["p95"]
    assert rows["memory at the peak, MiB"]["p50"] > 100


def test_a_checkout_is_timed_against_another() -> None:
    found = result(
        "against_checkout.py", str(ROOT), "--size", "tiny", "--rounds", "1", "--only", "cutting", "imported"
    )
    names = " ".join(row["what"] for row in found["rows"])
    assert "cutting" in names
    assert "import" in names
    assert all(row["this"] > 0 and row["ratio"] > 0 for row in found["rows"])
