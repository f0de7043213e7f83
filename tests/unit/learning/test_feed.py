"""The feed of a training: the same rows by petastorm and by Arrow, in the order that a seed names."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.learning import READERS, encoded, feed, numbers, picture, with_petastorm, write_set
from helpers.limits import HANG_S
from helpers.paths import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from elodin_spark.config.feed import FeedSettings
from elodin_spark.errors import ConfigError, ElodinError, InputError, MissingDependencyError
from elodin_spark.fingerprints.runtimes.framework import installed
from elodin_spark.learning import feed as feed_module
from elodin_spark.learning.cutoutset import CutoutSet
from elodin_spark.learning.feed import Feed, petastorm_pass
from elodin_spark.learning.readers import arrow_pass, shuffled


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("sets") / "a b%20[c]")


@pytest.fixture(scope="module")
def cutouts(folder):
    return CutoutSet.read(folder, label="label")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("threads", [0, 3])
def test_every_row_comes_once_an_epoch_with_its_label(cutouts, reader, threads):
    batches = list(feed(cutouts, reader=reader, threads=threads, epochs=2))
    assert [len(images) for images, _ in batches] == [16, 16, 16, 12] * 2
    assert {images.dtype for images, _ in batches} == {np.dtype(np.uint8)}
    assert {images.shape[1:] for images, _ in batches} == {(8, 8, 3)}
    labels = np.concatenate([labels for _, labels in batches])
    assert labels.dtype == np.int64
    assert labels.tolist() == numbers(batches)
    assert sorted(labels[:60]) == sorted(labels[60:]) == list(range(60))
    assert labels[:60].tolist() != labels[60:].tolist()


@pytest.mark.parametrize("reader", READERS)
def test_one_seed_is_one_order_whatever_was_read_before(cutouts, reader):
    first = feed(cutouts, reader=reader, seed=5, epochs=3)
    order = numbers(first)
    begun = iter(first)
    next(begun)
    np.random.default_rng(1).random()
    np.random.seed(0)  # noqa: NPY002 - that of the process, which petastorm uses without a seed
    assert numbers(first) == order
    assert numbers(feed(cutouts, reader=reader, seed=5).epoch(2)) == order[120:]
    assert numbers(feed(cutouts, reader=reader, seed=5, threads=2, batch_size=7, epochs=3)) == order
    assert numbers(feed(cutouts, reader=reader, seed=6, epochs=3)) != order
    begun.close()


@pytest.mark.parametrize("reader", READERS)
def test_without_shuffling_rows_come_in_the_order_of_the_files(cutouts, reader):
    assert numbers(feed(cutouts, reader=reader, shuffle=False)) == list(range(60))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_shuffled_epoch_mixes_the_row_groups(cutouts, seed):
    order = numbers(feed(cutouts, seed=seed))
    assert sum(abs(a // 7 - b // 7) <= 1 for a, b in pairwise(order)) < 40


@with_petastorm
@pytest.mark.parametrize("shards", [1, 2, 3])
def test_both_readers_give_the_same_rows_to_each_shard_and_epoch(cutouts, shards):
    seen: list[int] = []
    for shard in range(shards):
        for epoch in range(3):
            found = [
                sorted(numbers(feed(cutouts, shard, shards, reader=reader, seed=2).epoch(epoch)))
                for reader in ("arrow", "petastorm")
            ]
            assert found[0] == found[1]
        seen += found[0]
    assert sorted(seen) == list(range(60))


@with_petastorm
def test_petastorm_loses_no_row_group_however_soon_its_queue_is_filled(cutouts):
    # Its pool now and then takes a queue that is being filled for one that is done.
    for seed in range(1, 25):
        assert sum(len(rows) for rows in petastorm_pass(cutouts, 2, 9, seed)) == 7


@with_petastorm
def test_what_one_reader_gives_of_awkward_columns_the_other_gives_too(tmp_path):
    names = [None if i % 5 == 0 else f"type {i % 3}" for i in range(12)]
    pixels = [picture(i).tobytes() if i % 2 else picture(i)[..., 0].tobytes() for i in range(12)]
    shapes = [[24, 24, 3] if i % 2 else [24, 24] for i in range(12)]
    shapes[3], shapes[4] = None, [7, 7]
    write_set(
        tmp_path,
        12,
        1,
        5,
        pixels=pixels,
        pixel_shape=shapes,
        name=names,
        cutout_id=list(range(12)),
        number=[None if i == 8 else i for i in range(12)],
        rejected=["edge" if i == 2 or i >= 10 else None for i in range(12)],
        source=[{"flux": 1.0}] * 12,
    )
    for label in ("name", "number"):
        whole = CutoutSet.read(tmp_path, "pixels", label)
        some = CutoutSet(whole.files, "pixels", label, np.array([1, 11]), accepted=True)
        for asked in (whole, some):
            by_arrow, by_petastorm = (
                [tuple(row) for part in reader(asked, 0, 1, None) for row in part.itertuples(index=False)]
                for reader in (arrow_pass, petastorm_pass)
            )
            assert by_arrow == by_petastorm
            assert len(by_arrow) == (12 if asked is whole else 8)
    found = feed(some, shuffle=False)
    (labels,) = [labels.tolist() for _, labels in found]
    assert labels == [0, 5, 6, 7, -1, 9]
    assert found.skipped == {"bad_pixels": 2}


def test_a_shard_has_its_row_groups_by_turns(cutouts):
    assert sorted(numbers(feed(cutouts, 1, 10))) == list(range(7, 14))
    with pytest.raises(InputError, match="10 row groups are too few for 11 shards"):
        feed(cutouts, 0, 11)
    for shard, shards in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(ConfigError, match="shards are numbered from 0"):
            feed(cutouts, shard, shards)


def test_drop_last_leaves_out_the_short_batch(cutouts):
    assert [len(images) for images, _ in feed(cutouts, drop_last=True, epochs=2)] == [16, 16, 16] * 2
    with pytest.raises(InputError, match="60 images fill no batch of 61"):
        list(feed(cutouts, drop_last=True, batch_size=61, epochs=None))


def test_epochs_without_end_go_on(folder):
    batches = iter(feed(CutoutSet.read(folder), epochs=None, batch_size=50))
    assert [len(next(batches)[0]) for _ in range(7)] == [50, 10, 50, 10, 50, 10, 50]


@pytest.mark.parametrize("reader", READERS)
def test_damaged_pictures_are_skipped_counted_and_logged_once(tmp_path, caplog, reader):
    jpeg = [encoded(picture(i, 64), "JPEG") for i in range(20)]
    jpeg[3], jpeg[4], jpeg[5] = jpeg[3][:-200], b"no picture", None
    found = feed(CutoutSet.read(write_set(tmp_path, 20, jpeg=jpeg)), reader=reader, epochs=2)
    with caplog.at_level(logging.WARNING, "elodin_spark"):
        assert sum(len(images) for (images,) in found) == 34
    assert found.skipped == {"truncated": 1, "unreadable": 1, "null": 1}
    (line,) = [record.getMessage() for record in caplog.records]
    assert "skipped 3 of 20 cutouts (1 null, 1 truncated, 1 unreadable)" in line


@pytest.mark.parametrize("reader", READERS)
def test_a_set_without_a_readable_image_is_refused_even_without_end(tmp_path, reader):
    cutouts = CutoutSet.read(write_set(tmp_path, 8, 1, png=[b"", b"x", None, b"\x89PNG"] * 2))
    with pytest.raises(InputError, match=r"column png of .*none of 8 cutouts can be decoded \(2 null"):
        list(feed(cutouts, reader=reader, epochs=None))
    none = CutoutSet(cutouts.files, "png", None, accepted=True)
    with pytest.raises(InputError, match="no column rejected"):
        list(feed(none, reader=reader))


@pytest.mark.parametrize("reader", READERS)
def test_a_set_whose_rows_all_do_not_count_is_refused(tmp_path, reader):
    folder = write_set(tmp_path, 8, 1, 3, rejected=["edge"] * 8, cutout_id=list(range(8)))
    cutouts = CutoutSet(CutoutSet.read(folder).files, "png", accepted=True)
    with pytest.raises(InputError, match="no row counts"):
        list(feed(cutouts, reader=reader))


@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_row_group_is_named(tmp_path, reader):
    cutouts = CutoutSet.read(write_set(tmp_path, 40, 1, 20))
    file = Path(cutouts.files[0])
    content = bytearray(file.read_bytes())
    content[4:1500] = bytes(1496)
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"row group .*part-0.parquet.* cannot be read"):
        list(feed(cutouts, reader=reader, shuffle=False))


def test_decoding_runs_ahead_by_two_batches_at_most(cutouts, monkeypatch):
    taken = []

    def counted(*given_):
        for rows in arrow_pass(*given_):
            taken.append(len(rows))
            yield rows

    monkeypatch.setattr(feed_module, "arrow_pass", counted)
    batches = iter(feed(cutouts, batch_size=2, threads=2, shuffle=False))
    next(batches)
    assert sum(taken) == 7
    batches.close()


@given(st.integers(0, 40), st.integers(1, 50), st.integers(0, 2**32))
def test_a_buffer_gives_each_row_once_and_none_before_its_time(rows, buffer_rows, seed):
    order = list(shuffled(range(rows), buffer_rows, np.random.default_rng(seed)))
    assert sorted(order) == list(range(rows))
    assert all(row < place + buffer_rows for place, row in enumerate(order))


@settings(max_examples=15)
@given(st.integers(1, 30), st.integers(1, 9), st.integers(1, 40), st.booleans(), st.integers(0, 2**40))
def test_batches_hold_all_rows_of_all_shards(tmp_path_factory, rows, group, batch, drop_last, seed):
    cutouts = CutoutSet.read(write_set(tmp_path_factory.mktemp("set"), rows, 1, group))
    shards = min(3, len(cutouts.row_groups))
    seen: list[int] = []
    for shard in range(shards):
        try:
            batches = list(feed(cutouts, shard, shards, batch_size=batch, drop_last=drop_last, seed=seed))
        except InputError as error:
            if not drop_last or "fill no batch" not in str(error):
                raise
            continue
        assert all(len(images) == batch for (images,) in batches[: None if drop_last else -1])
        seen += numbers(batches)
    assert len(seen) == len(set(seen)) <= rows
    assert drop_last or len(seen) == rows


@pytest.mark.skipif(not installed("tensorflow"), reason="TensorFlow is not installed")
def test_the_dataset_holds_the_same_batches(folder):
    for label, channels, drop_last in (("label", 1, False), (None, 3, True)):
        found = feed(CutoutSet.read(folder, label=label), channels=channels, drop_last=drop_last, epochs=2)
        dataset = found.for_keras()
        assert dataset.element_spec[0].shape.as_list() == [16 if drop_last else None, 8, 8, channels]
        for _ in range(2):
            pairs = zip(dataset.as_numpy_iterator(), found, strict=True)
            assert all(
                np.array_equal(a, b) for got, expected in pairs for a, b in zip(got, expected, strict=True)
            )


def test_without_petastorm_and_tensorflow_keras_is_given_an_iterator(folder):
    code = f"""
import sys
sys.modules["petastorm"] = sys.modules["tensorflow"] = None
from elodin_spark.learning.cutoutset import CutoutSet
from elodin_spark.learning.feed import Feed
from elodin_spark.config.feed import FeedSettings
from elodin_spark.errors import MissingDependencyError
cutouts = CutoutSet.read({str(folder)!r})
feed = Feed(cutouts)
print(feed.reader, [images.shape for images, in feed.for_keras()])
for call in (feed.dataset, lambda: Feed(cutouts, FeedSettings(reader="petastorm"))):
    try:
        call()
    except MissingDependencyError as error:
        print("refused:", error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=HANG_S
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "arrow [(60, 64, 64, 3)]", done.stderr
    assert re.match(r"refused: .*tensorflow.*iterate over the feed", lines[1])
    assert re.match(r"refused: petastorm cannot be imported .*reader to arrow", lines[2])


@with_petastorm
def test_paths_that_petastorm_cannot_read_are_left_to_arrow(tmp_path):
    cutouts = CutoutSet.read(write_set(tmp_path / "a#b", 9))
    assert feed(cutouts, reader="auto").reader == "arrow"
    with pytest.raises(ElodinError, match="petastorm reads no path with #"):
        feed(cutouts, reader="petastorm")


def test_real_cutouts_are_read(shared_data):
    cutouts = CutoutSet.read(shared_data / "sdss_cutouts.parquet", label="name")
    found = feed(cutouts, 12, 13, batch_size=40, side_px=32, channels=1, threads=2)
    images, names = next(iter(found))
    assert images.shape == (40, 32, 32, 1)
    assert len(set(names.tolist())) == 40
    assert images.std(axis=(1, 2)).min() > 0


def test_the_page_gives_every_setting_with_its_default():
    page = (ROOT / "docs" / "learning.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|([^|\n]*)\|[^|\n]+\|$", page, re.MULTILINE)
    defaults = {name: field.default for name, field in FeedSettings.model_fields.items()}
    assert {name: yaml.safe_load(default) for name, default in rows if name in defaults} == defaults


def test_petastorm_by_name_where_it_cannot_be_had(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "petastorm", None)
    with pytest.raises(MissingDependencyError, match="reader to arrow"):
        Feed(CutoutSet.read(folder), FeedSettings(reader="petastorm"))
