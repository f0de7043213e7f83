"""Queries that are no cutouts of the index: vectors, with or without their label sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import InputError
from elodin_spark.neighbors.distance import LARGEST
from elodin_spark.neighbors.lookup import ids_array


@dataclass(frozen=True, eq=False)
class Outside:
    """Queries from outside; the first has the ID -1, the next -2, and so on.

    Attributes
    ----------
    vectors : ndarray of float32, shape (q, d)
    sets : list of q ndarrays of int32, or None
        Their labels, where they are known.
    """

    vectors: NDArray[np.float32]
    sets: Sequence[NDArray[np.int32]] | None = None

    @property
    def ids(self) -> NDArray[np.int64]:
        """Their IDs, int64, shape (q,); no cutout has a negative one."""
        return -1 - np.arange(len(self.vectors), dtype=np.int64)

    def rows(self, ids: ArrayLike) -> Outside:
        """Those with some of the IDs."""
        at = -1 - ids_array(ids)
        return Outside(self.vectors[at], None if self.sets is None else [self.sets[row] for row in at])


@runtime_checkable
class AnswersOutside(Protocol):
    """An index that can be asked with them."""

    def __len__(self) -> int: ...

    def search_outside(self, queries: Outside, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Nearest `k` of each query, as :class:`~elodin_spark.neighbors.search.Index` has them."""


@dataclass(frozen=True, eq=False)
class FromOutside:
    """An index whose queries are from outside: an :class:`~elodin_spark.neighbors.search.Index`.

    Parameters
    ----------
    index : AnswersOutside
    queries : Outside
    """

    index: Any
    queries: Outside

    def __len__(self) -> int:
        return len(self.index)

    def search_ids(self, ids: ArrayLike, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Nearest cutouts of queries, given by their negative IDs."""
        some = self.queries.rows(ids)
        if isinstance(self.index, AnswersOutside):
            return self.index.search_outside(some, k)
        return self.index.search(some.vectors, k)


def checked_vector(vector: ArrayLike | str | Path, dimension: int) -> NDArray[np.float32]:
    """A vector to ask with.

    Parameters
    ----------
    vector : array_like of numbers, shape (d,), or str or Path
        The path of an ``.npy`` file with one.
    dimension : int
        d of the catalog.

    Returns
    -------
    ndarray of float32, shape (d,)

    Raises
    ------
    InputError
        The file cannot be read; the vector has another shape or type, or is not finite.
    """
    where = "the vector"
    if isinstance(vector, str | Path):
        where, vector = f"the vector of {vector}", _loaded(Path(vector))
    try:
        array = np.asarray(vector)
    except ValueError as error:
        raise InputError(f"{where} is no array of numbers: {error}") from None
    if array.dtype.kind not in "fiu" or array.shape != (dimension,):
        raise InputError(
            f"{where} is {array.dtype} of shape {array.shape}; those of this catalog are float32 of shape "
            f"({dimension},)"
        )
    bad = np.flatnonzero(~(np.abs(array.astype(np.float64)) <= LARGEST))
    if bad.size:
        raise InputError(f"component {bad[0]} of {where} is {array[bad[0]]}: it must be finite")
    return array.astype(np.float32)


def _loaded(path: Path) -> NDArray[Any]:
    try:
        found = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}; give an .npy file with one vector") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is not an .npy file with one vector: {str(error)[:200]}") from None
    if not isinstance(found, np.ndarray):
        raise InputError(f"{path} holds several arrays; give an .npy file with one vector")
    return found
