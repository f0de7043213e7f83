"""The only room that imports pyspark."""

import warnings

# Of pandas 3, which the tests run on; without this the first thing that a user of a run would read.
warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
