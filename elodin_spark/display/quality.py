"""What was refused, what was rejected, and the quality of cutouts, image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from elodin_spark.display import style
from elodin_spark.display.bars import draw_bars, name_rows
from elodin_spark.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: What can be drawn by image.
Measure: TypeAlias = Literal[
    "cutouts", "nodata_fraction", "masked_fraction", "saturated_fraction", "sky", "sky_sigma"
]

#: How a measure is named on its axis.
MEASURE_NAMES: dict[Measure, str] = {
    "cutouts": "cutouts",
    "nodata_fraction": "no data (fraction)",
    "masked_fraction": "masked (fraction)",
    "saturated_fraction": "saturated (fraction)",
    "sky": "sky (image units)",
    "sky_sigma": "sky sigma (image units)",
}
_MEASURES: tuple[Measure, ...] = ("nodata_fraction", "masked_fraction", "saturated_fraction", "sky_sigma")
_FRACTIONS = ("nodata_fraction", "masked_fraction", "saturated_fraction")
_LOG_FROM = 50.0  # ratio of largest to smallest

#: Most images of a page.
MOST_IMAGES = 40

_WIDTH_IN = 10.4
_NAMES_IN = 2.6
_ROW_IN, _BAR_IN = 0.2, 0.25
_GAP_IN, _AXIS_IN, _HEAD_IN = 0.28, 0.5, 0.34
_MOST_BARS = 12
_FEWEST_ROWS = 3

_NO_SPREAD: Mapping[str, tuple[float, float, float]] = {}


@dataclass(frozen=True)
class ImageQuality:
    """Counts and measures of the cutouts of an image.

    Attributes
    ----------
    name : str
    cutouts : int
        With a fingerprint or without.
    rejected : int
        Of them: by a rule of quality.
    spread : mapping of str to (float, float, float)
        Percentiles 16, 50 and 84 of a measure over the cutouts, such as ``sky_sigma``; a measure that is not
        known is left out.

    Examples
    --------
    >>> from elodin_spark.display import ImageQuality
    >>> ImageQuality("a.fits", 100, 4, {"sky_sigma": (1.0, 1.1, 1.3)}).rejected
    4
    """

    name: str
    cutouts: int
    rejected: int = 0
    spread: Mapping[str, tuple[float, float, float]] = field(default_factory=lambda: _NO_SPREAD)


def draw_failures(ax: Axes, kinds: Mapping[str, int], *, title: str = "") -> Axes:
    """Draw how often each kind of failure occurred, or each reason for a rejection, the most frequent on top.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    kinds : mapping of str to int
    title : str

    Returns
    -------
    matplotlib.axes.Axes
        `ax`. Of more than 12 kinds, the rarest are one bar.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from elodin_spark.display import draw_failures
    >>> ax = draw_failures(Figure(figsize=(6, 2)).add_subplot(), {"truncated": 3, "no_image": 41})
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['no_image', 'truncated']
    """
    from matplotlib.ticker import MaxNLocator

    ordered = _ordered(kinds)
    draw_bars(
        ax,
        list(ordered),
        list(ordered.values()),
        [f"{count:,}" for count in ordered.values()],
        color=style.ACCENT,
        empty="none",
    )
    if ordered:
        ax.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    return style.title_axes(ax, title) if title else ax


def draw_quality(
    ax: Axes,
    images: Sequence[ImageQuality],
    measure: Measure = "cutouts",
    *,
    names: bool = True,
    title: str = "",
) -> Axes:
    """Draw a measure of the cutouts of images, a row each.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    images : sequence of ImageQuality
        From above.
    measure : {"cutouts", "nodata_fraction", "masked_fraction", "saturated_fraction", "sky", "sky_sigma"}
        ``cutouts``: bars, of which the rejected are orange. Others: the median, and a line from the 16th to
        the 84th percentile.
    names : bool
        Whether rows are named.
    title : str

    Returns
    -------
    matplotlib.axes.Axes
        `ax`.

    Raises
    ------
    InputError
        There is no such measure.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from elodin_spark.display import ImageQuality, draw_quality
    >>> images = [ImageQuality("a.fits", 100, 4, {"sky_sigma": (1.0, 1.1, 1.3)}), ImageQuality("b.fits", 90)]
    >>> ax = draw_quality(Figure(figsize=(6, 2)).add_subplot(), images, "sky_sigma")
    >>> ax.get_xlabel()
    'sky sigma (image units)'
    """
    if measure not in MEASURE_NAMES:
        raise InputError(f"there is no measure {measure!r}; one of {', '.join(MEASURE_NAMES)}")
    style.style_axes(ax)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    if title:
        style.title_axes(ax, title)
    if not images:
        ax.set_xticks([])
        ax.set_yticks([])
        return style.note_axes(ax, "no images")
    if names:
        name_rows(ax, [image.name for image in images], _NAMES_IN - 0.15)
    else:
        ax.set_yticks([])
    ax.set_ylim(max(len(images), _FEWEST_ROWS) - 0.4, -0.6)
    rows = np.arange(len(images))
    if measure == "cutouts":
        _draw_cutouts(ax, images, rows)
    else:
        _draw_spread(ax, images, rows, measure)
    ax.grid(True, axis="x", color=style.LINE, linewidth=0.5, alpha=0.7)
    ax.set_axisbelow(True)
    return style.name_axes(ax, MEASURE_NAMES[measure], "")


def quality_figure(
    images: Sequence[ImageQuality],
    *,
    failures: Mapping[str, int],
    rejected: Mapping[str, int],
    measures: Sequence[Measure] | None = None,
    title: str = "",
    note: str = "",
    subtitle: str = "",
) -> Figure:
    """Draw failures by kind, rejections by reason, and the quality of each image, as a whole page.

    Parameters
    ----------
    images : sequence of ImageQuality
        Of more than 40, those of which most is rejected or without data.
    failures, rejected : mapping of str to int
        Kind of failure, and reason of a rejection, to count.
    measures : sequence of str, optional
        Beside the number of cutouts; by default those that are known.
    title, note : str
        By default how many images and cutouts there are; and a line below that.
    subtitle : str
        Recipe and weights, written at the foot.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from elodin_spark.display import ImageQuality, quality_figure
    >>> images = [ImageQuality("a.fits", 100, 4, {"sky_sigma": (1.0, 1.1, 1.3)})]
    >>> len(quality_figure(images, failures={"truncated": 3}, rejected={"nodata": 4}).axes)
    4
    """
    shown = worst_images(images)
    if measures is None:
        measures = [name for name in _MEASURES if any(name in image.spread for image in shown)]
    cutouts, out = sum(image.cutouts for image in images), sum(image.rejected for image in images)
    title = title or f"{cutouts:,} cutouts of {len(images):,} images, {out:,} of them rejected"
    parts = [note] if note else []
    if len(shown) < len(images):
        parts.append(f"The {len(shown)} images of which most is rejected or without data.")
    if measures:
        parts.append("Dots are medians of the cutouts of an image, lines reach from percentile 16 to 84.")
    counts_in = max(len(_ordered(failures)), len(_ordered(rejected)), 1) * _BAR_IN
    axis_in = _AXIS_IN if failures or rejected else 0.15
    rows_in = max(len(shown), _FEWEST_ROWS) * _ROW_IN + 0.05
    height = counts_in + axis_in + rows_in + _AXIS_IN + 2 * _HEAD_IN
    page = style.new_page(_WIDTH_IN, height, title=title, note=" ".join(parts), footer=subtitle)
    half = (_WIDTH_IN - _GAP_IN) / 2
    top = height - _HEAD_IN - counts_in
    for at, (kinds, heading) in enumerate(
        (
            (failures, f"Refused, by kind: {sum(failures.values()):,}"),
            (rejected, f"Rejected, by reason: {out:,}"),
        )
    ):
        names_in = 1.7
        if kinds:
            ax = page.axes(at * (half + _GAP_IN) + names_in, top, half - names_in, counts_in)
            draw_failures(ax, kinds)
        else:
            page.write(at * (half + _GAP_IN), top + counts_in - 0.12, "none", color=style.MUTED)
        page.write(at * (half + _GAP_IN), top + counts_in + 0.1, heading, weight="bold")
    columns: list[Measure] = ["cutouts", *measures]
    width = (_WIDTH_IN - _NAMES_IN - _GAP_IN * (len(columns) - 1)) / len(columns)
    page.write(0.0, _AXIS_IN + rows_in + 0.1, "By image", weight="bold")
    for at, measure in enumerate(columns):
        ax = page.axes(_NAMES_IN + at * (width + _GAP_IN), _AXIS_IN, width, rows_in)
        draw_quality(ax, shown, measure, names=not at)
    return page.figure


def worst_images(images: Sequence[ImageQuality], most: int = MOST_IMAGES) -> list[ImageQuality]:
    """Of many images those of which most is rejected, then without data; in the order given."""
    if len(images) <= most:
        return list(images)

    def badness(at: int) -> tuple[float, float, int]:
        image = images[at]
        share = image.rejected / image.cutouts if image.cutouts else 0.0
        return -share, -image.spread.get("nodata_fraction", (0.0, 0.0, 0.0))[1], at

    return [images[at] for at in sorted(sorted(range(len(images)), key=badness)[:most])]


def _ordered(kinds: Mapping[str, int]) -> dict[str, int]:
    """Most frequent first, equals by name; the rarest together."""
    ordered = sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0]))
    if len(ordered) <= _MOST_BARS:
        return dict(ordered)
    rest = ordered[_MOST_BARS - 1 :]
    return {**dict(ordered[: _MOST_BARS - 1]), f"{len(rest)} more kinds": sum(count for _, count in rest)}


def _draw_cutouts(ax: Axes, images: Sequence[ImageQuality], rows: np.ndarray) -> None:
    kept = np.array([image.cutouts - image.rejected for image in images], float)
    out = np.array([image.rejected for image in images], float)
    ax.barh(rows, kept, height=0.66, color=style.PALETTE[0], linewidth=0)
    ax.barh(rows, out, left=kept, height=0.66, color=style.ACCENT, linewidth=0)
    from matplotlib.ticker import MaxNLocator

    totals = kept + out
    texts = [
        f"{image.cutouts:,}" + (f", {image.rejected:,} rejected" if image.rejected else "")
        for image in images
    ]
    size_pt = style.SMALL_PT - 1
    width_in = ax.get_window_extent().width / style.dpi_of(ax)
    room = [1.0 - (style.text_width_in(text, size_pt) + 0.06) / width_in for text in texts]
    end = max(total / max(share, 0.2) for total, share in zip(totals.tolist(), room, strict=True))
    end = max(end, 1.0)
    ax.set_xlim(0.0, end)
    for row, text in enumerate(texts):
        gap = 0.03 / width_in * end
        style.write(
            ax.text, float(totals[row]) + gap, row, text, size_pt=size_pt, color=style.MUTED, va="center"
        )
    ax.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))


def _scale_by_decades(ax: Axes, smallest: float, largest: float, *, zeros: bool) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    if not zeros:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(numticks=4))
    else:
        # Zero has a place of its own, left of the smallest.
        lowest, highest = int(np.floor(np.log10(smallest))), int(np.floor(np.log10(largest)))
        ax.set_xscale("symlog", linthresh=10.0**lowest, linscale=0.5)
        step = max(1, -(-(highest - lowest) // 2))
        ax.set_xlim(left=0.0)
        ax.set_xticks([0.0, *(10.0**power for power in (highest - step, highest) if power > lowest)])
    ax.xaxis.set_minor_locator(NullLocator())


def _draw_spread(ax: Axes, images: Sequence[ImageQuality], rows: np.ndarray, measure: Measure) -> None:
    from matplotlib.ticker import MaxNLocator

    unknown = (np.nan, np.nan, np.nan)
    low, middle, high = np.array([image.spread.get(measure, unknown) for image in images], float).T
    ax.hlines(rows, low, high, color=style.PALETTE[0], linewidth=1.6, alpha=0.7)
    ax.plot(
        middle, rows, ls="", marker="o", ms=3.6, color=style.PALETTE[0], mec="white", mew=0.4, clip_on=False
    )
    known = np.isfinite(middle)
    for row in rows[~known]:
        style.write(
            ax.text,
            0.02,
            row,
            "not known",
            size_pt=style.SMALL_PT - 1,
            color=style.OTHER,
            va="center",
            transform=ax.get_yaxis_transform(),
        )
    if not known.any():
        ax.set_xticks([])
        return
    positive = middle[known & (middle > 0)]
    if measure in _FRACTIONS:
        ax.set_xlim(0.0, max(1.05 * float(np.nanmax(high)), 0.01))
    elif positive.size and np.nanmin(low) >= 0 and positive.max() / positive.min() > _LOG_FROM:
        _scale_by_decades(ax, float(positive.min()), float(np.nanmax(high)), zeros=bool(np.nanmin(low) == 0))
        return
    ax.xaxis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 5, 10]))
