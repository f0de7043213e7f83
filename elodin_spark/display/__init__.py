"""Figures for papers: an Axes in, an Axes out, or a whole page, made without a display.

Each figure comes in two forms. ``draw_X(ax, ...)`` draws on axes of your own figure and returns them;
``X_figure(...)`` makes a page of its own, with a title, a note and a footer. :func:`save_figure`
writes either as PNG, PDF or SVG, with fonts embedded; the same input gives the same bytes. Colors are told
apart with any color vision.

The names are imported when they are first used: matplotlib starts with the first figure.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elodin_spark.display.map import draw_map, map_figure
    from elodin_spark.display.neighbors import Panel, draw_neighbors, neighbors_figure
    from elodin_spark.display.onimage import ImageWindow, SourceImage, draw_on_image, on_image_figure
    from elodin_spark.display.quality import ImageQuality, draw_failures, draw_quality, quality_figure
    from elodin_spark.display.sheet import contact_sheet_figure, draw_contact_sheet
    from elodin_spark.display.sky import draw_all_sky, draw_sky, sky_figure
    from elodin_spark.display.style import figure_bytes, save_figure
    from elodin_spark.display.timings import draw_rates, draw_timings, timings_figure

_HOMES = {
    "ImageQuality": "quality",
    "ImageWindow": "onimage",
    "Panel": "neighbors",
    "SourceImage": "onimage",
    "contact_sheet_figure": "sheet",
    "draw_all_sky": "sky",
    "draw_contact_sheet": "sheet",
    "draw_failures": "quality",
    "draw_map": "map",
    "draw_neighbors": "neighbors",
    "draw_on_image": "onimage",
    "draw_quality": "quality",
    "draw_rates": "timings",
    "draw_sky": "sky",
    "draw_timings": "timings",
    "figure_bytes": "style",
    "map_figure": "map",
    "neighbors_figure": "neighbors",
    "on_image_figure": "onimage",
    "quality_figure": "quality",
    "save_figure": "style",
    "sky_figure": "sky",
    "timings_figure": "timings",
}

__all__ = [
    "ImageQuality",
    "ImageWindow",
    "Panel",
    "SourceImage",
    "contact_sheet_figure",
    "draw_all_sky",
    "draw_contact_sheet",
    "draw_failures",
    "draw_map",
    "draw_neighbors",
    "draw_on_image",
    "draw_quality",
    "draw_rates",
    "draw_sky",
    "draw_timings",
    "figure_bytes",
    "map_figure",
    "neighbors_figure",
    "on_image_figure",
    "quality_figure",
    "save_figure",
    "sky_figure",
    "timings_figure",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
