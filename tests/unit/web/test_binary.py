"""Columns as bytes."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest

from elodin_spark.web.binary import DTYPES, json_bytes, pack, unpack


@pytest.mark.parametrize("rows", [0, 1, 3, 8])
def test_columns_come_back_and_are_aligned(rows: int) -> None:
    columns = {kind: np.arange(rows).astype(kind) for kind in DTYPES}
    packed = pack(columns, name="ü", bad=[math.nan, 1.5, math.inf])
    (length,) = struct.unpack("<I", packed[:4])
    head = json.loads(packed[4 : 4 + length])
    assert (4 + length) % 8 == 0
    assert all(each["offset"] % 8 == 0 for each in head["columns"])
    count, meta, found = unpack(packed)
    assert (count, meta) == (rows, {"name": "ü", "bad": [None, 1.5, None]})
    for kind, values in columns.items():
        assert found[kind].dtype == kind
        np.testing.assert_array_equal(found[kind], values)


def test_big_endian_and_strided_columns_are_written_right() -> None:
    values = np.arange(10, dtype=">i8")[::2]
    assert unpack(pack({"id": values}))[2]["id"].tolist() == [0, 2, 4, 6, 8]
    assert unpack(pack({"bits": np.zeros(2, np.uint8)}, 11))[0] == 11
    assert unpack(pack({}))[0] == 0


def test_what_a_page_has_no_array_of_is_refused() -> None:
    for wrong in (np.zeros(2), np.zeros((2, 2), np.float32), np.array(["a"])):
        with pytest.raises(ValueError, match="column x is"):
            pack({"x": wrong})


@pytest.mark.parametrize("cut", [0, 3, 10, 80])
def test_bytes_that_are_cut_short_are_no_columns(cut: int) -> None:
    with pytest.raises(ValueError):
        unpack(pack({"x": np.arange(9)})[:cut])


def test_json_holds_numbers_of_numpy_and_no_nan() -> None:
    assert json_bytes({"a": np.float32(1.5), "b": (np.int64(2), math.nan), "c": True}) == (
        b'{"a":1.5,"b":[2,null],"c":true}'
    )
