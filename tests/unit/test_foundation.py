"""IDs, tables, the stage contract, recipes, progress."""

from __future__ import annotations

import io
import pickle
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elodin_spark import ids, schema
from elodin_spark.catalog import RunReport
from elodin_spark.config.load import parse_settings
from elodin_spark.errors import ImageError
from elodin_spark.progress import Progress, counted, step
from elodin_spark.provenance import make_recipe, recipe_differences, recipe_id
from elodin_spark.spark.java import check_java, java_version
from elodin_spark.stage import PrefetchSpec, Stage, StageSpec, fuse, run_plain

# ---- IDs ---------------------------------------------------------------------------------


def test_ids_are_what_they_were_in_every_earlier_version():
    # Written down on purpose: catalogs on disk hold these numbers.
    assert ids.image_id("a/b.fits", 1) == 7681489842775539677
    assert ids.cutout_id("a/b.fits", 1, 0, 0, 224, 224) == 7175176560433028283


@given(st.lists(st.tuples(st.text(), st.integers(0, 9)), unique=True, max_size=50))
def test_different_things_have_different_ids_that_fit_a_signed_column(things):
    made = [ids.stable_id(*thing) for thing in things]
    assert len(set(made)) == len(made)
    assert all(0 <= number < 2**63 for number in made)


def test_parts_do_not_run_into_each_other():
    assert ids.stable_id("ab", "c") != ids.stable_id("a", "bc") != ids.stable_id("abc")


# ---- tables ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", schema.TABLES)
def test_every_column_says_what_it_means(name):
    for field in schema.TABLES[name]:
        assert field.metadata[b"meaning"], field.name
        assert b"unit" in field.metadata


def test_a_row_with_a_column_the_table_lacks_is_refused():
    with pytest.raises(KeyError, match="color"):
        schema.rows_to_batch([{"color": 1}], schema.FAILURES)


# ---- stages ------------------------------------------------------------------------------

NUMBERS = pa.schema([pa.field("n", pa.int64())])


@dataclass(frozen=True)
class AddSpec:
    amount: int
    files: tuple[str, ...] = ()
    output_schema: pa.Schema = NUMBERS

    def build(self, locate) -> Stage:
        return _Add(self.amount)


class _Add:
    output_schema = NUMBERS

    def __init__(self, amount: int) -> None:
        self.amount = amount

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield pa.RecordBatch.from_pydict({"n": pa.compute.add(batch["n"], self.amount)}, schema=NUMBERS)


def test_fused_stages_run_in_order_and_lazily():
    seen = []

    def batches() -> Iterator[pa.RecordBatch]:
        for n in range(3):
            seen.append(n)
            yield pa.RecordBatch.from_pydict({"n": [n]}, schema=NUMBERS)

    spec = fuse(AddSpec(1, ("a",)), AddSpec(10, ("b",)))
    assert isinstance(spec, StageSpec)
    assert spec.files == ("a", "b")
    assert run_plain(spec, batches())["n"].to_pylist() == [11, 12, 13]
    seen.clear()
    next(iter(spec.build(str)(batches())))
    assert seen == [0]


@pytest.mark.parametrize("depth", [1, 3])
def test_a_stage_that_runs_ahead_changes_nothing_and_is_bounded(depth):
    made, taken = [], []

    def source():
        for number in range(12):
            made.append(number)
            yield pa.RecordBatch.from_pydict({"x": [number]})

    stage = PrefetchSpec(pa.schema([("x", pa.int64())]), depth).build(str)
    for batch in stage(source()):
        taken += batch.column("x").to_pylist()
        assert len(made) <= len(taken) + depth + 1
    assert taken == made == list(range(12))


def test_an_error_behind_a_stage_that_runs_ahead_comes_after_the_rows_before_it():
    def source():
        yield pa.RecordBatch.from_pydict({"x": [1]})
        raise ImageError("no more", "test")

    batches = PrefetchSpec(pa.schema([("x", pa.int64())])).build(str)(source())
    assert next(batches).num_rows == 1
    with pytest.raises(ImageError, match="no more"):
        next(batches)


def test_a_stage_that_runs_ahead_stops_with_its_reader():
    batches = PrefetchSpec(pa.schema([("x", pa.int64())])).build(str)(
        pa.RecordBatch.from_pydict({"x": [n]}) for n in range(10**9)
    )
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "elodin-prefetch"]


def test_nothing_cannot_be_fused():
    with pytest.raises(ValueError, match="at least one"):
        fuse()


# ---- recipes -----------------------------------------------------------------------------


def recipe(weights: str = "a.h5", sha: str = "1" * 64, **sections):
    network = {"networks": [], **sections.pop("fingerprints", {})}
    settings = parse_settings({"images": {"paths": "/data"}, "fingerprints": network, **sections})
    return make_recipe(settings, weights, sha)


def test_a_recipe_names_what_fingerprints_depend_on_and_nothing_else():
    base = recipe_id(recipe())
    assert recipe_id(recipe(weights="renamed.h5")) == base
    assert recipe_id(recipe(run={"batch_images": 3}, projection={"pca": 9}, seed=4)) == base
    assert recipe_id(recipe(sha="2" * 64)) != base
    assert recipe_id(recipe(fingerprints={"input_px": 96})) != base
    assert recipe_id(recipe(cutouts={"generator": {"kind": "full_image"}})) != base


def test_spelling_out_a_default_does_not_change_the_recipe():
    short, long = ({"type": "Resize"}, {"type": "Resize", "parameters": {"output_size": 224}})
    assert recipe_id(recipe(cutouts={"steps": [short]})) == recipe_id(recipe(cutouts={"steps": [long]}))


def test_differences_name_the_setting_and_both_values():
    found = recipe_differences(recipe(), recipe(fingerprints={"input_px": 96}))
    assert found == ["fingerprints.input_px: 64, not 96"]


def networks(*factors: float) -> dict[str, Any]:
    """The further networks of a recipe."""
    return {"fingerprints": {"networks": [{"weights": "w", "factor": factor} for factor in factors]}}


def test_differences_of_entries_of_a_list_name_the_entry():
    assert recipe_differences(networks(0.7, 0.5), networks(0.7, 0.6)) == [
        "fingerprints.networks.1.factor: 0.5, not 0.6"
    ]
    assert recipe_differences(networks(0.7), networks(0.7, 0.6)) == [
        "fingerprints.networks.1: none, not {'weights': 'w', 'factor': 0.6}"
    ]
    (added,) = recipe_differences({"fingerprints": {}}, networks(0.7))
    assert added.startswith("fingerprints.networks.0: none, not {'weights'")
    sizes = [recipe(cutouts={"generator": {"size": size}}) for size in ([64, 32], [64, 48])]
    assert recipe_differences(*sizes) == ["cutouts.generator.size: [64, 32], not [64, 48]"]
    assert recipe_differences({"copies": 256}, {}) == ["copies: 256, not none"]
    assert recipe_differences({"steps": None}, {"steps": []}) == ["steps: none, not []"]


# ---- progress ----------------------------------------------------------------------------


def test_progress_in_a_log_file_is_lines():
    log = io.StringIO()
    with Progress(10, "cutting", "files", stream=log, interval_s=0) as progress:
        for done in (3, 2, 7):
            progress.to(done)
        progress.add(3)
    lines = log.getvalue().splitlines()
    assert lines[0] == "cutting: 0 of 10 files"
    assert [line.split(",")[0] for line in lines[1:3]] == ["cutting: 3 of 10 files", "cutting: 7 of 10 files"]
    assert lines[-1].startswith("cutting: 10 of 10 files in ")
    assert "\r" not in log.getvalue()
    assert "\x1b" not in log.getvalue()


def test_progress_on_a_terminal_is_a_bar():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    with Progress(4, "cutting", "files", stream=terminal) as progress:
        progress.to(4)
    assert "\r" in terminal.getvalue()
    assert "100%" in terminal.getvalue()


def test_progress_that_failed_does_not_say_it_ended():
    log = io.StringIO()

    def fail() -> None:
        with Progress(4, "cutting", "files", stream=log):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert " in " not in log.getvalue()


def test_a_step_that_takes_long_says_so_and_one_that_is_soon_done_says_nothing():
    log, quick = io.StringIO(), io.StringIO()
    with step("fitting", stream=quick, after_s=600):
        pass
    assert quick.getvalue() == ""
    with step("fitting", stream=log, after_s=0, interval_s=0.001):
        while "so far" not in log.getvalue():
            time.sleep(0.001)
    lines = log.getvalue().splitlines()
    assert lines[0] == "fitting ..."
    assert lines[1] == "fitting: 0 s so far"
    assert lines[-1].startswith("fitting: done in ")


# ---- errors and Java ---------------------------------------------------------------------


def test_an_image_error_keeps_its_kind_across_processes():
    error = pickle.loads(pickle.dumps(ImageError("too short", kind="truncated")))
    assert (str(error), error.kind) == ("too short", "truncated")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_392"', 8),
        ('openjdk version "21" 2023-09-19', 21),
        ("command not found", None),
    ],
)
def test_java_versions_old_and_new_are_read(text, version):
    assert java_version(text) == version


def test_a_missing_or_old_java_is_refused_with_how_to_get_one(tmp_path, monkeypatch):
    from elodin_spark.errors import MissingDependencyError

    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="apt install openjdk-17"):
        check_java()
    (tmp_path / "bin").mkdir()
    java = tmp_path / "bin" / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    with pytest.raises(MissingDependencyError, match="is 11"):
        check_java()


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (0, "image", "0 images"),
        (1, "image", "1 image"),
        (2, "batch", "2 batches"),
        (1200, "file", "1,200 files"),
    ],
)
def test_what_is_counted_is_named_by_its_number(count, noun, text):
    assert counted(count, noun) == text


def test_a_report_of_one_image_names_one():
    text = RunReport(1, 1, 0, 1, (), 1.0).text()
    assert text.startswith("1 image, 1 cutout, 0 refused; 1 batch done")


def test_of_a_total_that_may_not_be_reached_no_time_left_is_told() -> None:
    for at_most, said in ((False, "s left"), (True, "2 of at most 9 windows")):
        stream = io.StringIO()
        with Progress(9, "cutting", "windows", stream, interval_s=0.0, at_most=at_most) as progress:
            progress.to(2)
        assert said in stream.getvalue()
        assert ("left" in stream.getvalue()) != at_most
