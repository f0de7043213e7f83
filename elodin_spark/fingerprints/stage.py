"""The stage from windows to fingerprints, and the same kernel for a list of arrays."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elodin_spark.arrow import lists, to_column, with_storage
from elodin_spark.config.transform import Storage
from elodin_spark.errors import ConfigError, ImageError
from elodin_spark.fingerprints.copies import learned_copy
from elodin_spark.fingerprints.known import load_known
from elodin_spark.fingerprints.resolve import ResolvedNetwork
from elodin_spark.fingerprints.rows import (
    Fingerprint,
    as_fingerprints,
    check_columns,
    window_of,
    without_pixels,
)
from elodin_spark.fingerprints.runtimes.base import NetworkSpec, Runtime
from elodin_spark.fingerprints.runtimes.factory import get_runtime
from elodin_spark.fingerprints.transform import TransformFile, load_transform
from elodin_spark.fingerprints.windows import check_window, resize_window
from elodin_spark.schema import FAILURES, FINGERPRINTED, TILED
from elodin_spark.stage import Locate, Stage

#: Output rows held back, in batches of the network, while a few windows of one kind wait for
#: company.
_MOST_HELD_BATCHES = 4
#: Images whose file is remembered, for the failures of their windows.
_MOST_IMAGES = 1024


@dataclass(frozen=True)
class FingerprintSpec:
    """What the fingerprint stage is built from.

    Attributes
    ----------
    networks : tuple of NetworkSpec
        All of one batch size; their vectors are joined in this order.
    top_labels : int
        Largest size of a label set.
    recipe : str
        Written beside each vector.
    keep_pixels : bool
        Pass the pixels on; otherwise their columns are null in the output.
    transform : TransformFile, optional
        What is made of the vectors, and the prototypes that label them.
    storage : {"float32", "float16"}
        Of the column ``vector``, see :mod:`elodin_spark.arrow`.
    units : bool
        Labels are units of the vector even where there is a head.
    known : str, optional
        File of windows that need not go through the network, see :mod:`.known`.
    copied : bool
        The networks see the :func:`copy <.copies.learned_copy>` of each window in its place.
    """

    networks: tuple[NetworkSpec, ...]
    top_labels: int = 30
    recipe: str = ""
    keep_pixels: bool = False
    transform: TransformFile | None = None
    storage: Storage = "float32"
    units: bool = False
    known: str | None = None
    copied: bool = False

    @classmethod
    def from_network(
        cls,
        network: ResolvedNetwork,
        recipe: str | None = None,
        keep_pixels: bool = False,
        transform: TransformFile | None = None,
        known: Path | None = None,
        copied: bool = False,
    ) -> FingerprintSpec:
        """Spec for a network.

        Without a `recipe` that of the network alone. Where vectors are transformed, or labeled by prototypes,
        `transform` must have been fitted.

        Raises
        ------
        ConfigError
            `transform` lacks.
        """
        settings = network.settings
        if settings.fitted and transform is None:
            raise ConfigError(
                "a transform of the vectors (transform, power, pca) and labels prototypes are fitted to a "
                "catalog, and here is none: leave these settings out"
            )
        return cls(
            networks=network.networks(),
            top_labels=settings.top_labels,
            recipe=network.name if recipe is None else recipe,
            keep_pixels=keep_pixels,
            transform=transform,
            storage=settings.storage,
            units=settings.labels == "units",
            known=None if known is None else str(known),
            copied=copied,
        )

    @property
    def output_schema(self) -> pa.Schema:
        """:data:`~elodin_spark.schema.FINGERPRINTED`, its vectors in the storage chosen."""
        return with_storage(FINGERPRINTED, self.storage)

    @property
    def files(self) -> tuple[str, ...]:
        """Weights files or those of the converted networks, the transform, and what is known."""
        networks = [
            file
            for network in self.networks
            for file in ((network.weights.path,) if network.model is None else network.model.files)
        ]
        transform = () if self.transform is None else (self.transform.path,)
        return (*networks, *transform, *(() if self.known is None else (self.known,)))

    @property
    def batch_size(self) -> int:
        """Windows the networks see at once."""
        return self.networks[0].batch_size

    @property
    def wants_gpu(self) -> bool:
        """True: see :func:`elodin_spark.stage.wants_gpu`."""
        return True

    def build(self, locate: Locate) -> Stage:
        """Build the stage; the network comes with the first window."""
        return _FingerprintStage(self, Fingerprinter(self, locate), locate)

    def load(self, locate: Locate) -> list[Runtime]:
        """The networks of this process for this spec, built when first asked for."""
        return [get_runtime(_located(network, locate)) for network in self.networks]

    def fingerprints(
        self, vectors: NDArray[np.float32], scores: NDArray[np.float32] | None, locate: Locate = str
    ) -> list[Fingerprint | ImageError]:
        """What becomes of the network's answers, as :func:`.rows.as_fingerprints` has it."""
        scores, transform = None if self.units else scores, load_transform(self.transform, locate)
        return as_fingerprints(vectors, scores, self.top_labels, transform, self.storage)

    def known_fingerprints(
        self, cutout_ids: pa.Array, locate: Locate = str
    ) -> dict[int, Fingerprint | ImageError]:
        """Row of a column of IDs to its fingerprint, for the windows that are known."""
        if self.known is None:
            return {}
        known = load_known(locate(self.known))
        rows, places = known.find(cutout_ids)
        if not len(rows):
            return {}
        sets = [known.labels[place] for place in places], [known.label_scores[place] for place in places]
        transform = load_transform(self.transform, locate)
        found = as_fingerprints(known.vectors[places], None, self.top_labels, transform, self.storage, sets)
        return dict(zip(rows.tolist(), found, strict=True))


def _located(network: NetworkSpec, locate: Locate) -> NetworkSpec:
    """The same network, its file on this machine."""
    if network.model is None:
        return replace(network, weights=replace(network.weights, path=locate(network.weights.path)))
    return replace(network, model=replace(network.model, path=locate(network.model.path)))


#: A window in the size that each network takes.
Prepared = tuple[NDArray[np.uint8], ...]
Vectors = list[NDArray[np.float32] | None]
Labels = list[NDArray[np.int32] | None]


class Fingerprinter:
    """Fingerprints of a list of windows, of any sizes, gray and color mixed.

    Parameters
    ----------
    spec : FingerprintSpec
    locate : callable, optional
        Maps the path of the weights on the driver to one on this machine.

    The networks are built with the first window, and may then raise as
    :class:`~elodin_spark.fingerprints.runtimes.Runtime` does.
    """

    def __init__(self, spec: FingerprintSpec, locate: Locate = str) -> None:
        self._spec, self._locate = spec, locate

    @cached_property
    def _runtimes(self) -> list[Runtime]:
        # With the first window: a partition without any needs no network.
        return self._spec.load(self._locate)

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
            :func:`.windows.check_window`), or whose vector is not finite.
        """
        results: list[Fingerprint | None] = [None] * len(windows)
        kinds: dict[int, list[tuple[int, Prepared]]] = {2: [], 3: []}
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

    def prepare(self, window: NDArray[np.uint8]) -> Prepared:
        """Check one window and resize it to the side of each network.

        Raises
        ------
        ImageError
            As :func:`.windows.check_window`.
        """
        check_window(window)
        return tuple(resize_window(window, network.input_px) for network in self._spec.networks)

    def run(self, windows: Sequence[Prepared]) -> list[Fingerprint | ImageError]:
        """Fingerprint prepared windows of one kind; the error where a vector is not finite."""
        answers = [
            runtime(np.stack([window[number] for window in windows]))
            for number, runtime in enumerate(self._runtimes)
        ]
        vectors = answers[0][0] if len(answers) == 1 else np.hstack([vectors for vectors, _ in answers])
        scores = next((scores for _, scores in answers if scores is not None), None)
        return self._spec.fingerprints(vectors, scores, self._locate)


class _Held:
    """A slice of the input on its way to the output."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch
        self.waited_for = 0
        self.results: dict[int, Fingerprint | ImageError] = {}


#: Windows of one kind (by number of dimensions) that wait for a full batch.
_Waiting = dict[int, list[tuple[_Held, int, Prepared]]]


class _FingerprintStage:
    """Windows gathered across incoming batches, rows given back in their order.

    So a batch of the network fills across the borders of images. What is held is bounded:
    fewer than a batch of windows of each kind, and the output rows behind the oldest of them.
    """

    def __init__(self, spec: FingerprintSpec, fingerprinter: Fingerprinter, locate: Locate = str) -> None:
        self.output_schema = spec.output_schema
        self._spec = spec
        self._fingerprinter, self._locate = fingerprinter, locate
        #: URI and HDU of the images whose windows pass, by ID.
        self._images: OrderedDict[int, tuple[str, int]] = OrderedDict()

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        size = self._spec.batch_size
        held: deque[_Held] = deque()
        waiting: _Waiting = {2: [], 3: []}
        for batch in batches:
            check_columns(batch)
            for start in range(0, batch.num_rows, size):
                held.append(self._take(batch.slice(start, size), waiting))
                for kind in waiting:
                    while len(waiting[kind]) >= size:
                        self._run(waiting, kind)
                while sum(item.batch.num_rows for item in held) > _MOST_HELD_BATCHES * size:
                    if held[0].waited_for:
                        self._run(waiting, _kind_waited_for(held[0], waiting))
                    while held and not held[0].waited_for:
                        yield self._emit(held.popleft())
                while held and not held[0].waited_for:
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
        self._remember(batch.column("image"))
        known = self._spec.known_fingerprints(batch.column("cutout_id"), self._locate)
        for row in range(batch.num_rows):
            if not pixels[row].is_valid or failed[row].as_py():
                continue
            if row in known:
                item.results[row] = known[row]
                continue
            try:
                seen = window_of(pixels[row].as_buffer(), shapes[row].as_py())
                if self._spec.copied:
                    check_window(seen)
                    seen = learned_copy(seen, batch.column("cutout_id")[row].as_py())
                window = self._fingerprinter.prepare(seen)
            except ImageError as error:
                item.results[row] = error
                continue
            waiting[window[0].ndim].append((item, row, window))
            item.waited_for += 1
        if not self._spec.keep_pixels:
            # Here, not on the way out, so that held rows hold no pixels.
            item.batch = without_pixels(batch)
        return item

    def _remember(self, images: pa.StructArray) -> None:
        for image in images.drop_null().to_pylist() if images.null_count < len(images) else ():
            self._images[image["image_id"]] = (image["uri"], image["hdu"])
            if len(self._images) > _MOST_IMAGES:
                self._images.popitem(last=False)

    def _run(self, waiting: _Waiting, kind: int) -> None:
        size = self._spec.batch_size
        members, waiting[kind] = waiting[kind][:size], waiting[kind][size:]
        outcomes = self._fingerprinter.run([window for _, _, window in members])
        for (item, row, _), outcome in zip(members, outcomes, strict=True):
            item.results[row] = outcome
            item.waited_for -= 1

    def _emit(self, item: _Held) -> pa.RecordBatch:
        count = item.batch.num_rows
        columns = {name: item.batch.column(name) for name in TILED.names}
        results = [item.results.get(row) for row in range(count)]
        if any(isinstance(result, ImageError) for result in results):
            columns["failure"] = self._failures(item.batch, results)
        good = [result if isinstance(result, Fingerprint) else None for result in results]
        columns["vector"] = to_column([None if g is None else g.vector for g in good], self._spec.storage)
        columns["labels"] = lists([None if g is None else g.labels for g in good], pa.int32())
        columns["label_scores"] = lists([None if g is None else g.label_scores for g in good], pa.float32())
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
                uri, hdu = self._images.get(batch.column("image_id")[row].as_py(), (None, None))
                failures[row] = dict.fromkeys(FAILURES.names) | {
                    "stage": "fingerprints",
                    "uri": uri,
                    "hdu": hdu,
                    "cutout_id": batch.column("cutout_id")[row].as_py(),
                    "kind": result.kind,
                    "message": str(result),
                }
        return pa.array(failures, type=self.output_schema.field("failure").type)


def _kind_waited_for(item: _Held, waiting: _Waiting) -> int:
    return next(kind for kind, members in waiting.items() if any(held is item for held, _, _ in members))
