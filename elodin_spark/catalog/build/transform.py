"""The transform of the vectors of a catalog: fitted once, to a stable sample of its own vectors.

The sample is of the windows with the smallest hash of their ID, whatever the partitioning. Where an
archive has many files, those whose path has the smallest hash are cut to find them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elodin_spark import ids
from elodin_spark.arrow import to_matrix
from elodin_spark.catalog.build.pipeline import (
    bare,
    fingerprinting,
    fingerprinting_windows,
    listing_windows,
)
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.settings import FingerprintsSettings, Settings
from elodin_spark.fingerprints.known import save_known
from elodin_spark.fingerprints.resolve import ResolvedNetwork
from elodin_spark.fingerprints.runtimes.network import settings_lengths, settings_vector_length
from elodin_spark.fingerprints.transform import FEWEST, Copied, VectorTransform, few_windows, shares
from elodin_spark.images.listing import ImageFile
from elodin_spark.progress import Progress, step
from elodin_spark.sampling.sample import sample_keys, stable_sample
from elodin_spark.stage import StageSpec

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    #: What is read, and how it gets vectors.
    Frames = Sequence[tuple[DataFrame, StageSpec]]

log = logging.getLogger(__name__)

#: Files that are cut first for candidates; twice as many each time there are too few windows.
FIRST_FILES = 64


def fit_to_files(
    store: Store,
    settings: Settings,
    network: ResolvedNetwork,
    spark: SparkSession,
    files: Sequence[ImageFile],
) -> Path | None:
    """Fit the transform to windows of files that are not cut yet, and keep it, if they have any.

    Parameters
    ----------
    store : Store
    settings : Settings
    network : ResolvedNetwork
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
    if _needs_no_sample(store, network.settings):
        return None
    started, wanted = time.monotonic(), network.settings.pca_sample
    found = np.empty(0, np.int64)
    used: list[tuple[DataFrame, bool]] = []
    with Progress(wanted, "cutting a sample", "windows", at_most=True) as progress:
        for rows, described in _frames(spark, settings, files):
            used.append((rows, described))
            found = np.concatenate([found, _ids(rows, listing_windows(settings, described=described))])
            progress.to(len(found))
            if len(found) >= wanted:
                break
    chosen = stable_sample(found, wanted, settings.seed)
    log.info("fitting the transform of the vectors to %d windows", len(chosen))
    plain, less = network.untransformed(), bare(settings)

    def frames(some: NDArray[np.int64], copied: bool) -> Frames:
        return [
            (rows, fingerprinting(less, plain, "", described=described, chosen=some, copied=copied))
            for rows, described in used
        ]

    return _fit(store, network.settings, settings.seed, frames, chosen, started)


def fit_to_cutouts(
    store: Store, seed: int, network: ResolvedNetwork, cutouts: DataFrame, found: NDArray[np.int64]
) -> Path | None:
    """Fit the transform to cutouts that were written with their pixels, and keep it, if there are any.

    Parameters
    ----------
    store : Store
    seed : int
    network : ResolvedNetwork
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
    if _needs_no_sample(store, network.settings):
        return None
    started = time.monotonic()
    chosen = stable_sample(found, network.settings.pca_sample, seed)
    log.info("fitting the transform of the vectors to %d windows", len(chosen))
    plain = network.untransformed()

    def frames(some: NDArray[np.int64], copied: bool) -> Frames:
        return [(cutouts, fingerprinting_windows(plain, "", chosen=some, copied=copied))]

    return _fit(store, network.settings, seed, frames, chosen, started)


def _needs_no_sample(store: Store, chosen: FingerprintsSettings) -> bool:
    """Keep a transform that is but a power, which is not fitted."""
    if not chosen.sampled:
        store.keep_transform(VectorTransform(settings_vector_length(chosen), power=chosen.exponent), 0, 0.0)
    return not chosen.sampled


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
    network: FingerprintsSettings,
    seed: int,
    frames: Callable[[NDArray[np.int64], bool], Frames],
    chosen: NDArray[np.int64],
    started: float,
) -> Path | None:
    """Fit to windows by their IDs; `frames` gives these, or copies of them, and how they get vectors."""
    known = _vectors(frames(chosen, False), len(chosen), "fingerprinting the sample")
    if known is None or not known.num_rows:
        if network.mode != "window":
            VectorTransform.fit(np.empty((0, 1), np.float32), network)  # says what is wrong
        log.warning("no window was found to fit the transform of the vectors to")
        return None
    cutout_ids, vectors = _in_order(known, seed)
    if few := few_windows(network.transform, len(cutout_ids)):
        log.warning("%s. Begin the catalog again when there are more", few)
    copies = None
    if network.copies and len(cutout_ids) >= FEWEST:
        some = cutout_ids[: network.copies]
        seen = _vectors(frames(some, True), len(some), "fingerprinting copies of some of it")
        if seen is not None and seen.num_rows:
            copied_ids, copied = _in_order(seen, seed)
            # Both in one order, and a copy may lack where its vector is not finite.
            copies = Copied(np.flatnonzero(np.isin(cutout_ids, copied_ids)), copied)
    parts = shares(settings_lengths(network), network.factors)
    with step("fitting the transform of the vectors"):
        transform = VectorTransform.fit(vectors, network, seed, parts, copies)
    store.keep_transform(transform, len(cutout_ids), time.monotonic() - started)
    return save_known(store.path, known)


def _vectors(frames: Frames, count: int, what: str) -> pa.Table | None:
    from elodin_spark.spark.batches import vectors_of
    from elodin_spark.spark.watch import watch_tasks

    found: list[pa.Table] = []
    with Progress(count, what, "windows") as progress:
        for number, (rows, spec) in enumerate(frames):

            def report(done: int, total: int, before: float = number / len(frames)) -> None:
                progress.to(int(count * (before + done / total / len(frames))))

            with watch_tasks(rows.sparkSession, report):
                found.append(vectors_of(rows, spec))
        progress.to(count)
    return pa.concat_tables(found) if found else None


def _in_order(found: pa.Table, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """IDs and vectors in the order of the sample, so that sums are rounded alike in any partitioning."""
    cutout_ids = found.column("cutout_id").to_numpy()
    order = np.lexsort((cutout_ids, sample_keys(cutout_ids, seed)))
    return cutout_ids[order], to_matrix(found.column("vector").combine_chunks())[order]
