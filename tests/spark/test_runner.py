"""Stages on Spark."""

from __future__ import annotations

from elodin_spark.spark.runner import ship_files


def test_a_file_is_shipped_once_for_an_application(spark, tmp_path):
    files = [tmp_path / name for name in ("a.bin", "b.bin")]
    for file in files:
        file.write_bytes(b"x")
    added = []
    context = spark.sparkContext
    add = context.addFile
    context.addFile = lambda path: (added.append(path), add(path))
    try:
        for _ in range(2):
            ship_files(spark, [str(files[0])])
        ship_files(spark, map(str, files))
    finally:
        del context.addFile
    assert added == [str(file) for file in files]
    assert {name.rsplit("/", 1)[-1] for name in context.listFiles} >= {"a.bin", "b.bin"}
