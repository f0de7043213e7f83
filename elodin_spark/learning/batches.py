"""Batches of a self-supervised training: two views of each of some cutouts, real and simulated."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.pretrain import PretrainSettings
from elodin_spark.datasets.stamps import Stamps
from elodin_spark.learning.feed import Feed
from elodin_spark.learning.profiles import profile
from elodin_spark.learning.taught import Taught
from elodin_spark.learning.views import Place, choose_place, view, whole

#: Streams of random numbers of a step.
_REAL, _SIMULATED, _TAUGHT = 0, 1, 2
_AHEAD = 3


@dataclass(frozen=True)
class ViewBatch:
    """What one step learns from.

    Attributes
    ----------
    step : int
        From 0.
    views : ndarray of uint8, shape (2 n, px, px, 3)
        Row i and row i + n are of one cutout.
    kinds : ndarray of int64, shape (2 n,)
        -1 where it is not known.
    shapes : ndarray of float32, shape (2 n, s)
        NaN likewise.
    profiles : ndarray of float32, shape (2 n, p)
        What each cutout measures, see :func:`~elodin_spark.learning.profiles.profile`.
    classes : ndarray of int64, shape (2 n,)
        Of labeled ones; -1 of others.
    attributes : ndarray of float32, shape (2 n, a)
        NaN where it is not known.
    epoch, taken : int
        Where the feed stands after it: batches taken of an epoch.
    """

    step: int
    views: NDArray[np.uint8]
    kinds: NDArray[np.int64]
    shapes: NDArray[np.float32]
    profiles: NDArray[np.float32]
    classes: NDArray[np.int64]
    attributes: NDArray[np.float32]
    epoch: int
    taken: int


def view_batches(
    feed: Feed | None,
    stamps: Stamps,
    settings: PretrainSettings,
    taught: Taught | None = None,
    *,
    step: int = 0,
    epoch: int = 0,
    taken: int = 0,
    threads: int = 1,
) -> Iterator[ViewBatch]:
    """Make the batches of the steps from `step` on, some ahead of the training.

    Each depends on the seed and its step alone, not on what was read before this process began.

    Parameters
    ----------
    feed : Feed or None
        Of ``settings.cutouts`` at a time; None where there are none of them in a step.
    stamps : Stamps
    settings : PretrainSettings
    taught : Taught, optional
        Labeled ones, where ``settings.labeled`` of a step are to be learned from.
    step, epoch, taken : int
        Where to go on.
    threads : int
    """
    real = itertools.repeat((None, 0, 0)) if feed is None else _forever(feed, epoch, taken)
    with ThreadPoolExecutor(threads, "elodin-views") as pool:
        tasks = (
            pool.submit(_batch, number, images, stamps, settings, taught, at, count)
            for number, (images, at, count) in zip(range(step, settings.steps), real, strict=False)
        )
        pending = list(itertools.islice(tasks, _AHEAD))
        try:
            while pending:
                yield pending.pop(0).result()
                pending += itertools.islice(tasks, 1)
        finally:
            pool.shutdown(cancel_futures=True)


def _forever(feed: Feed, epoch: int, taken: int) -> Iterator[tuple[NDArray[np.uint8], int, int]]:
    for number in itertools.count(epoch):
        batches = itertools.islice(feed.epoch(number), taken, None)
        for count, batch in enumerate(batches, taken + 1):
            yield batch[0], number, count
        taken = 0


def _batch(
    step: int,
    images: NDArray[np.uint8] | None,
    stamps: Stamps,
    settings: PretrainSettings,
    taught: Taught | None,
    epoch: int,
    taken: int,
) -> ViewBatch:
    px = settings.px_at(step)
    seen: list[tuple[NDArray[np.uint8], Place, np.random.Generator]] = []
    for i, image in enumerate(() if images is None else images):
        rng = np.random.default_rng([settings.seed, step, _REAL, i])
        seen.append((image, choose_place(image, rng), rng))
    told = slice(len(seen), len(seen))
    if taught is not None:
        numbers = taught.draw(settings.labeled, np.random.default_rng([settings.seed, step, _TAUGHT]))
        for i, number in enumerate(numbers):
            own = np.random.default_rng([settings.seed, step, _TAUGHT, i])
            window = taught.windows[number]
            seen.append((window, whole(window), own))
        told = slice(told.start, len(seen))
    rng = np.random.default_rng([settings.seed, step, _SIMULATED])
    chosen = rng.integers(len(stamps.kinds), size=settings.stamps)
    for i, number in enumerate(chosen):
        own = np.random.default_rng([settings.seed, step, _SIMULATED, i])
        window = np.asarray(stamps.windows[number])
        seen.append((window, whole(window), own))
    both = [[view(image, place, px, rng) for image, place, rng in seen] for _ in range(2)]
    unknown = len(seen) - len(chosen)
    kinds = np.concatenate([np.full(unknown, -1, np.int64), stamps.kinds[chosen]])
    shapes = np.concatenate(
        [np.full((unknown, stamps.shapes.shape[1]), np.nan, np.float32), stamps.shapes[chosen]]
    )
    classes = np.full(len(seen), -1, np.int64)
    attributes = np.full((len(seen), 0 if taught is None else taught.attributes.shape[1]), np.nan, np.float32)
    if taught is not None:
        classes[told], attributes[told] = taught.classes[numbers], taught.attributes[numbers]
    profiles = np.stack([profile(image, place) for image, place, _ in seen])
    return ViewBatch(
        step,
        views=np.stack(both[0] + both[1]),
        kinds=np.tile(kinds, 2),
        shapes=np.tile(shapes, (2, 1)),
        profiles=np.tile(profiles, (2, 1)),
        classes=np.tile(classes, 2),
        attributes=np.tile(attributes, (2, 1)),
        epoch=epoch,
        taken=taken,
    )
