"""The servers that fanout.py compares and drills ask, each in a process of its own.

In: one line of JSON on stdin per command. Out: one line of JSON per answer. `ours` is XdsServer as
it ships. `naive` is what one writes first with the same libraries: grpclib, the official protobuf
classes (faster than betterproto2's), a task that reads and a task that writes for each stream.
Both run on uvloop, count the ACKs that they have handled, and answer

    {"do": "expect", "acks": n}   → {}         count from here to n ACKs
    {"do": "publish", "text": …}  → {"at_ns"}  change the one route; expect its ACKs
    {"do": "acked"}               → {"at_ns"}  when the last of them had been handled
    {"do": "cpu"}                 → {"cpu_s"}
    {"do": "memory"}              → {"rss_kb"}
    {"do": "tell"}                → {"streams", "connections", "tasks", "lag"}, of ours alone

`lag` are the bounds and the counts of the histogram that `serve` has at /metrics. A third argument
is how many streams ours takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import resource
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import uvloop
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.service.discovery.v3 import discovery_pb2
from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream

from aeraki_xds.admin.lag import LagMeter
from aeraki_xds.garbage import no_full_collections
from aeraki_xds.pipeline.scopes import GLOBAL, Scopes
from aeraki_xds.telemetry import configure_logging
from aeraki_xds.xds import Hub, Name, Resource
from aeraki_xds.xds.hub import Stream as HubStream
from aeraki_xds.xds.message import Event, Request
from aeraki_xds.xds.resource import HTTP_ROUTES, TypeUrl
from aeraki_xds.xds.wire import XdsServer
from aeraki_xds.xds.wire.limits import DEFAULT_LIMITS, Limits

ROUTE = "bench"
PATH = "/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes"


class Acks:
    """Counts ACKs, and notes when a number of them had been handled."""

    def __init__(self) -> None:
        self._missing = 0
        self._at_ns = 0
        self._reached = asyncio.Event()

    def expect(self, count: int) -> None:
        self._missing = count
        self._reached.clear()

    def count(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            self._at_ns = time.monotonic_ns()
            self._reached.set()

    async def reached(self) -> int:
        await self._reached.wait()
        return self._at_ns


class Measured(Protocol):
    """A server that serves one route to whoever asks for it."""

    acks: Acks
    port: int

    def publish(self, body: bytes) -> None:
        """Change the route."""

    def serving(self) -> AbstractAsyncContextManager[None]:
        """Serve for the length of a block."""

    def tell(self) -> dict[str, Any]:
        """What it knows of itself."""


class CountingHub(Hub):
    """Ours, but for the count: two calls more for each ACK, at our expense."""

    def __init__(self, acks: Acks) -> None:
        super().__init__(clock=time.time)
        self._acks = acks

    def accept(self, stream: HubStream, type_url: TypeUrl, nonce: str) -> bool:
        accepted = super().accept(stream, type_url, nonce)
        if accepted:
            self._acks.count()
        return accepted

    def receive(self, stream: HubStream, request: Request) -> tuple[Event, ...]:
        if request.nonce:
            self._acks.count()
        return super().receive(stream, request)


class Ours:
    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.acks = Acks()
        self.port = 0
        self.hub = CountingHub(self.acks)
        self._lag = LagMeter(clock=time.monotonic)
        self._server = XdsServer(hub=self.hub, admit=Scopes().admit, limits=limits)

    def publish(self, body: bytes) -> None:
        made = Resource.of(HTTP_ROUTES, Name(ROUTE), body)
        self.hub.publish(GLOBAL, {made.id: made})

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        _, self.port = await self._server.start("127.0.0.1", 0)
        measuring = asyncio.create_task(self._lag.run())
        with no_full_collections():  # as `serve` does
            yield
        measuring.cancel()
        await self._server.close()

    def tell(self) -> dict[str, Any]:
        return {
            "streams": len(self.hub.streams),
            "connections": self._server.connections,
            "tasks": len(asyncio.all_tasks()),
            "lag": {
                "bounds": [*self._lag.seconds.bounds, "inf"],
                "counts": self._lag.seconds.counts,
            },
        }


class Naive:
    def __init__(self) -> None:
        self.acks = Acks()
        self.port = 0
        self.version = 0
        self.resource: Any = None
        self.changed: set[asyncio.Event] = set()

    def publish(self, body: bytes) -> None:
        self.version += 1
        self.resource = discovery_pb2.DiscoveryResponse().resources.add()
        self.resource.type_url, self.resource.value = HTTP_ROUTES, body
        for event in self.changed:
            event.set()

    async def _routes(self, stream: Stream[Any, Any]) -> None:
        await stream.recv_message()
        changed = asyncio.Event()
        changed.set()
        self.changed.add(changed)
        writer = asyncio.create_task(self._write(stream, changed))
        try:
            async for request in stream:
                if request.response_nonce and not request.HasField("error_detail"):
                    self.acks.count()
        finally:
            writer.cancel()
            self.changed.discard(changed)

    async def _write(self, stream: Stream[Any, Any], changed: asyncio.Event) -> None:
        nonce = 0
        while True:
            await changed.wait()
            changed.clear()
            nonce += 1
            response = discovery_pb2.DiscoveryResponse(
                version_info=str(self.version),
                type_url=HTTP_ROUTES,
                nonce=str(nonce),
                resources=[self.resource],
            )
            await stream.send_message(response)

    def __mapping__(self) -> dict[str, Handler]:
        request, response = discovery_pb2.DiscoveryRequest, discovery_pb2.DiscoveryResponse
        return {PATH: Handler(self._routes, Cardinality.STREAM_STREAM, request, response)}

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        server = Server([self])
        listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
        await server.start(sock=listening, backlog=4096)
        self.port = listening.getsockname()[1]
        yield
        server.close()

    def tell(self) -> dict[str, Any]:
        return {}


def table(routes: int, answer: str) -> bytes:
    """A route table as a MetaRouter makes it: a header match and a weighted destination each."""
    made = route_pb2.RouteConfiguration(name=ROUTE)
    host = made.virtual_hosts.add(name=ROUTE, domains=["*"])
    for number in range(routes):
        route = route_components_pb2.Route(name=f"route-{number}")
        route.match.prefix = "/"
        header = route.match.headers.add(name="version")
        header.string_match.exact = f"v{number}-{answer}"
        for subset, weight in (("v1", 90), ("v2", 10)):
            route.route.weighted_clusters.clusters.add(
                name=f"outbound|9090|{subset}|orders.shop.svc.cluster.local"
            ).weight.value = weight
        host.routes.append(route)
    encoded: bytes = made.SerializeToString()
    return encoded


def memory() -> float:
    """Resident kilobytes of this process."""
    gc.collect()
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


async def obey(server: Measured, routes: int) -> None:
    """Read commands until there are none."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    server.publish(table(routes, "first"))
    async with server.serving():
        say({"port": server.port})
        async for line in reader:
            command = json.loads(line)
            match command["do"]:
                case "publish":
                    body = table(routes, command["text"])
                    server.acks.expect(command["acks"])
                    at_ns = time.monotonic_ns()
                    server.publish(body)
                    say({"at_ns": at_ns})
                case "expect":
                    server.acks.expect(command["acks"])
                    say({})
                case "acked":
                    say({"at_ns": await server.acks.reached()})
                case "cpu":
                    say({"cpu_s": time.process_time()})
                case "memory":
                    say({"rss_kb": memory()})
                case "tell":
                    say(server.tell())


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def main(kind: str, routes: int, streams: int = DEFAULT_LIMITS.streams) -> None:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    limits = replace(DEFAULT_LIMITS, streams=streams)
    kinds: dict[str, Callable[[], Measured]] = {"ours": partial(Ours, limits), "naive": Naive}
    configure_logging(level="error")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(kinds[kind], routes))


async def run(make: Callable[[], Measured], routes: int) -> None:
    await obey(make(), routes)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
