"""One look for all figures: fonts, colors, page layout, footers and how a figure is saved.

Figures are made without pyplot, so they need no display and leave no state behind. Sizes
are in inches from the lower left corner of the figure, font sizes in points.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from elodin_spark.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.text import Text

#: Pixels per inch of every figure.
DPI = 150
#: Colors told apart with any color vision (Okabe and Ito 2008), without yellow and vermilion:
#: the one is lost on a light page, the other is `ACCENT`.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#7A5C3E", "#332288")
#: What a figure is about: the query, the highlighted positions.
ACCENT = "#D55E00"
#: Text, lesser text, thin lines, areas without a picture, and groups beyond the palette.
INK = "#1A1A1A"
MUTED = "#5C5C5C"
LINE = "#C9C9C9"
EMPTY = "#F1F1EF"
OTHER = "#9A9A9A"

#: Font sizes, pt.
TITLE_PT = 12.0
TEXT_PT = 8.5
SMALL_PT = 7.0

#: Free border of a page, inch.
MARGIN_IN = 0.3

Weight = Literal["normal", "bold"]

_FONT = "DejaVu Sans"  # comes with matplotlib: the same letters everywhere
_FALLBACK_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Source Han Sans",
    "WenQuanYi Zen Hei",
    "IPAGothic",
)
_LINE_HEIGHT = 1.35
_UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"
_METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": "elodin_spark"},
    "pdf": {"Creator": "elodin_spark", "Producer": "elodin_spark", "CreationDate": None},
    "svg": {"Creator": "elodin_spark", "Date": None},
}


# ---- text --------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def font(size_pt: float, weight: Weight = "normal") -> FontProperties:
    """Give the house font at one size; installed CJK fonts stand in for letters it lacks."""
    from matplotlib.font_manager import FontProperties

    return FontProperties(family=list(_families()), size=size_pt, weight=weight)


@lru_cache(maxsize=1)
def _families() -> tuple[str, ...]:
    from matplotlib.font_manager import get_font_names

    installed = set(get_font_names())
    return (_FONT, *(name for name in _FALLBACK_FONTS if name in installed))


@lru_cache(maxsize=2)
def _letters(weight: Weight) -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    faces = [findfont(FontProperties(family=name, weight=weight)) for name in _families()]
    return frozenset(code for face in faces for code in get_font(face).get_charmap())


def printable(text: str, weight: Weight = "normal") -> str:
    """`text` on one line, with U+FFFD for each character that no font at hand can draw."""
    letters = _letters(weight)
    flat = " ".join(text.split())
    return "".join(c if ord(c) in letters else _UNPRINTABLE for c in flat)


@lru_cache(maxsize=1)
def _renderer() -> RendererAgg:
    from matplotlib.backends.backend_agg import RendererAgg

    return RendererAgg(1, 1, DPI)


def text_width_in(text: str, size_pt: float, weight: Weight = "normal") -> float:
    """Width of one printed line, inch."""
    width, _, _ = _renderer().get_text_width_height_descent(text, font(size_pt, weight), ismath=False)
    return float(width) / DPI


def line_height_in(size_pt: float) -> float:
    """Distance between the tops of two lines, inch."""
    return size_pt * _LINE_HEIGHT / 72.0


def shorten(text: str, width_in: float, size_pt: float, weight: Weight = "normal") -> str:
    """Drop the middle of `text` until one line of it fits; both its ends stay readable.

    Parameters
    ----------
    text : str
        For example a file name: its start and its extension are kept.
    width_in : float
        Room for the line, inch.
    size_pt : float
        Font size, pt.
    weight : {"normal", "bold"}

    Returns
    -------
    str
        Printable; `text` itself where it fits.
    """
    text = printable(text, weight)
    if text_width_in(text, size_pt, weight) <= width_in:
        return text

    def keeping(count: int) -> str:
        head = (count + 1) // 2
        return text[:head].rstrip() + "…" + (text[-(count - head) :].lstrip() if count > head else "")

    low, high = 0, len(text) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if text_width_in(keeping(middle), size_pt, weight) <= width_in:
            low = middle
        else:
            high = middle - 1
    return keeping(low)


def wrap(text: str, width_in: float, size_pt: float, weight: Weight = "normal") -> list[str]:
    """Break `text` at its spaces into printable lines that fit `width_in` inch."""
    lines: list[str] = []
    for word in printable(text, weight).split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and text_width_in(joined, size_pt, weight) <= width_in:
            lines[-1] = joined
        else:
            lines.append(shorten(word, width_in, size_pt, weight))
    return lines


def write(
    put: Callable[..., Text],
    x: float,
    y: float,
    text: str,
    *,
    size_pt: float = TEXT_PT,
    weight: Weight = "normal",
    color: str = INK,
    **options: Any,
) -> Text:
    """Put a line of text with ``ax.text``, ``fig.text`` or ``ax.annotate``-like `put`.

    A dollar sign in a file name is a dollar sign, never mathematics.
    """
    return put(
        x,
        y,
        printable(text, weight),
        fontproperties=font(size_pt, weight),
        color=color,
        parse_math=False,
        usetex=False,
        **options,
    )


# ---- pages -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Page:
    """A figure with its title and footer drawn and a free body between them.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
    left, bottom, width, height : float
        The body, inch.
    """

    figure: Figure
    left: float
    bottom: float
    width: float
    height: float

    def axes(self, left: float, bottom: float, width: float, height: float, **options: Any) -> Axes:
        """Add axes at a place given in inches from the lower left corner of the body."""
        page_width, page_height = (float(side) for side in self.figure.get_size_inches())
        box = (
            (self.left + left) / page_width,
            (self.bottom + bottom) / page_height,
            width / page_width,
            height / page_height,
        )
        return self.figure.add_axes(box, **options)

    def write(self, left: float, bottom: float, text: str, **options: Any) -> Text:
        """Put a line of text at a place given in inches from the lower left corner of the body."""
        page_width, page_height = (float(side) for side in self.figure.get_size_inches())
        x, y = (self.left + left) / page_width, (self.bottom + bottom) / page_height
        return write(self.figure.text, x, y, text, **options)

    def write_below(
        self,
        left: float,
        top: float,
        text: str,
        *,
        size_pt: float,
        weight: Weight = "normal",
        color: str = INK,
    ) -> Text:
        """Put a line of text below `top`, its baseline the same whatever letters it holds."""
        return self.write(left, top - size_pt / 72.0, text, size_pt=size_pt, weight=weight, color=color)


def new_page(width_in: float, height_in: float, *, title: str, note: str = "", footer: str = "") -> Page:
    """Start a figure whose body is `width_in` x `height_in` inch.

    The page grows by the lines that the title, the note below it and the footer need.

    Parameters
    ----------
    width_in, height_in : float
        Size of the body, inch.
    title, note : str
        What the figure shows, and a line of numbers about it.
    footer : str
        Recipe and weights, so that a figure alone says what made it.

    Returns
    -------
    Page
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heads: list[tuple[str, float, Weight, str]] = [
        (line, TITLE_PT, "bold", INK) for line in wrap(title, width_in, TITLE_PT, "bold")
    ]
    heads += [(line, TEXT_PT, "normal", MUTED) for line in wrap(note, width_in, TEXT_PT)]
    feet = wrap(footer, width_in, SMALL_PT)
    foot = len(feet) * line_height_in(SMALL_PT)
    bottom = MARGIN_IN * 0.6 + foot + (0.15 if feet else 0.0)
    top = MARGIN_IN * 0.8 + sum(line_height_in(head[1]) for head in heads) + 0.1
    page_width, page_height = width_in + 2 * MARGIN_IN, bottom + height_in + top
    figure = Figure(figsize=(page_width, page_height), dpi=DPI, facecolor="white", edgecolor="none")
    FigureCanvasAgg(figure)
    page = Page(figure, MARGIN_IN, bottom, width_in, height_in)
    y = height_in + top - MARGIN_IN * 0.8
    for text, size_pt, weight, color in heads:
        page.write_below(0.0, y, text, size_pt=size_pt, weight=weight, color=color)
        y -= line_height_in(size_pt)
    for row, text in enumerate(feet):
        y = MARGIN_IN * 0.6 + foot - row * line_height_in(SMALL_PT) - bottom
        page.write_below(0.0, y, text, size_pt=SMALL_PT, color=MUTED)
    return page


def style_axes(ax: Axes) -> Axes:
    """Thin gray frame and small ticks in the house font."""
    ax.set_facecolor("white")
    for spine in ax.spines.values():
        spine.set_edgecolor(LINE)
        spine.set_linewidth(0.8)
    ax.tick_params(which="both", color=LINE, labelcolor=MUTED, width=0.8, length=3.0)
    ax.tick_params(labelfontfamily=_FONT, labelsize=SMALL_PT)
    return ax


def name_axes(ax: Axes, x: str, y: str) -> Axes:
    """Write the names of both axes in the house font."""
    ax.set_xlabel(x, fontproperties=font(TEXT_PT), color=MUTED)
    ax.set_ylabel(y, fontproperties=font(TEXT_PT), color=MUTED)
    return ax


def title_axes(ax: Axes, title: str) -> Axes:
    """Write a heading above the left end of `ax`."""
    text = ax.set_title(printable(title, "bold"), loc="left", color=INK, pad=6.0)
    text.set_fontproperties(font(TEXT_PT, "bold"))
    text.set_parse_math(False)
    return ax


def dpi_of(ax: Axes) -> float:
    """Pixels per inch of the figure that `ax` belongs to."""
    figure = ax.get_figure(root=True)
    return float(figure.dpi) if figure is not None else float(DPI)


def note_axes(ax: Axes, text: str) -> Axes:
    """Write a line in the middle of `ax`, in place of what it would show."""
    write(ax.text, 0.5, 0.5, text, color=MUTED, ha="center", va="center", transform=ax.transAxes)
    return ax


# ---- files -------------------------------------------------------------------------------


def figure_bytes(figure: Figure, kind: str = "png") -> bytes:
    """Render a figure; the same figure gives the same bytes.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    kind : {"png", "pdf", "svg"}
        Fonts are embedded in PDF (Type 42); letters are outlines in SVG.

    Returns
    -------
    bytes

    Raises
    ------
    ConfigError
        `kind` is none of these.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from elodin_spark.display import figure_bytes
    >>> figure_bytes(Figure(figsize=(2, 2)), "pdf")[:5]
    b'%PDF-'
    """
    if kind not in _METADATA:
        raise ConfigError(f"figures are written as {', '.join(_METADATA)}, not as {kind!r}")
    import matplotlib

    buffer = io.BytesIO()
    # Type 42: letters stay letters, which journals ask for.
    with matplotlib.rc_context({"svg.hashsalt": "elodin_spark", "pdf.fonttype": 42}):
        figure.savefig(buffer, format=kind, dpi=DPI, facecolor="white", metadata=_METADATA[kind])
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure, by extension as PNG, PDF or SVG, whole or not at all.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : str or Path
        Missing folders are made; an existing file is replaced.

    Returns
    -------
    Path
        Where it is.

    Raises
    ------
    ConfigError
        Another extension, or a place that cannot be written.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from elodin_spark.display import save_figure
    >>> save_figure(Figure(figsize=(2, 2)), "figures/empty.pdf").name
    'empty.pdf'
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _METADATA:
        known = ", ".join(f".{name}" for name in _METADATA)
        raise ConfigError(
            f"{path}: a figure cannot be written as {path.suffix!r}; end the name in one of {known}"
        )
    content = figure_bytes(figure, kind)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: the figure cannot be written there: {error}; choose another place"
        ) from None
    finally:
        if partial.exists():
            partial.unlink()
    return path
