"""The main job: images to cutouts, fingerprints, indices, maps and figures.

1. List the files and leave out those that a commit of the catalog names.
2. For each batch: describe, cut and fingerprint in one stage; write the tables; commit.
3. Build the indices, project a sample, draw the figures.

    spark-submit jobs/pipeline.py --config conf/cluster.yaml --set images.paths=/archive/coadds
"""

from elodin_spark.cli.spark_jobs import run_job

if __name__ == "__main__":
    run_job(__doc__)
