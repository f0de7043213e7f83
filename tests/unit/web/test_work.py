"""Bounded work."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from helpers.limits import HANG_S

from elodin_spark.web.work import BusyError, Workers


def test_answers_and_errors_come_back_to_who_asked() -> None:
    workers = Workers(3, 500, HANG_S)

    def half(number: int) -> int:
        if number % 10 == 9:
            raise ValueError(number)
        return number // 2

    async def ask() -> list[Any]:
        asked = (workers.run(half, number) for number in range(200))
        return await asyncio.gather(*asked, return_exceptions=True)

    for number, found in enumerate(asyncio.run(ask())):
        assert found == number // 2 if number % 10 != 9 else found.args == (number,)


def test_too_many_who_wait_are_refused_and_the_others_answered() -> None:
    workers, begun, go = Workers(1, 2, HANG_S), threading.Event(), threading.Event()

    def wait() -> str:
        begun.set()
        go.wait(HANG_S)
        return "done"

    async def ask() -> None:
        first = asyncio.create_task(workers.run(wait))
        await asyncio.to_thread(begun.wait, HANG_S)
        others = [asyncio.create_task(workers.run(str, number)) for number in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="too many requests wait"):
            await workers.run(str)
        go.set()
        assert await asyncio.gather(first, *others) == ["done", "0", "1"]

    asyncio.run(ask())


def test_who_waits_too_long_is_told_and_what_nobody_waits_for_is_not_done() -> None:
    workers, go, done = Workers(1, 5, 0.05, 0.1), threading.Event(), []

    async def ask() -> None:
        slow = asyncio.create_task(workers.run(go.wait, HANG_S))
        late = asyncio.create_task(workers.run(done.append, 1))
        with pytest.raises(BusyError, match=r"it took more than 0\.05 s"):
            await slow
        with pytest.raises(BusyError, match=r"others were answered for 0\.1 s"):
            await late
        go.set()
        workers.seconds = workers.patience = HANG_S
        assert await workers.run(str, 3) == "3"

    asyncio.run(ask())
    assert done == []
