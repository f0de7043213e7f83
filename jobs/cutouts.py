"""Cut the images into windows, kept with their pixels: the first half of the pipeline.

spark-submit jobs/cutouts.py --config conf/cluster.yaml
"""

from elodin_spark.cli.spark_jobs import run_job

if __name__ == "__main__":
    run_job(__doc__, "cutouts")
