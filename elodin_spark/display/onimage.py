"""A query and its neighbors on the images that they were cut from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from elodin_spark.display import style
from elodin_spark.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Of a neighbor's window: bright on gray skies and on color ones.
NEIGHBOR = "#56B4E9"

#: Most images of a page, and the longest side of each, inch.
_SIDES = ((1, 7.5), (2, 4.4), (4, 3.4), (math.inf, 2.6))
_GAP_IN = 0.3
_SMALLEST_IN = 1.2
_LEAST_BOX_IN = 0.07  # a smaller window has a ring round it
_RANK_PT = style.SMALL_PT - 0.5
_WORDS = "Framed in orange: the query; in blue: neighbors, by rank."


@dataclass(frozen=True)
class ImageWindow:
    """A window on an image.

    Attributes
    ----------
    x0, y0, x1, y1 : int
        Px, half-open; x is the column.
    rank : int or None
        Of a neighbor, 1 is nearest; None is the query.

    Examples
    --------
    >>> from elodin_spark.display import ImageWindow
    >>> ImageWindow(200, 100, 264, 164, rank=1).rank
    1
    """

    x0: int
    y0: int
    x1: int
    y1: int
    rank: int | None = None


@dataclass(frozen=True, eq=False)
class SourceImage:
    """An image and the windows to draw on it.

    Attributes
    ----------
    name : str
    pixels : ndarray of uint8, shape (ny, nx) or (ny, nx, 3), or None
        Stretched, and as small as one likes; None of an image that cannot be read.
    width, height : int
        Of the image itself, px: the windows are on its grid.
    windows : sequence of ImageWindow
    upwards : bool
        Row 0 is the bottom, as in FITS.

    Examples
    --------
    >>> from elodin_spark.display import ImageWindow, SourceImage
    >>> SourceImage("a.fits", None, 500, 300, [ImageWindow(0, 0, 64, 64)]).upwards
    True
    """

    name: str
    pixels: npt.NDArray[np.uint8] | None
    width: int
    height: int
    windows: Sequence[ImageWindow] = ()
    upwards: bool = True


def draw_on_image(ax: Axes, image: SourceImage, *, title: str | None = None) -> Axes:
    """Draw an image with the windows of a query and its neighbors, numbered by rank.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    image : SourceImage
    title : str, optional
        By default the name of the image.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`, in px of the image.

    Raises
    ------
    InputError
        The image has no size.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from elodin_spark.display import ImageWindow, SourceImage, draw_on_image
    >>> windows = [ImageWindow(0, 0, 64, 64), ImageWindow(200, 100, 264, 164, rank=1)]
    >>> image = SourceImage("a.fits", np.zeros((60, 100), np.uint8), 500, 300, windows)
    >>> ax = draw_on_image(Figure().add_subplot(), image)
    >>> [text.get_text() for text in ax.texts]
    ['1', 'query']
    """
    if image.width < 1 or image.height < 1:
        raise InputError(f"the image {image.name} has {image.width} x {image.height} px: nothing to draw on")
    style.style_axes(ax)
    ax.tick_params(length=2.0, labelsize=style.SMALL_PT - 0.5)
    extent = (-0.5, image.width - 0.5, -0.5, image.height - 0.5)
    if not image.upwards:
        extent = (*extent[:2], extent[3], extent[2])
    box, dpi = ax.get_window_extent(), style.dpi_of(ax)
    per_in = max(image.width / (box.width / dpi), image.height / (box.height / dpi))  # px of the image
    if image.pixels is None:
        ax.set_facecolor(style.EMPTY)
        style.note_axes(ax, "cannot be read")
    else:
        gray = {"cmap": "gray", "vmin": 0, "vmax": 255} if image.pixels.ndim == 2 else {}
        ax.imshow(
            image.pixels,
            extent=extent,
            origin="lower" if image.upwards else "upper",
            interpolation="antialiased",
            aspect="equal",
            **gray,  # type: ignore[arg-type]
        )
    ax.set_xlim(extent[0], extent[1])
    ax.set_ylim(extent[2], extent[3])
    ax.set_aspect("equal", adjustable="box")
    name = image.name if title is None else title
    style.title_axes(
        ax, style.shorten(name, min(box.width, image.width / per_in * dpi) / dpi, style.TEXT_PT, "bold")
    )
    # The query last, above all neighbors; the nearest above those that are farther.
    for window in sorted(image.windows, key=lambda one: (one.rank is None, -(one.rank or 0))):
        _draw_window(ax, image, window, per_in)
    return ax


def on_image_figure(
    images: Sequence[SourceImage], *, title: str = "", note: str = "", subtitle: str = ""
) -> Figure:
    """Draw images side by side with the windows of a query and its neighbors, as a whole page.

    Parameters
    ----------
    images : sequence of SourceImage
        At least one; that of the query first.
    title, note : str
        What the page shows, and a line below that.
    subtitle : str
        Recipe and weights, written at the foot.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        There is no image.

    Examples
    --------
    >>> import numpy as np
    >>> from elodin_spark.display import ImageWindow, SourceImage, on_image_figure
    >>> image = SourceImage("a.fits", np.zeros((60, 100), np.uint8), 500, 300, [ImageWindow(0, 0, 64, 64)])
    >>> len(on_image_figure([image, image], title="Neighbors").axes)
    2
    """
    if not images:
        raise InputError("there is no image to draw windows on")
    longest = next(side for most, side in _SIDES if len(images) <= most)
    columns = len(images) if len(images) < 4 else math.ceil(math.sqrt(len(images) * 1.2))
    sizes = [_size_in(image, longest) for image in images]
    rows = [slice(at, at + columns) for at in range(0, len(images), columns)]
    heights = [max(height for _, height in sizes[row]) for row in rows]
    left_in, head_in, foot_in = 0.42, style.line_height_in(style.TEXT_PT) + 0.1, 0.22
    widths = [
        sum(left_in + width for width, _ in sizes[row]) + _GAP_IN * (len(sizes[row]) - 1) for row in rows
    ]
    height = sum(heights) + len(rows) * (head_in + foot_in)
    note = f"{note} {_WORDS}".strip()
    page = style.new_page(max(*widths, 4.5), height, title=title, note=note, footer=subtitle)
    top = page.height
    for row, high in zip(rows, heights, strict=True):
        left = 0.0
        for image, (width_in, height_in) in zip(images[row], sizes[row], strict=True):
            ax = page.axes(left + left_in, top - head_in - height_in, width_in, height_in)
            draw_on_image(ax, image)
            left += left_in + width_in + _GAP_IN
        top -= head_in + high + foot_in
    return page.figure


def _size_in(image: SourceImage, longest: float) -> tuple[float, float]:
    scale = longest / max(image.width, image.height, 1)
    return max(image.width * scale, _SMALLEST_IN), max(image.height * scale, _SMALLEST_IN)


def _draw_window(ax: Axes, image: SourceImage, window: ImageWindow, per_in: float) -> None:
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    is_query = window.rank is None
    color, width, above = (style.ACCENT, 2.0, 5) if is_query else (NEIGHBOR, 1.3, 4)
    dark = [withStroke(linewidth=width + 1.4, foreground="black", alpha=0.55)]
    wide, high = window.x1 - window.x0, window.y1 - window.y0
    corner = (window.x0 - 0.5, window.y0 - 0.5)
    ax.add_patch(
        Rectangle(
            corner,
            wide,
            high,
            fill=False,
            edgecolor=color,
            linewidth=width,
            path_effects=dark,
            zorder=above,
            clip_on=False,
        )
    )
    if min(wide, high) < _LEAST_BOX_IN * per_in:
        middle = (corner[0] + wide / 2, corner[1] + high / 2)
        ax.scatter(
            *middle,
            s=80,
            facecolors="none",
            edgecolors=color,
            linewidths=width,
            path_effects=dark,
            zorder=above,
            clip_on=False,
        )
    # On the upper left corner of the window, outside; inside where that would leave the image.
    text = "query" if is_query else str(window.rank)
    line = (style.line_height_in(_RANK_PT) + 0.02) * per_in
    text_width = (style.text_width_in(text, _RANK_PT, "bold") + 0.06) * per_in
    up = 1.0 if image.upwards else -1.0
    top = window.y1 - 0.5 if image.upwards else window.y0 - 0.5
    outside = top + line <= image.height - 0.5 if image.upwards else top - line >= -0.5
    x = max(min(corner[0], image.width - 0.5 - text_width), -0.5)
    y = top if outside else top - up * line
    ax.add_patch(
        Rectangle((x, y), text_width, up * line, facecolor=color, edgecolor="none", zorder=above + 2)
    )
    style.write(
        ax.text,
        x + text_width / 2,
        y + up * line * 0.47,
        text,
        size_pt=_RANK_PT,
        weight="bold",
        color="white" if is_query else "black",
        ha="center",
        va="center_baseline",
        zorder=above + 3,
    )
