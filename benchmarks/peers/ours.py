"""Ours: XdsServer and Hub as `serve` has them, but for the limits on one identity.

In: commands; proxies. Out: routes in the scope that a stream of MetaRDS sees: with TLS the public
one, in plaintext the global one. As with `serve`, a client's node is to be of its certificate's
namespace, `default` if it says none. It also tells its connections and tasks, and `lag`: bounds and
counts of the histogram that `serve` has at /metrics.

A bench is one identity for a whole fleet, so what one identity may take is raised to what all may
take together: 50,000 connections and streams, and 4 GiB of requests under way, for each of 20,000
streams may begin with a node of 61 KB. All other limits, so the pace of handshakes too, are ours.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final

from aeraki_xds.admin.lag import LagMeter
from aeraki_xds.garbage import no_full_collections, now_and_then
from aeraki_xds.pipeline.scopes import GLOBAL, PUBLIC, Scopes
from aeraki_xds.settings import TlsFiles
from aeraki_xds.telemetry import configure_logging
from aeraki_xds.xds import HTTP_ROUTES, Hub, Name, Resource, ResourceId, Scope, TypeUrl
from aeraki_xds.xds.message import Event, Request
from aeraki_xds.xds.stream import Stream
from aeraki_xds.xds.wire import ServerTls, XdsServer
from aeraki_xds.xds.wire.limits import DEFAULT_LIMITS
from peers.commands import Acks, Answer, Command, resource_of

STREAMS: Final = DEFAULT_LIMITS.streams


class Ours:
    """The server; it takes so many streams."""

    def __init__(self, *, tls: TlsFiles | None, streams: int = STREAMS) -> None:
        configure_logging(level="error")
        self.acks = Acks()
        self._tls = tls
        self._scope = PUBLIC if tls else GLOBAL
        self._hub = CountingHub(self.acks)
        self._served: frozenset[ResourceId] = frozenset()
        self._lag = LagMeter(clock=time.monotonic)
        limits = replace(
            DEFAULT_LIMITS,
            streams=streams,
            connections_per_identity=DEFAULT_LIMITS.streams,
            streams_per_identity=DEFAULT_LIMITS.streams,
            bytes_per_identity=4 << 30,
        )
        self._xds = XdsServer(hub=self._hub, admit=Scopes().admit, limits=limits)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Serve."""
        context = None
        if self._tls is not None:
            files = self._tls
            served = ServerTls(certificate=files.certificate, key=files.key, roots=files.roots)
            context = served.context
        with no_full_collections():
            _, port = await self._xds.start("127.0.0.1", 0, tls=context)
            beside = [asyncio.create_task(self._lag.run()), asyncio.create_task(now_and_then())]
            try:
                yield port
            finally:
                for task in beside:
                    task.cancel()
                await self._xds.close()

    def fill(self, bodies: Mapping[str, bytes]) -> None:
        """Publish all in one go."""
        made = [Resource.of(HTTP_ROUTES, Name(name), body) for name, body in bodies.items()]
        gone = dict.fromkeys(self._served)
        self._hub.publish(self._scope, {**gone, **{each.id: each for each in made}})
        self._served = frozenset(each.id for each in made)

    def change(self, command: Command) -> Callable[[], Answer]:
        """Publish one."""
        return partial(self._publish, *resource_of(command))

    def _publish(self, name: str, body: bytes) -> Answer:
        made = Resource.of(HTTP_ROUTES, Name(name), body)
        self._hub.publish(self._scope, {made.id: made})
        return {}

    def tell(self) -> Answer:
        """What it knows of itself."""
        return {
            "streams": len(self._hub.streams),
            "connections": self._xds.connections,
            "tasks": len(asyncio.all_tasks()),
            "pushes": self._hub.tally.of(HTTP_ROUTES).pushes,
            "encoded": self._xds.responses_encoded,
            "lag": {
                "bounds": [*self._lag.seconds.bounds, "inf"],
                "counts": self._lag.seconds.counts,
            },
        }


class CountingHub(Hub):
    """Ours, but for the count: two calls more for each ACK, at our expense. What else a stream may
    see, its namespace's own services or a proxy's listeners, is nothing here, and known at once.
    """

    def __init__(self, acks: Acks) -> None:
        super().__init__(clock=time.time, on_wanted=self._open)
        self._acks = acks

    def _open(self, scope: Scope) -> None:
        asyncio.get_running_loop().call_soon(self.publish, scope, {})

    def accept(self, stream: Stream, type_url: TypeUrl, nonce: str) -> bool:
        """A plain ACK, or not."""
        accepted = super().accept(stream, type_url, nonce)
        if accepted:
            self._acks.count()
        return accepted

    def receive(self, stream: Stream, request: Request) -> tuple[Event, ...]:
        """Any request; an ACK that also changes the subscription, for one."""
        events = super().receive(stream, request)
        if request.nonce and request.error is None:
            self._acks.count()
        return events
