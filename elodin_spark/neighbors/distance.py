"""Which vectors are admitted to an index, and how far apart they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import CatalogError, InputError
from elodin_spark.neighbors.files import load_faiss

#: Largest component; beyond, float32 squares summed by FAISS could overflow.
LARGEST = 1e16

_ROWS_AT_ONCE_BYTES = 4 << 20  # of float64: they stay in the cache
_NAMED = 5  # cutouts spelt out in a message


def exact_distances(
    query: NDArray[np.float32], vectors: NDArray[np.float32], positions: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Euclidean distances, computed in float64, from a query to the vectors at `positions`.

    Equal vectors get equal bits wherever they are stored.

    Parameters
    ----------
    query : ndarray of float32, shape (d,)
    vectors : ndarray of float32, shape (n, d)
    positions : ndarray of int64, shape (m,)

    Returns
    -------
    ndarray of float64, shape (m,)
    """
    wide = query.astype(np.float64)
    out = np.empty(len(positions), np.float64)
    step = max(1, _ROWS_AT_ONCE_BYTES // (8 * query.size))
    for start in range(0, len(positions), step):
        difference = vectors[positions[start : start + step]].astype(np.float64)
        difference -= wide
        np.square(difference, out=difference)
        out[start : start + step] = difference.sum(axis=1)
    return np.sqrt(out, out=out)


def squared_float32(
    query: NDArray[np.float32], vectors: NDArray[np.float32], out: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Sums of squared differences in float32, whose rounding error is relative to the sum itself.

    Parameters
    ----------
    query : ndarray of float32, shape (d,)
    vectors : ndarray of float32, shape (m, d)
        C-contiguous.
    out : ndarray of float32, shape (at least m,)
        Written to.

    Returns
    -------
    ndarray of float32, shape (m,)
        A view of `out`.
    """
    faiss = load_faiss()
    pointers = (faiss.swig_ptr(array) for array in (out, query, vectors))
    faiss.fvec_L2sqr_ny(*pointers, query.size, len(vectors))
    return out[: len(vectors)]


def widened(squared: Any, dimension: int) -> Any:
    """What :func:`squared_float32` gives at most for vectors as near as `squared`, a float or an array.

    The sums err by a factor of at most 1 + gamma, for the limit itself and for each vector.
    """
    return squared * (1 + 4 * gamma(dimension)) + underflow(dimension)


def gamma(dimension: int) -> float:
    """Relative error of a float32 sum of products (Higham 2002, Accuracy and Stability, section 3.1)."""
    rounding = (dimension + 16) * 2.0**-24  # some operations beyond the sum itself
    return rounding / (1 - rounding)


def underflow(dimension: int) -> float:
    """Absolute error from products below the smallest normal float32."""
    return dimension * 1e-36


def vectors_array(vectors: ArrayLike, dimension: int, source: str) -> NDArray[np.float32]:
    """Vectors as contiguous float32, shape (n, dimension).

    Raises
    ------
    CatalogError
        Another shape.
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != dimension:
        raise CatalogError(
            f"{source} takes vectors of shape (n, {dimension}), got {rows.shape}: "
            "they come from another backbone or recipe"
        )
    return rows


def checked_vectors(
    vectors: ArrayLike,
    dimension: int,
    source: str,
    ids: NDArray[np.int64] | None = None,
    largest: float = LARGEST,
) -> NDArray[np.float32]:
    """Vectors as contiguous float32, shape (n, dimension), all of them finite.

    Parameters
    ----------
    vectors : array_like, shape (n, dimension)
    dimension : int
    source : str
        Who takes them, for messages.
    ids : ndarray of int64, shape (n,), optional
        Whose they are, for messages.
    largest : float, optional
        Largest component that can be kept.

    Raises
    ------
    CatalogError
        Another shape or number, NaN, infinity, or components too large.
    """
    rows = vectors_array(vectors, dimension, source)
    if ids is not None and len(ids) != len(rows):
        raise CatalogError(f"{source}: a batch holds {len(ids)} IDs but {len(rows)} vectors")
    bad = ~(np.abs(rows).max(axis=1, initial=0) <= largest)
    if bad.any():
        named = "" if ids is None else f" (cutouts {', '.join(map(str, ids[bad][:_NAMED]))})"
        raise CatalogError(
            f"{source}: {bad.sum()} vector(s) hold NaN, infinity or values beyond {largest:g}"
            f"{named}: drop them or fingerprint them again"
        )
    return rows


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
