"""Small sets of cutouts that can be told apart by their color."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from elodin_spark.config.feed import FeedSettings
from elodin_spark.learning.feed import Feed, choose_reader

with_petastorm = pytest.mark.skipif(
    choose_reader("auto", []) != "petastorm",
    reason="petastorm has an environment of its own: make test-petastorm",
)
READERS = ["arrow", pytest.param("petastorm", marks=with_petastorm)]


def picture(number: int, side: int = 24) -> np.ndarray:
    """A plain square whose color says its number."""
    color = (number % 16 * 16, number // 16 * 16, 128)
    return np.broadcast_to(np.array(color, np.uint8), (side, side, 3)).copy()


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def write_set(folder: Path, rows: int = 60, files: int = 2, group: int = 7, **columns: list[Any]) -> Path:
    """PNG files of `rows` numbered pictures, with other columns where they are given."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {"png": [encoded(picture(i)) for i in range(rows)], "label": list(range(rows))} | columns  # type: ignore[arg-type]
    )
    size = -(-rows // files)
    for number in range(files):
        part = table.slice(number * size, size)
        pq.write_table(part, folder / f"part-{number}.parquet", row_group_size=group)
    return folder


def feed(cutouts: Any, shard: int = 0, shards: int = 1, **settings: Any) -> Feed:
    """A feed of small images, decoded in this thread."""
    values = {"side_px": 8, "batch_size": 16, "threads": 0, "reader": "arrow"} | settings
    return Feed(cutouts, FeedSettings(**values), shard=shard, shards=shards)  # type: ignore[arg-type]


def numbers(batches: Any) -> list[int]:
    """What the pictures of :func:`picture` say, in their order."""
    found = [batch[0][:, 0, 0].astype(int) for batch in batches]
    return [int(red // 16 + green) for part in found for red, green, *_ in part]
