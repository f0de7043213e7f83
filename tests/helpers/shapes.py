"""Small pictures of two classes that any network tells apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_shapes(folder: Path, each: int = 16, px: int = 40) -> dict[str, str]:
    """Write disks and bars at random places as PNG; path below the folder to class."""
    rng = np.random.default_rng(0)
    y, x = np.indices((px, px))
    classes = {}
    for label in ("disk", "bar"):
        (folder / label).mkdir(parents=True)
        for i in range(each):
            cy, cx = rng.uniform(0.4 * px, 0.6 * px, 2)
            disk, bar = np.hypot(y - cy, x - cx) < px / 5, (abs(y - cy) < 2) & (abs(x - cx) < px / 3)
            picture = rng.normal(30, 5, (px, px, 3)) + 150 * (disk if label == "disk" else bar)[..., None]
            Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(folder / label / f"{i}.png")
            classes[f"{label}/{i}.png"] = label
    return classes
