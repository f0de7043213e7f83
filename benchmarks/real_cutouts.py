"""Real cutouts for benchmarks, and their fingerprints."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from elodin_spark.config.load import parse_settings
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.stage import FingerprintSpec
from elodin_spark.fingerprints.weights.resolve import resolve_weights
from elodin_spark.fingerprints.windows import resize_window

Windows = NDArray[np.uint8]


def efigi(data: Path, px: int, count: int) -> tuple[Windows, list[str] | None]:
    """Galaxies in an order of their own, and their classes."""
    with (data / "efigi" / "labels.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    chosen = [listed[i] for i in np.random.default_rng(0).permutation(len(listed))[:count]]
    pictures = [np.asarray(Image.open(data / "efigi" / row["file"]).convert("RGB")) for row in chosen]
    return np.stack([resize_window(picture, px) for picture in pictures]), [row["label"] for row in chosen]


def sdss(data: Path, px: int, count: int) -> tuple[Windows, list[str] | None]:
    """Cutouts of SDSS, without classes; what cannot be decoded is left out."""
    file = pq.ParquetFile(data / "sdss_cutouts.parquet")
    chosen = set(np.random.default_rng(0).permutation(file.metadata.num_rows)[: count + 8].tolist())
    found, start = [], 0
    for batch in file.iter_batches(256, columns=["jpeg"]):
        for i in range(batch.num_rows):
            if start + i in chosen and len(found) < count:
                try:
                    picture = Image.open(io.BytesIO(batch.column("jpeg")[i].as_py())).convert("RGB")
                except OSError:
                    continue
                found.append(resize_window(np.asarray(picture), px))
        start += batch.num_rows
    return np.stack(found), None


def fingerprints(data: Path, names: Sequence[str], weights: str, px: int) -> NDArray[np.float32]:
    """Vectors of all cutouts of some sets in f32, float32, shape (n, d)."""
    network = {"weights": weights, "input_px": px, "precision": "f32"}
    settings = parse_settings({"images": {"paths": str(data)}, "fingerprints": network}).fingerprints
    run = FingerprintSpec.from_network(resolve_network(settings, resolve_weights(weights))).load(str)[0]
    every = {"efigi": efigi, "sdss": sdss}
    return np.concatenate([run(every[name](data, px, 10**6)[0])[0] for name in names])
