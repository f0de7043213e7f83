"""DataFrames of cutouts on their way to a training."""

from __future__ import annotations

import pytest
from helpers.learning import READERS, encoded, feed, numbers, picture

from elodin_spark.errors import InputError
from elodin_spark.learning.frames import from_frame

pytestmark = pytest.mark.spark


@pytest.mark.parametrize("reader", READERS)
def test_a_frame_is_written_once_and_read_by_shards(spark, tmp_path, reader):
    rows = [(i, encoded(picture(i)), f"type {i % 3}") for i in range(40)]
    frame = spark.createDataFrame(rows, "id int, png binary, type string").repartition(4, "id")
    cutouts = from_frame(frame, tmp_path, label="type", reader=reader)
    assert cutouts.columns == ["png", "type"]
    again = from_frame(frame, tmp_path, label="type", reader=reader)
    other = from_frame(frame.where("id < 10"), tmp_path, reader=reader)
    assert again.files == cutouts.files
    assert len([folder for folder in tmp_path.iterdir() if folder.is_dir()]) == 2
    assert sorted(numbers(feed(other, reader=reader))) == list(range(10))
    seen = [
        (number, label)
        for shard in range(2)
        for batch in feed(cutouts, shard, 2, reader=reader)
        for number, label in zip(numbers([batch]), batch[1].tolist(), strict=True)
    ]
    assert sorted(seen) == [(i, f"type {i % 3}") for i in range(40)]


def test_a_frame_without_images_is_refused_before_anything_is_written(spark, tmp_path):
    frame = spark.range(3)
    with pytest.raises(InputError, match="the DataFrame has no column jpeg, png, thumbnail"):
        from_frame(frame, tmp_path)
    with pytest.raises(InputError, match="the DataFrame has no column stamp"):
        from_frame(frame, tmp_path, "stamp")
    assert not list(tmp_path.iterdir())
