"""Draw a field in three bands as one colour picture, with windows on it.

    python docs/draw_colour.py ../shared/data/sdss_field docs/images

The folder holds the frames of one SDSS field, ``frame-{band}-*.fits.bz2``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from elodin_spark.errors import InputError
from elodin_spark.images.bands import group_bands
from elodin_spark.images.colour import compose
from elodin_spark.images.describe import describe, read_pixels
from elodin_spark.images.listing import list_files
from elodin_spark.settings.colour import ColourSettings, NamePattern

#: i, r, g to red, green, blue, weighted so that the colours are about those of SDSS's own picture.
SETTINGS = ColourSettings(
    grouping=NamePattern(pattern="frame-{band}-*.fits.bz2"),
    channels=(("i",), ("r",), ("g",)),
    weights={"i": 1.0, "r": 1.16, "g": 1.6},
)
#: Side of a window, px; windows are laid edge to edge here so that each can be seen.
WINDOW_PX = 224
#: Lower left corners, px, and outlines of the windows shown beside the field.
SHOWN = {(728, 672): "#56B4E9", (1552, 640): "#E69F00"}
JPEG_QUALITY = 88


def colour_field(folder: Path) -> NDArray[np.uint8]:
    """Compose the one field in `folder`; row 0 is the bottom.

    Raises
    ------
    InputError
        The folder does not hold the bands of exactly one field.
    """
    images = [describe(file) for file in list_files([str(folder / "frame-*.fits.bz2")])]
    groups = group_bands(images, SETTINGS.grouping, SETTINGS.bands)
    if len(groups) != 1 or groups[0].error is not None:
        raise InputError(f"{folder} holds no single field in bands {', '.join(SETTINGS.bands)}")
    planes = {band: groups[0].planes[band] for band in SETTINGS.bands}
    return compose(
        {band: read_pixels(plane.uri, plane.hdu) for band, plane in planes.items()},
        {band: plane.image["wcs"] for band, plane in planes.items()},
        SETTINGS,
    )


def figure_of(pixels: NDArray[np.uint8]) -> Figure:
    """The field with a grid of windows, and two of the windows beside it."""
    height, width = pixels.shape[:2]
    figure = Figure(figsize=(10.0, 5.3), dpi=120, facecolor="white")
    FigureCanvasAgg(figure)
    field = figure.add_axes((0.005, 0.01, 0.73, 0.93))
    field.imshow(pixels, origin="lower", interpolation="antialiased")
    for y in range(0, height - WINDOW_PX + 1, WINDOW_PX):
        for x in range(0, width - WINDOW_PX + 1, WINDOW_PX):
            _outline(field, x, y, "#FFFFFF", 0.4, 0.45)
    for corner, color in SHOWN.items():
        _outline(field, *corner, color, 1.8)
    field.set_title(f"{width} x {height} px: i, r, g as red, green, blue; windows of {WINDOW_PX} px", size=9)
    for number, ((x, y), color) in enumerate(SHOWN.items()):
        ax = figure.add_axes((0.74, 0.485 - 0.475 * number, 0.255, 0.445))
        ax.imshow(pixels[y : y + WINDOW_PX, x : x + WINDOW_PX], origin="lower", interpolation="nearest")
        for spine in ax.spines.values():
            spine.set(color=color, linewidth=2.5)
        ax.set(xticks=[], yticks=[])
    field.set(xticks=[], yticks=[])
    return figure


def _outline(ax: Axes, x: int, y: int, color: str, width: float, alpha: float = 1.0) -> None:
    # Pixel centres are whole numbers, so a window begins half a pixel before its first one.
    side = WINDOW_PX
    ax.add_patch(Rectangle((x - 0.5, y - 0.5), side, side, fc="none", ec=color, lw=width, alpha=alpha))


def draw_colour(folder: Path, out: Path) -> Path:
    """Write ``colour.jpg`` to `out`: as a JPEG, because few colours would spoil what is shown."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "colour.jpg"
    figure_of(colour_field(folder)).savefig(file, pil_kwargs={"quality": JPEG_QUALITY, "optimize": True})
    return file


if __name__ == "__main__":
    written = draw_colour(Path(sys.argv[1]), Path(sys.argv[2]))
    print(f"{written}: {written.stat().st_size / 1000:.0f} kB")
