"""Draw the sources that are detected on a field, with their magnitudes.

    python docs/draw_sources.py ../shared/data/sdss_field docs/images

The folder holds the frames of one SDSS field, ``frame-{band}-*.fits.bz2``. Sources are detected on r and
shown on the color image, which is on the same grid to a pixel or two.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from draw_color import color_field, save_jpeg
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse, Rectangle
from numpy.typing import NDArray

from elodin_spark.config.settings import Sources
from elodin_spark.cutouts.layout import Layout, lay_windows
from elodin_spark.cutouts.picture import open_picture
from elodin_spark.display.style import (
    ACCENT,
    MUTED,
    PALETTE,
    Page,
    name_axes,
    new_page,
    style_axes,
    write,
)
from elodin_spark.errors import InputError
from elodin_spark.images.describe import describe
from elodin_spark.images.listing import list_files

#: SDSS frames are in nanomaggies.
SOURCES = Sources(zero_point=22.5, extent_factor=2.0)
#: The part that is shown, ``x0, y0, x1, y1``, px.
SHOWN = (540, 560, 1140, 1010)
#: Most sources with a magnitude written beside them.
LABELS = 16
#: Room of a label, px of the field.
LABEL_PX = (30, 14)
#: Faintest that is outlined, mag.
FAINTEST = 22.0
#: Ellipses of this many times the moments.
ELLIPSE = 3.0


def find_sources(folder: Path) -> Layout:
    """The windows around the sources of the r frame in `folder`, as a run lays them.

    Raises
    ------
    InputError
        The folder does not hold exactly one such frame.
    """
    files = list_files([str(folder / "frame-r-*.fits.bz2")])
    if len(files) != 1:
        raise InputError(f"{folder} holds {len(files)} frames of band r; name the folder of one field")
    image = describe(files[0])
    with open_picture(image, (), None, {}, False) as (picture, plane):
        return lay_windows(SOURCES, picture, plane, image)


def draw(pixels: NDArray[np.uint8], layout: Layout) -> Page:
    """Part of a color image with sources on it, a histogram, and the brightest cutouts."""
    sources: list[dict[str, Any]] = layout.sources or []
    x0, y0, x1, y1 = SHOWN
    width, height = 8.0, 6.75
    page = new_page(
        width,
        height,
        title=f"The {len(layout)} windows on the sources of an SDSS field",
        note=f"Detected on r at {SOURCES.threshold_sigma:g} sigma. Outlined in this part of the field: "
        f"window and ellipse ({ELLIPSE:g} times the moments) of those with r < {FAINTEST:g} mag",
    )
    field = page.axes(0, height - 6.0 * (y1 - y0) / (x1 - x0), 6.0, 6.0 * (y1 - y0) / (x1 - x0))
    field.imshow(pixels, origin="lower", interpolation="antialiased")
    field.set(xlim=(x0 - 0.5, x1 - 0.5), ylim=(y0 - 0.5, y1 - 0.5), xticks=[], yticks=[])
    shown = [
        i
        for i, source in enumerate(sources)
        if source["mag"] is not None and source["mag"] < FAINTEST and _inside(layout.windows[i].tolist())
    ]
    shown.sort(key=lambda i: sources[i]["mag"])
    windows = {i: layout.windows[i].tolist() for i in shown}
    labels: dict[int, list[int]] = {}
    for i in shown[:LABELS]:
        taken = [windows[other] for other in shown if other != i] + list(labels.values())
        room = [label for label in _label_boxes(windows[i]) if not any(_overlap(label, t) for t in taken)]
        if room or windows[i][3] - windows[i][1] > LABEL_PX[0]:  # of a large blend over a window
            labels[i] = (room or _label_boxes(windows[i]))[0]
    for i in shown:
        _outline(field, windows[i], sources[i])
    for i, (left, low, right, high) in labels.items():
        middle = ((left + right) / 2, (low + high) / 2)
        text = write(field.text, *middle, f"{sources[i]['mag']:.1f}", size_pt=8.0, color="white")
        text.set(ha="center", va="center")
    apart: list[int] = []
    for i in shown:
        if not any(_overlap(windows[i], windows[other]) for other in apart):
            apart.append(i)
    for row, i in enumerate(apart[:4]):
        _cutout(page, row, pixels, layout.windows[i].tolist(), sources[i]["mag"])
    _histogram(page, [source["mag"] for source in sources if source["mag"] is not None])
    return page


def _inside(window: list[int]) -> bool:
    return window[0] >= SHOWN[0] and window[1] >= SHOWN[1] and window[2] <= SHOWN[2] and window[3] <= SHOWN[3]


def _overlap(a: list[int], b: list[int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _label_boxes(window: list[int]) -> list[list[int]]:
    """Where a label may be: above the window and below it, inside the part that is shown."""
    wide, high = LABEL_PX
    left = (window[0] + window[2] - wide) // 2
    boxes = [[left, y, left + wide, y + high] for y in (window[3] + 2, window[1] - 2 - high)]
    return [box for box in boxes if _inside(box)] or boxes


def _outline(ax: Axes, window: list[int], source: dict[str, Any]) -> None:
    x0, y0, x1, y1 = window
    ax.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fc="none", ec=PALETTE[4], lw=1.0))
    axes = 2 * ELLIPSE * source["a"], 2 * ELLIPSE * source["b"]
    ax.add_patch(
        Ellipse(
            (source["x"], source["y"]), *axes, angle=source["theta_deg"], fc="none", ec=PALETTE[1], lw=0.9
        )
    )


def _cutout(page: Page, row: int, pixels: NDArray[np.uint8], window: list[int], mag: float) -> None:
    side, gap = 0.94, 0.24
    x0, y0, x1, y1 = window
    top = page.height - row * (side + gap)
    ax = page.axes(6.2, top - side, side, side)
    ax.imshow(pixels[y0:y1, x0:x1], origin="lower", interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(color=PALETTE[4], linewidth=1.5)
    page.write(7.22, top - 0.2, f"r = {mag:.2f}", size_pt=8.5)
    page.write(7.22, top - 0.38, f"{x1 - x0} px", size_pt=8.5, color=MUTED)


def _histogram(page: Page, magnitudes: list[float]) -> None:
    ax = style_axes(page.axes(0.55, 0.45, 7.35, 1.4))
    low, high = np.floor(min(magnitudes)), np.ceil(max(magnitudes))
    ax.hist(magnitudes, bins=np.arange(low, high + 0.25, 0.25), color=PALETTE[0])
    ax.axvline(FAINTEST, color=ACCENT, lw=1.2)
    ax.set_xlim(low, high)
    name_axes(ax, "r, mag (within the Kron ellipse)", "sources")
    ax.tick_params(labelsize=8.0)
    top = 1.25 * ax.get_ylim()[1]
    ax.set_ylim(0, top)
    text = write(ax.text, FAINTEST - 0.08, 0.96 * top, "outlined above", size_pt=8.5, color=ACCENT)
    text.set(ha="right", va="top")


def draw_sources(folder: Path, out: Path) -> Path:
    """Write ``sources.jpg`` to `out`."""
    return save_jpeg(draw(color_field(folder), find_sources(folder)), out / "sources.jpg")


if __name__ == "__main__":
    written = draw_sources(Path(sys.argv[1]), Path(sys.argv[2]))
    print(f"{written}: {written.stat().st_size / 1000:.0f} kB")
