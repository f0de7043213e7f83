"""Draw the picture of docs/figures.md: a spiral galaxy and its neighbors on their images.

    python docs/draw_figures.py demo docs/images

Takes the catalog of the demonstration.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from elodin_spark import Catalog, Query

#: A spiral galaxy of the simulated survey.
QUERY = "tile_001_000.fits:222,438"
NEIGHBORS = 5
WIDTH_PX, COLORS = 1200, 64


def draw_figures(catalog: Catalog, out: Path, query: str = QUERY) -> Path:
    """Write ``on_image.png`` to `out`; returns the file."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        drawn = catalog.plot_on_image(Query.from_pixel(query), Path(scratch) / "on_image.png", k=NEIGHBORS)
        with Image.open(drawn) as picture:
            height = round(picture.height * WIDTH_PX / picture.width)
            small = picture.convert("RGB").resize((WIDTH_PX, height), Image.Resampling.LANCZOS)
    few = small.quantize(COLORS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(out / "on_image.png", optimize=True)
    return out / "on_image.png"


if __name__ == "__main__":
    file = draw_figures(Catalog.open(Path(sys.argv[1]) / "catalog"), Path(sys.argv[2]))
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB")
