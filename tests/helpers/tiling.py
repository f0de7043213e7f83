"""A small archive, and what the tile stage makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from astropy.io import fits
from PIL import Image

from elodin_spark.config.settings import SlidingWindow, Step
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.stage import fuse, run_plain

WINDOW = SlidingWindow(size=16, step=12)


def step(kind: str, **parameters: object) -> Step:
    return Step(type=kind, parameters=parameters)


def stars(height: int = 50, width: int = 70) -> np.ndarray:
    rng = np.random.default_rng(5)
    image = rng.normal(100, 3, (height, width))
    image[rng.integers(0, height, 20), rng.integers(0, width, 20)] += 500
    return image.astype(np.float32)


def sip_wcs() -> fits.Header:
    header = fits.Header()
    header.update(
        CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", CRVAL1=359.99, CRVAL2=62.0, CRPIX1=30.0, CRPIX2=20.0,
        CD1_1=-5e-4, CD1_2=1e-4, CD2_1=1e-4, CD2_2=5e-4, RADESYS="ICRS",
        A_ORDER=2, B_ORDER=2, A_2_0=2e-4, B_1_1=-1e-4,
    )  # fmt: skip
    return header


def run(archive: Path, spec: TileSpec, batch: int = 100, **describe: Any) -> pa.Table:
    return run_plain(
        fuse(DescribeSpec(**describe), spec), files_to_batches(list_files([str(archive)]), batch)
    )


def cutouts(table: pa.Table, path: str) -> list[dict[str, Any]]:
    rows = table.to_pylist()
    image = next(row["image"]["image_id"] for row in rows if row["image"] and row["image"]["path"] == path)
    return [row for row in rows if row["cutout_id"] is not None and row["image_id"] == image]


def pixels_of(row: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(row["pixels"], np.uint8).reshape(row["pixel_shape"])


def failures(table: pa.Table) -> list[dict[str, Any]]:
    return [row["failure"] for row in table.to_pylist() if row["failure"]]


def make_archive(root: Path) -> Path:
    """Two pictures and a FITS image on the sky, in a new folder."""
    root.mkdir()
    fits.PrimaryHDU(stars(), sip_wcs()).writeto(root / "sky.fits")
    color = np.random.default_rng(2).integers(0, 256, (40, 33, 3), dtype=np.uint8)
    Image.fromarray(color).save(root / "color.png")
    Image.fromarray(color[..., 0]).save(root / "gray.png")
    return root
