"""Self-supervised training of a backbone on cutouts, from its beginning or from its last checkpoint."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.backbones import get_backbone
from elodin_spark.config.feed import FeedSettings
from elodin_spark.config.pretrain import PretrainSettings
from elodin_spark.config.shipped import SURVEY
from elodin_spark.datasets.stamps import SHAPES, STAMP_KINDS, draw_stamps
from elodin_spark.errors import ConfigError, InputError
from elodin_spark.fingerprints.runtimes.framework import load_keras
from elodin_spark.fingerprints.weights.keras_files import read_arrays
from elodin_spark.fingerprints.weights.shipped import find_shipped
from elodin_spark.fingerprints.windows import resize_window
from elodin_spark.learning.batches import view_batches
from elodin_spark.learning.checkpoint import latest_checkpoint, save_checkpoint
from elodin_spark.learning.cutoutset import CutoutSet
from elodin_spark.learning.feed import Feed
from elodin_spark.learning.history import append_history, cut_history
from elodin_spark.learning.labeled import LabeledSet
from elodin_spark.learning.pretrainmodel import BACKBONE, PretrainModel
from elodin_spark.learning.stamppool import KINDS, stamp_pool, tile_stamps
from elodin_spark.learning.taught import Taught

log = logging.getLogger(__name__)

#: Steps between two reports.
REPORTED_STEPS = 10
#: Simulated tiles whose windows are checked and not learned from.
_CHECKED_TILES = 12


@dataclass(frozen=True)
class StepReport:
    """What a step, or some steps, gave.

    Attributes
    ----------
    step : int
        Steps taken.
    losses : dict of str to float
        Means since the last report.
    rate : float
        Of learning.
    views_s : float
        Views per second.
    precision : dict of str to float
        Where neighbors were checked, by set: share of the ten nearest of the same label, mean over
        labels. ``simulated`` are objects that are not learned from, ``windows`` those of tiles.
    """

    step: int
    losses: dict[str, float]
    rate: float
    views_s: float
    precision: dict[str, float] = field(default_factory=dict)


def learning_rate(settings: PretrainSettings) -> Callable[[int], float]:
    """The schedule: linear warm-up, then half a cosine down to a hundredth."""

    def rate(step: int) -> float:
        if step < settings.warmup_steps:
            return settings.learning_rate * (step + 1) / settings.warmup_steps
        done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
        return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))

    return rate


def pretrain(
    cutouts: CutoutSet | None,
    out: Path,
    settings: PretrainSettings,
    *,
    labeled: LabeledSet | None = None,
    watched: Sequence[LabeledSet] = (),
    threads: int | None = None,
    report: Callable[[StepReport], None] | None = None,
    drawn: Callable[[int], None] | None = None,
) -> PretrainModel:
    """Train, or go on with a training that was stopped.

    Parameters
    ----------
    cutouts : CutoutSet or None
        None where ``settings.cutouts`` is 0.
    out : Path
        Folder of checkpoints, history and simulated objects.
    settings : PretrainSettings
        Where the training goes on: those it was begun with.
    labeled : LabeledSet, optional
        Whose classes and attributes are learned, but of those that ``settings.held_out`` keeps apart; of
        these the neighbors are checked. It is needed where ``settings.labeled`` is not 0.
    watched : sequence of LabeledSet, optional
        Their neighbors are checked as well. Nothing is learned from them.
    threads : int, optional
        Of the network; all cores otherwise.
    report : callable, optional
        Told every :data:`REPORTED_STEPS` steps, and of every check.
    drawn : callable, optional
        Told how many simulated objects there are while they are drawn.

    Returns
    -------
    PretrainModel
        Trained.

    Raises
    ------
    ConfigError
        The folder holds a training with other settings or on another backend of Keras.
    InputError
        All its checkpoints are damaged, or there are no cutouts.
    WeightsError
        The weights to begin with are damaged or of another network.
    """
    feed = None
    if settings.cutouts:
        if cutouts is None:
            raise ConfigError(
                "a training on cutouts needs some; set cutouts to 0 to learn from simulations alone"
            )
        feed = Feed(
            cutouts,
            FeedSettings(
                side_px=settings.source_px,
                batch_size=settings.cutouts,
                epochs=None,
                seed=settings.seed,
                drop_last=True,
                reader="arrow",
            ),
        )
    taught, watched = _taught(labeled, settings, watched)
    described = json.loads(settings.model_dump_json())
    backend = str(load_keras(threads).config.backend())
    held = latest_checkpoint(out)
    if held is not None:
        _same(held[1], described, backend, out)
    begun = None if held is not None or settings.start is None else _start(settings.start)
    cores = len(os.sched_getaffinity(0))
    stamps = stamp_pool(
        out / "stamps", settings.stamp_pool, settings.tiles, settings.stamp_px, settings.seed, cores, drawn
    )
    classes, attributes = (0, 0) if taught is None else (len(taught.names), taught.attributes.shape[1])
    model = PretrainModel(
        settings, len(KINDS), len(SHAPES), learning_rate(settings), classes, attributes, threads
    )
    step = epoch = taken = 0
    if begun is not None:
        model.load_weights(begun)
    if held is not None:
        state, facts = held
        model.load_state(state)
        step, epoch, taken = int(facts["step"]), int(facts["epoch"]), int(facts["taken"])
        log.info("going on from step %d in %s", step, out)
    cut_history(out, step)
    check = _Check(settings, watched)
    since, sums, views = time.monotonic(), dict[str, float](), 0
    for batch in view_batches(feed, stamps, settings, taught, step=step, epoch=epoch, taken=taken):
        losses = model.step(batch)
        step = batch.step + 1
        views += len(batch.views)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value
        last = step == settings.steps
        checked = step % settings.check_steps == 0 or last
        if step % REPORTED_STEPS == 0 or checked:
            count = views / len(batch.views)
            speed = views / (time.monotonic() - since)
            means = {name: value / count for name, value in sums.items()}
            if not math.isfinite(means["loss"]):
                raise ConfigError(
                    f"the loss is no number at step {step}: remove {out}, and begin again with a lower "
                    "learning_rate"
                )
            precision = check(model, settings.px_at(batch.step)) if checked else {}
            told = StepReport(step, means, learning_rate(settings)(batch.step), speed, precision)
            append_history(out, _line(told))
            if report:
                report(told)
            since, sums, views = time.monotonic(), {}, 0
        if step % settings.checkpoint_steps == 0 or last:
            facts = {
                "settings": described,
                "backend": model.backend,
                "epoch": batch.epoch,
                "taken": batch.taken,
            }
            facts["skipped"] = {} if feed is None else feed.skipped
            save_checkpoint(out, step, model.state(), facts)
    return model


def _taught(
    labeled: LabeledSet | None, settings: PretrainSettings, watched: Sequence[LabeledSet]
) -> tuple[Taught | None, Sequence[LabeledSet]]:
    """What is learned from of a labeled set, and what is watched besides."""
    if not settings.labeled:
        return None, watched
    if labeled is None:
        raise ConfigError("labeled ones of a step are asked for: name a set of them, or set labeled to 0")
    learned, held = labeled.split(settings.held_out, settings.seed)
    if len(held.labels) < 2:
        raise InputError(
            f"set {labeled.name}: {len(held.labels)} of {len(labeled.labels)} are held out, and neighbors "
            "are checked among two or more: give more, or set a larger held"
        )
    return Taught.of(learned, settings.source_px), [*watched, held]


class _Check:
    """Neighbors among cutouts that are not learned from."""

    def __init__(self, settings: PretrainSettings, watched: Sequence[LabeledSet]) -> None:
        # Behind those that are learned from, in the same stream.
        stamps = draw_stamps(settings.stamp_pool, settings.checked, settings.stamp_px, settings.seed)
        kinds = [STAMP_KINDS[kind] for kind in stamps.kinds]
        # Held: they are looked at again and again.
        loaded = [replace(each, pictures=list(each.pictures)) for each in watched]
        self._sets = [LabeledSet("simulated", list(stamps.windows), kinds), *loaded]
        if settings.tiles:
            some = tile_stamps(settings.tiles, _CHECKED_TILES, settings.stamp_px, settings.seed)
            held = LabeledSet("windows", list(some.windows), [KINDS[kind] for kind in some.kinds])
            self._sets.insert(1, held)

    def __call__(self, model: PretrainModel, px: int) -> dict[str, float]:
        found = {}
        for each in self._sets:
            vectors = model.features(np.stack([resize_window(picture, px) for picture in each.pictures]))
            found[each.name] = _precision(vectors, np.asarray(each.labels))
        return found


def _precision(vectors: NDArray[np.float32], labels: NDArray[Any], k: int = 10) -> float:
    """As ``quality.precision_at_k`` by cosine of standardized vectors, with NumPy alone.

    Machines with GPUs often have little else.
    """
    spread = vectors.std(axis=0)
    vectors = (vectors - vectors.mean(axis=0)) / np.where(spread > 1e-6, spread, 1)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    hits, k = np.empty(len(unit)), min(k, len(unit) - 1)
    for start in range(0, len(unit), 512):
        likeness = unit[start : start + 512] @ unit.T
        rows = np.arange(len(likeness))
        likeness[rows, start + rows] = -np.inf
        near = np.argpartition(-likeness, k, axis=1)[:, :k]
        hits[start : start + 512] = (labels[near] == labels[start + rows, None]).mean(axis=1)
    return float(np.mean([hits[labels == label].mean() for label in np.unique(labels)]))


def _start(source: str) -> dict[str, NDArray[np.float32]]:
    backbone = get_backbone(BACKBONE)
    if source != SURVEY and not Path(source).exists():
        raise ConfigError(f"start is survey or a file of weights, and there is no {source}")
    return read_arrays(find_shipped(SURVEY, backbone)[0] if source == SURVEY else Path(source), backbone)


def _same(facts: dict[str, Any], described: dict[str, Any], backend: str, out: Path) -> None:
    if facts["backend"] != backend:
        raise ConfigError(
            f"{out} holds a training on Keras' backend {facts['backend']}, and this is {backend}: set "
            f"KERAS_BACKEND={facts['backend']} to go on with it, or give another folder"
        )
    passing = ("checkpoint_steps", "check_steps", "checked")
    other = [
        name
        for name, value in described.items()
        if facts["settings"].get(name) != value and name not in passing
    ]
    if other:
        raise ConfigError(
            f"{out} holds a training with another {', '.join(other)}: go on with its settings, or give "
            "another folder"
        )


def _line(told: StepReport) -> dict[str, Any]:
    line: dict[str, Any] = {"step": told.step, "rate": told.rate, "views_s": round(told.views_s, 1)}
    line |= told.losses
    return line | {"precision": told.precision} if told.precision else line
