"""The stage that writes the tables of a run, and what becomes of its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elodin_spark import schema
from elodin_spark.spark import tablefiles
from elodin_spark.spark.tablefiles import WriteTablesSpec, gather
from elodin_spark.stage import run_plain

TABLES = ("images", "cutouts", "fingerprints", "failures")


def image(number: int) -> dict[str, Any]:
    return {
        "image": dict.fromkeys(schema.IMAGES.names)
        | {
            "image_id": number,
            "uri": f"{number}.fits",
            "path": f"{number}.fits",
            "size_bytes": 1,
            "status": "ok",
        }
    }


def window(number: int, with_vector: bool = True) -> dict[str, Any]:
    vector = np.full(4, number, np.float32) if with_vector else None
    return {
        "cutout_id": number,
        "image_id": 1,
        "mask_fractions": [("CR", 0.5)],
        "pixel_shape": [1, 2],
        "pixels": bytes([number, 0]),
        "vector": vector,
        "labels": [number] if with_vector else None,
        "label_scores": [0.5] if with_vector else None,
        "recipe": "r" if with_vector else None,
    }


def failure(message: str) -> dict[str, Any]:
    return {"failure": dict.fromkeys(schema.FAILURES.names) | {"kind": "bad", "message": message}}


def batch(*rows: dict[str, Any]) -> pa.RecordBatch:
    return schema.rows_to_batch(list(rows), schema.FINGERPRINTED)


def write(folder: Path, *partitions: list[pa.RecordBatch], keep_pixels: bool = False) -> dict[str, Path]:
    """As a run does it: each partition to files, all gathered."""
    scratch = {table: folder / f"{table}-open" for table in TABLES}
    for path in scratch.values():
        path.mkdir(parents=True)
    spec = WriteTablesSpec(tuple((table, str(path)) for table, path in scratch.items()), keep_pixels)
    written = [row for batches in partitions for row in run_plain(spec, batches).to_pylist()]
    (scratch["cutouts"] / "of an attempt that failed.parquet").write_bytes(b"PAR1")
    targets = {table: folder / table for table in TABLES}
    gather([(row["table"], row["file"], row["known"]) for row in written], targets, spec)
    return targets


def test_each_row_comes_to_its_table(tmp_path: Path) -> None:
    first = [batch(image(1), window(3), window(1, with_vector=False)), batch(window(2), failure("a"))]
    second = [batch(image(2), failure("b"), window(4))]
    targets = write(tmp_path, first, second, [])
    tables = {name: pq.read_table(folder) for name, folder in targets.items()}
    assert tables["cutouts"]["cutout_id"].to_pylist() == [3, 1, 2, 4]
    assert tables["cutouts"]["mask_fractions"].to_pylist() == [[("CR", 0.5)]] * 4
    assert tables["fingerprints"]["cutout_id"].to_pylist() == [3, 2, 4]
    assert tables["fingerprints"]["vector"].to_pylist() == [[3.0] * 4, [2.0] * 4, [4.0] * 4]
    assert tables["images"]["image_id"].to_pylist() == [1, 2]
    assert tables["failures"]["message"].to_pylist() == ["a", "b"]
    for name, table in tables.items():
        assert table.schema.equals(schema.TABLES[name]), name


def test_files_are_those_of_the_attempts_that_count(tmp_path: Path) -> None:
    targets = write(tmp_path, [batch(image(1), window(1))], [batch(window(2), failure("x"))])
    files = {name: sorted(file.name for file in folder.iterdir()) for name, folder in targets.items()}
    two, one = ["part-00000.parquet", "part-00001.parquet"], ["part-00000.parquet"]
    assert files == {"images": one, "cutouts": two, "fingerprints": two, "failures": one}


def test_tables_without_rows_have_an_empty_file(tmp_path: Path) -> None:
    for name, folder in write(tmp_path, []).items():
        (file,) = folder.iterdir()
        assert pq.read_table(file).num_rows == 0
        assert pq.read_schema(file).equals(schema.TABLES[name])


def test_pixels_are_kept_where_asked_for(tmp_path: Path) -> None:
    targets = write(tmp_path, [batch(window(7))], keep_pixels=True)
    found = pq.read_table(targets["cutouts"])
    assert found.schema.equals(WriteTablesSpec((), keep_pixels=True).columns("cutouts"))
    assert (found["pixels"].to_pylist(), found["pixel_shape"].to_pylist()) == ([b"\x07\x00"], [[1, 2]])


def test_what_a_worker_holds_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tablefiles, "GROUP_BYTES", 1)
    targets = write(tmp_path, [batch(window(1)), batch(window(2)), batch(window(3))])
    meta = pq.read_metadata(targets["fingerprints"] / "part-00000.parquet")
    assert (meta.num_rows, meta.num_row_groups) == (3, 3)
