"""A synthetic survey with known truth, as FITS."""

from elodin_spark.datasets.layout import ARTIFACT_TYPES, FAINT_TYPES, SKY_TYPES
from elodin_spark.datasets.survey import TRUTH_COLUMNS, SimulatedSurvey, simulate

__all__ = ["ARTIFACT_TYPES", "FAINT_TYPES", "SKY_TYPES", "TRUTH_COLUMNS", "SimulatedSurvey", "simulate"]
