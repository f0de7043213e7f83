"""Headers and rates to what a run will do: counts, bytes and seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from elodin_spark import schema
from elodin_spark.catalog.build.transform import FIRST_FILES
from elodin_spark.config.settings import QualitySettings, Settings
from elodin_spark.neighbors.ivf.factory import IndexConfig
from elodin_spark.neighbors.labels.bitcodes import code_bytes
from elodin_spark.planning.headers import Headers, failure_row
from elodin_spark.planning.machines import Machines
from elodin_spark.planning.rates import CutImage, Rates
from elodin_spark.planning.sizes import file_bytes, measure_table

_L2_BYTES = 90  # of an index file beside its rows: FAISS's header
_FILE_BYTES = 4096  # the header of each file of label sets: six, and two of their scores
_IN_SHARD_BYTES, _SCORE_BYTES = 18, 6  # IDs, rows and sizes of sets; a label and its share
_COUNT_BYTES = 8  # how many sets hold a label


class Windows(NamedTuple):
    """How many windows a run cuts, and how many of them get a fingerprint.

    Attributes
    ----------
    cut, kept : int or None
        None where nobody knows without pixels.
    failed : int
        Images of the sample whose pixels cannot be used.
    how : str
        ``exact``, ``estimated from N images`` or ``not measured``.
    kept_how : str
        Likewise.
    """

    cut: int | None
    kept: int | None
    failed: int
    how: str
    kept_how: str


def estimate_windows(headers: Headers, rates: Rates | None, quality: QualitySettings) -> Windows:
    """Windows of the archive: by headers where they tell, else by the sample's for each pixel.

    What was sampled counts as it was found. Images whose pixels could not be used count for
    themselves and not for others.
    """
    # Windows without any data are rejected too, but only pixels can show that there are some.
    rejects = _may_reject(quality) or any(image.rejected for image in (rates.cut if rates else ()))
    by_headers = headers.windows if _headers_tell(headers) else None
    if rates is None:
        how = "exact" if by_headers is not None else "not measured"
        return Windows(
            by_headers, None if rejects else by_headers, 0, how, "not measured" if rejects else how
        )
    sampled, good = f"estimated from {len(rates.cut)} images", [c for c in rates.cut if c.refused is None]
    failed = len(rates.cut) - len(good)
    whole = len(rates.cut) == headers.usable and all(image.complete for image in good)
    if by_headers is not None:
        lost = sum(_headers_count(headers, image) for image in rates.cut if image.refused is not None)
        cut, how = by_headers - lost, "exact"
    else:
        pixels = sum(image.pixels for image in good)
        left = headers.pixels - sum(image.pixels for image in rates.cut)
        seen = sum(image.windows for image in good)
        cut = seen + round(seen / pixels * left) if pixels else 0
        how = "counted in all images" if whole else sampled
    seen = sum(image.windows for image in good)
    share = sum(image.rejected for image in good) / seen if seen else 0.0
    kept_how = how if not rejects else "counted in all images" if whole else sampled
    return Windows(cut, round(cut * (1 - share)), failed, how, kept_how)


def estimate_tables(
    headers: Headers,
    rates: Rates | None,
    windows: Windows,
    batches: int,
    files_left: int,
    batch_images: int,
    machines: Machines,
) -> dict[str, dict[str, int | None]]:
    """Rows and bytes on disk of each table."""
    failed = sum(headers.refused.values()) + windows.failed
    tables: dict[str, dict[str, int | None]] = {
        "images": {"rows": headers.images, "bytes": None},
        "cutouts": {"rows": windows.cut, "bytes": None},
        "fingerprints": {"rows": windows.kept, "bytes": None},
        "failures": {"rows": failed, "bytes": None},
    }
    for name, rows in (("images", headers.images), ("failures", failed)):
        tables[name]["bytes"] = _described_bytes(headers, name, rows, batches, files_left, batch_images)
    tasks = count_tasks(files_left, batches, machines)
    if rates is not None:
        for name, size in (("cutouts", rates.cutouts), ("fingerprints", rates.fingerprints)):
            rows = tables[name]["rows"] or 0
            tables[name]["bytes"] = size.bytes(rows, max(batches, min(tasks, headers.usable, rows)))
    return tables


def _described_bytes(
    headers: Headers, name: str, rows: int, batches: int, files_left: int, batch_images: int
) -> int:
    """Of the images or the failures: each batch has one file, also where that has no rows."""
    columns = schema.TABLES[name]

    def table(some: Sequence[Mapping[str, Any]]) -> pa.Table:
        made = some if name == "images" else [failure_row(row) for row in some if row["refused"] is not None]
        return pa.Table.from_pylist(made, schema=columns)

    examples = headers.examples
    if batches and len(examples) == headers.images:  # all there are: batch by batch
        size = max(1, round(batch_images * headers.images / files_left))
        return sum(
            file_bytes(table(examples[start : start + size])) for start in range(0, len(examples), size)
        )
    files = batches if name == "images" else min(rows, batches)
    empty = (batches - files) * file_bytes(columns.empty_table())
    more = [] if name == "images" else headers.refusals
    return measure_table(table([*examples, *more])).bytes(rows, files) + empty


def index_bytes(
    rows: int, index_config: IndexConfig, n_labels: int | None, set_size: int = 30
) -> dict[str, int]:
    """Bytes of the index files: vectors, codes and IDs; bit codes of label sets and IDs; their scores.

    Where there are scores, they are beside the sets.
    """
    fixed = _L2_BYTES if index_config.exact else index_config.fixed_bytes
    labels = n_labels or index_config.dimension
    code = code_bytes(labels)
    return {
        "l2": rows * index_config.disk_bytes + fixed,
        "jaccard": rows * (code + _IN_SHARD_BYTES) + _COUNT_BYTES * labels + 6 * _FILE_BYTES,
        "label_scores": rows * _SCORE_BYTES * set_size + 2 * _FILE_BYTES,
    }


def estimate_seconds(
    headers: Headers,
    rates: Rates,
    windows: Windows,
    batches: int,
    files_left: int,
    settings: Settings,
    machines: Machines,
    *,
    fits: bool = False,
) -> dict[str, float | None]:
    """Core-seconds of reading, cutting and fingerprinting, and the wall time of the cores there are.

    Parameters
    ----------
    headers, rates, windows
        What is known of the archive.
    batches, files_left : int
    settings : Settings
        In the mode that is asked about.
    machines : Machines
    fits : bool
        The transform of the catalog is still to be fitted to a sample.

    Returns
    -------
    dict
        `describe`, `cut`, `network_start`, `network`, `transform`: core-seconds; `core_hours`;
        `wall_seconds`. Without Spark's own start, writing tables, indices, maps and figures.
    """
    kept = windows.kept or 0
    tasks = count_tasks(files_left, batches, machines)
    busy = min(machines.slots, tasks)
    start, network = _network_seconds(headers, rates, kept, tasks, settings)
    cut_pixels = sum(image.pixels * _done(headers, image) for image in rates.cut)
    per_pixel = sum(image.seconds for image in rates.cut) / cut_pixels if cut_pixels else 0.0
    spent: dict[str, float] = {
        "describe": rates.describe_s * headers.images,
        "cut": per_pixel * headers.pixels,
        "network_start": start * (busy if kept else 0),
        "network": network,
    }
    spent["transform"] = 0.0
    if fits and kept:
        # The files that the sample lies in are cut twice more, and once for copies. What the network said of
        # its windows is kept, copies come besides; in dense mode a block is seen again unless all of its
        # windows are of the sample.
        chosen = settings.fingerprints
        part = min(1.0, FIRST_FILES / max(1, files_left))
        again = part if chosen.mode == "dense" and chosen.pca_sample < kept else 0.0
        copies = min(1.0, (chosen.copies or 0) / kept)
        spent["transform"] = (3 if copies else 2) * part * spent["cut"] + (again + copies) * network
    total = sum(spent.values())
    cores = machines.threads
    return {
        **{name: round(seconds, 3) for name, seconds in spent.items()},
        "core_hours": total * cores / 3600,
        "wall_seconds": total / max(1, busy),
    }


def _network_seconds(
    headers: Headers, rates: Rates, kept: int, tasks: int, settings: Settings
) -> tuple[float, float]:
    """To build the network once, and for all fingerprints."""
    if settings.fingerprints.mode == "dense":
        # Blocks without a window that is kept are not run; that few of them are, is not counted on.
        dense = rates.dense
        return (dense.start_s, dense.s_per_px * headers.dense_px if kept else 0.0) if dense else (0.0, 0.0)
    size = settings.fingerprints.batch_size
    # The last batch of a task is padded to a full one.
    batches = max(min(tasks, kept), math.ceil(kept / size + min(tasks, kept) / 2))
    return rates.network_start_s or 0.0, (rates.network_batch_s or 0.0) * batches


def count_tasks(files_left: int, batches: int, machines: Machines) -> int:
    """Tasks of all batches: a file is never divided, and a batch has so many for each core."""
    if not batches:
        return 0
    return batches * min(math.ceil(files_left / batches), machines.slices)


def _done(headers: Headers, image: CutImage) -> float:
    """Part of an image that was cut to be timed."""
    if image.complete:
        return 1.0
    expected = _headers_count(headers, image)
    return min(1.0, image.windows / expected) if expected else 1.0


def _headers_tell(headers: Headers) -> bool:
    return all(row["windows"] is not None for row in headers.sample())


def _headers_count(headers: Headers, image: CutImage) -> int:
    rows: Mapping[int, Any] = {row["image_id"]: row for row in headers.sample()}
    return rows[image.image_id]["windows"] or 0


def _may_reject(quality: QualitySettings) -> bool:
    rules = (quality.nodata, quality.masked, quality.saturated, *quality.bits.values())
    return quality.min_edge_px > 0 or any(rule.reject_above is not None for rule in rules)
