"""What those who behave notice of those who do not: 99th percentiles, with and without them."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from peers.catalogue import peer
from peers.table import rest

from aeraki_xds.bench.ask import Ask
from aeraki_xds.bench.child import Child, running
from aeraki_xds.bench.client import Clients
from aeraki_xds.xds import HTTP_ROUTES
from drills.verdict import Fact, Finding, Lag, Ratio, percentile

ROUTE: Final = "bench-0"
ASK: Final = Ask(
    path="/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes",
    type_url=HTTP_ROUTES,
    names=(ROUTE,),
)
LIMIT_S: Final = 60.0

_ATTACKS: Final = Path(__file__).with_name("attacks.py")
_STREAMS: Final = 198
_STALLED: Final = 2
_ROUTES: Final = 100
_PAIRS: Final = 5
_MOST_PAIRS: Final = 11
"""When so few say that it is too much: a busy machine may have said so."""

_BUDGET_S: Final = 12.0
"""For all pairs; one that takes longer is the last."""

_ROUNDS: Final = 25
_PAUSE_S: Final = 0.01
"""Between two changes; without it the server would never be at rest, which is another drill."""

Change = Callable[[], Awaitable[Any]]


class Crowd:
    """A server that has one route table, and clients that are sent each version of it."""

    def __init__(self, child: Child, clients: Clients, streams: int) -> None:
        self.child = child
        self.clients = clients
        self._streams = streams
        self._number = 0

    @classmethod
    @asynccontextmanager
    async def gathered(cls, streams: int) -> AsyncIterator[Crowd]:
        """Everybody is connected, and has the first version."""
        async with peer("ours") as child:
            clients = Clients(host="127.0.0.1", port=(await child.answer())["port"])
            await child.ask("fill", count=1, rest=rest(_ROUTES, "first"))
            try:
                await child.ask("expect", acks=streams)
                await clients.connect([ASK] * streams)
                await child.ask("acked")
                yield cls(child, clients, streams)
            finally:
                clients.close()

    async def wait(self) -> float:
        """The 99th percentile of how long a change takes to reach a client, in seconds."""
        waited: list[float] = []
        for _ in range(_ROUNDS):
            self._number += 1
            self.clients.begin_round()
            changed = rest(_ROUTES, f"round {self._number}")
            answer = await self.child.ask("publish", name=ROUTE, rest=changed, acks=self._streams)
            began = answer["at_ns"]
            async with asyncio.timeout(LIMIT_S):
                await self.clients.delivered()
                waited += ((at - began) / 1e9 for at in self.clients.deliveries_ns)
                await self.child.ask("acked")
            await asyncio.sleep(_PAUSE_S)
        return percentile(waited, 0.99)

    async def compare(self, begin: Change, end: Change) -> Ratio:
        """Wait with something and without it, in turns."""
        without: list[float] = []
        beside: list[float] = []
        until = time.monotonic() + _BUDGET_S
        while True:
            without.append(await self.wait())
            await begin()
            beside.append(await self.wait())
            await end()
            ratio = Ratio(without=tuple(without), beside=tuple(beside))
            decided = ratio.good and len(beside) == _PAIRS
            if decided or len(beside) == _MOST_PAIRS or time.monotonic() > until:
                return ratio

    async def settled(self) -> Fact:
        """Nobody but the clients is left. Raises TimeoutError."""
        async with asyncio.timeout(LIMIT_S):
            while (told := await self.child.ask("tell"))["connections"] != self._streams:
                await asyncio.sleep(0.05)
        streams = told["streams"]
        return Fact(told=f"{streams} streams at the end", good=streams == self._streams)

    async def lag(self) -> Lag:
        """How late the server's loop was, since it began."""
        told = (await self.child.ask("tell"))["lag"]
        return Lag.of([float(bound) for bound in told["bounds"]], told["counts"])


async def stalled(_work: Path) -> Finding:
    """One client in a hundred reads nothing while a large table changes again and again."""
    lazy: list[asyncio.StreamWriter] = []
    async with Crowd.gathered(_STREAMS) as crowd:

        async def begin() -> None:
            for _ in range(_STALLED):
                # It is read once: a reader that holds more than its limit stops.
                _, writer = await asyncio.open_connection(*crowd.clients.address, limit=1)
                writer.write(ASK.opening("lazy"))
                lazy.append(writer)
            async with asyncio.timeout(LIMIT_S):
                while (await crowd.child.ask("tell"))["streams"] < _STREAMS + _STALLED:
                    await asyncio.sleep(0.01)

        async def end() -> None:
            for writer in lazy:
                writer.transport.abort()
            lazy.clear()
            await crowd.settled()

        ratio = await crowd.compare(begin, end)
        told = f"{_STALLED} of {_STREAMS + _STALLED}"
        return Finding(facts=(ratio.fact(told), (await crowd.lag()).fact()))


async def hostile(_work: Path) -> Finding:
    """Somebody sends what no client should, again and again, from another process."""
    async with Crowd.gathered(_STREAMS) as crowd:
        port = str(crowd.clients.address[1])
        async with running(sys.executable, str(_ATTACKS), port) as attackers:
            kinds = (await attackers.answer())["kinds"]
            facts = [await _under(crowd, attackers, kind) for kind in kinds]
        return Finding(facts=(*facts, await crowd.settled(), (await crowd.lag()).fact()))


async def _under(crowd: Crowd, attackers: Child, kind: str) -> Fact:
    """What the others notice of one kind."""
    count = 0

    async def begin() -> None:
        await attackers.ask("attack", kind=kind)

    async def end() -> None:
        nonlocal count
        count += (await attackers.ask("rest"))["count"]
        await crowd.settled()

    before = await crowd.lag()
    ratio = await crowd.compare(begin, end)
    late = (await crowd.lag() - before).late
    fact = ratio.fact(f"{kind} ({count})")
    return Fact(told=f"{fact.told}, loop late {late} times", good=fact.good)
