"""What all shards of an archive share: projection, centroids and codebooks, trained once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elodin_spark.errors import CatalogError, InputError
from elodin_spark.neighbors.distance import LARGEST, checked_vectors, vectors_array
from elodin_spark.neighbors.files import existing, load_faiss, read_faiss, read_json, written_whole
from elodin_spark.neighbors.gpu import clustering_on_gpus
from elodin_spark.neighbors.ivf.factory import FLAT, IndexConfig

_ROWS = 4096  # at once
_MOST_FOR_PROJECTION = 65_536  # rows; more change the covariance little
_BLOCK = 1024  # rows that are projected at once
#: Rows that BLAS sees at once, always: its rounding depends on their number. Whether a vector
#: comes alone or among others, its code and its answer are the same.
ADD_BLOCK, QUERY_BLOCK = 256, 16
_LARGEST_F16 = 6e4


class Trained:
    """A trained, empty index: it codes vectors and finds the lists to scan; never changed.

    Made by :func:`train` or :meth:`load`.

    Parameters
    ----------
    index : faiss.Index
        A ``faiss.IndexRefine`` over inverted lists, or a flat one over a flat one.
    digest : str
        SHA-256 of its file, which names what shards belong to it.
    source : str
    """

    def __init__(self, index: Any, digest: str, source: str) -> None:
        faiss = load_faiss()

        self.digest = digest
        self.source = source
        refine = isinstance(index, faiss.IndexRefine)
        self._index = index  # owns all below
        base = faiss.downcast_index(index.base_index) if refine else index
        self._store: Any = faiss.downcast_index(index.refine_index) if refine else None
        ivf = faiss.try_extract_index_ivf(base)
        self.ivf: Any = None if ivf is None else faiss.downcast_index(ivf)
        flat = isinstance(base, faiss.IndexFlatL2)
        if not refine or not hasattr(self._store, "sa_encode") or (self.ivf is None and not flat):
            raise CatalogError(f"{source} is a FAISS {type(index).__name__}, not a trained index of ours")
        if index.ntotal or not index.is_trained:
            raise CatalogError(f"{source} holds vectors or is not trained: train it again")
        self.dimension = int(index.d)
        self._chain = _transforms(base)
        self._largest = LARGEST
        if isinstance(self._store, faiss.IndexScalarQuantizer) and self._store.sq.qtype in (
            faiss.ScalarQuantizer.QT_fp16,
        ):
            self._largest = _LARGEST_F16
        # Some fast-scan indices compute tables from the centroids when they are read.
        blocks = self.ivf is not None and isinstance(
            faiss.downcast_InvertedLists(self.ivf.invlists), faiss.BlockInvertedLists
        )
        self.mappable = self.ivf is not None and not blocks

    @classmethod
    def load(cls, path: str | Path) -> Trained:
        """Read what :func:`train` wrote.

        Raises
        ------
        CatalogError
            The file is missing, truncated, or not such an index.
        """
        path = existing(path, "trained index")
        return cls(read_faiss(path), _digest(path), str(path))

    @property
    def exact(self) -> bool:
        """Whether there are no codes and every stored vector is compared."""
        return self.ivf is None

    @property
    def lists(self) -> int:
        """Inverted lists; 0 where exact."""
        return 0 if self.exact else int(self.ivf.nlist)

    @property
    def row_bytes(self) -> int:
        """Bytes of one stored vector."""
        return int(self._store.sa_code_size())

    def checked(self, vectors: ArrayLike, what: str, ids: NDArray[np.int64] | None = None) -> NDArray:
        """Vectors as float32, shape (n, d), all of them finite and within the store's range.

        Raises
        ------
        CatalogError
            Another shape, NaN, infinity, or components too large.
        """
        return checked_vectors(vectors, self.dimension, what, ids, self._largest)

    def project(self, vectors: NDArray[np.float32], block: int = ADD_BLOCK) -> NDArray[np.float32]:
        """What the codes are made of: PCA and rotation applied, shape (n, width)."""
        for transform in self._chain:
            (vectors,) = _in_blocks(partial(_applied, transform), vectors, block)
        return vectors

    def nearest_lists(
        self, projected: NDArray[np.float32], nprobe: int, block: int = ADD_BLOCK
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Squared distances to the nearest centroids, and their lists, both of shape (n, nprobe)."""
        distances, lists = _in_blocks(lambda rows: self.ivf.quantizer.search(rows, nprobe), projected, block)
        return distances, lists

    def encode(self, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Vectors to stored rows, uint8, shape (n, row_bytes)."""
        return self._store.sa_encode(vectors)

    def decode(self, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Stored rows to vectors, float32, shape (n, d)."""
        return self._store.sa_decode(np.ascontiguousarray(rows))

    def errors(
        self, vectors: NDArray[np.float32], projected: NDArray[np.float32], lists: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Squared distances of vectors from their lists' centroids, shape (n,), with what projection lost."""
        near = self.ivf.quantizer.reconstruct_batch(lists)
        for transform in reversed(self._chain):
            near = transform.reverse_transform(near)
        return np.einsum("ij,ij->i", vectors - near, vectors - near, dtype=np.float64)


def train(
    index_config: IndexConfig,
    batches: Iterable[ArrayLike],
    path: str | Path,
    *,
    seed: int = 0,
    threads: int = 1,
) -> Trained:
    """Train an index on a sample, and write ``path`` and, beside it, ``path`` with ``.json``.

    Holds the projected sample in memory, and up to 65,536 vectors of it for the projection.

    Parameters
    ----------
    index_config : IndexConfig
    batches : iterable of array_like of float32, shape (n, d)
        A sample drawn evenly from the archive, about ``index_config.training`` vectors.
    path : str or Path
        The trained index to write; ready to be shipped to workers.
    seed : int, optional
        Of k-means and rotations.
    threads : int, optional
        OpenMP threads.

    Raises
    ------
    CatalogError
        A vector is not finite or of another dimension.
    InputError
        There are fewer vectors than lists.
    """
    faiss = load_faiss()

    path = Path(path)
    with omp_threads(threads):
        index = faiss.index_factory(index_config.dimension, index_config.faiss_factory)
        count, mean_error = _fit(index, index_config, batches, seed)
        with written_whole(path) as temporary:
            faiss.write_index(index, str(temporary))
    trained = Trained.load(path)
    record = {
        "factory": index_config.faiss_factory,
        "dimension": index_config.dimension,
        "digest": trained.digest,
        "seed": seed,
        "sample": count,
        "nprobe": index_config.nprobe,
        "candidates": index_config.candidates,
        "quantization_error": mean_error,
    }
    with written_whole(path.with_name(f"{path.name}.json")) as temporary:
        temporary.write_text(json.dumps(record, indent=1))
    return trained


def training_record(path: str | Path) -> dict[str, Any]:
    """Read what :func:`train` says of a trained index: index_config, seed, sample size and its error.

    Raises
    ------
    CatalogError
        The file is missing or damaged.
    """
    path = Path(path)
    beside = path.with_name(f"{path.name}.json")
    record = read_json(beside, "training record")
    if missing := {"digest", "nprobe", "candidates", "quantization_error"} - record.keys():
        raise CatalogError(f"{beside} lacks {', '.join(sorted(missing))}: train the index again")
    return record


def _blocks(batches: Iterable[ArrayLike], dimension: int) -> Iterator[NDArray[np.float32]]:
    """The vectors in blocks of one size, the last one smaller.

    A product of matrices is rounded differently for another number of rows on some CPUs: what is trained must
    not depend on how the sample comes.
    """
    held: list[NDArray[np.float32]] = []
    count = 0
    for batch in batches:
        rows = vectors_array(batch, dimension, "the training sample")
        if not (np.abs(rows).max(initial=0) <= LARGEST):
            raise CatalogError("the training sample holds NaN, infinity or huge values: draw it again")
        while count + len(rows) >= _BLOCK:
            here = _BLOCK - count
            yield np.concatenate([*held, rows[:here]])
            held, count, rows = [], 0, rows[here:]
        if len(rows):
            held.append(rows.copy())
            count += len(rows)
    if held:
        yield np.concatenate(held)


def _fit(index: Any, index_config: IndexConfig, batches: Iterable[ArrayLike], seed: int) -> tuple[int, float]:
    """Train `index` in place; how many vectors there were, and their mean squared error."""
    faiss = load_faiss()

    base, store = faiss.downcast_index(index.base_index), faiss.downcast_index(index.refine_index)
    pre = isinstance(base, faiss.IndexPreTransform)
    chain = (
        [faiss.downcast_VectorTransform(base.chain.at(i)) for i in range(base.chain.size())] if pre else []
    )
    ivf = faiss.try_extract_index_ivf(base)
    _seed(chain, ivf, seed)
    head: list[NDArray[np.float32]] = []
    projected: list[NDArray[np.float32]] = []
    count, lost, fitted = 0, 0.0, False

    def fit_projection() -> None:
        sample = np.concatenate(head)
        store.train(sample)
        for transform in chain:
            if not transform.is_trained:
                transform.train(sample)
            sample = transform.apply(sample)

    def project(rows: NDArray[np.float32]) -> None:
        nonlocal lost
        down = rows
        for transform in chain:
            down = transform.apply(down)
        back = down
        for transform in reversed(chain):
            back = transform.reverse_transform(back)
        lost += float(np.einsum("ij,ij->", rows - back, rows - back, dtype=np.float64))
        projected.append(down)

    for rows in _blocks(batches, index_config.dimension):
        count += len(rows)
        if fitted:
            project(rows)
            continue
        head.append(rows)
        if count >= _MOST_FOR_PROJECTION:
            fit_projection()
            for part in head:
                project(part)
            fitted, head = True, []
    if count < max(1, index_config.lists):
        raise InputError(
            f"{count} vectors cannot train {index_config.lists} inverted lists: give at least "
            f"{index_config.lists}, better {index_config.training}; or take the exact index"
        )
    if not fitted:
        fit_projection()
        for part in head:
            project(part)
    if index_config.factory == FLAT:
        index.is_trained = True
        return count, 0.0
    sample = np.concatenate(projected)
    with clustering_on_gpus(ivf):
        ivf.train(sample)
    for outer in (base, index):
        outer.is_trained = True
    near = 0.0
    for at in range(0, len(sample), _ROWS):
        near += float(ivf.quantizer.search(sample[at : at + _ROWS], 1)[0].sum(dtype=np.float64))
    return count, (lost + near) / count


def _applied(transform: Any, rows: NDArray[np.float32]) -> tuple[NDArray[np.float32]]:
    return (transform.apply(rows),)


def _in_blocks(
    function: Callable[[NDArray[np.float32]], tuple[NDArray, ...]], rows: NDArray[np.float32], block: int
) -> list[NDArray]:
    """Apply a function of rows to blocks of just `block` rows, the last padded with zeros."""
    count = len(rows)
    if count % block or not count:
        padding = np.zeros((block - count % block, rows.shape[1]), np.float32)
        rows = np.concatenate([rows, padding])
    parts = [function(rows[at : at + block]) for at in range(0, len(rows), block)]
    return [np.concatenate(part)[:count] for part in zip(*parts, strict=True)]


def _transforms(base: Any) -> list[Any]:
    faiss = load_faiss()

    if not isinstance(base, faiss.IndexPreTransform):
        return []
    chain: Any = base.chain
    return [faiss.downcast_VectorTransform(chain.at(at)) for at in range(chain.size())]


def _seed(chain: list[Any], ivf: Any, seed: int) -> None:
    faiss = load_faiss()

    if ivf is not None:
        ivf.cp.seed = seed + 1234
        for name in ("pq", "rabitq"):
            part = getattr(ivf, name, None)
            if part is not None and hasattr(part, "cp"):
                part.cp.seed = seed + 1234
    for transform in chain:
        if isinstance(transform, faiss.RandomRotationMatrix):
            transform.init(seed + 5)


@contextmanager
def omp_threads(threads: int) -> Iterator[None]:
    """FAISS's OpenMP threads of this thread for a while.

    Raises
    ------
    InputError
        `threads` is below 1.
    """
    faiss = load_faiss()

    if threads < 1:
        raise InputError(f"threads must be at least 1, got {threads}")
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
