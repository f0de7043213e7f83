"""Make the pictures of the README from the figures of a demonstration.

    python docs/draw_examples.py demo docs/images

Takes ``figures/demo.png`` and ``figures/map_tsne.png`` below the demonstration's folder,
narrows them to 1000 px, the wide one to 1500 px, and to 128 colors, so that a clone of the
project stays small.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

#: Name in the docs to the figure of the demonstration it is made from, and its width, px.
EXAMPLES = {"neighbors.png": ("demo.png", 1500), "map.png": ("map_tsne.png", 1000)}
COLORS = 128


def draw_examples(demo: Path, out: Path) -> list[Path]:
    """Write each of :data:`EXAMPLES` to `out`; returns the files.

    Raises
    ------
    FileNotFoundError
        `demo` holds no finished demonstration.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (source, width) in EXAMPLES.items():
        with Image.open(demo / "figures" / source) as picture:
            height = round(picture.height * width / picture.width)
            small = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        few = small.quantize(COLORS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(out / name, optimize=True)
        written.append(out / name)
    return written


if __name__ == "__main__":
    for file in draw_examples(Path(sys.argv[1]), Path(sys.argv[2])):
        print(f"{file}: {file.stat().st_size / 1000:.0f} kB")
