"""What this machine makes of a sample: seconds, bytes and memory.

Measured in a process of its own, with one thread as a Python worker of Spark has, so that
its memory is that of a worker.
"""

from __future__ import annotations

import math
import multiprocessing
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elodin_spark import schema
from elodin_spark.config.settings import FingerprintsSettings, Settings
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.errors import ConfigError, ElodinError, ImageError
from elodin_spark.fingerprints.prototypes import Prototypes
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.runtimes.network import settings_vector_length
from elodin_spark.fingerprints.stage import FingerprintSpec
from elodin_spark.fingerprints.transform import DIRECTIONS, TransformFile, VectorTransform
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.images.describe import describe_planes
from elodin_spark.images.listing import ImageFile
from elodin_spark.planning.denserates import DenseRate, fingerprints_in, measure_dense
from elodin_spark.planning.offers import dense_settings
from elodin_spark.planning.sizes import TableSize, measure_table

#: Windows cut of one image at most: enough to time it. Its other windows are taken to be alike.
MOST_WINDOWS = 4096
#: Batches of the network that are timed.
NETWORK_BATCHES = 3
#: Rows with pixels that are kept to be measured, where pixels are written.
_PIXEL_ROWS = 64

#: As long as a true one, for the size of the rows.
_RECIPE = "0123456789ab"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class CutImage:
    """What cutting one image gave.

    Attributes
    ----------
    image_id, pixels : int
    windows : int
        Cut; rejected ones too.
    rejected : int
        Of these, by the rules of quality.
    complete : bool
        All its windows were cut.
    seconds : float
    refused : str or None
        "kind: message" where its pixels could not be used.
    """

    image_id: int
    pixels: int
    windows: int
    rejected: int
    complete: bool
    seconds: float
    refused: str | None


@dataclass(frozen=True)
class Rates:
    """Of one core of this machine.

    Attributes
    ----------
    cut : tuple of CutImage
    describe_s : float
        Seconds to read the headers of a file.
    network_start_s, network_batch_s : float or None
        Seconds to build the network, and for a batch of it; None where there were no windows.
    cutouts, fingerprints : TableSize
    peak_bytes : int
        Largest memory of the process.
    dense : DenseRate, optional
        Of dense mode, where the settings are of it or could be.
    """

    cut: tuple[CutImage, ...]
    describe_s: float
    network_start_s: float | None
    network_batch_s: float | None
    cutouts: TableSize
    fingerprints: TableSize
    peak_bytes: int
    dense: DenseRate | None = None


def measure(images: Sequence[Row], settings: Settings, weights: Weights) -> Rates:
    """Cut and fingerprint a sample in a fresh process.

    Parameters
    ----------
    images : sequence of mapping
        Rows of ``schema.TARGETED``.
    settings : Settings
    weights : Weights

    Returns
    -------
    Rates

    Raises
    ------
    ElodinError
        The process was killed: there is not memory enough for one worker.
    """
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh) as pool:
        try:
            return pool.submit(measure_here, list(images), settings, weights).result()
        except BrokenProcessPool as error:
            raise ElodinError(
                "the process that cuts a sample was killed, probably for want of memory: free some, lower "
                "fingerprints.batch_size, or plan with --headers-only"
            ) from error


def measure_here(images: Sequence[Row], settings: Settings, weights: Weights) -> Rates:
    """:func:`measure` in this process."""
    described = [_describe(image, settings) for image in images]
    share = max(1, math.ceil(NETWORK_BATCHES * settings.fingerprints.batch_size / max(1, len(images))))
    cut: list[CutImage] = []
    tables: list[pa.Table] = []
    windows: list[pa.RecordBatch] = []
    for image in images:
        done, cutouts, some = cut_one(image, settings, share)
        cut.append(done)
        tables.append(cutouts)
        windows += some
    start: float | None = None
    batch: float | None = None
    dense: DenseRate | None = None
    offered = dense_settings(settings)
    with TemporaryDirectory() as folder:
        transform = _stand_in(settings.fingerprints, Path(folder))
        if offered is settings:
            dense, fingerprints = measure_dense(images, settings, weights, transform)
            start = None if dense is None else dense.start_s
        else:
            # Named by its network: as long as the ID of a recipe, which a row will hold.
            network = resolve_network(settings.fingerprints, weights)
            spec = FingerprintSpec.from_network(network, transform=transform)
            start, batch, fingerprints = _fingerprint(windows, spec)
    peak = _peak_bytes()  # before what is only offered
    if offered is not None and offered is not settings and start is not None:
        plain = offered.fingerprints.untransformed()
        dense, _ = measure_dense(images, offered.model_copy(update={"fingerprints": plain}), weights)
        # The network is there already: it was built for the windows.
        dense = dense and replace(dense, start_s=dense.start_s + start)
    return Rates(
        cut=tuple(cut),
        describe_s=sum(described) / max(1, len(described)),
        network_start_s=start,
        network_batch_s=batch,
        cutouts=measure_table(pa.concat_tables(tables) if tables else schema.CUTOUTS.empty_table()),
        fingerprints=measure_table(fingerprints),
        peak_bytes=peak,
        dense=dense,
    )


def _stand_in(settings: FingerprintsSettings, folder: Path) -> TransformFile | None:
    """A transform for the size of the rows and the time it takes: what fits the archive is not known yet."""
    if not settings.fitted:
        return None
    length = settings_vector_length(settings)
    if settings.pca is not None and length < settings.pca:
        raise ConfigError(
            f"fingerprints.pca is {settings.pca}, and vectors have {length} components: lower it"
        )
    normal = np.random.default_rng(0).normal
    one, none = np.ones(length, np.float32), np.zeros(length, np.float32)
    transform = VectorTransform(length, none, one, settings.exponent)
    if settings.copies:
        rows = normal(0, length**-0.5, (min(DIRECTIONS, settings.copies), length)).astype(np.float32)
        transform = replace(transform, directions=rows, kept=np.full(len(rows), 0.5, np.float32))
    if settings.components is not None:
        count = min(settings.components, length)
        rows = normal(0, length**-0.5, (count, length)).astype(np.float32)
        transform = replace(transform, mean=none, components=rows, variance_ratio=np.zeros(count))
    if settings.labels == "prototypes":
        centers = normal(0, 1, (settings.prototypes, transform.dimension)).astype(np.float32)
        transform = replace(transform, prototypes=Prototypes(centers, 1.0))
    return transform.save(folder)


def _describe(image: Row, settings: Settings) -> float:
    """Seconds to describe the files of an image."""
    started = time.perf_counter()
    for uri in {plane["uri"] for plane in image["planes"] or ()} or {image["uri"]}:
        try:
            describe_planes(
                ImageFile(uri, image["path"], image["size_bytes"]),
                settings.images.hdu,
                settings.images.storage,
            )
        except ImageError:  # changed since: what comes of it, cutting says
            continue
    return time.perf_counter() - started


def cut_one(image: Row, settings: Settings, share: int) -> tuple[CutImage, pa.Table, list[pa.RecordBatch]]:
    """Cut an image: what came of it, the rows of its cutouts, and up to `share` rows with pixels."""
    stage = TileSpec.from_settings(settings).build(str)
    row: dict[str, Any] = {name: image.get(name) for name in schema.TARGETED.names}
    batches = stage(iter([schema.rows_to_batch([row], schema.TARGETED)]))
    kept: list[pa.RecordBatch] = []
    tables: list[pa.Table] = []
    rows = with_pixels = rejected = 0
    refused, complete = None, False
    seconds = 0.0
    while rows < MOST_WINDOWS:
        started = time.perf_counter()
        batch = next(batches, None)
        seconds += time.perf_counter() - started
        if batch is None:
            complete = True
            break
        for failure in batch.column("failure").drop_null().to_pylist():
            if failure["cutout_id"] is None:
                refused = f"{failure['kind']}: {failure['message']}"
        cutouts = batch.filter(batch.column("cutout_id").is_valid())
        pixels = cutouts.filter(cutouts.column("pixels").is_valid())
        rejected += cutouts.num_rows - pixels.num_rows
        if settings.cutouts.keep_pixels:
            tables.append(_columns(cutouts.slice(0, max(0, _PIXEL_ROWS - rows)), schema.PIXELS))
        else:
            tables.append(_columns(cutouts))
        rows += cutouts.num_rows
        if with_pixels < share:
            kept.append(pixels.slice(0, share - with_pixels))
            with_pixels += kept[-1].num_rows
    done = CutImage(row["image_id"], row["width"] * row["height"], rows, rejected, complete, seconds, refused)
    wanted = pa.schema([*schema.CUTOUTS, *(schema.PIXELS if settings.cutouts.keep_pixels else ())])
    return done, pa.concat_tables([wanted.empty_table(), *tables]), kept


def _columns(batch: pa.RecordBatch, more: Sequence[pa.Field] = ()) -> pa.Table:
    return pa.table(batch.select([*schema.CUTOUTS.names, *(column.name for column in more)]))


def _fingerprint(
    windows: Sequence[pa.RecordBatch], spec: FingerprintSpec
) -> tuple[float | None, float | None, pa.Table]:
    if not any(batch.num_rows for batch in windows):
        return None, None, fingerprints_in(spec.output_schema.empty_table())
    stage = spec.build(str)
    seconds = []
    for _ in range(2):  # the first time, the network is built
        started = time.perf_counter()
        made = pa.Table.from_batches(list(stage(iter(windows))), schema=spec.output_schema)
        seconds.append(time.perf_counter() - started)
    kinds = pc.list_value_length(pa.Table.from_batches(windows).column("pixel_shape")).to_pylist()
    batches = sum(math.ceil(kinds.count(kind) / spec.batch_size) for kind in set(kinds))
    good = fingerprints_in(made)
    return max(0.0, seconds[0] - seconds[1]), seconds[1] / batches, good


def _peak_bytes() -> int:
    """Most memory this process had, bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # of this program alone; getrusage counts what it was forked from
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
