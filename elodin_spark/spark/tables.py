"""Our Arrow schemas as Spark sees them."""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType


def spark_schema(schema: pa.Schema) -> StructType:
    """Render an Arrow schema of :mod:`elodin_spark.schema` to Spark."""
    return from_arrow_schema(schema)
