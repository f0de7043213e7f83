"""How the vectors of an archive are coded, from its size and the memory at hand.

Measured on 10^5 clustered vectors of 2048 components (`benchmarks/neighbors.py`; docs/neighbors.md
has the table): after PCA to 256 components and a random rotation, one-bit RaBitQ codes of 40 bytes
keep 0.998 of the true ten nearest among 100 candidates; PQ fast-scan codes of 64 bytes keep no more,
cannot be memory-mapped, and OPQ takes minutes to train.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from elodin_spark.errors import ConfigError

#: How the vectors lie on disk for the exact ranking of candidates, and FAISS's name of it.
STORES = {"f32": "Flat", "f16": "SQfp16", "sq8": "SQ8"}
Store = Literal["f32", "f16", "sq8"]

FLAT = "Flat"  # the exact index's factory string

_ID_BYTES = 8
_LOOKUP_BYTES = 16  # on disk: an ID in order, and its row
_LEAST_LISTS, _MOST_LISTS = 16, 1 << 18
_HNSW_FROM = 1 << 11  # lists from which finding the nearest centroids by HNSW beats comparing all
_HNSW_BYTES = 272  # links of one centroid in HNSW32
_PER_LIST, _FEWEST_PER_LIST = 50, 39  # training vectors; k-means in FAISS wants 39 to 256
_LEAST_TRAINING = 20_000  # for the covariance of some thousand components
_FEW_COMPONENTS = 64  # one bit of each says too little


@dataclass(frozen=True)
class IndexConfig:
    """How vectors are coded, searched and ranked.

    Attributes
    ----------
    factory : str
        FAISS factory string of the codes; ``Flat`` for the exact index.
    store : {'f32', 'f16', 'sq8'}
        Vectors on disk, memory-mapped, by which candidates are ranked exactly.
    dimension : int
        Components of a vector.
    count : int
        Vectors expected.
    lists : int
        Inverted lists; 0 for the exact index.
    code_bytes : int
        Of one code, without its ID; 0 for the exact index.
    training : int
        Vectors to train on.
    nprobe : int
        Lists scanned for a query, until a calibration says how many it takes.
    candidates : int
        Vectors ranked exactly for a query, likewise.
    mapped : bool
        Codes stay on disk, memory-mapped, because they would not fit in the memory given.
    """

    factory: str
    store: Store
    dimension: int
    count: int
    lists: int
    code_bytes: int
    training: int
    nprobe: int
    candidates: int
    mapped: bool = False

    @property
    def exact(self) -> bool:
        """Whether every vector is compared."""
        return self.factory == FLAT

    @property
    def faiss_factory(self) -> str:
        """The whole FAISS factory string: the codes and the store."""
        return f"{self.factory},Refine({STORES[self.store]})"

    @property
    def store_bytes(self) -> int:
        """Bytes of one stored vector on disk."""
        return self.dimension * {"f32": 4, "f16": 2, "sq8": 1}[self.store]

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory per vector: its code and its ID, or the vector itself where exact.

        Memory-mapped codes take none that must be there.
        """
        if self.exact:
            return self.store_bytes + _ID_BYTES + _LOOKUP_BYTES
        return 0 if self.mapped else self.code_bytes + _ID_BYTES

    @property
    def disk_bytes(self) -> int:
        """Bytes of disk per vector: code and ID, stored vector, sorted ID and row."""
        if self.exact:
            return self.store_bytes + _ID_BYTES
        return self.code_bytes + _ID_BYTES + self.store_bytes + _LOOKUP_BYTES

    @property
    def fixed_bytes(self) -> int:
        """Bytes of the trained part, once in memory and once on disk: centroids and projection."""
        if self.exact:
            return 0
        width = _width(self.factory, self.dimension)
        links = _HNSW_BYTES if "HNSW" in self.factory else 0
        projection = 0 if width == self.dimension else 4 * width * self.dimension
        return self.lists * (4 * width + links) + projection

    def describe(self) -> str:
        """One line for people: the codes, the bytes, the ranking."""
        memory, disk = (in_words(self.count * each) for each in (self.memory_bytes, self.disk_bytes))
        if self.exact:
            return f"exact: every vector in memory, {memory} for {self.count:,} vectors"
        where = "memory-mapped codes" if self.mapped else f"{memory} of codes in memory"
        return (
            f"{self.factory}: {where} ({self.code_bytes + _ID_BYTES} B/vector), {disk} on disk; "
            f"{self.nprobe} of {self.lists} lists scanned, {self.candidates} candidates ranked exactly "
            f"by {self.store} vectors; trained on {self.training:,}"
        )


def choose_index_config(
    count: int,
    dimension: int,
    memory_bytes: int,
    recall: float = 0.95,
    *,
    factory: str | None = None,
    store: Store | None = None,
) -> IndexConfig:
    """Choose how to code an archive.

    Exact while all vectors fit in memory; beyond, PCA, a random rotation, inverted lists and
    RaBitQ codes (Gao and Long 2024, SIGMOD, arXiv:2405.12497), in memory or memory-mapped.

    Parameters
    ----------
    count : int
        Vectors expected, at least 1.
    dimension : int
        Components of a vector.
    memory_bytes : int
        Memory for the index in the process that searches.
    recall : float, optional
        Share of the true ten nearest to be found, in (0, 1].
    factory : str, optional
        A FAISS factory string with inverted lists, or ``Flat``, in place of the choice.
    store : {'f32', 'f16', 'sq8'}, optional
        Vectors on disk, in place of the choice.

    Raises
    ------
    ConfigError
        A number is out of range, or FAISS does not know the factory string.
    """
    for name, value in (("count", count), ("dimension", dimension), ("memory_bytes", memory_bytes)):
        if value < 1:
            raise ConfigError(f"an index index_config needs {name} of at least 1, got {value}")
    if not 0 < recall <= 1:
        raise ConfigError(f"recall is a share of the true neighbors in (0, 1], got {recall}")
    if store is not None and store not in STORES:
        raise ConfigError(f"vectors can be stored as {', '.join(STORES)}, not {store!r}")
    exact = IndexConfig(FLAT, store or "f32", dimension, count, 0, 0, 0, 0, 0)
    if factory == FLAT or (factory is None and count * exact.memory_bytes <= memory_bytes):
        return exact
    chosen = factory or _coded(count, dimension, recall)
    lists, code_bytes = _inspect(chosen, dimension)
    return IndexConfig(
        factory=chosen,
        store=store or ("sq8" if recall < 0.9 else "f16" if recall <= 0.995 else "f32"),
        dimension=dimension,
        count=count,
        lists=lists,
        code_bytes=code_bytes,
        training=min(count, max(_LEAST_TRAINING, _PER_LIST * lists)),
        nprobe=min(lists, max(8, round(math.sqrt(lists) / 2))),
        candidates=100 if recall <= 0.95 else 200 if recall <= 0.99 else 400,
        mapped=count * (code_bytes + _ID_BYTES) > memory_bytes,
    )


def memory_table(dimension: int = 2048, memory_bytes: int = 64 << 30, recall: float = 0.95) -> str:
    """The configurations for archives of 10^5 to 10^10 vectors, as a Markdown table."""
    lines = [
        "| vectors | index_config | memory | B/vector | disk | B/vector | trained part | training sample |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for count in (10**5, 10**6, 10**7, 10**8, 10**9, 10**10):
        index_config = choose_index_config(count, dimension, memory_bytes, recall)
        kinds = (
            [index_config]
            if not index_config.exact
            else [index_config, choose_index_config(count, dimension, 1, recall)]
        )
        for each in kinds:
            resident = each.memory_bytes if each.exact else each.code_bytes + _ID_BYTES
            where = " (or mapped)" if each is index_config and each.mapped else ""
            lines.append(
                f"| 10^{round(math.log10(count))} | `{each.factory}` | {in_words(count * resident)}{where} "
                f"| {resident:,} | {in_words(count * each.disk_bytes)} | {each.disk_bytes:,} "
                f"| {in_words(each.fixed_bytes)} | {each.training:,} |"
            )
    return "\n".join(lines) + "\n"


def in_words(size: float) -> str:
    """Bytes as people say them, in powers of 1000: ``4.8 GB``."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.3g} {unit}" if size < 1000 else f"{size:,.0f} {unit}"


def list_count(count: int) -> int:
    """Inverted lists for `count` vectors: the power of two near four times the root.

    Fewer where the vectors would not suffice to train so many.
    """
    wanted = 2 ** round(math.log2(4 * math.sqrt(count)))
    trainable = 2 ** int(math.log2(max(count / _FEWEST_PER_LIST, 1)))
    return int(min(max(min(wanted, trainable), _LEAST_LISTS), _MOST_LISTS))


def _coded(count: int, dimension: int, recall: float) -> str:
    lists = list_count(count)
    coarse = f"IVF{lists}_HNSW32" if lists >= _HNSW_FROM else f"IVF{lists}"
    if dimension <= _FEW_COMPONENTS:
        return f"{coarse},SQ8"
    width = min(dimension, 512 if recall > 0.99 else 256)
    return f"PCAR{width},{coarse},RaBitQ"


def _inspect(factory: str, dimension: int) -> tuple[int, int]:
    """Lists and bytes of a code, as FAISS reads a factory string."""
    import faiss

    if "Refine" in factory:
        raise ConfigError(f"{factory!r}: leave out Refine(...), every index_config ranks by stored vectors")
    try:
        index = faiss.index_factory(dimension, factory)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1][-200:]
        raise ConfigError(f"FAISS cannot make {factory!r} of {dimension} components [{reason}]") from None
    ivf: Any = faiss.try_extract_index_ivf(index)
    if ivf is None or isinstance(faiss.downcast_index(index), faiss.IndexRefine):
        raise ConfigError(
            f"{factory!r} has no inverted lists: only those can be cut into shards that answer as one; "
            "take for example 'PCAR256,IVF4096,RaBitQ', or 'Flat' for the exact index"
        )
    return int(ivf.nlist), int(ivf.code_size)


def _width(factory: str, dimension: int) -> int:
    """Components after the projections of a factory string."""
    widths = re.findall(r"(?:^|,)(?:PCA[RW]{0,2}|OPQ\d+_|ITQ|RR)(\d+)(?=,)", factory)
    return int(widths[-1]) if widths else dimension
