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
    from elodin_spark.config import load_config, parse_settings
    from elodin_spark.errors import ElodinError
    from elodin_spark.settings import Blobs, FullImage, Settings, SlidingWindow, Step
    from elodin_spark.spark.datasource import register_data_source
    from elodin_spark.spark.session import session
    from elodin_spark.spark.udf import fingerprint_udf, register_udfs, register_vector_udf, vector_udf
    from elodin_spark.spark.verbs import fingerprint, read_images, tile

_HOMES = {
    "Blobs": "settings",
    "Catalog": "catalog",
    "ElodinError": "errors",
    "FullImage": "settings",
    "RunReport": "catalog",
    "Settings": "settings",
    "SlidingWindow": "settings",
    "Step": "settings",
    "fingerprint": "spark.verbs",
    "fingerprint_udf": "spark.udf",
    "load_config": "config",
    "parse_settings": "config",
    "read_images": "spark.verbs",
    "register_udfs": "spark.udf",
    "register_vector_udf": "spark.udf",
    "register_data_source": "spark.datasource",
    "session": "spark.session",
    "tile": "spark.verbs",
    "vector_udf": "spark.udf",
}

__all__ = [
    "Blobs",
    "Catalog",
    "ElodinError",
    "FullImage",
    "RunReport",
    "Settings",
    "SlidingWindow",
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
