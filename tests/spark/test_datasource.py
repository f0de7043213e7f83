"""The data source ``survey-images``."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyspark import cloudpickle
from pyspark.sql import functions as F

from elodin_spark import read_images, register_data_source, schema, tile
from elodin_spark.config.settings import ImagesSettings, SlidingWindow
from elodin_spark.errors import ConfigError, ImageError, InputError
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.spark.datasource import (
    FILES_PER_SLICE,
    OPTIONS,
    FilesPartition,
    SurveyImages,
    SurveyImagesReader,
    parse_options,
)
from elodin_spark.spark.tables import spark_schema
from elodin_spark.stage import run_plain

pytestmark = pytest.mark.spark

PAGE = Path(__file__).resolve().parents[2] / "docs" / "images_and_cutouts.md"
ODD_NAMES = ("a b.fits", "@at=1&x.fits", "étoile ☆.fits", "per%20cent#.fits", "ngc[1].fits")


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """Seven good files of ten planes, with odd names and sizes, and two bad ones."""
    folder = tmp_path_factory.mktemp("archive")
    rng = np.random.default_rng(5)
    planes = [fits.PrimaryHDU()]
    for band, day in (("g", 57000.5), ("r", 57001.5), ("r2", 57002.5)):
        plane = fits.ImageHDU(rng.normal(size=(40, 48)).astype(np.float32), name=band.upper())
        plane.header.update({"FILTER": band, "MJD-OBS": day})
        planes.append(plane)
    fits.HDUList(planes).writeto(folder / "planes.fits")
    (folder / "odd names").mkdir()
    for i, name in enumerate(ODD_NAMES):
        fits.writeto(folder / "odd names" / name, rng.normal(size=(32 + i, 40)).astype(np.float32))
    Image.fromarray(rng.integers(0, 255, (33, 35, 3), np.uint8)).save(folder / "picture.png")
    (folder / "empty.fits").touch()
    (folder / "text.fits").write_text("not FITS at all")
    return folder


def source(spark, **options):
    return spark.read.format("survey-images").options(**options)


def table(frame) -> pa.Table:
    return frame.toArrow().select(schema.IMAGES.names).sort_by("image_id")


def options_of(archive, **options) -> dict[str, str]:
    return {"path": str(archive), **options}


def test_source_verb_and_loop_give_the_same_rows_for_any_number_of_partitions(spark, archive):
    listed = files_to_batches(list_files([str(archive)]))
    loop = run_plain(DescribeSpec("all"), listed).sort_by("image_id")
    assert loop.num_rows == 3 + len(ODD_NAMES) + 1 + 2
    assert loop["status"].to_pylist().count("failed") == 2
    assert table(read_images(spark, str(archive), hdu="all")).equals(loop)
    for slices in (1, 2, 7):
        frame = source(spark, HDU="all", slices=slices).load(str(archive))
        assert frame.schema == spark_schema(schema.IMAGES)
        rows = frame.withColumn("partition", F.spark_partition_id()).toArrow()
        assert set(rows["partition"].to_pylist()) == set(range(slices))
        assert rows.drop(["partition"]).sort_by("image_id").equals(loop), slices


def test_columns_can_be_pruned_and_rows_counted(spark, archive):
    frame = source(spark, bands="r*", mjd="57000, 57002", hdu="all").load(str(archive / "planes.fits"))
    assert [tuple(row) for row in frame.select("mjd", "bands").collect()] == [(57001.5, "r")]
    assert frame.count() == 1
    assert source(spark, hdu=3).load(str(archive / "planes.fits")).first()["bands"] == "r2"


def test_several_paths_are_one_archive_as_for_the_verb(spark, archive):
    paths = [str(archive / "odd names"), str(archive / "*.png"), str(archive / "planes.fits")]
    expected = run_plain(DescribeSpec(), files_to_batches(list_files(paths))).sort_by("image_id")
    assert {f"odd names/{name}" for name in ODD_NAMES} < set(expected["path"].to_pylist())
    assert table(source(spark, slices=1).load(paths)).equals(expected)
    by_option = source(spark, paths=json.dumps(paths[1:]), path=paths[0], root=archive, slices=1).load()
    assert table(by_option).equals(expected)


def test_sql_reads_it_as_a_view(spark, archive):
    spark.sql(
        "CREATE OR REPLACE TEMPORARY VIEW described USING `survey-images` "
        f"OPTIONS (path '{archive}', hdu 'all', MODE 'permissive')"
    )
    rows = spark.sql("SELECT path, error FROM described WHERE status = 'failed'").collect()
    assert {row["path"]: row["error"].split(":")[0] for row in rows} == {
        "empty.fits": "empty_file",
        "text.fits": "not_fits",
    }


def test_with_failfast_a_bad_file_is_an_error_that_names_it(spark, archive):
    with pytest.raises(Exception, match=r"ImageError: \S*text\.fits: .*FITS"):
        source(spark, mode="FAILFAST").load(str(archive / "text.fits")).collect()
    good = source(spark, mode="failfast").load(str(archive / "picture.png"))
    assert [row["path"] for row in good.collect()] == ["picture.png"]


def test_tiles_are_cut_from_it_as_from_the_verb(spark, archive):
    place, cut = str(archive / "planes.fits"), tile(SlidingWindow(size=16, step=16), thumbnail_px=16)
    ours, theirs = (
        images.transform(cut).toArrow().sort_by("cutout_id")
        for images in (source(spark, hdu="all").load(place), read_images(spark, place, hdu="all"))
    )
    assert ours.num_rows == 3 * 9
    assert ours.equals(theirs)


def test_errors_reach_the_user_of_spark(spark, archive, tmp_path):
    for reading, message in (
        (lambda: source(spark, band="r").load(str(archive)), r"no option 'band': did you mean 'bands'"),
        (lambda: source(spark).load(), r"given no path; name folders"),
        (lambda: source(spark).load(str(tmp_path)).count(), r"holds no image files"),
        (lambda: source(spark).schema("path STRING").load(str(archive)).count(), r"columns .* are fixed"),
    ):
        with pytest.raises(Exception, match=message):
            reading()


def test_a_session_made_elsewhere_knows_it_once_registered(spark, archive):
    other = spark.newSession()
    with pytest.raises(Exception, match="survey-images"):
        source(other).load(str(archive))
    register_data_source(other)
    own = source(other).schema(spark_schema(schema.IMAGES)).load(str(archive / "picture.png"))
    assert own.count() == 1


def test_a_file_alone_fails_fast_without_spark(archive):
    reader = SurveyImagesReader(parse_options(options_of(archive, mode="FAILFAST", slices="1")), 1)
    (partition,) = reader.partitions()
    with pytest.raises(ImageError, match=r"(empty|text)\.fits: ") as caught:
        list(reader.read(partition))
    assert caught.value.kind in ("empty_file", "not_fits")


def test_a_task_receives_its_files_and_no_others(tmp_path):
    sizes = {f"{i:04d}.fits": 100 * (i % 7) for i in range(2 * FILES_PER_SLICE)}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(bytes(size))
    known = type("known", (SurveyImages,), {"parallelism": 2})
    reader = known(options_of(tmp_path)).reader(spark_schema(schema.IMAGES))
    partitions = reader.partitions()
    assert len(cloudpickle.dumps(reader)) < 5_000
    assert len(partitions) == 6
    dealt = [pickle.loads(pickle.dumps(partition)).files for partition in partitions]
    assert sorted(path for files in dealt for _, path, _ in files) == sorted(sizes)
    loads = [sum(size for _, _, size in files) for files in dealt]
    assert max(loads) - min(loads) <= 600
    # A cluster that was small when the source was registered.
    alone = SurveyImagesReader(parse_options(options_of(tmp_path)), 0)
    assert len(alone.partitions()) == 2
    assert all(isinstance(partition, FilesPartition) for partition in partitions)


def test_no_files_is_an_error_and_not_an_empty_table(tmp_path):
    with pytest.raises(InputError, match="holds no image files"):
        SurveyImagesReader(parse_options(options_of(tmp_path)), 1).partitions()


@given(
    hdu=st.one_of(
        st.none(), st.integers(0, 99), st.just("all"), st.from_regex(r"[A-Z_]{1,8}", fullmatch=True)
    ),
    bands=st.none() | st.text(min_size=1, max_size=5),
    mjd=st.none() | st.tuples(*[st.floats(-1e6, 1e6)] * 2).map(lambda days: tuple(sorted(days))),
    storage=st.dictionaries(
        st.text(max_size=5), st.booleans() | st.integers() | st.text(max_size=5), max_size=3
    ),
    paths=st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=3),
)
def test_options_say_what_the_settings_say(hdu, bands, mjd, storage, paths):
    options = {"Paths": json.dumps(paths), "STORAGE": json.dumps(storage)}
    options |= {} if hdu is None else {"hdu": str(hdu)}
    options |= {} if bands is None else {"bands": bands}
    options |= {} if mjd is None else {"mjd": str(list(mjd))}
    wanted = ImagesSettings(paths=tuple(paths), hdu=hdu, bands=bands, mjd=mjd, storage=storage)
    assert parse_options(options) == (wanted, False, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hdus": "1"}, "no option 'hdus': did you mean 'hdu'"),
        ({"recursiveFileLookup": "true"}, "no option 'recursivefilelookup': one of bands, hdu"),
        ({"mode": "DROPMALFORMED"}, "'mode'.*'PERMISSIVE' or 'FAILFAST'"),
        ({"slices": "0"}, "'slices'.*greater than or equal to 1"),
        ({"mjd": "today"}, "'mjd'.*today"),
        ({"mjd": "57000"}, "'mjd'"),
        ({"mjd": "nan,57000"}, "'mjd'.*finite"),
        ({"storage": "anon=true"}, "'storage'.*JSON.*anon=true"),
        ({"storage": "[1]"}, "'storage'.*an object"),
        ({"paths": "a.fits"}, "'paths'.*JSON"),
        ({"paths": "[1]"}, "'paths'.*string"),
        ({"paths": "[1]", "mjd": "x,y"}, "'mjd'.*x,y.*; option 'paths'"),
    ],
)
def test_a_bad_option_is_named_with_what_was_given(options, message):
    with pytest.raises(ConfigError, match=message):
        parse_options({"path": "archive", **options})
    assert {"path", "paths", "root", "hdu", "bands", "mjd", "storage", "mode", "slices"} == set(OPTIONS)


def test_no_path_at_all_is_an_error():
    for options in ({}, {"paths": "[]"}):
        with pytest.raises(ConfigError, match="no path"):
            parse_options(options)


def test_copies_elsewhere_have_the_same_ids(archive, tmp_path):
    shutil.copytree(archive, tmp_path / "moved")
    ids = []
    for place in (archive, tmp_path / "moved"):
        reader = SurveyImagesReader(parse_options(options_of(place, hdu="all")), 1)
        batches = [batch for part in reader.partitions() for batch in reader.read(part)]
        ids.append({image_id for batch in batches for image_id in batch["image_id"].to_pylist()})
    assert ids[0] == ids[1]
    assert len(ids[0]) == 11


def test_the_page_about_it_names_every_option_and_its_examples_run(spark, survey, capsys):
    _, _, page = PAGE.read_text(encoding="utf-8").partition("## As a data source of Spark\n")
    page = page.partition("\n## ")[0].replace("my_images", str(survey.tiles[0].parent))
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(OPTIONS)
    (python,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    exec(python, {})
    assert re.search(r"\b36 cutouts$", capsys.readouterr().out.strip())
    (sql,) = re.findall(r"^```sql\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    create, select = sql.split(";")
    spark.sql(create)
    assert spark.sql(select).collect() == []
    spark.catalog.dropTempView("images")
