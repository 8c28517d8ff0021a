"""Gives streams that have something to write their turns.

In: streams that were woken. Out: calls of their `write`, each once however often it was woken, and
again in the loop's next turn where a stream wakes itself because there is more to do.
Guaranteed: the event loop gets a turn at least every few milliseconds, so a change for thousands of
streams delays no ACK, no new connection and no timer by more. One drain serves all streams of a
server: a task for each would cost a task switch for each change, and a kilobyte.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol

import structlog
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from aeraki_xds.xds.wire.counts import Counts

_TURN: Final = 0.005
"""Seconds after which the loop gets its turn."""


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

    def _run(self) -> None:
        queue = self._queue
        end = self._clock() + _TURN
        for _ in range(len(queue)):
            writer = queue.popleft()
            writer.waiting = False
            try:
                writer.write()
            except Exception:  # noqa: BLE001 - border: one stream's fault is not the others'
                self._counts.write_failures += 1
                self._log.exception("a stream could not be written to")
                writer.finish(GRPCError(Status.INTERNAL, "the server failed to write"))
            if self._clock() >= end:
                break
        self._scheduled = bool(queue)
        if queue:
            self._loop.call_soon(self._run)
