"""The catalog: what is done, what is left, and neighbors by cutout ID."""

from elodin_spark.catalog.catalog import Catalog
from elodin_spark.catalog.configured import open_or_create, run_config
from elodin_spark.catalog.run import RUN_STAGES, RunReport

__all__ = ["RUN_STAGES", "Catalog", "RunReport", "open_or_create", "run_config"]
