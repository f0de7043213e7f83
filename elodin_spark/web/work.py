"""Work in threads of its own, bounded in number, in what waits, and in time."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from elodin_spark.errors import ElodinError

_T = TypeVar("_T")


class BusyError(ElodinError):
    """A request was not answered in time, or too many wait."""


class Workers:
    """Threads that answer requests, in the order they came.

    Parameters
    ----------
    threads : int
        How many work at once.
    waiting : int
        How many requests may wait for them.
    seconds : float
        How long a request may be worked on. Work that takes longer goes on, for nothing can stop it, but
        nobody waits for it.
    patience : float
        How many seconds it may wait before that.
    """

    def __init__(self, threads: int, waiting: int, seconds: float, patience: float = 120.0) -> None:
        self.seconds, self.patience = seconds, patience
        self._jobs: queue.Queue[_Job] = queue.Queue(waiting)
        for number in range(threads):
            # Daemons: a process that is to end does not wait for them.
            threading.Thread(target=self._work, name=f"explore-{number}", daemon=True).start()

    async def run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """What `work` gives or raises.

        Raises
        ------
        BusyError
            Too many wait, or it takes longer than it may.
        """
        loop = asyncio.get_running_loop()
        job = _Job(work, arguments, loop)
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise BusyError("too many requests wait for an answer: ask again in a moment") from None
        try:
            await asyncio.wait_for(job.begun.wait(), self.patience)
        except TimeoutError:
            job.future.cancel()
            raise BusyError(f"others were answered for {self.patience:g} s: ask again in a moment") from None
        try:
            return await asyncio.wait_for(job.future, self.seconds)
        except TimeoutError:
            raise BusyError(
                f"it took more than {self.seconds:g} s: ask for less, or again in a moment"
            ) from None

    def _work(self) -> None:
        while True:
            self._jobs.get().do()


class _Job:
    def __init__(
        self, work: Callable[..., Any], arguments: tuple[Any, ...], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._work, self._arguments, self._loop = work, arguments, loop
        self.begun, self.future = asyncio.Event(), loop.create_future()

    def do(self) -> None:
        if self.future.done():
            return  # nobody waits for it
        with suppress(RuntimeError):  # the loop is closed: the process ends
            self._loop.call_soon_threadsafe(self.begun.set)
            try:
                found, error = self._work(*self._arguments), None
            except BaseException as raised:  # given to whoever waits
                found, error = None, raised
            self._loop.call_soon_threadsafe(self._settle, found, error)

    def _settle(self, found: Any, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(found)
        else:
            self.future.set_exception(error)
