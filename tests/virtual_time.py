"""Time that passes only when nothing else happens: minutes of waiting in no time, to the digit."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")


class _Selector(selectors.DefaultSelector):
    """Where a loop would sleep, the clock moves on instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        if timeout is None:
            message = "the test waits for something that will never happen"
            raise RuntimeError(message)
        self.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose `time` starts at 0 and jumps to the next timer."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual.now


def virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test on a loop of its own where time is virtual. No threads, no sockets there."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


async def at(seconds: float, then: Callable[[], object] | None = None) -> None:
    """Wait until the clock shows `seconds`, and do something then."""
    await asyncio.sleep(seconds - asyncio.get_running_loop().time())
    if then is not None:
        then()


async def time_of(awaitable: Awaitable[object]) -> float:
    """Await something and say when it was done, to the millisecond."""
    await awaitable
    return round(asyncio.get_running_loop().time(), 3)
