"""The stage from windows to fingerprints, and the same kernel for a list of arrays."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elodin_spark.errors import ImageError
from elodin_spark.fingerprints.labels import label_sets
from elodin_spark.fingerprints.runtime import Runtime, get_runtime, resize_window
from elodin_spark.fingerprints.weights import Weights
from elodin_spark.schema import FAILURES, FINGERPRINTED, TILED
from elodin_spark.settings import FingerprintsSettings
from elodin_spark.stage import Locate, Stage

#: Output rows held back, in batches of the network, while a few windows of one kind wait for
#: company.
_MOST_HELD_BATCHES = 4


@dataclass(frozen=True)
class FingerprintSpec:
    """What the fingerprint stage is built from.

    Attributes
    ----------
    weights : Weights
        From :func:`~elodin_spark.fingerprints.weights.resolve_weights`.
    backbone : str
    input_px : int
        Windows are resized to this side, px.
    top_labels : int
        Largest size of a label set.
    batch_size : int
        Windows the network sees at once.
    threads : int
        Of the network, in each worker.
    recipe : str
        Written beside each vector.
    keep_pixels : bool
        Pass the pixels on; otherwise their columns are null in the output.
    """

    weights: Weights
    backbone: str = "resnet50"
    input_px: int = 224
    top_labels: int = 30
    batch_size: int = 32
    threads: int = 1
    recipe: str = ""
    keep_pixels: bool = False

    @classmethod
    def from_settings(
        cls, settings: FingerprintsSettings, weights: Weights, recipe: str, keep_pixels: bool = False
    ) -> FingerprintSpec:
        """Spec for `settings`, with the weights they name resolved."""
        return cls(
            weights=weights,
            backbone=settings.backbone,
            input_px=settings.input_px,
            top_labels=settings.top_labels,
            batch_size=settings.batch_size,
            threads=settings.threads,
            recipe=recipe,
            keep_pixels=keep_pixels,
        )

    @property
    def output_schema(self) -> pa.Schema:
        """:data:`~elodin_spark.schema.FINGERPRINTED`."""
        return FINGERPRINTED

    @property
    def files(self) -> tuple[str, ...]:
        """The weights file."""
        return (self.weights.path,)

    def build(self, locate: Locate) -> Stage:
        """Build the stage; the network comes with the first window."""
        return _FingerprintStage(self, Fingerprinter(self, locate))

    def runtime(self, locate: Locate) -> Runtime:
        """Network of this process for this spec, built when first asked for."""
        weights = replace(self.weights, path=locate(self.weights.path))
        return get_runtime(weights, self.backbone, self.input_px, self.batch_size, self.threads)


@dataclass(frozen=True)
class Fingerprint:
    """What the network says about one window.

    Attributes
    ----------
    vector : ndarray of float32, shape (vector_length,)
    labels : ndarray of int32
        Top classes, or units for weights without a head; best first.
    label_scores : ndarray of float32
        Of `labels`.
    """

    vector: NDArray[np.float32]
    labels: NDArray[np.int32]
    label_scores: NDArray[np.float32]


Vectors = list[NDArray[np.float32] | None]
Labels = list[NDArray[np.int32] | None]


class Fingerprinter:
    """Fingerprints of a list of windows, of any sizes, grey and colour mixed.

    Parameters
    ----------
    spec : FingerprintSpec
    locate : callable, optional
        Maps the path of the weights on the driver to one on this machine.

    The network is built with the first window, and may then raise as
    :class:`~elodin_spark.fingerprints.runtime.Runtime` does.
    """

    def __init__(self, spec: FingerprintSpec, locate: Locate = str) -> None:
        self._spec, self._locate = spec, locate
        self._top_labels = spec.top_labels

    @cached_property
    def _runtime(self) -> Runtime:
        # With the first window: a partition without any needs no network.
        return self._spec.runtime(self._locate)

    def __call__(self, windows: Sequence[NDArray[np.uint8] | None]) -> tuple[Vectors, Labels, Vectors]:
        """Fingerprint windows.

        Parameters
        ----------
        windows : sequence of ndarray of uint8, shape (h, w) or (h, w, 3), or None

        Returns
        -------
        vectors : list of ndarray of float32, shape (vector_length,)
        labels : list of ndarray of int32
        label_scores : list of ndarray of float32
            One entry per window in each; None for a window that is None or is refused (see
            :func:`check_window`), or whose vector is not finite.
        """
        results: list[Fingerprint | None] = [None] * len(windows)
        kinds: dict[int, list[tuple[int, NDArray[np.uint8]]]] = {2: [], 3: []}
        for i, window in enumerate(windows):
            if window is None:
                continue
            try:
                kinds[window.ndim].append((i, self.prepare(window)))
            except (ImageError, KeyError):
                continue
        for members in kinds.values():
            if members:
                outcomes = self.run([window for _, window in members])
                for (i, _), outcome in zip(members, outcomes, strict=True):
                    results[i] = outcome if isinstance(outcome, Fingerprint) else None
        return (
            [None if result is None else result.vector for result in results],
            [None if result is None else result.labels for result in results],
            [None if result is None else result.label_scores for result in results],
        )

    def prepare(self, window: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Check one window and resize it to the side of the network.

        Raises
        ------
        ImageError
            As :func:`check_window`.
        """
        check_window(window)
        return resize_window(window, self._spec.input_px)

    def run(self, windows: Sequence[NDArray[np.uint8]]) -> list[Fingerprint | ImageError]:
        """Fingerprint prepared windows of one kind; the error where a vector is not finite."""
        vectors, scores = self._runtime(np.stack(windows))
        finite = np.isfinite(vectors).all(axis=1)
        if scores is not None:
            finite &= np.isfinite(scores).all(axis=1)
        rows = np.flatnonzero(finite)
        sets = label_sets((vectors if scores is None else scores)[rows], self._top_labels)
        outcomes: list[Fingerprint | ImageError] = [
            ImageError(
                "the network's answer is not finite: its weights overflow; use other weights", "not_finite"
            )
            for _ in windows
        ]
        for i, labels, label_scores in zip(rows, *sets, strict=True):
            outcomes[i] = Fingerprint(vectors[i], labels, label_scores)
        return outcomes


def check_window(window: NDArray[np.uint8]) -> None:
    """Refuse what is not a window of 8-bit pixels.

    Raises
    ------
    ImageError
        Of kind ``bad_pixels``: not uint8, empty, or neither (h, w) nor (h, w, 3).
    """
    shape = window.shape
    if (
        window.dtype != np.uint8
        or len(shape) not in (2, 3)
        or 0 in shape
        or (len(shape) == 3 and shape[2] != 3)
    ):
        raise ImageError(
            f"a window must be uint8 of shape (h, w) or (h, w, 3), got {window.dtype} {shape}", "bad_pixels"
        )


class _Held:
    """A slice of the input on its way to the output."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch
        self.unfinished = 0
        self.results: dict[int, Fingerprint | ImageError] = {}


#: Windows of one kind (by number of dimensions) that wait for a full batch.
_Waiting = dict[int, list[tuple[_Held, int, NDArray[np.uint8]]]]


class _FingerprintStage:
    """Windows gathered across incoming batches, rows given back in their order.

    So a batch of the network fills across the borders of images. What is held is bounded:
    fewer than a batch of windows of each kind, and the output rows behind the oldest of them.
    """

    def __init__(self, spec: FingerprintSpec, fingerprinter: Fingerprinter) -> None:
        self.output_schema = spec.output_schema
        self._spec = spec
        self._fingerprinter = fingerprinter

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        size = self._spec.batch_size
        held: deque[_Held] = deque()
        waiting: _Waiting = {2: [], 3: []}
        for batch in batches:
            _check_columns(batch)
            for start in range(0, batch.num_rows, size):
                held.append(self._take(batch.slice(start, size), waiting))
                for kind in waiting:
                    while len(waiting[kind]) >= size:
                        self._run(waiting, kind)
                while sum(item.batch.num_rows for item in held) > _MOST_HELD_BATCHES * size:
                    if held[0].unfinished:
                        self._run(waiting, _kind_waited_for(held[0], waiting))
                    while held and not held[0].unfinished:
                        yield self._emit(held.popleft())
                while held and not held[0].unfinished:
                    yield self._emit(held.popleft())
        for kind in waiting:
            if waiting[kind]:
                self._run(waiting, kind)
        for item in held:
            yield self._emit(item)

    def _take(self, batch: pa.RecordBatch, waiting: _Waiting) -> _Held:
        item = _Held(batch)
        pixels, shapes = batch.column("pixels"), batch.column("pixel_shape")
        failed = batch.column("failure").is_valid()
        for row in range(batch.num_rows):
            if not pixels[row].is_valid or failed[row].as_py():
                continue
            try:
                window = self._fingerprinter.prepare(_window(pixels[row].as_buffer(), shapes[row].as_py()))
            except ImageError as error:
                item.results[row] = error
                continue
            waiting[window.ndim].append((item, row, window))
            item.unfinished += 1
        if not self._spec.keep_pixels:
            # Here, not on the way out, so that held rows hold no pixels.
            item.batch = _without_pixels(batch)
        return item

    def _run(self, waiting: _Waiting, kind: int) -> None:
        size = self._spec.batch_size
        members, waiting[kind] = waiting[kind][:size], waiting[kind][size:]
        outcomes = self._fingerprinter.run([window for _, _, window in members])
        for (item, row, _), outcome in zip(members, outcomes, strict=True):
            item.results[row] = outcome
            item.unfinished -= 1

    def _emit(self, item: _Held) -> pa.RecordBatch:
        count = item.batch.num_rows
        columns = {name: item.batch.column(name) for name in TILED.names}
        results = [item.results.get(row) for row in range(count)]
        if any(isinstance(result, ImageError) for result in results):
            columns["failure"] = self._failures(item.batch, results)
        good = [result if isinstance(result, Fingerprint) else None for result in results]
        columns["vector"] = _lists([None if g is None else g.vector for g in good], pa.float32())
        columns["labels"] = _lists([None if g is None else g.labels for g in good], pa.int32())
        columns["label_scores"] = _lists([None if g is None else g.label_scores for g in good], pa.float32())
        columns["recipe"] = pa.array([None if g is None else self._spec.recipe for g in good], pa.string())
        return pa.RecordBatch.from_arrays(
            [columns[name] for name in self.output_schema.names], schema=self.output_schema
        )

    def _failures(
        self, batch: pa.RecordBatch, results: Sequence[Fingerprint | ImageError | None]
    ) -> pa.StructArray:
        failures = batch.column("failure").to_pylist()
        for row, result in enumerate(results):
            if isinstance(result, ImageError):
                failures[row] = dict.fromkeys(FAILURES.names) | {
                    "stage": "fingerprints",
                    "cutout_id": batch.column("cutout_id")[row].as_py(),
                    "kind": result.kind,
                    "message": str(result),
                }
        return pa.array(failures, type=self.output_schema.field("failure").type)


def _kind_waited_for(item: _Held, waiting: _Waiting) -> int:
    return next(kind for kind, members in waiting.items() if any(held is item for held, _, _ in members))


def _check_columns(batch: pa.RecordBatch) -> None:
    missing = [name for name in TILED.names if name not in batch.schema.names]
    if missing:
        raise ValueError(f"the fingerprint stage needs the columns of TILED; {', '.join(missing)} missing")


def _window(pixels: pa.Buffer, shape: list[int] | None) -> NDArray[np.uint8]:
    if shape is None or any(side is None or side < 1 for side in shape):
        raise ImageError(f"the shape of the window is {shape}, not (h, w) or (h, w, 3)", "bad_pixels")
    if int(np.prod(shape, dtype=np.int64)) != pixels.size:
        raise ImageError(
            f"the window has {pixels.size} bytes of pixels, which do not fill the shape {tuple(shape)}",
            "bad_pixels",
        )
    return np.frombuffer(pixels, np.uint8).reshape(shape)


def _without_pixels(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [
        pa.nulls(batch.num_rows, TILED.field(name).type)
        if name in ("pixels", "pixel_shape")
        else batch.column(name)
        for name in TILED.names
    ]
    return pa.RecordBatch.from_arrays(columns, schema=TILED)


def _lists(rows: Sequence[NDArray | None], kind: pa.DataType) -> pa.ListArray:
    # From the buffers: pa.array would look at every row as a Python object.
    present = [row for row in rows if row is not None]
    flat = np.concatenate(present) if present else np.empty(0)
    ends = np.cumsum([0] + [0 if row is None else len(row) for row in rows])
    # A null row is one whose start is null.
    missing = np.array([row is None for row in rows] + [False])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32(), mask=missing), pa.array(flat, kind))
