"""The catalog: what is done, what is left, and neighbors by cutout ID.

The names are imported when they are first used: who asks a catalog needs nothing of what makes one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elodin_spark.catalog.build.run import RUN_STAGES, RunReport
    from elodin_spark.catalog.catalog import Catalog, open_or_create, run_config

_HOMES = {
    "RUN_STAGES": "build.run",
    "Catalog": "catalog",
    "RunReport": "build.run",
    "open_or_create": "catalog",
    "run_config": "catalog",
}

__all__ = ["RUN_STAGES", "Catalog", "RunReport", "open_or_create", "run_config"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
