"""Describe the images of an archive: headers only, one row per image plane, to Parquet.

spark-submit jobs/images.py --config conf/cluster.yaml --out /archive/images.parquet
"""

from elodin_spark.cli.spark_jobs import describe_job

if __name__ == "__main__":
    describe_job(__doc__)
