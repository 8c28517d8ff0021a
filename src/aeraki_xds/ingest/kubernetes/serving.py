"""The kinds that say who serves, followed only while somebody wants to know.

In: whether anybody does, and what the reflectors say meanwhile. Out: what they say; and when nobody
wants it any more, that each source is idle and each object gone. Guaranteed: what is said of a time
that is over is not heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from aeraki_xds.ingest.event import Delete, Emit, Event, Rejected, Synced, Upsert
from aeraki_xds.ingest.kubernetes.kinds import WHILE_WANTED, Watched
from aeraki_xds.mesh.names import Key

ENDPOINTS: Final = tuple(f"kubernetes/{watched.kind}" for watched in WHILE_WANTED)
"""The names under which they are synced or lost, each by itself."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Round:
    """What is known since somebody wanted it."""

    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    known: set[Key] = field(default_factory=set)


class Serving:
    """Begins and ends. `follow` follows a kind, and its task ends when it is cancelled."""

    def __init__(self, emit: Emit, follow: Callable[[Watched, Emit], asyncio.Task[None]]) -> None:
        self._emit = emit
        self._follow = follow
        self._round: _Round | None = None
        self._is_wanted: bool | None = None

    def want(self, wanted: bool) -> None:
        """From now on say who serves, or say it no more."""
        if wanted is self._is_wanted:
            return
        self._is_wanted = wanted
        before, self._round = self._round, _Round() if wanted else None
        if self._round is not None:
            hear = partial(self._hear, self._round)
            self._round.tasks = [self._follow(watched, hear) for watched in WHILE_WANTED]
            return
        # Idle first, and all in one batch: what is left in between is nobody's whole.
        events: list[Event] = [Synced(source=name, idle=True) for name in ENDPOINTS]
        if before is not None:
            for task in before.tasks:
                task.cancel()
            events += (Delete(key=key) for key in sorted(before.known))
        self._emit(events)

    def _hear(self, of: _Round, events: Sequence[Event]) -> None:
        if of is not self._round:
            return
        for event in events:
            match event:
                case Upsert() | Rejected():
                    of.known.add(event.key)
                case Delete():
                    of.known.discard(event.key)
                case _:
                    pass
        self._emit(events)
