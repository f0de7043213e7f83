"""Progress of long work: a bar on a terminal, sparse lines in a log file."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TextIO


class Progress:
    """Counts what is done of `total`.

    On a terminal it is a tqdm bar. Elsewhere (a log file, a pipe) it is one line at the
    start, one at the end, and one every `interval_s` seconds between, without control
    characters.

    Parameters
    ----------
    total : int
    what : str
        What is being done.
    unit : str
        What is counted.
    stream : file, optional
        Standard error by default.
    interval_s : float
        Between lines where the stream is no terminal.
    begun : int
        What was done before.
    at_most : bool
        Less than `total` may be all there is, so nothing is said of the time left.
    """

    def __init__(
        self,
        total: int,
        what: str,
        unit: str,
        stream: TextIO | None = None,
        interval_s: float = 15.0,
        begun: int = 0,
        at_most: bool = False,
    ) -> None:
        self.total, self.what, self.unit = total, what, unit
        self._at_most, self._wanted = at_most, f"at most {total}" if at_most else str(total)
        self._stream = stream or sys.stderr
        self._interval_s = interval_s
        self._done = self._begun = begun
        self._started = self._printed = time.monotonic()
        self._bar: Any = None
        if self._stream.isatty():
            # Only here: commands that show no bar begin sooner.
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, desc=what, unit=unit, file=self._stream, dynamic_ncols=True, initial=begun
            )
        else:
            self._line(f"{what}: {begun} of {self._wanted} {unit}")

    def to(self, done: int) -> None:
        """Set what is done; it never goes back."""
        done = min(max(done, self._done), self.total)
        step, self._done = done - self._done, done
        if self._bar is not None:
            self._bar.update(step)
            return
        now = time.monotonic()
        if step and done < self.total and now - self._printed >= self._interval_s:
            left_s = (now - self._started) / (done - self._begun) * (self.total - done)
            left = "" if self._at_most else f", about {left_s:.0f} s left"
            self._line(f"{self.what}: {done} of {self._wanted} {self.unit}{left}")
            self._printed = now

    def add(self, step: int = 1) -> None:
        """Count `step` more."""
        self.to(self._done + step)

    def say(self, text: str) -> None:
        """Print a line between."""
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            self._line(text)

    def _line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif error is None:
            elapsed_s = time.monotonic() - self._started
            self._line(f"{self.what}: {self._done} of {self._wanted} {self.unit} in {elapsed_s:.1f} s")


@contextmanager
def step(
    what: str, stream: TextIO | None = None, after_s: float = 3.0, interval_s: float = 15.0
) -> Iterator[None]:
    """Say what is being done where that takes long and nothing can be counted.

    Parameters
    ----------
    what : str
    stream : file, optional
        Standard error by default.
    after_s : float
        Nothing is said of a step that is done before.
    interval_s : float
        Between lines after that.
    """
    stream, started, over = stream or sys.stderr, time.monotonic(), threading.Event()
    said = False

    def say(text: str) -> None:
        from tqdm import tqdm

        tqdm.write(text, file=stream)  # below a bar that is there, or plain
        stream.flush()

    def watch() -> None:
        nonlocal said
        wait_s = after_s
        while not over.wait(wait_s):
            say(f"{what}: {time.monotonic() - started:.0f} s so far" if said else f"{what} ...")
            said, wait_s = True, interval_s

    watcher = threading.Thread(target=watch, name="step", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    if said:
        say(f"{what}: done in {time.monotonic() - started:.1f} s")


def counted(count: int, noun: str) -> str:
    """A number and what it counts.

    >>> counted(1, "image"), counted(1200, "batch")
    ('1 image', '1,200 batches')
    """
    plural = noun if count == 1 else noun + ("es" if noun.endswith(("ch", "sh", "s", "x")) else "s")
    return f"{count:,} {plural}"
