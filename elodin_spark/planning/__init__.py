"""What a run will do and cost, from headers and a small measured sample."""

from elodin_spark.planning.plan import SAMPLE, plan_config

__all__ = ["SAMPLE", "plan_config"]
