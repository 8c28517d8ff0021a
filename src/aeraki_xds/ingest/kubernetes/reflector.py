"""Carries out what a `Replica` asks for: one kind's list and watch, for as long as it is run.

In: an API server. Out: batches of events, one for each page of a list and for each piece of a
watch that comes. Guaranteed: decoding lets the loop have its turn, and of all reflectors that share
a lock only one decodes at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol

from aeraki_xds.ingest.event import Emit, Event
from aeraki_xds.ingest.kubernetes.answers import page_of, serves, told_by
from aeraki_xds.ingest.kubernetes.client import ApiError, ClusterError
from aeraki_xds.ingest.kubernetes.replica import Discover, ListPage, Replica, Watch
from aeraki_xds.turns import in_turns

PAGE: Final = 500
"""Objects of a list in one answer."""

LASTING: Final = (300.0, 600.0)
"""Seconds for which a watch is asked for: spread, so that not all end together."""

IDLE: Final = 150.0
"""Seconds after which a watch that says nothing is dead: a bookmark comes every minute or so."""


class Connection(Protocol):
    """What is needed of a `client.Cluster`."""

    async def get(self, path: str, query: Mapping[str, str] = {}) -> bytes:
        """The body at a path. Raises ClusterError."""

    def bursts(
        self, path: str, query: Mapping[str, str] = {}, *, idle: float
    ) -> AbstractAsyncContextManager[AsyncIterator[list[bytes]]]:
        """A body of lines as it comes. Raises ClusterError."""


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What reflectors share: time, chance, and whose turn it is to decode."""

    clock: Callable[[], float] = _loop_time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Random = field(default_factory=Random)
    page: int = PAGE
    idle: float = IDLE
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Reflector:
    """Follows one kind, or one object, and emits what is said of it."""

    def __init__(self, *, connection: Connection, replica: Replica, emit: Emit, pace: Pace) -> None:
        self._connection = connection
        self._replica = replica
        self._emit = emit
        self._pace = pace
        self._opened_at: float | None = None

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            if self._replica.delay:
                await self._pace.sleep(self._replica.delay)
            self._opened_at = None
            try:
                match self._replica.ask:
                    case Discover():
                        await self._discover()
                    case ListPage() as ask:
                        await self._list(ask)
                    case Watch() as ask:
                        await self._watch(ask)
            except ClusterError as reason:
                failed = self._replica.failed(reason, self._pace.clock(), lasted=self._lasted())
                self._say(failed)

    async def _discover(self) -> None:
        watched = self._replica.watched
        for version in watched.versions:
            try:
                body = await self._connection.get(watched.discovery(version))
            except ApiError as refusal:
                if refusal.status != 404:
                    raise
            else:
                if serves(body, watched.plural):
                    self._replica.found(version)
                    return
        wanted = " or ".join(map(watched.api_version, watched.versions))
        self._say(self._replica.absent(f"{wanted} is not served", self._pace.clock()))

    async def _list(self, ask: ListPage) -> None:
        watched = self._replica.watched
        query = {"limit": str(self._pace.page), **watched.selector}
        if ask.token:
            query["continue"] = ask.token
        page = page_of(await self._connection.get(watched.path(ask.version), query))
        async with self._pace.turn:
            events = [self._replica.listed(item) async for item in in_turns(page.items)]
        self._say([*events, *self._replica.page_ended(page.revision, page.token)])

    async def _watch(self, ask: Watch) -> None:
        watched = self._replica.watched
        query = {
            "watch": "1",
            "resourceVersion": ask.since,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(int(self._pace.random.uniform(*LASTING))),
            **watched.selector,
        }
        path, idle = watched.path(ask.version), self._pace.idle
        async with self._connection.bursts(path, query, idle=idle) as bursts:
            self._opened_at = self._pace.clock()
            async for lines in bursts:
                await self._take(lines)
                if not isinstance(self._replica.ask, Watch):
                    return
        self._say(self._replica.ended(self._pace.clock(), lasted=self._lasted()))

    async def _take(self, lines: list[bytes]) -> None:
        """What comes before a line that cannot be read is said, too."""
        events: list[Event | None] = []
        try:
            async with self._pace.turn:
                async for line in in_turns(lines):
                    events.append(self._replica.heard(told_by(line)))  # noqa: PERF401 (it raises)
        finally:
            self._say(events)

    def _lasted(self) -> float:
        return 0.0 if self._opened_at is None else self._pace.clock() - self._opened_at

    def _say(self, events: list[Event | None] | list[Event]) -> None:
        if said := [event for event in events if event is not None]:
            self._emit(said)
