"""Build the L2 and Jaccard indices over all fingerprints of a catalog.

spark-submit jobs/index.py --config conf/cluster.yaml
"""

from elodin_spark.cli.spark_jobs import run_job

if __name__ == "__main__":
    run_job(__doc__, "index")
