"""The same job by spark-submit on a real standalone cluster, held against local mode."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers.limits import HANG_S
from helpers.paths import ROOT

from elodin_spark import Catalog
from elodin_spark.config.load import dump_settings

pytestmark = [pytest.mark.cluster, pytest.mark.spark]

SUBMIT = Path(sys.executable).with_name("spark-submit")


@pytest.fixture(scope="module")
def config(survey, small_settings, tmp_path_factory) -> Path:
    settings = small_settings(
        survey.tiles[0].parent,
        images={"paths": str(survey.tiles[0].parent), "hdu": "IMAGE"},
        projection={"methods": ["tsne"], "perplexity": 5},
        run={"batch_images": 3},
    )
    file = tmp_path_factory.mktemp("config") / "run.yaml"
    file.write_text(dump_settings(settings))
    return file


def submit(cluster, job: str, *arguments: object) -> str:
    done = subprocess.run(
        [
            str(SUBMIT),
            "--master",
            cluster.url,
            "--executor-memory",
            "1g",
            "--conf",
            "spark.driver.host=127.0.0.1",
            "--conf",
            "spark.ui.enabled=false",
            str(ROOT / "jobs" / job),
            *map(str, arguments),
        ],
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def local(config, tmp_path_factory) -> Catalog:
    folder = tmp_path_factory.mktemp("local") / "catalog"
    command = [sys.executable, "-m", "elodin_spark", "run", str(config), "--set", f"catalog={folder}"]
    subprocess.run(command, check=True, timeout=HANG_S)
    return Catalog.open(folder)


def assert_equal(ours: Catalog, theirs: Catalog) -> None:
    for table, key in (("images", "image_id"), ("cutouts", "cutout_id"), ("fingerprints", "cutout_id")):
        assert ours.table(table).sort_by(key).equals(theirs.table(table).sort_by(key)), table
    for query in map(int, theirs.cutout_ids()[::30]):
        for metric in ("l2", "jaccard"):
            assert ours.neighbors(query, metric=metric) == theirs.neighbors(query, metric=metric)


def test_the_pipeline_on_a_cluster_gives_the_rows_of_local_mode(cluster, config, local, tmp_path):
    folder = tmp_path / "catalog"
    printed = submit(cluster, "pipeline.py", "--config", config, "--set", f"catalog={folder}")
    assert "4 images, 100 cutouts, 0 refused; 2 batches done" in printed
    assert_equal(Catalog.open(folder), local)


def test_one_job_per_stage_gives_the_rows_of_the_pipeline(cluster, config, local, tmp_path):
    folder = tmp_path / "catalog"
    described = submit(cluster, "images.py", "--config", config, "--out", tmp_path / "images")
    assert "4 ok" in described
    assert pq.read_table(tmp_path / "images").num_rows == 4
    for job in ("cutouts.py", "fingerprints.py"):
        submit(cluster, job, "--config", config, "--set", f"catalog={folder}")
    for job in ("index.py", "projection.py"):  # by hand: these work on the driver
        command = [sys.executable, str(ROOT / "jobs" / job), "--config", str(config)]
        subprocess.run([*command, "--set", f"catalog={folder}"], check=True, timeout=HANG_S)
    ours = Catalog.open(folder)
    assert_equal(ours, local)
    assert [path.name for path in ours.figures()] == ["map_tsne.png", "sky.png", "units.png"]


SOURCE = """
import sys

sys.path.insert(0, {root!r})
from elodin_spark import session
from elodin_spark.config.settings import SparkSettings

with session(SparkSettings(master={url!r}, conf={{"spark.executor.memory": "1g"}})) as spark:
    images = spark.read.format("survey-images").options(hdu="IMAGE", slices=3).load({archive!r})
    for row in images.select("image_id", "path", "status").collect():
        print("row", *row)
"""


def test_the_data_source_needs_the_package_on_the_driver_only(cluster, survey, local, tmp_path):
    script = tmp_path / "source.py"
    archive = str(survey.tiles[0].parent)
    script.write_text(SOURCE.format(root=str(ROOT), url=cluster.url, archive=archive))
    environment = {name: value for name, value in cluster.environment.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    rows = sorted(line.split()[1:] for line in done.stdout.splitlines() if line.startswith("row "))
    images = local.table("images").to_pylist()
    assert rows == sorted([str(image["image_id"]), image["path"], "ok"] for image in images)


AGAIN = """
import sys

sys.path.insert(0, {root!r})
from elodin_spark import Catalog, load_config, session
from elodin_spark.spark.session import start_session

settings = load_config({config!r})
mine = start_session(settings.spark)
catalog = Catalog.create({catalog!r}, settings)
print(catalog.run(["cutouts"]).text())
with session(settings.spark) as spark:
    images = spark.read.format("survey-images").options(hdu="IMAGE").load({archive!r})
    print(images.count(), "rows", len(mine.sparkContext._python_includes), "package")
mine.stop()
"""


def test_a_session_that_runs_on_a_cluster_is_used_again(cluster, config, survey, tmp_path):
    script, again = tmp_path / "again.py", tmp_path / "again.yaml"
    spark = f"spark: {{master: '{cluster.url}', conf: {{spark.executor.memory: 1g}}}}\n"
    kept = re.sub(r"(?ms)^spark:.*?(?=^\S|\Z)", "", config.read_text())
    again.write_text(kept + spark)
    names = {"root": str(ROOT), "config": str(again), "catalog": str(tmp_path / "catalog")}
    script.write_text(AGAIN.format(**names, archive=str(survey.tiles[0].parent)))
    done = subprocess.run(
        [sys.executable, str(script)],
        env=cluster.environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "100 cutouts" in done.stdout
    assert "4 rows 1 package" in done.stdout
