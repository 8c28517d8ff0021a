"""When a batch is complete: the first change after quiet goes at once, bursts go together.

In: events from any number of sources. Out: batches, every event in the order it was said.
There is no fixed debounce: a lone edit is not delayed at all, a burst (a checkout, a rollout) by
`quiet` seconds after its last event and by `cap` seconds at the most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from aeraki_xds.ingest.event import Event

QUIET: Final = 0.01
"""Seconds without an event after which a burst is over."""

CAP: Final = 0.1
"""Seconds for which a burst may hold back its first event."""


class Inbox:
    """Collects what sources say. `clock` gives monotonic seconds (the loop's, virtual in tests).

    `first_at` is when the first event of the newest batch was said.
    """

    def __init__(
        self, *, clock: Callable[[], float], quiet: float = QUIET, cap: float = CAP
    ) -> None:
        self._clock = clock
        self._quiet = quiet
        self._cap = cap
        self._events: list[Event] = []
        self.first_at = 0.0
        self._last_at = float("-inf")
        self._ready_at = float("-inf")
        self._filled = asyncio.Event()

    def put(self, events: Sequence[Event]) -> None:
        """Add events. An event that comes `quiet` seconds after the last one is ready at once."""
        if not events:
            return
        now = self._clock()
        if not self._events:
            self.first_at = now
        calm = not self._events and now - self._last_at >= self._quiet
        self._last_at = now
        self._ready_at = now if calm else min(now + self._quiet, self.first_at + self._cap)
        self._events.extend(events)
        self._filled.set()

    async def take(self) -> list[Event]:
        """The next batch, when it is complete."""
        await self._filled.wait()
        # Not an event to wait for: `put` only moves the moment on.
        while (delay := self._ready_at - self._clock()) > 0:
            await asyncio.sleep(delay)
        events, self._events = self._events, []
        self._filled.clear()
        return events
