"""One pass over the rows of a set of cutouts, by row groups: what petastorm does, with Arrow alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow.fs import LocalFileSystem

from elodin_spark.errors import InputError
from elodin_spark.learning.cutoutset import CutoutSet

T = TypeVar("T")


class Pass(Protocol):
    """Reads the rows of a shard once."""

    def __call__(
        self, cutouts: CutoutSet, shard: int, shards: int, seed: int | None
    ) -> Iterator[pd.DataFrame]:
        """Give the rows of its row groups, a group at a time.

        Parameters
        ----------
        cutouts : CutoutSet
        shard, shards : int
            The row groups are dealt to shards by turns: the i-th goes to shard i mod `shards`.
        seed : int or None
            Of the order of the row groups; None for that of the files.

        Yields
        ------
        DataFrame
            See :meth:`CutoutSet.tidy`.
        """
        ...


def arrow_pass(cutouts: CutoutSet, shard: int, shards: int, seed: int | None) -> Iterator[pd.DataFrame]:
    """Read by Arrow's datasets; see :class:`Pass`."""
    groups = cutouts.row_groups[shard::shards]
    order = range(len(groups)) if seed is None else np.random.default_rng(seed).permutation(len(groups))
    parquet = ds.ParquetFileFormat()
    for place in order:
        group = groups[place]
        fragment = parquet.make_fragment(group.file, LocalFileSystem(), row_groups=[group.number])
        with readable(f"row group {group.number} of {group.file}"):
            # One thread: what costs is decoding, which has its own.
            table = fragment.to_table(columns=cutouts.columns, use_threads=False)
        yield cutouts.tidy(table.to_pandas())


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Say by InputError what cannot be read, in place of what Arrow raises."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{what} cannot be read ({str(error)[:200]}): write the file again") from None


def shuffled(rows: Iterable[T], buffer_rows: int, rng: np.random.Generator) -> Iterator[T]:
    """Rows in random order: each is drawn from the `buffer_rows` that were read before it goes.

    With a buffer that holds all of them, every order is as likely.
    """
    held: list[T] = []
    for row in rows:
        if len(held) < buffer_rows:
            held.append(row)
            continue
        place = int(rng.integers(buffer_rows))
        row, held[place] = held[place], row
        yield row
    for place in rng.permutation(len(held)):
        yield held[place]
