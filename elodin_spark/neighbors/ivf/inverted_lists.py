"""Files of inverted lists: the codes of a shard, without the centroids that all shards share.

``codes0.index``, ``codes1.index`` and so on, each of as many codes as fitted in memory when it was
written. FAISS could merge them into one (``OnDiskInvertedLists``), but that prints to standard
output when it is read, and remembers where it lay.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.errors import CatalogError
from elodin_spark.neighbors.files import load_faiss, read_faiss
from elodin_spark.neighbors.ivf.training import Trained

_FEWEST = 4096  # codes held, whatever the memory


def read_codes(path: Path, trained: Trained, *, mapped: bool) -> Any:
    """Inverted lists of a shard, joined to the trained centroids.

    Raises
    ------
    CatalogError
        The file is truncated or not such lists.
    """
    faiss = load_faiss()
    flags = faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE if trained.mappable else 0
    if mapped and trained.mappable:
        flags |= faiss.IO_FLAG_MMAP
    ivf = read_faiss(path, flags=flags)
    if type(ivf) is not type(trained.ivf) or (ivf.nlist, ivf.code_size) != (
        trained.ivf.nlist,
        trained.ivf.code_size,
    ):
        raise CatalogError(
            f"{path} is a FAISS {type(ivf).__name__} of another configuration: build this shard again"
        )
    ivf.own_fields = False
    ivf.quantizer = trained.ivf.quantizer
    return ivf


class CodesWriter:
    """Collects codes and writes them to files.

    Parameters
    ----------
    folder : Path
        Of the shard in the making.
    trained : Trained
    memory_bytes : int
        For codes and their IDs; a file is written when they take so much.
    """

    def __init__(self, folder: Path, trained: Trained, memory_bytes: int) -> None:
        self._folder = folder
        self._trained = trained
        self._files = 0
        if trained.exact:
            return
        self._ivf = load_faiss().clone_index(trained.ivf)
        # Lists grow by doubling, and for a moment hold both.
        self._most = max(_FEWEST, memory_bytes // (3 * (trained.ivf.code_size + 8)))

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> float:
        """Code vectors; the sum of their squared quantization errors."""
        if self._trained.exact:
            return 0.0
        self._make_room(len(ids))
        projected = self._trained.project(vectors)
        lists = self._trained.nearest_lists(projected, 1)[1].ravel()
        if self._trained.mappable:
            swig_ptr = load_faiss().swig_ptr
            self._ivf.add_core(len(ids), *(swig_ptr(array) for array in (projected, ids, lists)))
        else:  # fast scan packs blocks of codes, and finds the lists itself
            self._ivf.add_with_ids(projected, ids)
        return float(self._trained.errors(vectors, projected, lists).sum())

    def copy(self, path: Path, removed: NDArray[np.int64]) -> None:
        """Take over the codes of a file, without some IDs."""
        faiss = load_faiss()
        ivf = read_codes(path, self._trained, mapped=self._trained.mappable)
        self._make_room(ivf.ntotal)
        if not self._trained.mappable:
            if removed.size:
                ivf.remove_ids(faiss.IDSelectorBatch(removed))
            self._append_blocks(ivf)
            return
        for number in range(ivf.nlist):
            size = ivf.invlists.list_size(number)
            if size == 0:  # whose pointers are null
                continue
            ids = faiss.rev_swig_ptr(ivf.invlists.get_ids(number), size)
            codes = faiss.rev_swig_ptr(ivf.invlists.get_codes(number), size * ivf.code_size)
            kept = ~np.isin(ids, removed)
            ids, codes = ids[kept], codes.reshape(size, -1)[kept]
            self._ivf.invlists.add_entries(number, ids.size, faiss.swig_ptr(ids), faiss.swig_ptr(codes))
            self._ivf.ntotal += ids.size

    def _append_blocks(self, ivf: Any) -> None:
        """Append lists of fast scan, whose codes are interleaved in blocks.

        ``BlockInvertedLists.add_entries``, and ``merge_from`` by it, write beyond a list that
        ends with a full block (FAISS 1.15): such a list is made longer, and filled here.
        """
        faiss = load_faiss()
        own, other = (faiss.downcast_InvertedLists(each.invlists) for each in (self._ivf, ivf))
        for number in range(ivf.nlist):
            before, size = own.list_size(number), other.list_size(number)
            if size == 0:
                continue
            ids, codes = other.get_ids(number), other.get_codes(number)
            if before == 0 or before % own.n_per_block:
                own.add_entries(number, size, ids, codes)
            else:
                own.resize(number, before + size)
                start, end = (-(-n // own.n_per_block) * own.block_size for n in (before, before + size))
                kept, packed = own.get_ids(number), own.get_codes(number)
                faiss.rev_swig_ptr(kept, before + size)[before:] = faiss.rev_swig_ptr(ids, size)
                faiss.rev_swig_ptr(packed, end)[start:] = faiss.rev_swig_ptr(codes, end - start)
            self._ivf.ntotal += size

    def save(self) -> None:
        """Write what was added since the last file."""
        if not self._trained.exact and (self._ivf.ntotal or not self._files):
            self._write()

    def _make_room(self, count: int) -> None:
        if self._ivf.ntotal and self._ivf.ntotal + count > self._most:
            self._write()

    def _write(self) -> None:
        """Write inverted lists without the centroids, which the trained index holds."""
        faiss = load_faiss()
        path = str(self._folder / f"codes{self._files}.index")
        self._files += 1
        if not self._trained.mappable:  # their reader needs the centroids
            faiss.write_index(self._ivf, path)
        else:
            quantizer, owned = self._ivf.quantizer, self._ivf.own_fields
            none = faiss.IndexFlatL2(self._ivf.d)
            try:
                self._ivf.own_fields, self._ivf.quantizer = False, none
                faiss.write_index(self._ivf, path)
            finally:
                self._ivf.quantizer, self._ivf.own_fields = quantizer, owned
        self._ivf.reset()
