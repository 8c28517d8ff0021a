"""What a change for every stream costs a server: ours against a naive one, in the same run.

In: how many streams and rounds. Out: a table: microseconds of the server's CPU to send a response
and to hear an ACK, milliseconds from the change to the last delivery and to the last ACK, kilobytes
a stream; then what encoding a route costs. The clients live in this process, the servers each in
its own, and the two take turns, so that a busy machine is fair to both.

    python benchmarks/fanout.py --streams 2000
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import encoding
import uvloop
from child import Child
from peers.catalogue import peer
from peers.table import rest

from aeraki_xds.bench.client import Ask, Clients
from aeraki_xds.xds.resource import HTTP_ROUTES

ROUTE = "bench-0"
ASK = Ask(
    path="/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes",
    type_url=HTTP_ROUTES,
    names=(ROUTE,),
)
WARM_UP = 2
"""Rounds that do not count."""


@dataclass(slots=True, kw_only=True)
class Findings:
    """Of one server, one entry a round; memory once."""

    kb_per_stream: float = 0.0
    bytes_per_response: int = 0
    send_us: list[float] = field(default_factory=list)
    ack_us: list[float] = field(default_factory=list)
    delivered_ms: list[float] = field(default_factory=list)
    acked_ms: list[float] = field(default_factory=list)


class Bench:
    """One server, its clients and what was found."""

    def __init__(
        self, *, name: str, child: Child, clients: Clients, streams: int, routes: int
    ) -> None:
        self.name = name
        self._routes = routes
        self.findings = Findings()
        self._child = child
        self._clients = clients
        self._streams = streams
        self._rounds = 0

    async def connect(self) -> None:
        """Open every stream and hear its first response; what that takes of memory."""
        before = await self._child.ask("memory")
        await self._child.ask("expect", acks=self._streams)
        await self._clients.connect([ASK] * self._streams)
        await self._child.ask("acked")
        after = await self._child.ask("memory")
        self.findings.kb_per_stream = (after["rss_kb"] - before["rss_kb"]) / self._streams

    async def time(self) -> tuple[float, float]:
        """Change → last delivery and → last ACK, in milliseconds."""
        self._clients.begin_round()
        at = (await self._publish())["at_ns"]
        acked = (await self._child.ask("acked"))["at_ns"]
        await self._clients.delivered()
        return (self._clients.deliveries_ns[-1] - at) / 1e6, (acked - at) / 1e6

    async def cost(self) -> tuple[float, float]:
        """The server's CPU per stream to send and to hear an ACK, in microseconds: the ACKs are
        held back until everything is sent.
        """
        self._clients.hold_acks = True
        start = await self._child.ask("cpu")
        self._clients.begin_round()
        await self._publish()
        await self._clients.delivered()
        sent = await self._child.ask("cpu")
        self._clients.hold_acks = False
        self._clients.release_acks()
        await self._child.ask("acked")
        heard = await self._child.ask("cpu")
        idle = await self._child.ask("cpu")  # what asking itself costs
        asking = idle["cpu_s"] - heard["cpu_s"]
        send = sent["cpu_s"] - start["cpu_s"] - asking
        ack = heard["cpu_s"] - sent["cpu_s"] - asking
        return send / self._streams * 1e6, ack / self._streams * 1e6

    async def round(self) -> None:
        """One of each."""
        counted = self._rounds >= WARM_UP
        responses, size = self._clients.responses, self._clients.bytes
        delivered, acked = await self.time()
        send, ack = await self.cost()
        if counted:
            found = self.findings
            found.delivered_ms.append(delivered)
            found.acked_ms.append(acked)
            found.send_us.append(send)
            found.ack_us.append(ack)
            found.bytes_per_response = (self._clients.bytes - size) // (
                self._clients.responses - responses
            )
        self._rounds += 1

    async def _publish(self) -> dict[str, Any]:
        changed = rest(self._routes, f"r{self._clients.responses}")
        return await self._child.ask("publish", name=ROUTE, rest=changed, acks=self._streams)


@asynccontextmanager
async def bench(name: str, *, streams: int, routes: int) -> AsyncIterator[Bench]:
    """A server of a kind, and its clients."""
    async with peer(name) as child:
        clients = Clients(host="127.0.0.1", port=(await child.answer())["port"])
        await child.ask("fill", count=1, rest=rest(routes, "first"))
        try:
            yield Bench(name=name, child=child, clients=clients, streams=streams, routes=routes)
        finally:
            clients.close()


def report(benches: Sequence[Bench], streams: int) -> None:
    """Print the medians side by side, and the first against the last."""
    first, last = benches[0], benches[-1]
    size = first.findings.bytes_per_response
    print(f"{streams} plaintext streams, one a connection; one change of {size} bytes for all;")
    print(f"medians of {len(first.findings.acked_ms)} rounds, best in brackets\n")
    print(f"{'':28}" + "".join(f"{bench.name:>20}" for bench in benches) + f"{'ratio':>8}")
    for title, attribute in (
        ("send, µs CPU a stream", "send_us"),
        ("ACK, µs CPU a stream", "ack_us"),
        ("change → last delivery, ms", "delivered_ms"),
        ("change → last ACK, ms", "acked_ms"),
    ):
        values = [getattr(bench.findings, attribute) for bench in benches]
        cells = "".join(f"{f'{statistics.median(v):.1f} ({min(v):.1f})':>20}" for v in values)
        ratio = statistics.median(values[0]) / statistics.median(values[-1])
        print(f"{title:28}{cells}{ratio:8.2f}")
    memory = [bench.findings.kb_per_stream for bench in benches]
    cells = "".join(f"{each:>20.1f}" for each in memory)
    print(f"{'memory, KB a stream':28}{cells}{memory[0] / memory[-1]:8.2f}")
    print(f"\nratio: {first.name} / {last.name}")


async def compare(names: Sequence[str], *, streams: int, routes: int, rounds: int) -> None:
    """Run every server of `names` in turns."""
    async with AsyncExitStack() as stack:
        benches = []
        for name in names:
            each = await stack.enter_async_context(bench(name, streams=streams, routes=routes))
            benches.append(each)
            print(f"connecting {streams} streams to {name} …", file=sys.stderr, flush=True)
            await each.connect()
        for number in range(rounds + WARM_UP):
            print(
                f"\rround {number + 1} of {rounds + WARM_UP}", end="", file=sys.stderr, flush=True
            )
            for each in benches:
                await each.round()
        print(file=sys.stderr)
        report(benches, streams)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--routes", type=int, default=10, help="routes in the table that changes")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--servers", nargs="+", default=["ours", "grpclib"], choices=["ours", "grpclib"]
    )
    given = parser.parse_args()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            compare(given.servers, streams=given.streams, routes=given.routes, rounds=given.rounds)
        )
    print()
    encoding.main()


if __name__ == "__main__":
    main()
