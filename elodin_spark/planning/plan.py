"""What a run would do, before it starts. Nothing is written to the catalog."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elodin_spark.catalog.build.resolve import require_recipe, settle_transform, settled_network
from elodin_spark.catalog.build.shardedindex import wanted_index_config
from elodin_spark.catalog.report import size_text
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.load import load_config
from elodin_spark.config.settings import Settings
from elodin_spark.errors import ConfigError, TooManyFailuresError
from elodin_spark.fingerprints.dense import feature_bytes
from elodin_spark.fingerprints.runtimes.network import settings_vector_length
from elodin_spark.fingerprints.weights.resolve import resolve_settings
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.images.listing import ImageFile, list_files
from elodin_spark.planning.estimate import (
    Windows,
    count_tasks,
    estimate_seconds,
    estimate_tables,
    estimate_windows,
    index_bytes,
)
from elodin_spark.planning.headers import Headers, read_headers
from elodin_spark.planning.machines import Machines, choose_machines, memory_needs, submit_line
from elodin_spark.planning.offers import dense_of, dense_settings, overrides_of
from elodin_spark.planning.rates import Rates, measure
from elodin_spark.progress import counted

log = logging.getLogger(__name__)

#: Images that are cut to measure.
SAMPLE = 8


def plan_config(
    config: str | Path,
    overrides: Sequence[str] = (),
    *,
    sample: int = SAMPLE,
    executors: int | None = None,
    cores: int | None = None,
    executor_memory: str | None = None,
) -> dict[str, Any]:
    """Plan the run of a configuration.

    Parameters
    ----------
    config : str or Path
        YAML with at least `images.paths`.
    overrides : sequence of str
        ``section.key=value``.
    sample : int
        Images to cut and fingerprint for rates and sizes; 0: headers alone.
    executors : int, optional
        Of the cluster to plan for; by default this machine.
    cores : int, optional
        Of each executor, or of this machine.
    executor_memory : str, optional
        All that one executor may use, such as ``16g``.

    Returns
    -------
    dict
        Plain values: `config`, `catalog`, `held` (what the catalog holds already, or None),
        `files`, `files_left`, `batches`, `tasks`, `bytes_to_read`, `images` (`rows`, `usable`,
        `megapixels`, `refused`, `messages`), `sky` (see
        :meth:`~elodin_spark.catalog.report.SkyCounts.facts`), `windows` (`count`, `fingerprinted`, `how`,
        `fingerprinted_how`), `tables` (rows and bytes of each), `index` (`rows`, `index_config`, bytes of
        `l2`, `jaccard` and `labels`), `projection` (`points` on each map, None
        where not measured, of which `sample` are laid out, and `methods`), `seconds` (see
        :func:`~elodin_spark.planning.estimate.estimate_seconds`) and `rates` (both None without a
        sample), `dense` (None, or the `overrides`, `windows` and `seconds` of dense mode where the same
        windows could be had by it), `machines`, `memory` (see
        :func:`~elodin_spark.planning.machines.memory_needs`), `submit` and `notes`. What was not
        measured is None.

    Raises
    ------
    ConfigError, InputError
        Wrong settings; no images where they say.
    TooManyFailuresError
        No image of the archive can be used.
    CatalogError
        The catalog is of another recipe.
    WeightsError
        The network weights cannot be had; not with ``sample=0``.
    """
    settings = load_config(config, overrides)
    machines = choose_machines(settings, executors, cores, executor_memory)
    if sample < 0:
        raise ConfigError(f"a sample has 0 images or more, got {sample}")
    weights = resolve_settings(settings.fingerprints) if sample else None
    store = _catalog(settings, weights)
    settings, unsettled = _settled(settings, store, weights)
    root = store.meta["root"] if store else settings.images.root
    files = list_files(settings.images.paths, root, settings.images.storage)
    done = {path for commit in store.commits() for path in commit.files} if store else set()
    left = [file for file in files if file.path not in done]
    headers = read_headers(left, settings, max(1, sample)) if left else Headers(settings.seed, 1)
    if left and not headers.usable:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in headers.refused.most_common(3))
        first = f"; the first: {headers.messages[0]}" if headers.messages else ""
        raise TooManyFailuresError(
            f"none of {counted(len(left), 'file')} holds an image that can be used: "
            f"{kinds or 'no plane matches'}{first}. Correct images.paths, images.hdu, images.bands, "
            "images.mjd or cutouts.generator"
        )
    rates = None
    if weights is not None and headers.usable:
        chosen = headers.sample()
        log.info("measuring on %d of %d images", len(chosen), headers.usable)
        rates = measure(chosen, settings, weights)
    facts = _facts(settings, machines, store, left, headers, rates, weights)
    if unsettled:
        facts["notes"].append(unsettled)
    line = submit_line(str(config), overrides, settings, machines, facts["memory"])
    return {"config": str(config), "files": len(files), **facts, "submit": line}


def _catalog(settings: Settings, weights: Weights | None) -> Store | None:
    if settings.catalog is None or not (Path(settings.catalog) / "catalog.json").exists():
        return None
    store = Store(settings.catalog)
    if store.empty:  # which a run may begin anew
        return None
    if weights is not None:
        require_recipe(store, settled_network(store, settings), weights)
    return store


def _settled(
    settings: Settings, store: Store | None, weights: Weights | None = None
) -> tuple[Settings, str | None]:
    """Settings with a transform and a precision to measure, and a note where the run may take another."""
    if store is not None:
        return settled_network(store, settings), None
    network = settings.fingerprints
    if weights is not None:
        network = settle_transform(network, weights)
        settings = settings.model_copy(update={"fingerprints": network})
    if network.precision != "auto" and (network.precision != "int8" or network.int8_model is not None):
        return settings, None
    exact = network.model_copy(update={"precision": "f32", "int8_model": None})
    return settings.model_copy(update={"fingerprints": exact}), (
        f"fingerprints.precision {network.precision} is settled, and the network quantized, when the run "
        "begins its catalog: the times are those of f32, and may turn out shorter"
    )


def _facts(
    settings: Settings,
    machines: Machines,
    store: Store | None,
    left: Sequence[ImageFile],
    headers: Headers,
    rates: Rates | None,
    weights: Weights | None,
) -> dict[str, Any]:
    batches = math.ceil(len(left) / settings.run.batch_images)
    windows = estimate_windows(headers, rates, settings.cutouts.quality)
    units = settings_vector_length(settings.fingerprints)
    dimension = settings.fingerprints.components or units
    # Without weights nobody knows their classes: the units of the vector are the larger universe.
    n_labels = (weights.labeled.classes if weights else None) or units
    if settings.fingerprints.labels in ("units", "prototypes"):
        n_labels = units if settings.fingerprints.labels == "units" else settings.fingerprints.prototypes
    held = store.n_rows("fingerprints") if store else 0
    indexed = None if windows.kept is None else windows.kept + held
    config = wanted_index_config(settings.neighbors, indexed or 1, dimension)
    memory = memory_needs(
        settings,
        machines,
        index_config=config,
        n_labels=n_labels,
        fingerprints=indexed or 0,
        images=headers.images,
        largest_px=headers.largest_px,
        sampled_px=max((image.pixels for image in rates.cut), default=0) if rates else 0,
        peak_bytes=_peak_bytes(settings, headers, rates, units) if rates else None,
    )
    set_size = settings.neighbors.labels or settings.fingerprints.top_labels
    index = None if indexed is None else index_bytes(indexed, config, n_labels, set_size)
    if index and not {"jaccard", "rank_fusion"} & set(settings.neighbors.metrics):
        index["label_scores"] += index.pop("jaccard")  # which are of the sets
    if index and "label_scores" not in settings.neighbors.metrics:
        del index["label_scores"]
    sample = settings.projection.sample if settings.projection.methods else 0
    seconds = None
    if rates is not None:
        fits = settings.fingerprints.sampled and (store is None or store.transform is None)
        seconds = estimate_seconds(headers, rates, windows, batches, len(left), settings, machines, fits=fits)
    return {
        "catalog": settings.catalog,
        "held": store
        and {
            "batches": len(store.commits()),
            **{name: store.n_rows(name) for name in ("images", "cutouts", "fingerprints")},
        },
        "files_left": len(left),
        "batches": batches,
        "tasks": count_tasks(len(left), batches, machines),
        "bytes_to_read": sum(file.size_bytes for file in left),
        "images": {
            "rows": headers.images,
            "usable": headers.usable,
            "megapixels": headers.pixels / 1e6,
            "refused": dict(headers.refused.most_common()),
            "messages": headers.messages,
        },
        "sky": headers.sky.facts(),
        "windows": {
            "count": windows.cut,
            "fingerprinted": windows.kept,
            "how": windows.how,
            "fingerprinted_how": windows.kept_how,
        },
        "tables": estimate_tables(
            headers, rates, windows, batches, len(left), settings.run.batch_images, machines
        ),
        "index": index and {"rows": indexed, "index_config": config.describe(), **index},
        "projection": {
            "points": indexed if settings.projection.methods else 0,
            "sample": sample if indexed is None else min(sample, indexed),
            "methods": list(settings.projection.methods),
        },
        "seconds": seconds,
        "dense": _offer(headers, rates, windows, batches, len(left), settings, machines),
        "rates": rates and _rates(rates),
        "machines": {
            "executors": machines.executors,
            "cores": machines.cores,
            "slots": machines.slots,
            "master": machines.master,
        },
        "memory": memory,
        "notes": _notes(settings, machines, headers, rates, windows, len(left), memory),
    }


def _peak_bytes(settings: Settings, headers: Headers, rates: Rates, units: int) -> int:
    """Of a process that goes through the sample, and the features of images larger than its images."""
    dense = dense_of(settings) if settings.fingerprints.mode == "dense" else None
    if dense is None or headers.largest_px <= max((image.pixels for image in rates.cut), default=0):
        return rates.peak_bytes
    window = max(size for size in dense.generator.size if isinstance(size, int))
    return rates.peak_bytes + feature_bytes(dense.block_px, dense.halo_px, window, units)


def _offer(
    headers: Headers,
    rates: Rates | None,
    windows: Windows,
    batches: int,
    files_left: int,
    settings: Settings,
    machines: Machines,
) -> dict[str, Any] | None:
    """What the same windows would cost in dense mode; None where it is chosen or does not fit."""
    dense = dense_settings(settings)
    if settings.fingerprints.mode == "dense" or dense is None or not headers.dense_windows:
        return None
    facts: dict[str, Any] = {"overrides": overrides_of(settings), "windows": headers.dense_windows}
    if rates is None or rates.dense is None:
        return {**facts, "seconds": None}
    share = (windows.kept or 0) / windows.cut if windows.cut else 0.0
    count = headers.dense_windows
    kept = windows._replace(cut=count, kept=round(count * share))
    seconds = estimate_seconds(headers, rates, kept, batches, files_left, dense, machines)
    return {**facts, "seconds": seconds}


def _rates(rates: Rates) -> dict[str, Any]:
    cut_px = sum(image.pixels for image in rates.cut if image.complete)
    cut_s = sum(image.seconds for image in rates.cut if image.complete)
    return {
        "images": len(rates.cut),
        "describe_s_per_image": rates.describe_s,
        "cut_s_per_megapixel": cut_s / cut_px * 1e6 if cut_px else None,
        "network_start_s": rates.network_start_s,
        "network_s_per_batch": rates.network_batch_s,
        "dense_s_per_megapixel": rates.dense and rates.dense.s_per_px * 1e6,
        "cutout_bytes": rates.cutouts.per_row,
        "fingerprint_bytes": rates.fingerprints.per_row,
        "peak_bytes": rates.peak_bytes,
    }


def _notes(
    settings: Settings,
    machines: Machines,
    headers: Headers,
    rates: Rates | None,
    windows: Windows,
    files_left: int,
    memory: dict[str, Any],
) -> list[str]:
    notes = []
    refused = sum(headers.refused.values()) + windows.failed
    if refused > settings.run.max_failures:
        notes.append(
            f"the run would stop: {refused} refused images are more than run.max_failures "
            f"({settings.run.max_failures})"
        )
    if windows.failed and rates is not None:
        first = next(image.refused for image in rates.cut if image.refused)
        notes.append(
            f"the pixels of {windows.failed} of {len(rates.cut)} sampled images cannot be used "
            f"({first}); others may be like them"
        )
    batch = min(files_left, settings.run.batch_images)
    if batch < machines.slots:
        notes.append(
            f"a batch of {counted(batch, 'file')} cannot keep {machines.slots} cores "
            "busy: raise run.batch_images, or take fewer cores"
        )
    limit, needed = machines.memory_bytes, memory["worker_bytes"]
    if limit is not None and needed is not None and memory["executor_bytes"] > limit:
        fit = max(0, (limit - memory["executor_heap_bytes"]) // needed) * machines.threads
        notes.append(
            f"an executor of {machines.cores} cores needs {size_text(memory['executor_bytes'])}, more than "
            f"--executor-memory ({size_text(limit)}): "
            + (f"{fit} cores fit" if fit else "not even one core fits")
        )
    return notes
