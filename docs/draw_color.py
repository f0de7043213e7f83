"""Draw a field in three bands as one color picture, with windows on it.

    python docs/draw_color.py ../shared/data/sdss_field docs/images

The folder holds the frames of one SDSS field, ``frame-{band}-*.fits.bz2``.
"""

from __future__ import annotations

import io
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from elodin_spark.config.color import ColorSettings, NamePattern
from elodin_spark.cutouts.generators import sliding_windows
from elodin_spark.display.style import PALETTE, Page, figure_bytes, new_page
from elodin_spark.errors import InputError
from elodin_spark.images.align import Grid
from elodin_spark.images.bands import group_bands
from elodin_spark.images.color import ColorImage, LazyPlane
from elodin_spark.images.describe import describe
from elodin_spark.images.listing import list_files
from elodin_spark.images.planes import open_plane

#: i, r, g to red, green, blue, weighted so that the colors are about those of SDSS's own picture.
SETTINGS = ColorSettings(
    grouping=NamePattern(pattern="frame-{band}-*.fits.bz2"),
    channels=(("i",), ("r",), ("g",)),
    weights={"i": 1.0, "r": 1.16, "g": 1.6},
)
#: Side of a window, px; windows are laid edge to edge here so that each can be seen. The last of a row
#: or column lies flush with the edge and overlaps the one before.
WINDOW_PX = 224
#: Lower left corners, px, and outlines of the windows shown beside the field.
SHOWN = {(672, 672): PALETTE[4], (1568, 672): PALETTE[1]}
JPEG_QUALITY = 88


def color_field(folder: Path) -> NDArray[np.uint8]:
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
    with ExitStack() as stack:
        lazy = {}
        for band, plane in planes.items():
            opened = stack.enter_context(open_plane(plane.uri, plane.hdu))
            height, width = opened.shape[:2]
            lazy[band] = LazyPlane(
                Grid(plane.image["wcs"], width, height),
                lambda box, opened=opened: opened.read(box[1], box[3], box[0], box[2]),  # type: ignore[misc]
            )
        image = ColorImage(lazy, SETTINGS)
        return image.read((0, 0, image.grid.width, image.grid.height))


def draw(pixels: NDArray[np.uint8]) -> Page:
    """The field with its windows, and two of the windows beside it."""
    height, width = pixels.shape[:2]
    body = 6.3 * height / width
    windows = sliding_windows(height, width, WINDOW_PX, WINDOW_PX)
    page = new_page(
        8.7,
        body,
        title="Three bands as one image, and the windows laid on it",
        note=f"An SDSS field, {width} x {height} px: i, r, g as red, green, blue; {len(windows)} windows of "
        f"{WINDOW_PX} px, edge to edge, the last flush with the edge",
    )
    field = page.axes(0, 0, 6.3, body)
    field.imshow(pixels, origin="lower", interpolation="antialiased")
    field.set(xticks=[], yticks=[])
    for x0, y0, _, _ in windows.tolist():
        _outline(field, x0, y0, "#FFFFFF", 0.6, 0.35)
    side = (body - 0.1) / 2
    for number, ((x, y), color) in enumerate(SHOWN.items()):
        _outline(field, x, y, color, 2.2)
        ax = page.axes(6.4, body - side - number * (side + 0.1), side, side)
        ax.imshow(pixels[y : y + WINDOW_PX, x : x + WINDOW_PX], origin="lower", interpolation="nearest")
        for spine in ax.spines.values():
            spine.set(color=color, linewidth=2.5)
        ax.set(xticks=[], yticks=[])
    return page


def _outline(ax: Axes, x: int, y: int, color: str, width: float, alpha: float = 1.0) -> None:
    # Pixel centers are whole numbers, so a window begins half a pixel before its first one.
    side = WINDOW_PX
    ax.add_patch(Rectangle((x - 0.5, y - 0.5), side, side, fc="none", ec=color, lw=width, alpha=alpha))


def save_jpeg(page: Page, file: Path, quality: int = JPEG_QUALITY) -> Path:
    """Write a page as a JPEG, because few colors would spoil a PNG of the sky; the folder is made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(figure_bytes(page.figure))) as picture:
        picture.convert("RGB").save(file, quality=quality, optimize=True)
    return file


def draw_color(folder: Path, out: Path) -> Path:
    """Write ``color.jpg`` to `out`."""
    return save_jpeg(draw(color_field(folder)), out / "color.jpg")


if __name__ == "__main__":
    written = draw_color(Path(sys.argv[1]), Path(sys.argv[2]))
    print(f"{written}: {written.stat().st_size / 1000:.0f} kB")
