"""Values of a column by their pages, beside Arrow, which reads the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elodin_spark.catalog.storage.pages import PlainChunk


def values(count: int, seed: int = 0) -> list[bytes]:
    rng = np.random.default_rng(seed)
    return [rng.bytes(int(size)) for size in rng.integers(0, 3000, count)]


def chunk_of(path: Path, group: int = 0, column: str = "b") -> tuple[PlainChunk | None, Any]:
    file = path.open("rb")
    return PlainChunk.of(file, pq.read_metadata(path), group, column), file


@pytest.mark.parametrize("compression", ["snappy", "none", "zstd", "gzip"])
@pytest.mark.parametrize("nullable", [True, False])
def test_values_are_those_that_were_written(tmp_path: Path, compression: str, nullable: bool) -> None:
    wanted = values(900)
    kind = pa.schema([pa.field("a", pa.int64()), pa.field("b", pa.binary(), nullable)])
    table = pa.table([range(900), wanted], schema=kind)
    options = {
        "compression": compression,
        "use_dictionary": False,
        "data_page_size": 20_000,
        "write_batch_size": 5,
    }
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=400, **options)
    rng = np.random.default_rng(1)
    for group, size in enumerate((400, 400, 100)):
        chunk, file = chunk_of(tmp_path / "x.parquet", group)
        assert chunk is not None
        assert len(chunk._pages) > 3
        rows = [*rng.integers(0, size, 50).tolist(), 0, size - 1, 0]
        assert chunk.read(file, rows) == [wanted[400 * group + row] for row in rows]
        assert chunk.read(file, []) == []


@pytest.mark.parametrize(
    ("column", "options"),
    [
        (values(40) * 3, {"use_dictionary": True}),
        ([None, *values(9)], {"use_dictionary": False}),
        (values(9), {"use_dictionary": False, "data_page_version": "2.0"}),
        (values(9), {"use_dictionary": False, "write_statistics": False}),
        (values(9), {"use_dictionary": False, "compression": "lz4"}),
        (values(9), {"use_dictionary": False, "column_encoding": {"b": "DELTA_LENGTH_BYTE_ARRAY"}}),
        (list(range(9)), {"use_dictionary": False}),
        ([[b"a"], [b"b"]], {"use_dictionary": False}),
    ],
)
def test_what_was_written_otherwise_is_left_to_arrow(tmp_path: Path, column: list[Any], options: Any) -> None:
    pq.write_table(pa.table({"b": column}), tmp_path / "x.parquet", **options)
    assert chunk_of(tmp_path / "x.parquet")[0] is None
    assert chunk_of(tmp_path / "x.parquet", column="none")[0] is None


def test_headers_that_are_damaged_are_left_to_arrow_and_damaged_pages_are_said(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"b": values(50)}), path, use_dictionary=False)
    chunk, file = chunk_of(path)
    assert chunk is not None
    content, start = path.read_bytes(), chunk._pages[0].start
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.integers(4, start)] = rng.integers(256)
        (tmp_path / "y.parquet").write_bytes(damaged)
        with (tmp_path / "y.parquet").open("rb") as other:
            PlainChunk.of(other, pq.read_metadata(path), 0, "b")
    for at in (start, start + 4, start + 3000):
        damaged = bytearray(content)
        damaged[at : at + 2000] = rng.bytes(2000)
        (tmp_path / "y.parquet").write_bytes(damaged)
        with (tmp_path / "y.parquet").open("rb") as other, pytest.raises(ValueError, match="damaged"):
            chunk.read(other, list(range(50)))
    (tmp_path / "z").write_bytes(content[: start + 100])
    with file, (tmp_path / "z").open("rb") as short, pytest.raises(ValueError, match="damaged"):
        chunk.read(short, [49])
