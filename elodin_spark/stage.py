"""The one contract of the pipeline.

A stage is a function over Arrow batches. It is built where it runs from a small picklable
:class:`StageSpec`, so a model is born on the executor. From that follow: the same stage
runs in a plain loop, in a test and on Spark with the same answer, and two stages fuse by
composition without their rows leaving the process.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import pyarrow as pa

#: Turns a path on the driver into a path on this machine.
Locate = Callable[[str], str]


@runtime_checkable
class Stage(Protocol):
    """Maps an iterator of batches to an iterator of batches of `output_schema`."""

    output_schema: pa.Schema

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Map the batches, lazily."""
        ...


@runtime_checkable
class StageSpec(Protocol):
    """What a stage is built from: small, picklable, holding no model and no data.

    Attributes
    ----------
    output_schema : pyarrow.Schema
        Of the stage it builds; needed before anything is built.
    files : tuple of str
        Paths on the driver that every worker needs (weights).
    """

    @property
    def output_schema(self) -> pa.Schema:
        """Of the batches that come out."""
        ...

    @property
    def files(self) -> tuple[str, ...]:
        """Paths on the driver."""
        ...

    def build(self, locate: Locate) -> Stage:
        """Build the stage; `locate` maps each of `files` to its path on this machine."""
        ...


@dataclass(frozen=True)
class Fused:
    """Several stages as one, in one process.

    Parameters
    ----------
    specs : tuple of StageSpec
        In the order they run.
    """

    specs: tuple[StageSpec, ...]

    @property
    def output_schema(self) -> pa.Schema:
        """Of the last stage."""
        return self.specs[-1].output_schema

    @property
    def files(self) -> tuple[str, ...]:
        """Of all stages."""
        return tuple(path for spec in self.specs for path in spec.files)

    def build(self, locate: Locate) -> Stage:
        """Build every stage and chain them."""
        return _Chain([spec.build(locate) for spec in self.specs])

    @property
    def wants_gpu(self) -> bool:
        """Whether any of them does."""
        return any(wants_gpu(spec) for spec in self.specs)


class _Chain:
    def __init__(self, stages: list[Stage]) -> None:
        self._stages = stages
        self.output_schema = stages[-1].output_schema

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for stage in self._stages:
            batches = stage(batches)
        return batches


@dataclass(frozen=True)
class PrefetchSpec:
    """What comes before it runs in a thread of its own, some batches ahead of what comes after.

    Between stages that wait for different things: decoding and cutting fill the next batches
    while the network works on this one. The rows and their order stay the same.

    Parameters
    ----------
    output_schema : pyarrow.Schema
        Of the stage before.
    depth : int
        Most batches held; one more is in the making.
    """

    output_schema: pa.Schema
    depth: int = 2
    files: tuple[str, ...] = ()

    def build(self, locate: Locate) -> Stage:
        """Build the stage."""
        return _Ahead(self.output_schema, self.depth)


class _Ahead:
    def __init__(self, output_schema: pa.Schema, depth: int) -> None:
        self.output_schema = output_schema
        self._depth = depth

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        ready: queue.Queue[pa.RecordBatch | _End] = queue.Queue(self._depth)
        stopped = threading.Event()

        def put(item: pa.RecordBatch | _End) -> bool:
            while not stopped.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    return True
                except queue.Full:
                    continue
            return False

        def work() -> None:
            problem: BaseException | None = None
            try:
                for batch in batches:
                    if not put(batch):
                        return
            except BaseException as error:
                problem = error
            put(_End(problem))

        thread = threading.Thread(target=work, name="elodin-prefetch", daemon=True)
        thread.start()
        try:
            while not isinstance(item := ready.get(), _End):
                yield item
            if item.problem is not None:
                raise item.problem
        finally:
            # Whoever stops early must not leave a thread that still reads.
            stopped.set()
            thread.join()


@dataclass(frozen=True)
class _End:
    """Nothing more comes, and why if that was no end."""

    problem: BaseException | None


def fuse(*specs: StageSpec) -> Fused:
    """Compose stages: ``fuse(tile, fingerprint)`` runs both in one worker."""
    if not specs:
        raise ValueError("fuse needs at least one stage")
    return Fused(tuple(specs))


def wants_gpu(spec: StageSpec) -> bool:
    """Whether the tasks of a stage should have a GPU where there are some: it says ``wants_gpu``."""
    return bool(getattr(spec, "wants_gpu", False))


def run_plain(spec: StageSpec, batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """Run a stage in this process, without Spark.

    Parameters
    ----------
    spec : StageSpec
    batches : iterable of pyarrow.RecordBatch

    Returns
    -------
    pyarrow.Table
        Of ``spec.output_schema``.
    """
    stage = spec.build(lambda path: path)
    return pa.Table.from_batches(list(stage(iter(batches))), schema=spec.output_schema)
