"""Gives streams that have something to write their turns.

In: streams that were woken. Out: calls of their `write`, each once however often it was woken, and
again in the loop's next turn where a stream wakes itself because there is more to do.
Guaranteed: the event loop gets a turn at least every few milliseconds, so a change for thousands of
streams delays no ACK, no new connection and no timer by more. Who has a lot to do has its turns
apart, one stream after the other: at full speed while the loop has nothing else to do, else with
a rest after each, so that all of them together take a tenth of the loop. One drain serves all
streams of a server: a task for each would cost a task switch for each change, and a kilobyte.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Final, Protocol

import structlog
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from aeraki_xds.xds.wire.counts import Counts
from aeraki_xds.xds.wire.slices import Sliced

_TURN: Final = 0.005
"""Seconds after which the loop gets its turn."""

_IDLE: Final = 0.0005
"""Seconds that the loop may take for a turn and still have had nothing to do."""

_LARGE_TURN: Final = 0.001
_REST: Final = 0.01
"""Seconds that a turn of large work takes, and from one to the next while there is other work."""


class Writer(Protocol):
    """A stream, as the drain sees it. `waiting` belongs to the drain."""

    waiting: bool

    def write(self) -> None:
        """Write what is due, as far as it can be written."""

    def finish(self, failure: GRPCError | None) -> None:
        """End the stream."""


class Drain:
    """A queue of writers, emptied by the event loop. `clock` gives seconds; not the loop's own
    time, which stands still within a turn of uvloop.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        counts: Counts,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._loop = loop
        self._counts = counts
        self._clock = clock
        self._queue: deque[Writer] = deque()
        self._scheduled = False
        self._large: deque[Writer] = deque()
        self._largest: Writer | None = None
        self._asked_at = 0.0
        self._large_scheduled = False
        self._log = structlog.get_logger("aeraki_xds.xds")

    def add(self, writer: Writer) -> None:
        """Give a writer a turn; once, if it waits for one already."""
        if writer.waiting:
            return
        writer.waiting = True
        self._queue.append(writer)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run)

    def add_large(self, writer: Writer) -> None:
        """Give a writer a turn apart, for it has a lot to do: whoever goes on comes first, for what
        is begun holds memory.
        """
        if writer.waiting:
            return
        writer.waiting = True
        if writer is self._largest:
            self._large.appendleft(writer)
        else:
            self._large.append(writer)
        if not self._large_scheduled:
            self._large_scheduled = True
            self._ask()

    def add_work(self, work: Sliced[None]) -> None:
        """Do something that is no stream's, likewise."""
        self.add_large(_Work(self, work))

    def _ask(self) -> None:
        """Let the loop have a turn, to see how long it takes."""
        self._asked_at = self._clock()
        self._loop.call_soon(self._answer)

    def _answer(self) -> None:
        if self._queue or self._clock() - self._asked_at > _IDLE:
            self._loop.call_later(_REST, self._run_large)
        else:
            self._run_large()

    def _run_large(self) -> None:
        end = self._clock() + _LARGE_TURN
        while self._large:
            self._largest = self._large.popleft()
            self._give_turn(self._largest)
            if self._clock() >= end:
                break
        self._largest = None
        self._large_scheduled = bool(self._large)
        if self._large:
            self._ask()

    def _give_turn(self, writer: Writer) -> None:
        writer.waiting = False
        try:
            writer.write()
        except Exception:  # noqa: BLE001 - border: one stream's fault is not the others'
            self._counts.write_failures += 1
            self._log.exception("a stream could not be written to")
            writer.finish(GRPCError(Status.INTERNAL, "the server failed to write"))

    def _run(self) -> None:
        queue = self._queue
        end = self._clock() + _TURN
        clock = self._clock
        give_turn = self._give_turn
        for _ in range(len(queue)):
            give_turn(queue.popleft())
            if clock() >= end:
                break
        self._scheduled = bool(queue)
        if queue:
            self._loop.call_soon(self._run)


class _Work:
    """Work in slices, as a writer."""

    __slots__ = ("_drain", "_work", "waiting")

    def __init__(self, drain: Drain, work: Sliced[None]) -> None:
        self.waiting = False
        self._drain = drain
        self._work = work

    def write(self) -> None:
        """Do a slice."""
        with suppress(StopIteration):
            next(self._work)
            self._drain.add_large(self)

    def finish(self, failure: GRPCError | None) -> None:
        """It has failed, and is not gone on with."""
