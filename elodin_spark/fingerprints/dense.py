"""Dense mode: the network once over the image, windows pooled from its last features.

The network sees blocks of the image that overlap by twice the halo and lie on a grid that is fixed
to the image, so a vector depends on the image and the recipe only. One cell of its features stands
for 32 x 32 px; the vector of a window is the mean of the cells it covers, as the network itself
pools those of a window it is given.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elodin_spark.arrow import to_value
from elodin_spark.config.settings import CELL_PX
from elodin_spark.cutouts.layout import Layout
from elodin_spark.cutouts.picture import Picture
from elodin_spark.cutouts.pixels import to_uint8
from elodin_spark.cutouts.tile import Cutting, TileSpec, TileStage, failure_row
from elodin_spark.errors import ImageError
from elodin_spark.fingerprints.rows import Fingerprint
from elodin_spark.fingerprints.runtimes.base import Runtime
from elodin_spark.fingerprints.stage import FingerprintSpec
from elodin_spark.images.planes import Plane
from elodin_spark.stage import Locate, Stage

#: Blocks of a wide image are gone through in stripes of this many columns, so that what is kept of
#: the row above is bounded; the blocks between two stripes are run twice.
STRIPE_BLOCKS = 8

Row = dict[str, Any]


@dataclass(frozen=True)
class DenseSpec:
    """``schema.IMAGES`` to ``schema.FINGERPRINTED``: the tile and the fingerprint stage in one.

    Rows and failures are those of :class:`~elodin_spark.cutouts.tile.TileSpec` and
    :class:`~elodin_spark.fingerprints.stage.FingerprintSpec`, in the order of the blocks. The
    network sees the image as its steps leave it: pixels that a quality rule fills are filled in
    thumbnails and kept pixels, but not for the network. Rejected windows have no vector.

    Parameters
    ----------
    tile : TileSpec
        With a sliding window whose size and step are multiples of 32 px, and no cutout steps.
    network : FingerprintSpec
        Its `input_px` and `batch_size` do not matter.
    block_px : int
        Side of what the network sees at once, halo included, px.
    halo_px : int
        What it sees around the features that are kept, px. From 256 px on ResNet50 gives what a
        pass over the whole image gives.
    """

    tile: TileSpec
    network: FingerprintSpec
    block_px: int = 1536
    halo_px: int = 128

    @property
    def output_schema(self) -> pa.Schema:
        """As of :class:`~elodin_spark.fingerprints.stage.FingerprintSpec`."""
        return self.network.output_schema

    @property
    def files(self) -> tuple[str, ...]:
        """Of the network."""
        return self.network.files

    @property
    def wants_gpu(self) -> bool:
        """True: see :func:`elodin_spark.stage.wants_gpu`."""
        return True

    def build(self, locate: Locate) -> Stage:
        """Build the stage; the network comes with the first window."""
        return DenseStage(self, locate)


class FeatureMap:
    """The last features of an image, block by block.

    Parameters
    ----------
    shape : tuple of int
        Of the image, (ny, nx) or (ny, nx, 3). What is left beyond a multiple of 32 px is not seen.
    read : callable
        From a box ``x0, y0, x1, y1``, px, half-open, to its pixels, uint8.
    run : callable
        From pixels to features, as :meth:`Runtime.features`.
    block_px, halo_px : int
        As in :class:`DenseSpec`.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        read: Callable[[int, int, int, int], NDArray[np.uint8]],
        run: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
        block_px: int,
        halo_px: int,
    ) -> None:
        self._read, self._run = read, run
        self._rows, self._columns = shape[0] // CELL_PX, shape[1] // CELL_PX
        self._halo = halo_px // CELL_PX
        #: Side of what is kept of a block inside the image, cells. At its edges, where there is
        #: nothing to see around, the halo is kept too.
        self._core = block_px // CELL_PX - 2 * self._halo
        self._blocks: OrderedDict[tuple[int, int], NDArray[np.float32]] = OrderedDict()

    def groups(self, windows: NDArray[np.int32]) -> Iterator[NDArray[np.intp]]:
        """Windows that begin in one block, block after block so that few of them need be kept."""
        if not len(windows):
            return
        column, row = (
            self._block_of(windows[:, axis] // CELL_PX, cells)
            for axis, cells in enumerate((self._columns, self._rows))
        )
        keys = np.stack([column // STRIPE_BLOCKS, row, column])
        order = np.lexsort((windows[:, 2], windows[:, 0], windows[:, 1], *keys[::-1]))
        borders = np.flatnonzero(np.any(np.diff(keys[:, order], axis=1) != 0, axis=0)) + 1
        yield from np.split(order, borders)

    def pool(self, windows: NDArray[np.int32]) -> NDArray[np.float32]:
        """Vectors of windows whose corners are multiples of 32 px, shape (n, vector_length)."""
        return np.stack([self._mean(*window) for window in (windows // CELL_PX).tolist()])

    def seen_px(self) -> int:
        """Pixels that the network sees in one pass over all blocks, halos included."""
        sides = []
        for cells in (self._rows, self._columns):
            kept = [self._kept(block, cells) for block in range(int(self._block_of(cells - 1, cells)) + 1)]
            sides.append(
                sum(min(end + self._halo, cells) - max(start - self._halo, 0) for start, end in kept)
            )
        return sides[0] * sides[1] * CELL_PX**2

    def _mean(self, x0: int, y0: int, x1: int, y1: int) -> NDArray[np.float32]:
        cells = [
            np.concatenate(
                [
                    block[top:bottom, left:right]
                    for column, left, right in self._spans(x0, x1, self._columns)
                    for block in [self._block(row, column, y1 - y0)]
                ],
                axis=1,
            )
            for row, top, bottom in self._spans(y0, y1, self._rows)
        ]
        return np.concatenate(cells).mean(axis=(0, 1), dtype=np.float32)

    def _block_of(self, cell: Any, cells: int) -> Any:
        """Number of the block that keeps a cell, along an axis of so many cells."""
        last = max(0, -(-(cells - 2 * self._halo) // self._core) - 1)
        return np.clip((cell - self._halo) // self._core, 0, last)

    def _kept(self, block: int, cells: int) -> tuple[int, int]:
        """First cell that a block keeps, and one past the last."""
        start, last = block * self._core + self._halo, int(self._block_of(cells - 1, cells))
        return 0 if block == 0 else start, cells if block == last else start + self._core

    def _spans(self, start: int, stop: int, cells: int) -> Iterator[tuple[int, int, int]]:
        """Blocks along an axis that keep some of the cells, and which of theirs."""
        first, last = int(self._block_of(start, cells)), int(self._block_of(stop - 1, cells))
        for block in range(first, last + 1):
            begin, end = self._kept(block, cells)
            yield block, max(start, begin) - begin, min(stop, end) - begin

    def _block(self, row: int, column: int, side: int) -> NDArray[np.float32]:
        if (row, column) not in self._blocks:
            self._blocks[row, column] = self._compute(row, column)
            across = _reach(side, self._core)
            while len(self._blocks) > across * (STRIPE_BLOCKS + across):
                self._blocks.popitem(last=False)
        self._blocks.move_to_end((row, column))
        return self._blocks[row, column]

    def _compute(self, row: int, column: int) -> NDArray[np.float32]:
        top, bottom = self._kept(row, self._rows)
        left, right = self._kept(column, self._columns)
        y0, x0 = max(top - self._halo, 0), max(left - self._halo, 0)
        y1, x1 = min(bottom + self._halo, self._rows), min(right + self._halo, self._columns)
        pixels = self._read(x0 * CELL_PX, y0 * CELL_PX, x1 * CELL_PX, y1 * CELL_PX)
        features = self._run(pixels)
        # A copy: what was around it is let go.
        return features[top - y0 : bottom - y0, left - x0 : right - x0].copy()


def seen_pixels(shape: tuple[int, ...], block_px: int, halo_px: int) -> int:
    """Pixels that the network sees of an image of `shape`, halos included.

    Where an image is wider than :data:`STRIPE_BLOCKS` blocks, those between two stripes count once.
    """
    if min(shape[:2]) < CELL_PX:
        return 0

    def unread(*_: Any) -> Any:
        raise AssertionError("counting needs no pixels")

    return FeatureMap(shape, unread, unread, block_px, halo_px).seen_px()


def feature_bytes(block_px: int, halo_px: int, window_px: int, vector_length: int) -> int:
    """Most bytes of the features that are kept of an image, however large."""
    core = block_px // CELL_PX - 2 * (halo_px // CELL_PX)
    across = _reach(window_px // CELL_PX, core)
    return across * (STRIPE_BLOCKS + across) * core**2 * vector_length * 4


def _reach(side: int, core: int) -> int:
    """Most blocks that a window of so many cells reaches into along an axis."""
    return (side - 2) // core + 2


class DenseStage(TileStage):
    """The stage of a :class:`DenseSpec`; `runtime` is built with the first window, or set before."""

    def __init__(self, spec: DenseSpec, locate: Locate) -> None:
        super().__init__(spec.tile)
        self.output_schema = spec.output_schema
        self._dense, self._locate = spec, locate

    @cached_property
    def runtime(self) -> Runtime:
        """The network of this process."""
        return self._dense.network.load(self._locate)[0]

    def cut(self, image: Row, picture: Picture, plane: Plane, layout: Layout) -> Iterator[Row]:
        """Rows of the windows with their fingerprints."""
        spec = self._dense
        features = FeatureMap(
            picture.shape,
            lambda *box: to_uint8(picture.read(*box)),
            lambda block: self.runtime.features(block),
            spec.block_px,
            spec.halo_px,
        )
        kept = spec.network.keep_pixels
        for number, group in enumerate(features.groups(layout.windows)):
            part = layout.take(group)
            fingerprints: Mapping[tuple[int, ...], Fingerprint | ImageError] | None = None
            for row in Cutting(spec.tile, image, picture, plane, part, kept).rows(strict=number == 0):
                if row.get("rejected") is None and "failure" not in row:
                    known = spec.network.known_fingerprints(pa.array([row["cutout_id"]]), self._locate)
                    if known:
                        yield self._with_fingerprint(row, known[0], image)
                        continue
                    if fingerprints is None:  # a block whose windows are all rejected, or known, is never run
                        fingerprints = self._fingerprints(features, part, strict=number == 0)
                    row = self._with_fingerprint(row, fingerprints[_corners(row)], image)
                yield row

    def _fingerprints(
        self, features: FeatureMap, part: Layout, strict: bool
    ) -> dict[tuple[int, ...], Fingerprint | ImageError]:
        windows = [tuple(window) for window in part.windows.tolist()]
        try:
            vectors = features.pool(part.windows)
        except ImageError as error:  # its pixels cannot be read
            if strict:
                raise
            return dict.fromkeys(windows, error)
        outcomes = self._dense.network.fingerprints(vectors, self.runtime.scores(vectors), self._locate)
        return dict(zip(windows, outcomes, strict=True))

    def _with_fingerprint(self, row: Row, outcome: Fingerprint | ImageError, image: Row) -> Row:
        if isinstance(outcome, ImageError):
            return row | failure_row("fingerprints", image, outcome, row["cutout_id"])
        return row | {
            "vector": to_value(outcome.vector, self._dense.network.storage),
            "labels": outcome.labels,
            "label_scores": outcome.label_scores,
            "recipe": self._dense.network.recipe,
        }


def _corners(row: Row) -> tuple[int, ...]:
    return row["x0"], row["y0"], row["x1"], row["y1"]
