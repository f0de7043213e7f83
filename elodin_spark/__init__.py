"""Find what looks alike in survey images.

The public names are imported when they are first used: ``import elodin_spark`` starts
neither Spark nor TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from elodin_spark.catalog import Catalog, RunReport
    from elodin_spark.catalog.search.neighbors import Neighbors
    from elodin_spark.catalog.search.options import Cone, SearchOptions
    from elodin_spark.catalog.search.query import Query
    from elodin_spark.config.load import load_config, parse_settings
    from elodin_spark.config.settings import (
        AdaptiveHistogramEqualization,
        AsinhStretch,
        Blobs,
        Crop,
        FlipLR,
        FlipUD,
        FullImage,
        GrayScale,
        GrayToRGB,
        HistogramEqualization,
        Positions,
        RescaleIntensity,
        Resize,
        Rotate,
        Settings,
        SlidingWindow,
        Sources,
        Step,
    )
    from elodin_spark.errors import ElodinError
    from elodin_spark.spark.datasource import register_data_source
    from elodin_spark.spark.session import session
    from elodin_spark.spark.udf import fingerprint_udf, register_udfs, register_vector_udf, vector_udf
    from elodin_spark.spark.verbs import fingerprint, read_images, tile

_HOMES = {
    "AdaptiveHistogramEqualization": "config.settings",
    "AsinhStretch": "config.settings",
    "Blobs": "config.settings",
    "Catalog": "catalog",
    "Cone": "catalog.search.options",
    "Crop": "config.settings",
    "ElodinError": "errors",
    "FlipLR": "config.settings",
    "FlipUD": "config.settings",
    "FullImage": "config.settings",
    "GrayScale": "config.settings",
    "GrayToRGB": "config.settings",
    "HistogramEqualization": "config.settings",
    "Neighbors": "catalog.search.neighbors",
    "Positions": "config.settings",
    "Query": "catalog.search.query",
    "RescaleIntensity": "config.settings",
    "Resize": "config.settings",
    "Rotate": "config.settings",
    "RunReport": "catalog",
    "SearchOptions": "catalog.search.options",
    "Settings": "config.settings",
    "SlidingWindow": "config.settings",
    "Sources": "config.settings",
    "Step": "config.settings",
    "fingerprint": "spark.verbs",
    "fingerprint_udf": "spark.udf",
    "load_config": "config.load",
    "parse_settings": "config.load",
    "read_images": "spark.verbs",
    "register_data_source": "spark.datasource",
    "register_udfs": "spark.udf",
    "register_vector_udf": "spark.udf",
    "session": "spark.session",
    "tile": "spark.verbs",
    "vector_udf": "spark.udf",
}

__all__ = [
    "AdaptiveHistogramEqualization",
    "AsinhStretch",
    "Blobs",
    "Catalog",
    "Cone",
    "Crop",
    "ElodinError",
    "FlipLR",
    "FlipUD",
    "FullImage",
    "GrayScale",
    "GrayToRGB",
    "HistogramEqualization",
    "Neighbors",
    "Positions",
    "Query",
    "RescaleIntensity",
    "Resize",
    "Rotate",
    "RunReport",
    "SearchOptions",
    "Settings",
    "SlidingWindow",
    "Sources",
    "Step",
    "fingerprint",
    "fingerprint_udf",
    "load_config",
    "parse_settings",
    "read_images",
    "register_data_source",
    "register_udfs",
    "register_vector_udf",
    "session",
    "tile",
    "vector_udf",
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
