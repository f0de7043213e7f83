"""The same answers from a plain loop, from Spark, and from any partitioning."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from elodin_spark.config.settings import FingerprintsSettings, SlidingWindow
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.fingerprints.agreement import compare
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.runtimes.base import ROUNDING
from elodin_spark.fingerprints.stage import FingerprintSpec
from elodin_spark.fingerprints.weights.resolve import resolve_weights
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.spark.runner import files_frame, pack, run_stage
from elodin_spark.stage import StageSpec, fuse, run_plain

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module", params=["openvino", "tensorflow"])
def spec(request) -> StageSpec:
    weights = resolve_weights("random:1", "resnet50")
    settings = FingerprintsSettings(
        weights="random:1",
        input_px=32,
        batch_size=16,
        runtime=request.param,
        transform="none",
        labels="units",
    )
    return fuse(
        DescribeSpec("IMAGE"),
        TileSpec(SlidingWindow(size=64, step=32)),
        FingerprintSpec.from_network(resolve_network(settings, weights), recipe="test"),
    )


def fingerprints(rows: pa.Table) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    rows = rows.filter(pa.compute.is_valid(rows["vector"])).sort_by("cutout_id")
    vectors = np.array(rows["vector"].to_pylist(), np.float32)
    return rows["cutout_id"].to_numpy(), vectors, rows["labels"].to_pylist()


@pytest.fixture(scope="module")
def plain(survey, spec) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    files = list_files([str(survey.tiles[0].parent)])
    return fingerprints(run_plain(spec, files_to_batches(files)))


@pytest.mark.parametrize("partitions", [None, 1, 2, 7])
def test_spark_gives_the_vectors_of_the_plain_loop_in_any_partitioning(
    spark, survey, spec, plain, partitions, request
):
    files = list_files([str(survey.tiles[0].parent)])
    rows = files_frame(spark, files)
    if partitions is not None:
        rows = rows.repartition(partitions)
    ids, vectors, labels = fingerprints(run_stage(rows, spec).toArrow())
    assert len(ids) == 4 * 5 * 5
    np.testing.assert_array_equal(ids, plain[0])
    if "openvino" in request.node.name:
        np.testing.assert_array_equal(vectors, plain[1])
        assert labels == plain[2]
    else:
        # Sums in another order, by the place in the batch and the CPU: see Runtime.
        assert np.abs(vectors - plain[1]).max() <= ROUNDING * np.abs(plain[1]).max()
        assert compare(plain[1], vectors).overlap > 0.99
        assert np.mean([set(a) == set(b) for a, b in zip(labels, plain[2], strict=True)]) > 0.95


def test_files_are_dealt_so_that_no_slice_holds_much_more_than_another(survey):
    files = list_files([str(survey.tiles[0].parent)])
    dealt = [
        file._replace(path=f"{n}", size_bytes=size)
        for n, size in enumerate([9, 1, 5, 5, 4, 3, 3, 2])
        for file in files[:1]
    ]
    slices = pack(dealt, 3)
    assert sorted(path for part in slices for _, path, _ in part) == sorted(file.path for file in dealt)
    loads = [sum(size for *_, size in part) for part in slices]
    assert max(loads) - min(loads) <= 3
    assert len(pack(dealt[:2], 5)) == 2
