"""Wall time of a run by stage, and how quick each of its batches was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from elodin_spark.display import style
from elodin_spark.display.bars import draw_bars

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_IN = 7.0
_ROW_IN = 0.27
_NAMES_IN = 2.2
_RATES_IN = 1.9
_HEAD_IN = 0.3


def duration_text(seconds: float) -> str:
    """A duration for people: ``0.32 s``, ``12.3 s``, ``4 min 05 s``, ``3 h 12 min``.

    >>> duration_text(0.324), duration_text(75.2), duration_text(7300)
    ('0.32 s', '1 min 15 s', '2 h 02 min')
    """
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def draw_timings(ax: Axes, seconds: Mapping[str, float], *, title: str = "") -> Axes:
    """Draw the wall time of each stage as a bar, with its share.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    seconds : mapping of str to float
        Stage to wall time, s, in the order they are drawn, from above.
    title : str

    Returns
    -------
    matplotlib.axes.Axes
        `ax`.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from elodin_spark.display import draw_timings
    >>> ax = draw_timings(Figure(figsize=(6, 2)).add_subplot(), {"cutting": 75.2, "index": 2.5})
    >>> [text.get_text() for text in ax.texts]
    ['1 min 15 s · 97 %', '2.50 s · 3 %']
    """
    total = sum(seconds.values())
    texts = [
        f"{duration_text(time)} · {100 * time / total if total else 0:.0f} %" for time in seconds.values()
    ]
    draw_bars(ax, list(seconds), list(seconds.values()), texts, empty="nothing was timed", name_in=_NAMES_IN)
    if seconds:
        style.name_axes(ax, "wall time (s)", "")
    return style.title_axes(ax, title) if title else ax


def draw_rates(ax: Axes, rates: Sequence[float], *, unit: str = "cutouts", title: str = "") -> Axes:
    """Draw how much each batch of a run did in a second.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    rates : sequence of float
        By batch, in the order they were done; NaN leaves a gap.
    unit : str
        What is counted.
    title : str

    Returns
    -------
    matplotlib.axes.Axes
        `ax`.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from elodin_spark.display import draw_rates
    >>> draw_rates(Figure(figsize=(6, 2)).add_subplot(), [610.0, 598.0, 605.0]).get_ylabel()
    'cutouts per s'
    """
    from matplotlib.ticker import MaxNLocator

    style.style_axes(ax)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    if title:
        style.title_axes(ax, title)
    if not len(rates):
        return style.note_axes(ax, "no batches")
    numbers = range(1, len(rates) + 1)
    ax.plot(numbers, rates, color=style.PALETTE[0], lw=1.0, marker="o", ms=3.5 if len(rates) <= 60 else 1.5)
    ax.set_ylim(bottom=0.0)
    ax.set_xlim(0.5, len(rates) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    ax.grid(True, axis="y", color=style.LINE, linewidth=0.5, alpha=0.7)
    ax.set_axisbelow(True)
    return style.name_axes(ax, "batch", f"{unit} per s")


def timings_figure(
    seconds: Mapping[str, float],
    rates: Sequence[float] = (),
    *,
    title: str = "",
    note: str = "",
    subtitle: str = "",
) -> Figure:
    """Draw the wall time of a run by stage and, of several batches, their rates, as a whole page.

    Parameters
    ----------
    seconds : mapping of str to float
        As for :func:`draw_timings`.
    rates : sequence of float, optional
        Cutouts per second of each batch; drawn where there are several.
    title : str
        By default the time of all stages.
    note, subtitle : str
        Written below the title, and at the foot.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from elodin_spark.display import timings_figure
    >>> len(timings_figure({"cutting": 75.2, "index": 2.5}, [610.0, 598.0]).axes)
    2
    """
    title = title or f"Wall time by stage: {duration_text(sum(seconds.values()))} in all"
    bars = max(len(seconds), 2) * _ROW_IN
    below = _RATES_IN + _HEAD_IN + 0.65 if len(rates) > 1 else 0.0
    page = style.new_page(_WIDTH_IN, bars + 0.45 + below, title=title, note=note, footer=subtitle)
    width = _WIDTH_IN - _NAMES_IN - 0.05
    draw_timings(page.axes(_NAMES_IN, 0.45 + below, width, bars), seconds)
    if below:
        ax = page.axes(0.65, 0.45, _WIDTH_IN - 0.75, _RATES_IN)
        draw_rates(ax, rates, title="Cutouts per second of wall time, by batch")
    return page.figure
