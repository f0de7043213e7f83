"""Find the pairs of cutouts that show one place of the sky in different images.

spark-submit jobs/repeats.py --config conf/cluster.yaml --set run.repeats_arcsec=1
"""

from elodin_spark.cli.spark_jobs import run_job

if __name__ == "__main__":
    run_job(__doc__, "repeats")
