"""What was made last, kept within a bound on bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable


class Recent:
    """Bytes by a key; those that were not asked for longest go first. Threads may share it.

    Parameters
    ----------
    most_bytes : int
    """

    def __init__(self, most_bytes: int) -> None:
        self._most, self._bytes = most_bytes, 0
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> bytes | None:
        """What is kept by a key; None where nothing is."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key]

    def put(self, key: Hashable, value: bytes) -> None:
        """Keep bytes, unless they are more than the bound."""
        if len(value) > self._most:
            return
        with self._lock:
            self._bytes -= len(self._kept.pop(key, b""))
            self._kept[key] = value
            self._bytes += len(value)
            while self._bytes > self._most:
                _, gone = self._kept.popitem(last=False)
                self._bytes -= len(gone)

    def or_make(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """What is kept, or what `make` gives, which is kept from now on."""
        found = self.get(key)
        if found is None:
            found = make()
            self.put(key, found)
        return found
