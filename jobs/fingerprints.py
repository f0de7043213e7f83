"""Fingerprint the cutouts that jobs/cutouts.py wrote.

spark-submit jobs/fingerprints.py --config conf/cluster.yaml
"""

from elodin_spark.cli.spark_jobs import run_job

if __name__ == "__main__":
    run_job(__doc__, "fingerprints")
