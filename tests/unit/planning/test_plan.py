"""Plans against what is then cut, and the arithmetic of a plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from helpers.oracles import sliding_count
from hypothesis import given
from hypothesis import settings as cases
from hypothesis import strategies as st

from elodin_spark import schema
from elodin_spark.cli.main import run_command
from elodin_spark.config.load import dump_settings, parse_settings
from elodin_spark.config.settings import Blobs, FullImage, Positions, SlidingWindow, Sources, Step
from elodin_spark.cutouts.picture import WHOLE_PIXELS
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.errors import CatalogError, ConfigError, ImageError, InputError, TooManyFailuresError
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.neighbors.ivf.factory import choose_index_config
from elodin_spark.planning import plan_config
from elodin_spark.planning.counts import COUNTED, CountSpec, count_windows
from elodin_spark.planning.estimate import count_tasks, estimate_seconds, estimate_windows, index_bytes
from elodin_spark.planning.headers import Headers, read_headers
from elodin_spark.planning.machines import Machines, choose_machines, memory_needs, parse_memory, submit_line
from elodin_spark.planning.plan import _settled
from elodin_spark.planning.rates import CutImage, Rates
from elodin_spark.planning.report import plan_text
from elodin_spark.planning.sizes import TableSize, measure_table
from elodin_spark.stage import run_plain

GIB = 2**30


def image(width: int, height: int, image_id: int = 1, **more: Any) -> dict[str, Any]:
    row = dict.fromkeys(schema.IMAGES.names)
    row |= {"image_id": image_id, "uri": "/a.fits", "path": "a.fits", "hdu": 0, "size_bytes": 9}
    return row | {"width": width, "height": height, "status": "ok"} | more


def step(kind: str, **parameters: Any) -> Step:
    return Step(type=kind, parameters=parameters)


@given(
    width=st.integers(1, 900),
    height=st.integers(1, 900),
    size=st.integers(1, 300),
    share=st.floats(0.05, 1),
)
def test_sliding_windows_are_counted_as_they_are_laid(
    width: int, height: int, size: int, share: float
) -> None:
    stride = max(1, int(size * share))
    generator = SlidingWindow(size=(size,), step=stride)
    if min(width, height) < size:
        with pytest.raises(ImageError) as caught:
            count_windows(image(width, height), generator)
        assert caught.value.kind == "smaller_than_window"
    else:
        expected = sliding_count(width, size, stride) * sliding_count(height, size, stride)
        assert count_windows(image(width, height), generator) == expected


GENERATORS = {
    "full image": FullImage(),
    "sliding": SlidingWindow(size=(24,), step=10),
    "drop": SlidingWindow(size=(24,), step=7, edge="drop"),
    "several sizes": SlidingWindow(size=(16, 24, 40)),
    "too large": SlidingWindow(size=(400,)),
    "an angle without a scale": SlidingWindow(size=("6 arcsec",)),
    "no position": Positions(catalog="unread.csv", size=(16,)),
}
STEPS = {
    "auto": "auto",
    "crop": (step("Crop", output_range=(4, -9, 6, -2)), step("AsinhStretch")),
    "bad crop": (step("Crop", output_range=(70, -20, 0, 10)),),
    "resize and turn": (step("Resize", output_size=90), step("Rotate", angle=30), step("RescaleIntensity")),
    "stretch": (step("AsinhStretch"), step("GrayScale")),
}


@pytest.mark.parametrize("generator", GENERATORS.values(), ids=GENERATORS)
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_what_is_counted_is_what_is_cut_and_what_is_refused_is_refused(
    generator: Any, steps: Any, tmp_path: Path
) -> None:
    rng = np.random.default_rng(4)
    fits.writeto(tmp_path / "a.fits", rng.normal(size=(80, 70)).astype(np.float32))
    files = files_to_batches(list_files([str(tmp_path)]))
    described = run_plain(DescribeSpec(), files)
    (counted,) = run_plain(CountSpec(generator, steps), described.to_batches()).to_pylist()
    cut = run_plain(TileSpec(generator, steps, thumbnail_px=0), described.to_batches())
    failures = [row for row in cut.column("failure").to_pylist() if row is not None]
    if counted["refused"] is None:
        assert not failures
        assert counted["windows"] == len(cut) - cut.column("cutout_id").null_count
    else:
        assert counted["windows"] is None
        assert counted["refused"].partition(": ")[0] == failures[0]["kind"]


def test_what_pixels_decide_is_left_open() -> None:
    assert count_windows(image(300, 300), Blobs()) is None
    assert count_windows(image(300, 300), Sources()) is None
    for generator in (Sources(), Positions(catalog="unread.csv")):
        with pytest.raises(ImageError, match=r"images\.steps move them"):
            count_windows(image(300, 300), generator, (step("FlipLR"),))


def test_images_too_large_to_be_read_whole_are_refused_as_the_run_does() -> None:
    large = image(2**14, WHOLE_PIXELS // 2**14 + 1)
    assert count_windows(large, FullImage()) == 1
    assert count_windows(large, FullImage(), (step("AsinhStretch"),)) == 1
    for generator, steps, color in [
        (Blobs(), "auto", False),
        (FullImage(), (step("HistogramEqualization"),), False),
        (FullImage(), (step("GrayScale"),), True),
    ]:
        with pytest.raises(ImageError) as caught:
            count_windows(large, generator, steps, color=color)
        assert caught.value.kind == "too_large"


def headers_of(
    sizes: list[tuple[int, int]], keep: int = 3, order: int = 1, windows: int | None = 5
) -> Headers:
    rows = [image(w, h, i) | {"windows": windows} for i, (w, h) in enumerate(sizes)][::order]
    found = Headers(seed=0, keep=keep)
    for start in range(0, len(rows), 7):
        found.add(pa.Table.from_pylist(rows[start : start + 7], schema=COUNTED))
    return found


@cases(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), min_size=1, max_size=40))
def test_a_sample_does_not_depend_on_the_order_of_the_archive(sizes: list[tuple[int, int]]) -> None:
    forwards, backwards = headers_of(sizes), headers_of(sizes, order=-1)
    chosen = [row["image_id"] for row in forwards.sample()]
    assert chosen == [row["image_id"] for row in backwards.sample()]
    assert len(set(chosen)) == len(chosen) == min(3, len(sizes))
    assert (forwards.images, forwards.pixels) == (len(sizes), sum(w * h for w, h in sizes))


def test_a_sample_goes_where_the_pixels_are() -> None:
    sizes = [(10, 10)] * 50 + [(4000, 4000)] * 3 + [(1000, 1000)] * 24
    chosen = [row["width"] for row in headers_of(sizes, keep=4).sample()]
    assert sorted(chosen) == [1000, 4000, 4000, 4000]


def test_refusals_are_counted_by_kind_and_the_first_are_named(tmp_path: Path) -> None:
    fits.writeto(tmp_path / "good.fits", np.zeros((40, 40), np.float32))
    fits.writeto(tmp_path / "small.fits", np.zeros((8, 40), np.float32))
    (tmp_path / "text.fits").write_text("no FITS file\n")
    settings = parse_settings(
        {"images": {"paths": str(tmp_path)}, "cutouts": {"generator": {"kind": "sliding_window", "size": 20}}}
    )
    found = read_headers(list_files([str(tmp_path)]), settings, 2)
    assert (found.images, found.usable, found.windows, found.pixels) == (3, 1, 9, 1600)
    assert found.refused == {"smaller_than_window": 1, "not_fits": 1}
    assert any("small.fits" in message and "8" in message for message in found.messages)


def rates(*cut: CutImage) -> Rates:
    size = TableSize(100.0, 1000.0)
    return Rates(cut, 0.5, 8.0, 2.0, size, size, 2 * GIB)


def cut_image(image_id: int, pixels: int, windows: int, rejected: int = 0, **more: Any) -> CutImage:
    values = {"complete": True, "seconds": 1.0, "refused": None} | more
    return CutImage(image_id, pixels, windows, rejected, **values)


QUALITY = parse_settings({"images": {"paths": "x"}}).cutouts.quality
REJECTING = parse_settings(
    {"images": {"paths": "x"}, "cutouts": {"quality": {"min_edge_px": 3}}}
).cutouts.quality


def test_windows_that_pixels_decide_are_estimated_by_the_pixels_of_the_sample() -> None:
    headers = headers_of([(100, 100)] * 10, keep=2, windows=None)
    first, second = (row["image_id"] for row in headers.sample())
    found = estimate_windows(
        headers, rates(cut_image(first, 10_000, 6), cut_image(second, 10_000, 9)), QUALITY
    )
    assert (found.cut, found.kept, found.how) == (75, 75, "estimated from 2 images")
    everything = headers_of([(100, 100)] * 2, keep=2, windows=None)
    found = estimate_windows(
        everything, rates(cut_image(0, 10_000, 6, 3), cut_image(1, 10_000, 9)), REJECTING
    )
    assert (found.cut, found.kept, found.kept_how) == (15, 12, "counted in all images")
    assert estimate_windows(everything, None, QUALITY).cut is None


def test_windows_that_headers_tell_are_exact_but_for_images_that_turn_out_unusable() -> None:
    headers = headers_of([(100, 100)] * 10, keep=2)
    first, second = (row["image_id"] for row in headers.sample())
    assert estimate_windows(headers, None, QUALITY) == (50, 50, 0, "exact", "exact")
    assert estimate_windows(headers, None, REJECTING).kept is None
    found = estimate_windows(
        headers,
        rates(cut_image(first, 10_000, 5, 2), cut_image(second, 10_000, 0, refused="bad: x")),
        REJECTING,
    )
    assert (found.cut, found.kept, found.failed) == (45, 27, 1)
    assert (found.how, found.kept_how) == ("exact", "estimated from 2 images")


def test_seconds_add_up() -> None:
    headers = headers_of([(1000, 1000)] * 12, keep=2, windows=40)
    first, second = (row["image_id"] for row in headers.sample())
    # Of the second image a quarter was cut, in 1 s: 4 s for all of it.
    measured = rates(cut_image(first, 10**6, 40), cut_image(second, 10**6, 10, complete=False))
    settings = parse_settings({"images": {"paths": "x"}, "fingerprints": {"batch_size": 32}})
    machines = Machines(0, 2, "local[2]")
    windows = estimate_windows(headers, measured, QUALITY)
    found = estimate_seconds(headers, measured, windows, 1, 12, settings, machines)
    assert count_tasks(12, 1, machines) == 6
    assert found["describe"] == 6
    assert found["cut"] == pytest.approx(2 / 1.25 * 12)
    assert found["network_start"] == 16
    assert found["network"] == 2.0 * (480 / 32 + 3)
    assert found["wall_seconds"] == pytest.approx((6 + 19.2 + 16 + 36) / 2)
    assert found["core_hours"] == pytest.approx((6 + 19.2 + 16 + 36) / 3600)


def test_tasks_are_no_more_than_files_nor_than_slices() -> None:
    assert count_tasks(1000, 10, Machines(4, 2, "yarn")) == 10 * 24
    assert count_tasks(10, 1, Machines(4, 2, "yarn")) == 10
    assert count_tasks(0, 0, Machines(4, 2, "yarn")) == 0


def test_an_index_takes_the_bytes_that_its_file_has(tmp_path: Path) -> None:
    from elodin_spark.neighbors.flat import L2Index

    ids = np.arange(1, 301)
    vectors = np.random.default_rng(0).normal(size=(300, 40)).astype(np.float32)
    L2Index.build([(ids, vectors)], 40).save(tmp_path / "l2.index")
    expected = index_bytes(300, choose_index_config(300, 40, 10**9), None)
    assert (tmp_path / "l2.index").stat().st_size == pytest.approx(expected["l2"], abs=16)


def test_label_sets_take_the_bytes_that_their_files_have(tmp_path: Path) -> None:
    from elodin_spark.neighbors.labels.clustering import train_centers
    from elodin_spark.neighbors.labels.shard import add_label_shard

    rows = 5000
    labels = np.argsort(np.random.default_rng(0).random((rows, 100)), axis=1)[:, :10].tolist()
    columns = pa.array(labels), pa.array([[1.0] * 10] * rows)
    centers = train_centers([], 1, 100)
    batch = (np.arange(rows), *columns)
    expected = index_bytes(rows, choose_index_config(rows, 40, 1), 100, 10)
    sets = expected["jaccard"]
    for shares, whole in ((False, sets), (True, sets + expected["label_scores"])):
        made = add_label_shard(tmp_path / str(shares), centers, [batch], shares=shares)
        assert made["bytes"] == pytest.approx(whole, rel=0.01)


def test_rows_that_repeat_cost_less_than_rows_that_do_not() -> None:
    rng = np.random.default_rng(0)
    noise = measure_table(pa.table({"cutout_id": rng.integers(0, 2**62, 1000)}))
    same = measure_table(pa.table({"image_id": np.zeros(1000, np.int64)}))
    assert noise.per_row == pytest.approx(8, rel=0.02)
    assert same.per_row < 0.2
    assert measure_table(pa.table({"v": pa.array([], pa.int64())})).per_row == 0
    assert noise.bytes(1000, 2) == pytest.approx(8000 + 2 * noise.per_file, rel=0.02)


@pytest.mark.parametrize(("text", "size"), [("16g", 16 * GIB), ("512m", GIB // 2), ("1.5 GB", 3 * GIB // 2)])
def test_memory_is_read_as_spark_writes_it(text: str, size: int) -> None:
    assert parse_memory(text) == size


def test_machines_are_those_of_the_command_line_or_of_the_settings() -> None:
    def of(master: str | None, *arguments: Any) -> Machines:
        settings = parse_settings({"images": {"paths": "x"}, "spark": {"master": master}})
        return choose_machines(settings, *arguments)

    assert of("local[3]", None, None, None) == Machines(0, 3, "local[3]")
    assert of("local[3]", None, 5, None).master == "local[5]"
    assert of("yarn", 20, 4, "16g") == Machines(20, 4, "yarn", 1, 16 * GIB)
    assert of(None, 20, None, None).master == "MASTER"
    with pytest.raises(ConfigError, match="--executors"):
        of("yarn", None, None, None)
    with pytest.raises(ConfigError, match="16g"):
        of("yarn", 2, 2, "lots")


def test_memory_grows_with_the_catalog_the_cores_and_the_largest_image() -> None:
    settings = parse_settings({"images": {"paths": "x"}, "projection": {"sample": 200_000}})
    values: dict[str, Any] = {
        "index_config": choose_index_config(10**6, 2048, 10**11),
        "n_labels": 1000,
        "images": 10,
        "sampled_px": 10**6,
    }
    values |= {"peak_bytes": GIB, "largest_px": 10**6, "fingerprints": 10**6}
    machines = Machines(20, 4, "yarn")
    small = memory_needs(settings, machines, **values)
    assert small["index_bytes"] == pytest.approx(10**6 * (8192 + 24 + 3 * 136))
    assert small["worker_bytes"] == int(1.2 * GIB)
    assert small["executor_bytes"] == 2 * GIB + 5 * GIB  # 4 x 1.2, in quarters
    assert small["max_result_bytes"] == 4 * GIB
    large = memory_needs(settings, machines, **values | {"largest_px": 50 * 10**6})
    assert large["worker_bytes"] - small["worker_bytes"] == pytest.approx(1.2 * 12 * 49e6, rel=1e-6)
    huge = memory_needs(settings, machines, **values | {"largest_px": 10**12})
    assert huge["worker_bytes"] == pytest.approx(1.2 * (GIB + 12 * (WHOLE_PIXELS - 10**6)), rel=1e-6)
    index_config = choose_index_config(10**6, 2048, 10**8)
    coded = memory_needs(settings, machines, **values | {"index_config": index_config})
    # Codes and lookups; centroids with their HNSW links; the projection.
    trained = 4096 * (4 * 256 + 272) + 4 * 256 * 2048
    assert index_config.factory == "PCAR256,IVF4096_HNSW32,RaBitQ"
    assert coded["index_bytes"] == pytest.approx(10**6 * (48 + 16) + trained, rel=1e-3)
    line = submit_line("c.yaml", ["images.paths=a b"], settings, machines, small)
    for words in (
        "spark-submit --master yarn",
        "--executor-cores 4",
        "spark.executor.instances=20",
        "spark.cores.max=80",
        "spark.executor.memoryOverhead=5g",
        "spark.driver.maxResultSize=4g",
        "jobs/pipeline.py --config c.yaml --set 'images.paths=a b'",
    ):
        assert words in line
    unknown = memory_needs(settings, machines, **values | {"peak_bytes": None})
    assert unknown["executor_bytes"] is None
    assert "memoryOverhead" not in submit_line("c.yaml", [], settings, machines, unknown)


@pytest.fixture
def config(survey, small_settings, tmp_path: Path) -> Path:
    folder = str(survey.tiles[0].parent)
    settings = small_settings(
        folder, catalog=str(tmp_path / "none"), images={"paths": folder, "hdu": "IMAGE"}
    )
    (tmp_path / "run.yaml").write_text(dump_settings(settings))
    return tmp_path / "run.yaml"


def test_a_plan_by_headers_alone_counts_and_says_what_it_did_not_measure(config: Path, capsys: Any) -> None:
    assert run_command(["plan", str(config), "--headers-only", "--json", "--executors", "3"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["files"], facts["images"]["usable"], facts["windows"]["count"]) == (4, 4, 100)
    assert (facts["seconds"], facts["rates"], facts["tables"]["cutouts"]["bytes"]) == (None, None, None)
    assert facts["index"]["l2"] == pytest.approx(100 * 8200, rel=0.01)
    text = plan_text(facts)
    assert "100 (exact)" in text
    assert "not measured" in text.split("wall")[0]
    assert not (config.parent / "none").exists()
    assert any("run.batch_images" in note for note in facts["notes"])


def test_plans_that_cannot_be_made_say_why(config: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file or folder"):
        plan_config(config, [f"images.paths={tmp_path}/nowhere"], sample=0)
    with pytest.raises(ConfigError, match=r"did you mean 'cutouts\.generator\.step'"):
        plan_config(config, ["cutouts.generator.stepp=3"], sample=0)
    (tmp_path / "bad.fits").write_text("text")
    with pytest.raises(TooManyFailuresError, match=r"1 x not_fits.*bad\.fits") as caught:
        plan_config(config, [f"images.paths={tmp_path}/bad.fits"], sample=0)
    assert caught.value.exit_code == 3
    with pytest.raises(TooManyFailuresError, match="smaller_than_window"):
        plan_config(config, ["cutouts.generator.size=4000"], sample=0)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "catalog.json").write_text("{")
    with pytest.raises(CatalogError, match="cannot be read"):
        plan_config(config, sample=0)


def test_a_precision_that_the_run_will_settle_is_planned_as_float32_with_a_note() -> None:
    for network, planned in (
        ({"precision": "auto"}, "f32"),
        ({"precision": "int8"}, "f32"),
        ({"precision": "int8", "int8_model": "net.xml"}, "int8"),
        ({"precision": "bf16"}, "bf16"),
    ):
        asked = parse_settings({"images": {"paths": "x"}, "fingerprints": network})
        settings, note = _settled(asked, None)
        assert settings.fingerprints.arithmetic == planned
        assert (note is None) == (settings == asked)
