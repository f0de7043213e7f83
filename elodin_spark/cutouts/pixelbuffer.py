"""Pixels of many windows in one piece of memory, which becomes an Arrow column as it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elodin_spark.cutouts.pixels import channel_of

#: First and one past the last byte of a window in the buffer.
Place = tuple[int, int]

_WINDOWS_EXPECTED = 64


class PixelBuffer:
    """Windows copied one behind the other: each is copied once on its way from image to Arrow."""

    def __init__(self) -> None:
        self._values = np.empty(0, np.uint8)
        self._used = 0

    def __len__(self) -> int:
        """Bytes held."""
        return self._used

    def add(self, window: NDArray[np.uint8]) -> Place:
        """Copy a window of any shape, in C order; gives its place."""
        start, end = self._used, self._used + window.size
        if end > self._values.size:
            # Windows are mostly of one size, so at first there is room for a batch of such.
            grown = np.empty(max(end, 2 * start or _WINDOWS_EXPECTED * window.size), np.uint8)
            grown[:start] = self._values[:start]
            self._values = grown
        target = self._values[start:end].reshape(window.shape)
        channel = channel_of(window)
        if channel is not None:
            import cv2

            cv2.cvtColor(channel, cv2.COLOR_GRAY2RGB, dst=target)  # several times faster than NumPy
        else:
            target[...] = window
        self._used = end
        return start, end

    def take(self, places: Sequence[Place | None]) -> pa.BinaryArray:
        """Give the windows away as a column and start anew.

        Parameters
        ----------
        places : sequence of (int, int) or None
            Of all windows in the order they were added; None is null.
        """
        ends = [0]
        for place in places:
            ends.append(ends[-1] if place is None else place[1])
        there = pa.array([place is not None for place in places], pa.bool_())
        content = pa.py_buffer(self._values[: self._used])
        self._values, self._used = np.empty(0, np.uint8), 0
        return pa.Array.from_buffers(
            pa.binary(), len(places), [there.buffers()[1], pa.py_buffer(np.array(ends, np.int32)), content]
        )
