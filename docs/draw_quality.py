"""Draw what becomes of the windows of a simulated tile by their quality.

    python docs/draw_quality.py docs/images

The tile has a satellite trail, a bad column, cosmic rays and a saturated star, with the mask that
says so. Windows are laid, measured, judged and filled by the code that a run uses.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from draw_color import save_jpeg
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from elodin_spark.config.quality import FractionRule
from elodin_spark.config.settings import QualitySettings, SlidingWindow
from elodin_spark.cutouts.layout import lay_windows
from elodin_spark.cutouts.picture import open_picture
from elodin_spark.cutouts.quality import Verdict
from elodin_spark.cutouts.windowquality import measure_box
from elodin_spark.datasets.layout import Layout, Placed, stream
from elodin_spark.datasets.sky import MASK_BITS, SATURATION_NJY, Conditions
from elodin_spark.datasets.tile import draw_tile
from elodin_spark.display.style import ACCENT, INK, MUTED, PALETTE, Page, font, new_page
from elodin_spark.images.describe import describe
from elodin_spark.images.listing import list_files

SEED = 4
SIDE_PX = 640
WINDOW_PX = 64
#: Defects and about where they are, px.
DEFECTS = {
    "satellite_trail": (330, 400),
    "bad_column": (100, 300),
    "cosmic_ray": (545, 478),
    "saturated_star": (420, 90),
}
QUALITY = QualitySettings(
    bits={
        "TRAIL": FractionRule(fill_above=0.0, reject_above=0.15),
        "BAD": FractionRule(fill_above=0.0),
        "CR": FractionRule(fill_above=0.0),
        "SAT": FractionRule(reject_above=0.005),
    }
)
#: Colors of the bits of the mask, and of what becomes of a window.
BITS = {"TRAIL": PALETTE[1], "BAD": PALETTE[3], "CR": PALETTE[2], "SAT": PALETTE[0]}
OUTCOMES = {
    Verdict.KEEP: ("kept", "#FFFFFF"),
    Verdict.FILL: ("filled", PALETTE[4]),
    Verdict.REJECT: ("rejected", ACCENT),
}
#: Bits whose largest share in a filled window is shown before and after.
SHOWN = ("TRAIL", "CR", "BAD")
JPEG_QUALITY = 80


def write_tile(path: Path, side_px: int) -> None:
    """Simulate one exposure with every kind of defect, as ``IMAGE`` and ``MASK``."""
    layout = Layout(1, side_px)
    wcs = layout.tile_wcs(0)
    objects = [item for item in layout.place(SEED) if item.type not in DEFECTS]
    for number, (kind, place) in enumerate(DEFECTS.items()):
        at = np.array(place) * side_px / SIDE_PX
        ra, dec = (float(value) for value in wcs.all_pix2world(*at, 0))
        objects.append(Placed(10_000 + number, kind, ra, dec, 0))
    noise = stream(SEED, 0)
    conditions = replace(Conditions.draw(noise), noise_njy=12.0)
    tile = draw_tile(side_px, wcs, conditions, objects, seed=SEED, noise=noise)
    image = fits.ImageHDU(tile.pixels, wcs.to_header(), "IMAGE")
    image.header["SATURATE"] = SATURATION_NJY
    bits = fits.Header({f"MP_{name}": number for name, number in MASK_BITS.items()})
    fits.HDUList([fits.PrimaryHDU(), image, fits.ImageHDU(tile.mask, bits, "MASK")]).writeto(path)


def draw(path: Path) -> Page:
    """The tile of a file with its windows, and three of those that are filled."""
    image = describe(list_files([str(path)])[0])
    with open_picture(image, "auto", None, {}, True, True) as (picture, plane):
        layout = lay_windows(SlidingWindow(size=(WINDOW_PX,), step=WINDOW_PX), picture, plane, image)
        height, width = picture.shape[:2]
        box = (0, 0, width, height)
        quality = measure_box(QUALITY, plane, picture.affine, box, np.arange(len(layout)), layout)
        pixels, mask = picture.read(*box), plane.mask(0, height)
        assert quality is not None
        assert mask is not None
        numbers = dict(plane.mask_bits)
    count = {verdict: int((quality.verdicts == verdict).sum()) for verdict in Verdict}
    page = new_page(
        8.0,
        5.85,
        title="What becomes of the windows of an exposure, by the bits of its mask",
        note=f"Simulated, {width} x {height} px, windows of {WINDOW_PX} px: {count[Verdict.KEEP]} kept, "
        f"{count[Verdict.FILL]} filled, {count[Verdict.REJECT]} rejected",
    )
    side = 5.1
    ax = page.axes(0, 5.85 - side, side, side)
    ax.imshow(_overlaid(pixels, mask, numbers), origin="lower", interpolation="antialiased")
    order = np.argsort(quality.verdicts, kind="stable")  # what is rejected lies on top
    for window, verdict in zip(layout.windows[order].tolist(), quality.verdicts[order], strict=True):
        _outline(ax, window, OUTCOMES[Verdict(verdict)][1], (0.5, 1.6, 2.2)[verdict])
    for window, reason in zip(layout.windows.tolist(), quality.reasons, strict=True):
        if reason is not None:
            bit = next(name for name in BITS if f"mask bit {name}" in reason)
            _label(ax, window, bit)
    ax.set(xticks=[], yticks=[], xlim=(-3, width + 2), ylim=(-3, height + 2))
    ax.set_frame_on(False)
    _legends(page, ax)
    _before_and_after(page, pixels, mask, numbers, layout.windows, quality)
    return page


def _overlaid(pixels: NDArray, mask: NDArray, numbers: dict[str, int]) -> NDArray[np.uint8]:
    """Gray pixels as RGB, with those of a bit tinted in its color."""
    shown = np.repeat(pixels[..., None], 3, axis=2).astype(float)
    for name, color in BITS.items():
        rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
        set_there = (mask >> numbers[name]) & 1 == 1
        shown[set_there] = 0.35 * shown[set_there] + 0.65 * rgb
    return shown.astype(np.uint8)


def _outline(ax: Axes, window: list[int], color: str, width: float) -> None:
    x0, y0, x1, y1 = window
    inset = 0.0 if width < 1 else 1.0
    place, sides = (x0 - 0.5 + inset, y0 - 0.5 + inset), (x1 - x0 - 2 * inset, y1 - y0 - 2 * inset)
    ax.add_patch(Rectangle(place, *sides, fc="none", ec=color, lw=width, alpha=0.4 if width < 1 else 1.0))


def _label(ax: Axes, window: list[int], text: str) -> None:
    ax.text(
        window[0] + 4, window[3] - 5, text, color="white", fontproperties=font(7.5, "bold"), va="top",
        bbox={"facecolor": ACCENT, "edgecolor": "none", "pad": 1.2},
    )  # fmt: skip


def _legends(page: Page, ax: Axes) -> None:
    outcomes = [
        Patch(facecolor="#000000", edgecolor=color, linewidth=2.0 if name != "kept" else 0.8, label=name)
        for name, color in OUTCOMES.values()
    ]
    bits = [Patch(facecolor=color, edgecolor="none", label=name) for name, color in BITS.items()]
    for row, (title, handles) in enumerate((("windows", outcomes), ("mask bits", bits))):
        page.write(0.0, 0.42 - 0.3 * row, title, size_pt=9.0, color=MUTED)
        legend = ax.legend(
            handles=handles, loc="center left", ncols=4, frameon=False, prop=font(9.0), labelcolor=INK,
            bbox_to_anchor=(0.8 / 5.1, (0.47 - 0.3 * row - 0.75) / 5.1), borderpad=0, columnspacing=1.4,
            handlelength=1.3, handleheight=1.1,
        )  # fmt: skip
        ax.add_artist(legend)


def _before_and_after(page, pixels, mask, numbers, windows, quality) -> None:
    side, left, top = 1.26, 5.36, 5.85
    for column, text in enumerate(("before", "after")):
        page.write(left + column * (side + 0.08), top - 0.12, text, size_pt=9.0, color=MUTED)
    for row, name in enumerate(SHOWN):
        fractions = [dict(columns["mask_fractions"]).get(name, 0.0) for columns in quality.columns]
        filled = np.where(quality.verdicts == Verdict.FILL, fractions, -1.0)
        place = int(np.argmax(filled))
        x0, y0, x1, y1 = windows[place].tolist()
        before = pixels[y0:y1, x0:x1]
        after = quality.filled(place, before, (x0, y0, x1, y1))
        bottom = top - 0.2 - (row + 1) * side - row * 0.38
        for column, cut in enumerate((before, after)):
            ax = page.axes(left + column * (side + 0.08), bottom, side, side)
            ax.imshow(cut, origin="lower", cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
        text = f"{name}: {100 * fractions[place]:.1f} % of the pixels"
        page.write(left, bottom - 0.17, text, size_pt=9.0)


def draw_quality(out: Path, side_px: int = SIDE_PX) -> Path:
    """Write ``quality.jpg`` to `out`, of a tile of `side_px`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tile.fits"
        write_tile(path, side_px)
        return save_jpeg(draw(path), out / "quality.jpg", JPEG_QUALITY)


if __name__ == "__main__":
    written = draw_quality(Path(sys.argv[1]))
    print(f"{written}: {written.stat().st_size / 1000:.0f} kB")
