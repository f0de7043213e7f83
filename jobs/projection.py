"""Project a stable sample of a catalog to the plane and draw the maps and the sky.

spark-submit jobs/projection.py --config conf/cluster.yaml
"""

from elodin_spark.cli.spark_jobs import run_job

if __name__ == "__main__":
    run_job(__doc__, "projection", "figures")
