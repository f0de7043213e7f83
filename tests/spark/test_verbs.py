"""The DataFrame verbs and the pandas UDF."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import functions as F

from elodin_spark import fingerprint, fingerprint_udf, read_images, schema, tile
from elodin_spark.config.settings import FullImage, SlidingWindow
from elodin_spark.errors import ConfigError, InputError
from elodin_spark.spark.tables import spark_schema

pytestmark = pytest.mark.spark
NETWORK = {"weights": "random:1", "input_px": 32, "batch_size": 16}


@pytest.fixture(scope="module")
def images(spark, survey):
    return read_images(spark, str(survey.tiles[0].parent), hdu="IMAGE").cache()


@pytest.fixture(scope="module")
def cutouts(images):
    return images.transform(tile(SlidingWindow(size=64, step=64))).cache()


@pytest.fixture(scope="module")
def fingerprints(cutouts):
    return cutouts.transform(fingerprint("resnet50", **NETWORK)).cache()


def test_images_are_described_from_their_headers(images, survey):
    rows = images.orderBy("path").collect()
    assert [row["path"] for row in rows] == [path.name for path in survey.tiles]
    assert {row["status"] for row in rows} == {"ok"}
    assert {(row["width"], row["height"]) for row in rows} == {(192, 192)}
    assert images.schema == spark_schema(schema.IMAGES)


def test_cutouts_keep_their_pixels_only_when_asked(images, cutouts):
    assert cutouts.count() == 4 * 3 * 3
    row = cutouts.first()
    assert len(row["pixels"]) == 64 * 64
    assert list(row["pixel_shape"]) == [64, 64]
    assert images.transform(tile(FullImage(), pixels=False)).columns == schema.CUTOUTS.names


def test_every_cutout_gets_one_fingerprint(cutouts, fingerprints):
    assert fingerprints.columns == schema.FINGERPRINTS.names
    assert fingerprints.count() == cutouts.count() == fingerprints.select("cutout_id").distinct().count()
    assert {len(row["vector"]) for row in fingerprints.select("vector").collect()} == {2048}


def test_the_pandas_udf_and_the_stage_agree_in_withcolumn_and_in_sql(spark, cutouts, fingerprints):
    udf = fingerprint_udf(spark, **NETWORK)
    made = cutouts.withColumn("fingerprint", udf("pixels", "pixel_shape"))
    by_udf = {
        row["cutout_id"]: row["fingerprint"] for row in made.select("cutout_id", "fingerprint").collect()
    }
    spark.udf.register("fingerprint_of", udf)
    cutouts.createOrReplaceTempView("cutouts_to_ask")
    by_sql = spark.sql(
        "SELECT cutout_id, fingerprint_of(pixels, pixel_shape) AS f FROM cutouts_to_ask"
    ).collect()
    stage = {row["cutout_id"]: row for row in fingerprints.collect()}
    assert by_udf.keys() == stage.keys() == {row["cutout_id"] for row in by_sql}
    for row in by_sql:
        expected = stage[row["cutout_id"]]
        np.testing.assert_array_equal(row["f"]["vector"], expected["vector"])
        np.testing.assert_array_equal(by_udf[row["cutout_id"]]["vector"], expected["vector"])
        assert list(row["f"]["labels"]) == list(expected["labels"])


def test_null_pixels_give_a_null_vector(spark, cutouts):
    udf = fingerprint_udf(spark, **NETWORK)
    null = cutouts.limit(3).withColumn("pixels", F.lit(None).cast("binary"))
    found = null.withColumn("f", udf("pixels", "pixel_shape")).select("f.vector").collect()
    assert [row["vector"] for row in found] == [None] * 3


def test_a_bad_image_fails_the_job_or_is_left_out_as_asked(spark, survey, tmp_path):
    (tmp_path / "good.fits").write_bytes(survey.tiles[0].read_bytes())
    (tmp_path / "bad.fits").write_text("not FITS at all")
    images = read_images(spark, str(tmp_path), hdu="IMAGE")
    assert {row["path"]: row["status"] for row in images.collect()} == {
        "good.fits": "ok",
        "bad.fits": "failed",
    }
    with pytest.raises(Exception, match=r"bad\.fits"):
        images.transform(tile(FullImage())).collect()
    assert images.transform(tile(FullImage(), on_error="skip")).count() == 1


def test_wrong_arguments_are_refused_before_anything_runs(spark, images, tmp_path):
    with pytest.raises(ConfigError, match="on_error"):
        tile(FullImage(), on_error="ignore")
    with pytest.raises(ConfigError, match="pixels"):
        images.transform(tile(FullImage(), pixels=False)).transform(fingerprint(**NETWORK))
    with pytest.raises(InputError, match="missing"):
        read_images(spark, str(tmp_path / "missing"))
