"""What the tests of figures draw, and how they read what was drawn."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from elodin_spark.display.neighbors import Panel

FOOTER = "ResNet50, random weights (seed 0): not trained · recipe 1a2b3c4d"


ODD_NAMES = (
    "calexp-LSSTComCam-i-i_6718_9-tract5063-patch14-2024-11-14_with_a_very_long_name_indeed.fits.fz",
    "νεφέλωμα_é_$M_{31}$_星雲_Ω.fits",
    "_draft\t🔭\udcff.fits",
    "W" * 200,
)


def jpeg(color: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (32, 32)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def empty_figure(side: float = 5.0) -> Figure:
    figure = Figure(figsize=(side, side), dpi=150)
    FigureCanvasAgg(figure)
    return figure


def drawn_texts(figure: Figure) -> list[tuple[str, Bbox]]:
    """Render a figure for real and tell where each of its texts came to stand."""
    seen: dict[int, Text] = {}
    draw = Text.draw

    def spy(self: Text, renderer: object, *args: object, **options: object) -> None:
        if self.get_visible() and self.get_text():
            seen[id(self)] = self
        draw(self, renderer, *args, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", spy)
        figure.canvas.draw()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in seen.values()]


def overlap_px(one: Bbox, other: Bbox) -> float:
    """Smaller side of what two boxes share; 0 or less where they are apart."""
    return min(min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0))


def assert_readable(figure: Figure, texts: list[tuple[str, Bbox]]) -> None:
    page = figure.bbox
    for text, box in texts:
        assert box.x0 >= page.x0, f"{text!r} is clipped"
        assert box.x1 <= page.x1, f"{text!r} is clipped"
        assert box.y0 >= page.y0, f"{text!r} is clipped"
        assert box.y1 <= page.y1, f"{text!r} is clipped"
    for at, (text, box) in enumerate(texts):
        for other_text, other in texts[at + 1 :]:
            # A text's box reaches 1 px beyond its letters on each side.
            assert overlap_px(box, other) <= 2.0, f"{text!r} overlaps {other_text!r}"


def panel(number: int, odd: bool = False, **values: object) -> Panel:
    fields: dict[str, object] = {
        "cutout_id": 2**63 - 1 - number,
        "image": ODD_NAMES[number % len(ODD_NAMES)] if odd else f"image_{number}.fits",
        "x0": 30000 + number,
        "y0": 0,
        "x1": 30224 + number,
        "y1": 224,
        "ra": None if number % 3 == 0 else 10.0 * number % 360,
        "dec": -1.5 * number,
        "thumbnail": None if odd and number % 4 == 2 else jpeg((number * 5 % 256, 90, 120)),
        "labels": ("black-footed ferret, ferret, Mustela nigripes 0.08", "unit 7", "$y$", "fourth"),
    }
    return Panel(**{**fields, **values})  # type: ignore[arg-type]


def neighbor_panels(count: int, odd: bool = False) -> list[Panel]:
    return [panel(n, odd, rank=n, distance=1234.5 * n) for n in range(1, count + 1)]


def sky_case(name: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    around = rng.uniform(0, 360, 200)
    return {
        "one degree across RA 0": (359.6 + rng.random(200), -5 + rng.random(200)),
        "all sky": (around, np.degrees(np.arcsin(rng.uniform(-1, 1, 200)))),
        "north pole": (around, 90 - np.abs(rng.normal(size=200))),
        "south pole": (around, -90 + np.abs(rng.normal(size=200))),
        "high and wide": (180 + 40 * rng.random(200), 55 + 15 * rng.random(200)),
        "two fields": (np.repeat([10.0, 200.0], 100) + rng.random(200) * 0.1, np.repeat([60.0, -20.0], 100)),
        "one place": (np.full(3, 150.1), np.full(3, 2.2)),
        "the pole itself": (np.zeros(1), np.full(1, 90.0)),
        "a strip round the equator": (around, rng.normal(size=200)),
    }[name]
