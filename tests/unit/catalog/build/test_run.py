"""One line of a run on masks that nobody knows how to read."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elodin_spark.catalog.build.run import UnnamedBits
from elodin_spark.schema import QUALITY

FIELDS = [QUALITY.field(name) for name in ("masked_fraction", "mask_fractions")]


def part(folder: Path, rows: list[tuple[float | None, Any]]) -> Path:
    folder.mkdir()
    columns = [
        pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), FIELDS, strict=True)
    ]
    pq.write_table(pa.Table.from_arrays(columns, schema=pa.schema(FIELDS)), folder / "part.parquet")
    return folder


def test_masks_without_a_bit_that_is_known_are_told_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    found = UnnamedBits()
    found.add(part(tmp_path / "a", [(0.5, [("BAD", 0.5)]), (None, None)]))
    found.tell(None)
    assert not caplog.records
    found.add(part(tmp_path / "b", [(None, [("BIT1", 0.5)]), (0.0, [("BIT7", 0.1)]), (None, [])]))
    found.add(part(tmp_path / "c", [(None, [("BIT0", 0.5), ("BIT1", 0.1)])]))
    found.tell(("CR", "SAT"))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    message = record.getMessage()
    assert "masks of 3 cutouts" in message
    assert "bad_bits: CR, SAT)" in message
    assert message.endswith("those that are set are BIT0, BIT1")
