"""fingerprint_udf over every shape in which a DataFrame may hold pictures."""

from __future__ import annotations

import io
import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pyspark.sql import Row
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from elodin_spark import fingerprint_udf, register_udfs
from elodin_spark.config.settings import FingerprintsSettings
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.runtimes.base import Runtime
from elodin_spark.fingerprints.stage import Fingerprinter, FingerprintSpec
from elodin_spark.fingerprints.weights.resolve import resolve_weights

pytestmark = pytest.mark.spark
NETWORK = {"weights": "random:1", "input_px": 32, "batch_size": 4}
MODES = {"CV_8UC1": 0, "CV_8UC3": 16, "CV_8UC4": 24}


@pytest.fixture(scope="module")
def udf(spark):
    return fingerprint_udf(spark, **NETWORK)


@pytest.fixture(scope="module")
def pictures():
    """A gray and a color window, not square, of which rows, columns and channels all differ."""
    generator = np.random.default_rng(5)
    return {
        "gray": generator.integers(0, 255, (40, 56), np.uint8),
        "color": generator.integers(0, 255, (48, 36, 3), np.uint8),
    }


@pytest.fixture(scope="module")
def expected(pictures):
    """The vectors of the kernel, without Spark, of the runtime that auto takes for both."""
    network = resolve_network(FingerprintsSettings(**NETWORK), resolve_weights("random:1"))
    spec = FingerprintSpec.from_network(network)
    vectors, _, _ = Fingerprinter(spec)(list(pictures.values()))
    return dict(zip(pictures, vectors, strict=True))


def encoded(pixels, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def collect(frame, *columns):
    return {row["name"]: row["f"] for row in frame.select("name", *columns).collect()}


def assert_refused(found, said):
    assert found["vector"] is None
    assert found["labels"] is None
    assert found["label_scores"] is None
    assert said in found["error"]


def test_encoded_files_give_the_vectors_of_their_pixels_and_bad_ones_say_why(spark, udf, pictures, expected):
    png = encoded(pictures["color"])
    rows = [
        ("gray", encoded(pictures["gray"])),
        ("color", png),
        ("null", None),
        ("empty", b""),
        ("no picture", b"SIMPLE  =                    T"),
        ("cut short", png[: len(png) // 2]),
    ]
    frame = spark.createDataFrame(rows, "name string, content binary").coalesce(1)
    found = collect(frame.withColumn("f", udf("content")), "f")
    for name, vector in expected.items():
        assert found[name]["error"] is None
        np.testing.assert_allclose(found[name]["vector"], vector, rtol=1e-5, atol=1e-6)
        assert len(found[name]["labels"]) == len(found[name]["label_scores"]) > 0
    assert_refused(found["null"], "null")
    assert_refused(found["empty"], "empty_file")
    assert_refused(found["no picture"], "unreadable")
    assert_refused(found["cut short"], "truncated")


def test_the_image_source_of_spark_in_each_of_its_modes(spark, udf, pictures, expected, tmp_path):
    gray, color = pictures["gray"], pictures["color"]
    (tmp_path / "gray.png").write_bytes(encoded(gray))
    (tmp_path / "color.png").write_bytes(encoded(color))
    transparent = np.dstack([color, np.full(color.shape[:2], 9, np.uint8)])
    (tmp_path / "alpha.png").write_bytes(encoded(transparent))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    source = spark.read.format("image").load(str(tmp_path))
    named = source.withColumn("name", F.regexp_extract("image.origin", r"(\w+)\.png$", 1))
    assert {row["mode"] for row in named.select("image.mode").collect()} == {*MODES.values(), -1}
    found = collect(named.withColumn("f", udf("image")), "f")
    np.testing.assert_allclose(found["gray"]["vector"], expected["gray"], rtol=1e-5, atol=1e-6)
    for name in ("color", "alpha"):
        np.testing.assert_allclose(found[name]["vector"], expected["color"], rtol=1e-5, atol=1e-6)
    assert_refused(found["broken"], "could not decode the image file:")


def test_images_of_wrong_shapes_or_modes_are_refused_one_by_one(spark, udf):
    kind = "name string, image struct<origin:string,height:int,width:int,nChannels:int,mode:int,data:binary>"
    rows = [
        ("good", ("", 4, 5, 1, 0, bytes(20))),
        ("short", ("", 4, 5, 3, 16, bytes(59))),
        ("short gray", ("", 4, 5, 1, 0, bytes(19))),
        ("floats", ("", 4, 5, 1, 5, bytes(80))),
        ("channels", ("", 4, 5, 3, 0, bytes(60))),
        ("negative", ("", -4, -5, 3, 16, bytes(60))),
        ("no height", ("", None, 5, 1, 0, bytes(20))),
        ("no data", ("", 4, 5, 1, 0, None)),
        ("null", None),
    ]
    found = collect(spark.createDataFrame(rows, kind).coalesce(1).withColumn("f", udf("image")), "f")
    assert found["good"]["error"] is None
    assert len(found["good"]["vector"]) == 2048
    assert_refused(found["short"], "bad_pixels: the image has 59 bytes")
    assert_refused(found["short gray"], "bad_pixels")
    assert_refused(found["floats"], "mode 5 with 1 channels")
    assert_refused(found["channels"], "mode 0 with 3 channels")
    assert_refused(found["negative"], "bad_pixels")
    assert_refused(found["no height"], "has no height")
    assert_refused(found["no data"], "null")
    assert_refused(found["null"], "null")


def test_cutouts_as_columns_and_as_a_struct_in_sql(spark, pictures, expected):
    rows = [(name, window.tobytes(), list(window.shape)) for name, window in pictures.items()]
    rows += [
        ("no shape", bytes(16), None),
        ("half a shape", bytes(16), [4, None]),
        ("wrong", bytes(16), [4, 5]),
        ("null", None, [4, 4]),
    ]
    frame = spark.createDataFrame(rows, "name string, pixels binary, pixel_shape array<int>").coalesce(1)
    frame.createOrReplaceTempView("windows_to_ask")
    register_udfs(spark, "likeness", **NETWORK)
    two = spark.sql("SELECT name, likeness(pixels, pixel_shape) AS f FROM windows_to_ask")
    one = spark.sql("SELECT name, likeness(struct(pixels, pixel_shape)) AS f FROM windows_to_ask")
    for found in (collect(two, "f"), collect(one, "f")):
        for name, vector in expected.items():
            np.testing.assert_array_equal(found[name]["vector"], vector)
        for name in ("no shape", "half a shape", "wrong"):
            assert_refused(found[name], "bad_pixels")
        assert_refused(found["null"], "null")


def test_a_column_that_holds_no_pictures_fails_with_what_is_taken(spark, udf):
    schema = StructType([StructField("name", StringType())])
    frame = spark.createDataFrame([Row(name="a.png")], schema)
    with pytest.raises(Exception, match="encoded pictures must be BINARY"):
        frame.select(udf("name")).collect()
    with pytest.raises(Exception, match="takes the columns pixels and pixel_shape"):
        frame.select(udf(F.struct("name"))).collect()


def test_the_network_is_built_once_in_each_worker_and_outlives_jobs(spark, pictures):
    udf = fingerprint_udf(spark, **NETWORK | {"input_px": 40})
    frame = spark.createDataFrame([(encoded(pictures["gray"]),)] * 24, "content binary").repartition(6)

    def builds(batches):
        for _ in batches:
            yield pd.DataFrame({"process": [os.getpid()], "builds": [Runtime.builds]})

    def counted():
        # The same workers: Spark keeps them for the tasks that come next.
        rows = spark.range(0, 64, 1, 8).mapInPandas(builds, "process long, builds int").collect()
        return {row["process"]: row["builds"] for row in rows}

    before = counted()
    for _ in range(3):
        assert frame.where(udf("content")["vector"].isNotNull()).count() == 24
    after = counted()
    built = [after[process] - before[process] for process in before.keys() & after.keys()]
    assert 1 in built, "no Python worker outlived its task"
    assert set(built) <= {0, 1}


def test_flat_pictures_have_vectors_and_spare_their_company(spark, udf, pictures, expected):
    rows = [
        ("gray", pictures["gray"].tobytes(), [40, 56]),
        ("black", bytes(400), [20, 20]),
        ("constant", bytes([7]) * 400, [20, 20]),
        ("four channels", bytes(64), [4, 4, 4]),
        ("a line", bytes(16), [16]),
        ("empty", b"", [0, 4]),
        ("color", pictures["color"].tobytes(), [48, 36, 3]),
    ]
    frame = spark.createDataFrame(rows, "name string, pixels binary, pixel_shape array<int>").coalesce(1)
    found = collect(frame.withColumn("f", udf("pixels", "pixel_shape")), "f")
    for name, vector in expected.items():
        np.testing.assert_array_equal(found[name]["vector"], vector)
    for name in ("black", "constant"):
        assert found[name]["error"] is None
        assert np.isfinite(found[name]["vector"]).all()
        assert all(score > 0 for score in found[name]["label_scores"])
    for name in ("four channels", "a line", "empty"):
        assert_refused(found[name], "bad_pixels")
        assert found[name]["labels"] is None
