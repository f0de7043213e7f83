"""The finish of the vectors of a catalog: fitted once, to a stable sample of its own vectors.

The sample is of the windows with the smallest hash of their ID, whatever the partitioning. Where an
archive has many files, those whose path has the smallest hash are cut to find them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elodin_spark import ids, schema
from elodin_spark.catalog.storage.store import Store
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.fingerprints.dense import DenseSpec
from elodin_spark.fingerprints.transform import Finish
from elodin_spark.fingerprints.known import save_known
from elodin_spark.fingerprints.runtimes.network import layer_lengths, vector_length
from elodin_spark.fingerprints.stage import FingerprintSpec
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.images.listing import ImageFile
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.progress import Progress, step
from elodin_spark.sampling.sample import sample_keys, stable_sample
from elodin_spark.sampling.stage import CutoutIdsSpec, KeepCutoutsSpec
from elodin_spark.config.settings import Settings
from elodin_spark.stage import StageSpec, fuse
from elodin_spark.arrow import to_matrix

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

#: Files that are cut first for candidates; twice as many each time there are too few windows.
FIRST_FILES = 64


def fit_to_files(
    store: Store, settings: Settings, weights: Weights, spark: SparkSession, files: Sequence[ImageFile]
) -> Path | None:
    """Fit the finish to windows of files that are not cut yet, and keep it, if they have any.

    Parameters
    ----------
    store : Store
    settings : Settings
        With the runtime resolved.
    weights : Weights
    spark : pyspark.sql.SparkSession
    files : sequence of ImageFile

    Returns
    -------
    Path or None
        What the network said of the windows that it was fitted to, see :mod:`~.fingerprints.known`: to be
        deleted when they are written. None where there are none.

    Raises
    ------
    ConfigError
        There are too few windows, or the vectors are too short; in dense mode, there are none at all.
    """
    if _needs_no_sample(store, settings):
        return None
    started, plain = time.monotonic(), _plain(settings)
    tile = TileSpec.from_settings(settings.model_copy(update={"cutouts": _bare(settings)}))
    describe = DescribeSpec.from_settings(settings.images)

    found = np.empty(0, np.int64)
    used: list[tuple[DataFrame, list[StageSpec]]] = []
    with Progress(plain.fingerprints.pca_sample, "cutting a sample, at most", "windows") as progress:
        for rows, described in _frames(spark, settings, files):
            used.append((rows, [] if described else [describe]))
            found = np.concatenate([found, _ids(rows, fuse(*used[-1][1], tile, CutoutIdsSpec()))])
            progress.to(len(found))
            if len(found) >= plain.fingerprints.pca_sample:
                break
    chosen = stable_sample(found, plain.fingerprints.pca_sample, settings.seed)
    log.info("fitting the finish of the vectors to %d windows", len(chosen))
    if plain.fingerprints.mode == "dense":
        dense = DenseSpec.from_settings(plain, weights, "")
        last: list[StageSpec] = [dense, KeepCutoutsSpec(dense.output_schema, chosen)]
    else:
        network = FingerprintSpec.from_settings(plain.fingerprints, weights, "")
        last = [tile, KeepCutoutsSpec(schema.TILED, chosen), network]
    frames = [(rows, fuse(*before, *last)) for rows, before in used]
    return _fit(store, settings, frames, len(chosen), started)


def fit_to_cutouts(
    store: Store, settings: Settings, weights: Weights, cutouts: DataFrame, found: NDArray[np.int64]
) -> Path | None:
    """Fit the finish to cutouts that were written with their pixels, and keep it, if there are any.

    Parameters
    ----------
    store, settings, weights
        As of :func:`fit_to_files`.
    cutouts : pyspark.sql.DataFrame
        Of :data:`~elodin_spark.schema.TILED`.
    found : ndarray of int64
        IDs of those that are not rejected.

    Returns
    -------
    Path or None
        As of :func:`fit_to_files`.

    Raises
    ------
    ConfigError
        As :func:`fit_to_files`.
    """
    if _needs_no_sample(store, settings):
        return None
    started, plain = time.monotonic(), _plain(settings).fingerprints
    chosen = stable_sample(found, plain.pca_sample, settings.seed)
    network = FingerprintSpec.from_settings(plain, weights, "")
    log.info("fitting the finish of the vectors to %d windows", len(chosen))
    frames = [(cutouts, fuse(KeepCutoutsSpec(schema.TILED, chosen), network))]
    return _fit(store, settings, frames, len(chosen), started)


def _plain(settings: Settings) -> Settings:
    """Settings whose vectors, and classes or units, are those of the network itself."""
    plain = settings.fingerprints.unfinished()
    if settings.fingerprints.labels == "units":
        plain = plain.model_copy(update={"labels": "units"})
    return settings.model_copy(update={"fingerprints": plain})


def _needs_no_sample(store: Store, settings: Settings) -> bool:
    """Keep a finish that is but a power, which is not fitted."""
    chosen = settings.fingerprints
    if not chosen.sampled:
        store.keep_finish(Finish(vector_length(chosen.backbone, chosen.layer), power=chosen.exponent), 0, 0.0)
    return not chosen.sampled


def _bare(settings: Settings) -> object:
    return settings.cutouts.model_copy(update={"thumbnail_px": 0, "texture": ()})


def _frames(
    spark: SparkSession, settings: Settings, files: Sequence[ImageFile]
) -> Iterator[tuple[DataFrame, bool]]:
    """Input of the tile stage and whether it is described: files by the hash of their path, more each time.

    Planes of color images are in files that belong together: those come as the run takes them.
    """
    from elodin_spark.spark.inputs import input_batches

    def batches(some: Sequence[ImageFile], size: int) -> Iterator[tuple[DataFrame, bool]]:
        run = settings.run.model_copy(update={"batch_images": size})
        for _, rows, described in input_batches(spark, some, settings.model_copy(update={"run": run})):
            yield rows, described

    if settings.images.color is not None:
        yield from batches(files, FIRST_FILES)
        return
    ordered = sorted(files, key=lambda file: (ids.stable_id("pca", file.path), file.path))
    start, size = 0, FIRST_FILES
    while start < len(ordered):
        yield from batches(ordered[start : start + size], size)
        start, size = start + size, 2 * size


def _ids(rows: DataFrame, spec: StageSpec) -> NDArray[np.int64]:
    from elodin_spark.spark.runner import run_stage

    return run_stage(rows, spec).toArrow().column("cutout_id").to_numpy()


def _fit(
    store: Store,
    settings: Settings,
    frames: Sequence[tuple[DataFrame, StageSpec]],
    count: int,
    started: float,
) -> Path | None:
    from elodin_spark.spark.batches import vectors_of
    from elodin_spark.spark.watch import watch_tasks

    found: list[pa.Table] = []
    spark = frames[0][0].sparkSession if frames else None
    with Progress(count, "fingerprinting the sample", "windows") as progress:
        for number, (rows, spec) in enumerate(frames):

            def report(done: int, total: int, before: float = number / len(frames)) -> None:
                progress.to(int(count * (before + done / total / len(frames))))

            with watch_tasks(spark, report):  # type: ignore[arg-type]
                found.append(vectors_of(rows, spec))
        progress.to(count)
    known = pa.concat_tables(found) if found else None
    if known is None or not known.num_rows:
        if settings.fingerprints.mode != "window":
            Finish.fit(np.empty((0, 1), np.float32), settings.fingerprints)  # says what is wrong
        log.warning("no window was found to fit the finish of the vectors to")
        return None
    chosen = known.column("cutout_id").to_numpy()
    vectors = to_matrix(known.column("vector").combine_chunks())
    # In the order of the sample, so that the sums of the fit are rounded alike in any partitioning.
    order = np.lexsort((chosen, sample_keys(chosen, settings.seed)))
    network = settings.fingerprints
    layers = layer_lengths(network.backbone, network.layer)
    with step("fitting the finish of the vectors"):
        finish = Finish.fit(vectors[order], network, settings.seed, layers)
    store.keep_finish(finish, len(order), time.monotonic() - started)
    return save_known(store.path, known)
