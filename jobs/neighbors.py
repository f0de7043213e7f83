"""Write the neighbors of many cutouts, or of all, as a Parquet table.

spark-submit jobs/neighbors.py runs/coadds --ids wanted.csv --out neighbors.parquet -k 20
spark-submit jobs/neighbors.py runs/coadds --positions lenses.fits --out lenses --where "mjd > 59000"
spark-submit jobs/neighbors.py runs/coadds --all --out graph.parquet --metric jaccard
"""

from elodin_spark.cli.spark_jobs import neighbors_job

if __name__ == "__main__":
    neighbors_job(__doc__)
