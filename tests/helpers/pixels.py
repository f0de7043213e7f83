"""Whole images as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from elodin_spark.images.planes import open_plane


def read_pixels(uri: str, hdu: int = 0, storage_options: Mapping[str, Any] | None = None) -> np.ndarray:
    """All pixels of an image."""
    with open_plane(uri, hdu, storage_options) as plane:
        return plane.read(0, plane.shape[0])
